"""Mending what a killed process left behind in Dagster, so that its partitions and the ledger agree again.

The engine's own part, lake and warehouse, is `collection/storing/journal.py`. Here:

- runs of the command line whose process is gone are marked failed; Dagster watches those of its code server itself;
- outcomes that are in the ledger and that Dagster was never told of, because the process died between the two, are reported.

The sensor `recovery` does it every minute, and each command that collects before it begins. Events are at least once: of a
process that died just after it reported, Dagster hears twice.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from crypto_assets.checks import rules_of
from crypto_assets.collection.records.ledger import Ledger, PartitionRecord
from crypto_assets.collection.records.recording import from_stored
from crypto_assets.collection.records.unreported import loaded, mark_told, unreported
from crypto_assets.collection.storing.loads import warehouse_tables
from crypto_assets.config import Collection
from crypto_assets.instance.process import PROCESS_TAG, is_gone
from crypto_assets.model import Finding, Series, State
from crypto_assets.partitions import lake_key, warehouse_key
from crypto_assets.reporting import evaluation
from crypto_assets.resources import PostgresResource

SETTLED = timedelta(seconds=30)
"""Age of an outcome from which its own run is not expected to report it any more; a batch takes a second."""

AT_ONCE = 100
"""Partitions reported in one go; each is about eight events of 10 ms."""

INTERVAL_S = 60


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs of the command line failed whose process is gone; return their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)):
        if is_gone(run.tags.get(PROCESS_TAG, "")):
            instance.report_run_failed(
                run,
                "The process of the command line has ended; what it stored stays. `crypto-assets fill` does the rest.",
            )
            ended.append(run.run_id)
    return ended


def report_unreported(
    instance: dg.DagsterInstance,
    collection: Collection,
    ledger: Ledger,
    settled: timedelta = SETTLED,
    most: int = AT_ONCE,
) -> int:
    """Tell Dagster of outcomes that it was not told of by their runs; return of how many partitions.

    Runs in progress report for themselves, and so do the youngest outcomes. Symbols that collection.yaml does not have any
    more have no asset to report to.
    """
    found = unreported(ledger, datetime.now(UTC) - settled, _series(collection), most)
    running = {
        run_id
        for run_id in {record.run_id for record in found if record.run_id}
        if (run := instance.get_run_by_id(run_id)) is not None and not run.is_finished
    }
    told = [record for record in found if record.run_id not in running]
    for record in told:
        for event in _events(record, loaded(ledger, record) or _no_rows(collection, record)):
            instance.report_runless_asset_event(event)
    mark_told(ledger, told)
    return len(told)


def _series(collection: Collection) -> list[tuple[Series, str]]:
    return [(series, symbol) for entry in collection.series for series in entry.series for symbol in entry.symbols]


def _no_rows(collection: Collection, record: PartitionRecord) -> list[tuple[str, int]]:
    """Return the tables that a day without data would have reached."""
    if record.state is not State.NO_DATA:
        return []
    series = Series.named(record.exchange, record.market_type, record.dataset)
    entry = collection.entry_of(series, record.symbol)
    return [(table, 0) for table in warehouse_tables(series, entry.warehouse if entry else ())]


def _events(
    record: PartitionRecord, loaded: Sequence[tuple[str, int]]
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Yield what the run would have reported of one partition, without its rows."""
    series = Series.named(record.exchange, record.market_type, record.dataset)
    key, day = lake_key(series, record.symbol), record.day.isoformat()
    tags = {"dagster/data_version": record.content_sha256 or record.state.value}
    present = record.path is not None or record.state is State.NO_DATA
    metadata: dict[str, Any] = {"state": record.state.value, "reported": "later: the run ended before it could"}
    if record.reason:
        metadata["reason"] = record.reason
    if record.path is not None:
        metadata |= {
            "dagster/partition_row_count": record.rows or 0,
            "source_object": record.source_key or "",
            "source_sha256": record.source_sha256 or "",
            "path": record.path,
            "bytes": record.size_bytes or 0,
        }
    if present:
        yield dg.AssetMaterialization(key, partition=day, metadata=metadata, tags=tags)
    findings = from_stored(record.findings)
    for rule in rules_of(series):
        finding = findings.get(rule.name)
        if finding is None and record.state is State.NO_DATA:
            finding = Finding(True, {"rows": 0, "no_data": record.reason})
        if finding is not None:
            yield evaluation(key, rule, record.day, finding)
    for table, rows in loaded:
        yield dg.AssetMaterialization(
            warehouse_key(series, record.symbol, table),
            partition=day,
            metadata={"dagster/partition_row_count": rows, "dataset": record.dataset, "state": record.state.value},
            tags=tags,
        )


def build_recovery(collection: Collection) -> dg.SensorDefinition:
    """Return the sensor that mends; unlike the others it runs from the start, for it only finishes what was begun."""

    @dg.sensor(
        name="recovery",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process is gone and reports outcomes that killed runs could not report.",
    )
    def recovery(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        with postgres.ledger() as ledger:
            told = report_unreported(context.instance, collection, ledger)
        if not ended and not told:
            return dg.SkipReason("nothing was left behind")
        return dg.SkipReason(f"runs ended: {len(ended)}; partitions reported: {told}")

    return recovery
