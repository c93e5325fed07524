"""The assets of a collection: one op for each entry of collection.yaml, one asset for each of its symbols × datasets.

A lake asset is a dataset as collected; a warehouse asset is a table in Postgres and depends on the lake assets that feed
it. They share the op, so a day goes all its way while its rows are in memory, and any assets of an entry × any range of
days is one run, one step, one connection pool.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.checks import checks_of
from crypto_assets.collection.derive import STATISTICS_SCHEMA
from crypto_assets.collection.loads import warehouse_tables
from crypto_assets.collection.pipeline import Pipeline, Tally, Target
from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.instance.events import report
from crypto_assets.model import STORED_STATES, Finding, Outcome, Series, Severity, State
from crypto_assets.partitions import daily, day_of, lake_key, warehouse_key
from crypto_assets.presentation import candles, preview
from crypto_assets.resources import CollectorResource, LakeResource, PostgresResource

PROBLEMS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class WarehouseAsset:
    """One table of one symbol, and the lake series that feed it (of this entry or of others)."""

    key: dg.AssetKey
    table: str
    symbol: str
    feeders: tuple[Series, ...]


def entry_name(number: int, entry: SeriesEntry) -> str:
    """Return the name of an entry's op, job and schedule: `binance_spot_0`, by its place in collection.yaml."""
    return f"{entry.exchange}_{entry.market_type}_{number}"


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
                for table in warehouse_tables(series, other.warehouse):
                    feeders.setdefault(table, []).append(series)
                    if table not in owner or other.start < owner[table].start:
                        owner[table] = other
        result += [
            WarehouseAsset(warehouse_key(entry.series[0], symbol, table), table, symbol, tuple(feeding))
            for table, feeding in feeders.items()
            if owner[table] is entry
        ]
    return result


def build_assets(collection: Collection) -> list[dg.AssetsDefinition]:
    """Return one multi-asset for each entry of the collection."""
    return [_entry_assets(collection, number, entry) for number, entry in enumerate(collection.series)]


def _entry_assets(collection: Collection, number: int, entry: SeriesEntry) -> dg.AssetsDefinition:
    partitions_def = daily(entry.start)
    warehouse = warehouse_assets(collection, entry)
    specs = [_lake_spec(series, symbol, partitions_def) for series in entry.series for symbol in entry.symbols]
    specs += [_warehouse_spec(entry, asset, partitions_def) for asset in warehouse]
    check_specs = [
        dg.AssetCheckSpec(
            check.name, asset=lake_key(series, symbol), description=check.description, partitions_def=partitions_def
        )
        for series in entry.series
        for symbol in entry.symbols
        for check in checks_of(series.table)
    ]

    @dg.multi_asset(
        name=entry_name(number, entry),
        specs=specs,
        check_specs=check_specs,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"exchange_{entry.exchange}",
        op_tags={"exchange": entry.exchange},
    )
    def collect(
        context: dg.AssetExecutionContext, lake: LakeResource, postgres: PostgresResource, collector: CollectorResource
    ) -> Iterator[Any]:
        days = [day_of(key) for key in context.partition_keys]
        selected = context.op_execution_context.selected_asset_keys
        targets = plan(collection, entry, warehouse, selected, days)
        reporter = Reporter(context, collection, len(days) * len(targets))
        with postgres.warehouse() as store, postgres.ledger() as ledger:
            pipeline = Pipeline(
                collection,
                lake.lake(),
                store,
                ledger,
                downloads=collector.in_flight(),
                run_id=context.run_id,
                on_batch=reporter.batch,
            )
            tally = pipeline.run(targets)
        reporter.finish()
        # Nothing is yielded: Dagster would mark every day of the range as materialised, the bad ones too.
        yield from ()
        if tally.problems:
            raise dg.Failure(_failure_text(tally), metadata=_failure_metadata(tally), allow_retries=False)

    return collect


