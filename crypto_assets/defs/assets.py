"""The assets of a collection: one op for each entry of collection.yaml, one asset for each of its symbols × datasets.

A lake asset is a dataset as collected. A warehouse asset is a table in Postgres and depends on the lake assets that feed it.
They share the op, so a day passes all steps while its rows are in memory. Any assets of an entry over any range of days are
one run, one step, one connection pool.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any

import dagster as dg

from crypto_assets.checks import rules_of
from crypto_assets.config.collection import Collection, SeriesEntry, leading
from crypto_assets.config.environment import settings
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE, table_of
from crypto_assets.defs.asset_keys import day_of, lake_key, warehouse_key
from crypto_assets.defs.asset_specs import WarehouseAsset, asset_specs, partitions_of
from crypto_assets.defs.reporter import Reporter, failure_metadata, failure_text
from crypto_assets.defs.resources import CollectorResource, LakeResource, PostgresResource
from crypto_assets.defs.stopped_runs import COMMAND_LINE, asked_by, cancelled_if_stopped, failing_in_one_line
from crypto_assets.engine.pipeline import Pipeline, Target
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE, Table, loaded_days
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.engine.tally import Tally
from crypto_assets.instance.output_types import resolve_once
from crypto_assets.ledger.known_days import days_in_states
from crypto_assets.model import STORED_STATES, Comparison, Rule, Series, State, Track
from crypto_assets.quality.after_run import close_run, days_are_stored
from crypto_assets.quality.compare_sources import source_comparer
from crypto_assets.quality.validate import Validator
from crypto_assets.storage.patience import outlast

resolve_once()

COMPARE_TAG = "crypto_assets/compare"
"""Tag of a run that only checks: other sources to compare stored days with, `monthly`, `rest` or both."""


def warehouse_assets(collection: Collection, entry: SeriesEntry) -> list[WarehouseAsset]:
    """Return the warehouse assets that an entry's op owns.

    A table of a symbol that several entries feed (bars of several timeframes) belongs to the entry that starts first,
    so that every day of every feeder is one of its partitions.
    """
    result = []
    for symbol in entry.symbols:
        feeders: dict[str, list[Series]] = {}
        owner: dict[str, SeriesEntry] = {}
        for other in collection.series:
            if symbol not in other.symbols or (other.exchange, other.market_type) != (
                entry.exchange,
                entry.market_type,
            ):
                continue
            for series in other.series:
                for table in other.tables_of(series):
                    feeders.setdefault(table, []).append(series)
                    owner[table] = leading([owner.get(table, other), other])
        result += [
            WarehouseAsset(warehouse_key(entry.series[0], symbol, table), table, symbol, tuple(feeding))
            for table, feeding in feeders.items()
            if owner[table] is entry
        ]
    return result


def build_assets(collection: Collection) -> list[dg.AssetsDefinition]:
    """Return one multi-asset for each entry of the collection."""
    return [_entry_assets(collection, entry) for entry in collection.series]


def _entry_assets(collection: Collection, entry: SeriesEntry) -> dg.AssetsDefinition:
    partitions_def = partitions_of(collection, entry)
    warehouse = warehouse_assets(collection, entry)
    specs = asset_specs(collection, entry, warehouse, partitions_def)
    check_specs = _check_specs(collection, entry, warehouse, partitions_def)

    @dg.multi_asset(
        name=collection.name_of(entry),
        specs=specs,
        check_specs=check_specs,
        can_subset=True,
        # Dagster would look each check's asset up in a list of all assets: 1.4 s for 4,000 assets with 40,000 checks.
        allow_arbitrary_check_specs=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"exchange_{entry.exchange}",
        op_tags={"exchange": entry.exchange},
    )
    def collect(
        context: dg.AssetExecutionContext, lake: LakeResource, postgres: PostgresResource, collector: CollectorResource
    ) -> Iterator[Any]:
        selected = context.op_execution_context.selected_asset_keys
        checks = context.op_execution_context.selected_asset_check_keys
        checked = {key.asset_key for key in checks if key.name != ALL_DAYS_COMPLETE.name} - selected
        with (
            cancelled_if_stopped(context, postgres),
            failing_in_one_line(),
            postgres.warehouse() as store,
            postgres.ledger() as ledger,
        ):
            targets: list[Target] = []
            if context.has_partition_key or context.has_partition_key_range:
                days = [day_of(key) for key in context.partition_keys]
                targets = plan(collection, entry, warehouse, selected, days)
                stored = recheck(entry, checked, ledger, days)
                counted = recount(collection, warehouse, checked, ledger, days)
            elif selected:
                raise dg.Failure("a run of these assets needs days; choose partitions", allow_retries=False)
            else:
                stored = recheck(entry, checked, ledger)
                counted = recount(collection, warehouse, checked, ledger)
            total = sum(len(target.days) for target in [*targets, *stored])
            reporter = Reporter(context, collection, total, ledger, lake.lake())
            who = asked_by(context.run.tags)
            # A person who materialises a day in the UI, and a backfill, wait for its event and its checks.
            standing = who == COMMAND_LINE
            run = RunContext(run_id=context.run.run_id, kind=who, egress=settings().egress, standing=standing)
            tally = Tally()
            if targets:
                pipeline = Pipeline(
                    collection,
                    Stores(lake.lake(), store, ledger),
                    run,
                    downloads=collector.in_flight(),
                    on_batch=reporter.batch,
                    on_state=reporter.state,
                    # A person who waits at a terminal gets the failure at once; the daemon's runs wait for the host.
                    failure_limits=collector.failure_limits(waits=asked_by(context.run.tags) != COMMAND_LINE),
                )
                tally = pipeline.run(targets)
            if stored:
                sources = [name for name in context.run.tags.get(COMPARE_TAG, "").split(",") if name]
                with source_comparer(collection, ledger.url, sources) as comparer:
                    validator = Validator(
                        lake.lake(),
                        ledger,
                        run,
                        source_comparer=comparer,
                        on_batch=reporter.checked,
                    )
                    tally = tally + validator.run(stored)
            every = [*targets, *stored]
            with days_are_stored():
                outlast(reporter.tables, counted)
                tally.revise(close_run(collection, lake.lake(), ledger, every, tally.revised), every)
                outlast(tally.accept, ledger)
                outlast(reporter.finish, tracks(entry, warehouse, {key.asset_key for key in checks}))
                if tally.problems:
                    outlast(reporter.repeat_unchanged)
        # Nothing is yielded: Dagster would mark every day of the range as materialised, also the bad ones.
        yield from ()
        if tally.problems:
            raise dg.Failure(failure_text(tally), metadata=failure_metadata(tally), allow_retries=False)

    return collect


def plan(
    collection: Collection,
    entry: SeriesEntry,
    warehouse: Sequence[WarehouseAsset],
    selected: AbstractSet[dg.AssetKey],
    days: Sequence[date],
) -> list[Target]:
    """Return the targets of one run: what is collected, the tables it is loaded into, and what is read back from the lake.

    A lake asset is loaded into a warehouse asset that is selected too or belongs to another entry. A warehouse asset selected
    without any of its lake assets is loaded from the lake.
    """
    owned = {asset.key for asset in warehouse}
    targets = []
    collected = set()
    for track in entry.tracks:
        if lake_key(*track) not in selected:
            continue
        collected.add(track)
        tables = tuple(
            table
            for table in entry.tables_of(track.series)
            if (key := warehouse_key(*track, table)) in selected or key not in owned
        )
        targets.append(Target(*track, tuple(days), tables))
    for asset in warehouse:
        # Another run, of this entry or another, loads what it collects; days that it has not collected yet are no failure of
        # this run.
        if asset.key not in selected or any((series, asset.symbol) in collected for series in asset.feeders):
            continue
        for series in asset.feeders:
            feeder = collection.entry_of(series, asset.symbol)
            since = [day for day in days if feeder is None or feeder.has(day)]
            if since:
                targets.append(Target(series, asset.symbol, tuple(since), (asset.table,), collect=False))
    return targets


def recheck(
    entry: SeriesEntry, checked: AbstractSet[dg.AssetKey], ledger: Any, days: Sequence[date] | None = None
) -> list[Target]:
    """Return the targets of lake assets with only checks selected: stored days are read and checked again.

    Without `days`, as when the UI runs checks, these are all stored days.
    """
    wanted = [track for track in entry.tracks if lake_key(*track) in checked]
    stored: Mapping[Track, Sequence[date]] = dict.fromkeys(wanted, days or ())
    if days is None and wanted:
        with ledger.transaction() as connection:
            stored = days_in_states(connection, wanted, entry.start, entry.end, [*STORED_STATES, State.NO_DATA])
    return [Target(*track, tuple(mine), collect=False) for track, mine in stored.items() if mine]


def recount(
    collection: Collection,
    warehouse: Sequence[WarehouseAsset],
    checked: AbstractSet[dg.AssetKey],
    ledger: Any,
    days: Sequence[date] | None = None,
) -> list[tuple[Table, Sequence[date]]]:
    """Return the warehouse assets with only checks selected, and the days whose rows are counted.

    Without `days`, as when the UI runs checks, these are all loaded days.
    """
    tables = [
        table_of(collection, asset.symbol, asset.table, asset.feeders) for asset in warehouse if asset.key in checked
    ]
    if days is not None:
        return [(table, days) for table in tables]
    return list(loaded_days(ledger, tables).items())


def tracks(entry: SeriesEntry, warehouse: Sequence[WarehouseAsset], keys: AbstractSet[dg.AssetKey]) -> list[Track]:
    """Return the series and symbols of some assets of an entry: their own, or those that feed a table."""
    lakes = [track for track in entry.tracks if lake_key(*track) in keys]
    return lakes + [Track(feeder, asset.symbol) for asset in warehouse if asset.key in keys for feeder in asset.feeders]


def _check_specs(
    collection: Collection,
    entry: SeriesEntry,
    warehouse: Sequence[WarehouseAsset],
    partitions_def: dg.DailyPartitionsDefinition,
) -> list[dg.AssetCheckSpec]:
    """Return the checks of an entry's assets: the checks of a day's rows, and the check of all days."""
    lakes = {lake_key(*track): rules_for(collection, *track) for track in entry.tracks}
    of_days = lakes | {asset.key: [ROWS_MATCH_LAKE] for asset in warehouse}
    specs = [
        dg.AssetCheckSpec(rule.name, asset=key, description=rule.description, partitions_def=partitions_def)
        for key, rules in of_days.items()
        for rule in rules
    ]
    whole = ALL_DAYS_COMPLETE
    return specs + [dg.AssetCheckSpec(whole.name, asset=key, description=whole.description) for key in of_days]


def rules_for(collection: Collection, series: Series, symbol: str) -> list[Rule]:
    """Return the checks of a lake asset: those of its series, without comparisons with series that are not collected."""
    return [
        rule
        for rule in rules_of(series)
        if not isinstance(rule, Comparison)
        or rule.source != "lake"
        or any(collection.entry_of(other, symbol) for other in rule.counterparts(series))
    ]
