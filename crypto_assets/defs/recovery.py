"""Repairs what a killed process left in Dagster, so that its partitions and the ledger agree again.

`engine/publication/journal.py` does the same for lake and warehouse. This module does three things:

- It marks command-line runs whose process is dead as failed (Dagster itself watches those of its code server), and ends the
  progress records of all dead runs.
- It reports outcomes that are in the ledger but not in Dagster, because the process died between the two.
- Days that were acknowledged since, or whose acknowledgement was withdrawn, are observed and judged again, not materialised.

The sensor `recovery` runs it every minute, and each collecting command runs it first. Events are delivered at least once: if
a process dies just after it reported, Dagster gets the event twice.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.asset_checks import Summary, tables_of
from crypto_assets.defs.asset_keys import lake_key, warehouse_key
from crypto_assets.defs.assets import rules_for
from crypto_assets.defs.partition_events import (
    acknowledgement,
    evaluation,
    materialization_of_record,
    observations,
    unmet_record,
    warehouse_materialization,
)
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.instance.private_names import IN_PROGRESS_RUN_STATUSES
from crypto_assets.ledger.acknowledgements import Acknowledgement, read_acknowledgements
from crypto_assets.ledger.outcome_rows import from_stored
from crypto_assets.ledger.partitions import Ledger, PartitionRecord
from crypto_assets.ledger.progress import Progress, RunState, end_gone, end_run, read_progress
from crypto_assets.ledger.unreported import loaded, mark_reported, now, unreported
from crypto_assets.machine.run_process import PROCESS_TAG, is_gone
from crypto_assets.model import Series, State, Track
from crypto_assets.storage.database import Database

SETTLED = timedelta(seconds=30)
"""Age after which an outcome's own run is not expected to report it any more; a batch takes a second."""

AT_ONCE = 100
"""The most partitions reported at once; each has about eight events of 10 ms."""

INTERVAL_S = 60


def end_dead_runs(instance: dg.DagsterInstance, ledger: Ledger) -> list[str]:
    """Mark the command-line runs whose process is dead as failed; return their ids.

    The progress of every dead run ends too, also of runs that Dagster itself has found dead.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)):
        if is_gone(run.tags.get(PROCESS_TAG, "")):
            instance.report_run_failed(
                run,
                "The process of the command line has ended; the days it stored stay. `crypto-assets fill` collects the rest.",
            )
            ended.append(run.run_id)
    end_gone(ledger)
    for stalled in read_progress(ledger, states=[RunState.STALLED]):
        end_as_in_dagster(instance, ledger, stalled)
    return ended


def end_as_in_dagster(instance: dg.DagsterInstance, ledger: Database, run: Progress) -> bool:
    """End the progress of a stalled run that has ended in Dagster; return whether it has.

    A run that still writes is left alone: it writes its own end.
    """
    known = instance.get_run_by_id(run.run_id) if run.state is RunState.STALLED else None
    if known is None or not known.is_finished:
        return False
    state = RunState.CANCELLED if known.status is dg.DagsterRunStatus.CANCELED else RunState.FAILED
    end_run(ledger, run.run_id, state, f"it has ended in Dagster ({known.status.value}); the days it stored stay")
    return True


def report_unreported(
    instance: dg.DagsterInstance,
    collection: Collection,
    ledger: Ledger,
    settled: timedelta = SETTLED,
    most: int = AT_ONCE,
) -> int:
    """Report to Dagster the outcomes that their runs did not report; return the number of partitions.

    Runs in progress report their own outcomes, and so the youngest outcomes are skipped too. Symbols that are no longer in
    collection.yaml have no asset to report to.
    """
    at = now(ledger)
    found = unreported(ledger, datetime.now(UTC) - settled, _series(collection), most)
    running = {
        run_id
        for run_id in {record.run_id for record in found if record.run_id}
        if (run := instance.get_run_by_id(run_id)) is not None and not run.is_finished
    }
    reported = [record for record in found if record.run_id not in running]
    for record in reported:
        tables = loaded(ledger, record) or _no_rows(collection, record)
        # Materialising an unchanged day would start the assets that depend on it.
        known = record.reported_at is not None
        for event in _acknowledged(collection, ledger, record) if known else _events(collection, record, tables):
            instance.report_runless_asset_event(event)
    summary = Summary(collection, ledger, instance)
    for event in summary.of_tracks(record.track for record in reported):
        instance.report_runless_asset_event(event)
    mark_reported(ledger, reported, at)
    return len(reported)


def _series(collection: Collection) -> list[Track]:
    return [track for entry in collection.series for track in entry.tracks]


def _no_rows(collection: Collection, record: PartitionRecord) -> list[tuple[str, int]]:
    """Return the tables that a day without data would have been loaded into."""
    if record.state is not State.NO_DATA:
        return []
    series = Series.named(record.exchange, record.market_type, record.dataset)
    return [(table, 0) for table in collection.tables_of(series, record.symbol)]


def _events(
    collection: Collection, record: PartitionRecord, loaded: Sequence[tuple[str, int]]
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.AssetObservation]:
    """Yield the events that the run would have reported for one partition, without its rows."""
    series = Series.named(record.exchange, record.market_type, record.dataset)
    key = lake_key(series, record.symbol)
    if record.path is not None or record.state is State.NO_DATA:
        yield materialization_of_record(key, record)
    findings = from_stored(record.findings)
    for rule in rules_for(collection, series, record.symbol):
        finding = findings.get(rule.name)
        if finding is not None and finding.judged:
            yield evaluation(key, rule, series, record.day, finding)
    version = record.content_sha256 or record.state.value
    for table, rows in loaded:
        table_key = warehouse_key(series, record.symbol, table)
        yield warehouse_materialization(table_key, record.day, record.dataset, record.state, rows, version)
    if (unmet := unmet_record(record)) is not None:
        yield from observations(unmet, _keys(collection, series, record.symbol))


def _acknowledged(collection: Collection, ledger: Ledger, record: PartitionRecord) -> Iterator[dg.AssetObservation]:
    """Yield what Dagster's page of a day shows about its last acknowledgement."""
    series = Series.named(record.exchange, record.market_type, record.dataset)
    with ledger.transaction() as connection:
        found: list[Acknowledgement] = read_acknowledgements(
            connection,
            exchange=record.exchange,
            market_type=record.market_type,
            symbols=[record.symbol],
            datasets=[record.dataset],
            first=record.day,
            last=record.day,
        )
    for one in found:
        yield from acknowledgement(one, _keys(collection, series, record.symbol))


def _keys(collection: Collection, series: Series, symbol: str) -> list[dg.AssetKey]:
    """Return the keys of the lake asset and of the tables that it feeds."""
    tables = [warehouse_key(series, symbol, table.name) for table in tables_of(collection, series, symbol)]
    return [lake_key(series, symbol), *tables]


def build_recovery(collection: Collection) -> dg.SensorDefinition:
    """Return the recovery sensor; unlike the others it starts enabled, because it only finishes what runs have begun."""

    @dg.sensor(
        name="recovery",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process is dead and reports outcomes that killed runs could not report.",
    )
    def recovery(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SkipReason:
        with postgres.ledger() as ledger:
            ended = end_dead_runs(context.instance, ledger)
            reported = report_unreported(context.instance, collection, ledger)
        if not ended and not reported:
            return dg.SkipReason("nothing to repair")
        return dg.SkipReason(f"runs ended: {len(ended)}; partitions reported: {reported}")

    return recovery