def plan(
    collection: Collection,
    entry: SeriesEntry,
    warehouse: Sequence[WarehouseAsset],
    selected: AbstractSet[dg.AssetKey],
    days: Sequence[date],
) -> list[Target]:
    """Return the targets of one run: what is collected, to which tables it goes, and what is read back from the lake.

    A lake asset goes on to the warehouse where that asset is selected too, or belongs to another entry. A warehouse asset
    that is selected without (some of) its lake assets is loaded from the lake.
    """
    owned = {asset.key for asset in warehouse}
    targets = []
    collected = set()
    for series in entry.series:
        for symbol in entry.symbols:
            if lake_key(series, symbol) not in selected:
                continue
            collected.add((series, symbol))
            tables = tuple(
                table
                for table in warehouse_tables(series, entry.warehouse)
                if (key := warehouse_key(series, symbol, table)) in selected or key not in owned
            )
            targets.append(Target(series, symbol, tuple(days), tables))
    for asset in warehouse:
        if asset.key in selected:
            for series in asset.feeders:
                feeder = collection.entry_of(series, asset.symbol)
                since = [day for day in days if feeder is None or day >= feeder.start]
                if (series, asset.symbol) not in collected and since:
                    targets.append(Target(series, asset.symbol, tuple(since), (asset.table,), collect=False))
    return targets


class Reporter:
    """Tells Dagster what became of each partition, a batch at a time.

    Only days that are stored, or of which there is nothing to store, are reported as materialised.
    """

    def __init__(self, context: dg.AssetExecutionContext, collection: Collection, total: int) -> None:
        self._context = context
        self._collection = collection
        self._total = total
        self._done = 0
        self._selected_checks = context.op_execution_context.selected_asset_check_keys
        self._results: dict[dg.AssetCheckKey, list[int]] = {}

    def batch(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        """Report one batch; called by the pipeline after the ledger knows it."""
        materializations: list[dg.AssetMaterialization] = []
        evaluations: list[dg.AssetCheckEvaluation] = []
        selected = self._context.op_execution_context.selected_asset_keys
        for outcome, table in zip(outcomes, rows, strict=True):
            key = lake_key(outcome.series, outcome.partition.symbol)
            present = outcome.state in STORED_STATES or outcome.state is State.NO_DATA
            if key in selected:
                if present:
                    materializations.append(_materialization(key, outcome, table))
                evaluations += self._evaluations(key, outcome)
            if present:
                materializations += self._warehouse_materializations(outcome)
            elif outcome.reason:
                self._context.log.warning("%s %s: %s", key.to_user_string(), outcome.partition.day, outcome.reason)
        report(self._context, materializations, evaluations)
        self._done += len(outcomes)
        self._context.log.info(
            "%d of %d days done; %s", self._done, self._total, outcomes[-1].partition if outcomes else "nothing"
        )

    def _warehouse_materializations(self, outcome: Outcome) -> list[dg.AssetMaterialization]:
        entry = self._collection.entry_of(outcome.series, outcome.partition.symbol)
        if outcome.warehouse_rows is None and outcome.state is not State.NO_DATA:
            return []
        configured = entry.warehouse if entry else ()
        selected = self._context.op_execution_context.selected_asset_keys
        keys = [
            warehouse_key(outcome.series, outcome.partition.symbol, table)
            for table in warehouse_tables(outcome.series, configured)
        ]
        return [
            dg.AssetMaterialization(
                key,
                partition=outcome.partition.day.isoformat(),
                metadata={
                    "dagster/partition_row_count": outcome.warehouse_rows or 0,
                    "dataset": outcome.series.dataset,
                    "state": outcome.state.value,
                },
                tags={"dagster/data_version": outcome.stored.sha256 if outcome.stored else outcome.state.value},
            )
            for key in keys
            if key in selected or outcome.warehouse_rows is not None
        ]

    def _evaluations(self, key: dg.AssetKey, outcome: Outcome) -> list[dg.AssetCheckEvaluation]:
        evaluations = []
        for check in checks_of(outcome.series.table):
            finding = outcome.findings.get(check.name)
            check_key = dg.AssetCheckKey(key, check.name)
            if finding is None or check_key not in self._selected_checks:
                continue
            counts = self._results.setdefault(check_key, [0, 0])
            counts[not finding.passed] += 1
            evaluations.append(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=check.name,
                    passed=finding.passed,
                    metadata=_evidence(finding),
                    severity=_severity(check.severity),
                    partition=outcome.partition.day.isoformat(),
                )
            )
        return evaluations

    def finish(self) -> None:
        """Report one summary of each check over the whole run, which is what the UI shows first."""
        if self._total <= 1:
            return
        evaluations = [
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not failed,
                metadata={"days_passed": passed, "days_failed": failed},
                severity=dg.AssetCheckSeverity.WARN,
            )
            for key, (passed, failed) in self._results.items()
        ]
        report(self._context, [], evaluations)


def _materialization(key: dg.AssetKey, outcome: Outcome, rows: pa.Table | None) -> dg.AssetMaterialization:
    metadata: dict[str, Any] = {"state": outcome.state.value, "duration_s": outcome.duration_s}
    if outcome.reason:
        metadata["reason"] = outcome.reason
    if outcome.stored:
        metadata |= {
            "dagster/partition_row_count": outcome.stored.rows,
            "bytes": outcome.stored.size_bytes,
            "path": outcome.stored.path,
            "unchanged": outcome.unchanged,
        }
    if outcome.source:
        metadata |= {"source_object": outcome.source.key, "source_sha256": outcome.source.sha256}
    if rows is not None:
        metadata["rows"] = dg.MetadataValue.md(preview(rows))
        chart = candles(rows, outcome.series)
        if chart:
            metadata["candles"] = dg.MetadataValue.md(chart)
    return dg.AssetMaterialization(
        key,
        partition=outcome.partition.day.isoformat(),
        metadata=metadata,
        tags={"dagster/data_version": outcome.stored.sha256 if outcome.stored else outcome.state.value},
    )


def _evidence(finding: Finding) -> Mapping[str, Any]:
    return {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in finding.evidence.items()
    }


def _severity(severity: Severity) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if severity is Severity.BLOCK else dg.AssetCheckSeverity.WARN


def problem_line(outcome: Outcome) -> str:
    """Return the one line that names a day that is not there and why."""
    series = outcome.series
    names = f"{series.exchange} {series.market_type} {outcome.partition.symbol} {series.dataset}"
    return f"{names} {outcome.partition.day}: {outcome.state}: {outcome.reason}"


def _failure_text(tally: Tally) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(tally.states.items()))
    lines = [problem_line(problem) for problem in tally.problems[:PROBLEMS_SHOWN]]
    if len(tally.problems) > PROBLEMS_SHOWN:
        lines.append(f"… and {len(tally.problems) - PROBLEMS_SHOWN} more: crypto-assets gaps")
    return f"{len(tally.problems)} of {tally.days} days are not complete ({counts}):\n" + "\n".join(lines)


def _failure_metadata(tally: Tally) -> dict[str, Any]:
    return {f"days_{state}": count for state, count in tally.states.items()}


def _lake_spec(series: Series, symbol: str, partitions_def: dg.DailyPartitionsDefinition) -> dg.AssetSpec:
    dataset = datasets.get(series.table)
    return dg.AssetSpec(
        lake_key(series, symbol),
        description=f"{dataset.description} {symbol}, {series}.",
        partitions_def=partitions_def,
        skippable=True,
        group_name=f"{series.exchange}_{series.market_type}_{series.dataset}",
        kinds={"parquet"},
        metadata={"dagster/column_schema": _columns(dataset.schema, dataset.column_docs), "symbol": symbol},
    ).with_io_manager_key("lake_io_manager")


def _warehouse_spec(
    entry: SeriesEntry, asset: WarehouseAsset, partitions_def: dg.DailyPartitionsDefinition
) -> dg.AssetSpec:
    statistics = asset.table == "trade_statistics_1m"
    dataset = None if statistics else datasets.get(asset.table)
    schema = STATISTICS_SCHEMA if dataset is None else dataset.schema
    return dg.AssetSpec(
        asset.key,
        deps=[lake_key(series, asset.symbol) for series in asset.feeders],
        description=f"{asset.symbol} in the Postgres table market.{asset.table}.",
        partitions_def=partitions_def,
        skippable=True,
        group_name=f"warehouse_{entry.exchange}_{entry.market_type}",
        kinds={"postgres"},
        metadata={
            "dagster/column_schema": _columns(schema, dataset.column_docs if dataset else {}),
            "dagster/table_name": f"market.{asset.table}",
            "symbol": asset.symbol,
        },
    ).with_io_manager_key("warehouse_io_manager")


def _columns(schema: pa.Schema, docs: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(field.name, str(field.type), docs.get(field.name)) for field in schema])
