"""Dagster's event log in Postgres with real batches.

The stock `PostgresEventLogStorage.store_event_batch` batches materialisations of one asset key and writes all other events
one at a time, a transaction or two each; a run over 900 days with checks writes thousands. Here a mixed
batch is one transaction: COPY into the same tables with the same contents. The schema is unchanged; a stock
storage reads and writes the same database.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import psycopg2  # type: ignore[import-untyped]
import psycopg2.errors  # type: ignore[import-untyped]
import sqlalchemy as db
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetKey, DagsterEventType, EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster_postgres.event_log import PostgresEventLogStorage
from sqlalchemy.engine import Connection

from crypto_assets.instance.serialize import Serializer

_ASSET_EVENTS = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_OBSERVATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
}
_BATCHED = _ASSET_EVENTS | {DagsterEventType.ASSET_CHECK_EVALUATION, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}

_ID_OF_EVENTS = "event_logs_pkey"

_KINDS = {kind.value: kind for kind in _BATCHED}
_STATUS = {True: AssetCheckExecutionRecordStatus.SUCCEEDED.value, False: AssetCheckExecutionRecordStatus.FAILED.value}

_EVENT_COLUMNS = ("id", "run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition")
_TAG_COLUMNS = ("event_id", "asset_key", "key", "value", "event_timestamp")
_CHECK_COLUMNS = (
    *("asset_key", "check_name", "partition", "run_id", "execution_status", "evaluation_event"),
    *("evaluation_event_timestamp", "evaluation_event_storage_id", "materialization_event_storage_id"),
)


class _Event(NamedTuple):
    """An entry with the values that several tables need; Dagster's own properties compute them again at each access."""

    id: int
    entry: EventLogEntry
    text: str
    kind: DagsterEventType
    data: Any
    asset_key: str | None
    partition: str | None
    moment: Any


class BatchedEventLogStorage(PostgresEventLogStorage):
    """The stock storage with `store_event_batch` in one transaction, for every event type that comes in large numbers."""

    @cached_property
    def _serializer(self) -> Serializer:
        return Serializer()

    def reserve_event_ids(self, count: int) -> list[int]:
        """Return ids for events that will be stored soon, so that events can refer to each other.

        Store the events at once: readers that continue from the highest seen id do not look back.
        """
        with self.index_connection() as connection:
            return _reserve_ids(connection, count)

    def store_event_batch(self, events: Sequence[EventLogEntry], ids: Sequence[int] | None = None) -> None:
        """Store asset and asset check events in one transaction.

        Args:
            events: any mix of the batched types; a batch with any other type, or with a check evaluation
                outside a run, is stored by the stock code, one by one.
            ids: from `reserve_event_ids`, one for each event.
        """
        if not all(map(_is_batched, events)):
            for event in events:
                if not event.get_dagster_event().is_asset_failed_to_materialize:  # the stock storage drops these too
                    self.store_event(event)
            return
        if not events:
            return
        try:
            with self.index_transaction() as connection:
                rows = self._rows(ids or _reserve_ids(connection, len(events)), events)
                self._copy_events(connection, rows)
                self._copy_tags(connection, [row for row in rows if row.kind in _ASSET_EVENTS])
                self._update_asset_keys(connection, rows)
                self._store_checks(connection, rows)
        except psycopg2.errors.UniqueViolation as error:
            # A sequence gives each id once: the batch was committed before, and the answer was lost with the connection.
            # A unique violation in any other table does not show that.
            if ids is None or error.diag.constraint_name != _ID_OF_EVENTS:
                raise

    def failing_checks(self, keys: Sequence[AssetCheckKey]) -> list[AssetCheckKey]:
        """Return the checks whose last result is a failure.

        The stock storage returns the last result of each with its event; this reads no events.
        """
        query = db.text(
            "SELECT asset_key, check_name FROM ("
            " SELECT DISTINCT ON (asset_key, check_name) asset_key, check_name, execution_status"
            " FROM asset_check_executions"
            " JOIN unnest(CAST(:asset_keys AS text[]), CAST(:names AS text[])) AS k (asset_key, check_name)"
            " USING (asset_key, check_name) ORDER BY asset_key, check_name, id DESC) AS latest"
            " WHERE execution_status = :failed"
        )
        values = {
            "asset_keys": [key.asset_key.to_string() for key in keys],
            "names": [key.name for key in keys],
            "failed": AssetCheckExecutionRecordStatus.FAILED.value,
        }
        wanted = {(key.asset_key.to_string(), key.name): key for key in keys}
        with self.index_connection() as connection:
            rows = connection.execute(query, values).fetchall() if keys else []
        return [wanted[key, name] for key, name in rows]

    def _rows(self, ids: Sequence[int], events: Sequence[EventLogEntry]) -> list[_Event]:
        rows = []
        for id_, entry, text in zip(ids, events, self._serializer.texts(events), strict=True):
            event = entry.get_dagster_event()
            kind = _KINDS[event.event_type_value]
            # Check events have neither in this table, by Dagster's schema.
            key, partition = (event.asset_key, event.partition) if kind in _ASSET_EVENTS else (None, None)
            of_asset = (key.to_string() if key else None, partition)
            moment = self._event_insert_timestamp(entry)
            rows.append(_Event(id_, entry, text, kind, event.event_specific_data, *of_asset, moment))
        return rows

    def _copy_events(self, connection: Connection, rows: Iterable[_Event]) -> None:
        values = (
            (
                *(row.id, row.entry.run_id, row.text, row.kind.value, row.moment),
                *(row.entry.get_dagster_event().step_key, row.asset_key, row.partition),
            )
            for row in rows
        )
        _copy(connection, "event_logs", _EVENT_COLUMNS, values)

    def _copy_tags(self, connection: Connection, rows: Iterable[_Event]) -> None:
        values = [
            (row.id, row.asset_key, key, value, row.moment)
            for row in rows
            for key, value in self._tags_for_asset_event(row.entry).items()
        ]
        if values and self.has_table("asset_event_tags"):
            _copy(connection, "asset_event_tags", _TAG_COLUMNS, values)

    def _update_asset_keys(self, connection: Connection, rows: Iterable[_Event]) -> None:
        """Update the summary row of every asset key: the last event of each type sets its columns."""
        last = {(row.asset_key, row.kind): row for row in rows if row.asset_key}
        # In key order, so that two batches never wait for each other's rows.
        for row in sorted(last.values(), key=lambda row: (row.asset_key or "", row.id)):
            self._store_asset_event(connection, row.entry, row.id)

    def _store_checks(self, connection: Connection, rows: Iterable[_Event]) -> None:
        evaluated: dict[tuple[str, str, str, str | None], tuple[Any, ...]] = {}
        keys_in_text: dict[AssetKey, str] = {}
        for row in rows:
            data, run_id = row.data, row.entry.run_id
            if isinstance(data, AssetCheckEvaluation):
                if data.asset_key not in keys_in_text:
                    keys_in_text[data.asset_key] = data.asset_key.to_string()
                asset_key, target = keys_in_text[data.asset_key], data.target_materialization_data
                values = (
                    *(asset_key, data.check_name, data.partition, run_id, _STATUS[data.passed], row.text),
                    *(row.moment, row.id, target.storage_id if target else None),
                )
                key = (run_id, asset_key, data.check_name, data.partition)
                evaluated.pop(key, None)  # the last evaluation of a partition wins, also in the order
                evaluated[key] = values
        if not evaluated:
            return
        # An evaluation replaces the earlier one for the same partition in the same run.
        for run_id in {key[0] for key in evaluated}:
            keys = [key[1:] for key in evaluated if key[0] == run_id]
            _delete_checks(connection, run_id, [key for key in keys if key[2] is not None], "t.partition = k.partition")
            _delete_checks(connection, run_id, [key for key in keys if key[2] is None], "t.partition IS NULL")
        _copy(connection, "asset_check_executions", _CHECK_COLUMNS, evaluated.values())

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """Write no row for a check that is only planned; the event itself is in the log.

        The row would stay planned for each day that a run could not check. Dagster then shows the check as skipped, or as
        failed if the run failed, instead of its last result: a check with nothing to do would make a healthy asset
        degraded. So a check has a result only after it was evaluated.
        """

    def _store_runless_asset_check_evaluation(self, event: EventLogEntry, event_id: int | None) -> None:
        """Store a result that was reported outside a run; it replaces the earlier one for the same partition.

        The stock storage fails here: its key of a result is the run id, and these results have none.
        """
        data: Any = event.get_dagster_event().event_specific_data
        if data.partition is not None:
            with self.index_transaction() as connection:
                key = (data.asset_key.to_string(), data.check_name, data.partition)
                _delete_checks(connection, event.run_id, [key], "t.partition = k.partition")
        super()._store_runless_asset_check_evaluation(event, event_id)


def _is_batched(entry: EventLogEntry) -> bool:
    kind = _KINDS.get(entry.get_dagster_event().event_type_value)
    return kind is not None and (kind != DagsterEventType.ASSET_CHECK_EVALUATION or bool(entry.run_id))


def _reserve_ids(connection: Connection, count: int) -> list[int]:
    # Ids in the order of the loop that calls nextval: ascending, with gaps if other processes write too.
    query = db.text("SELECT nextval(pg_get_serial_sequence('event_logs', 'id')) FROM generate_series(1, :count)")
    return [cast("int", row[0]) for row in connection.execute(query, {"count": count})]


def _delete_checks(
    connection: Connection, run_id: str, keys: Sequence[tuple[str, str, str | None]], condition: str
) -> None:
    if keys:
        asset_keys, names, partitions = zip(*keys, strict=True)
        connection.execute(
            db.text(
                "DELETE FROM asset_check_executions t"
                " USING unnest(CAST(:asset_keys AS text[]), CAST(:names AS text[]), CAST(:partitions AS text[]))"
                " AS k (asset_key, check_name, partition)"
                " WHERE t.asset_key = k.asset_key AND t.check_name = k.check_name AND t.run_id = :run_id"
                f" AND {condition}"
            ),
            {"asset_keys": list(asset_keys), "names": list(names), "partitions": list(partitions), "run_id": run_id},
        )


def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table through psycopg2, inside the connection's transaction."""
    buffer = io.StringIO("".join("\t".join(map(_copy_text, row)) + "\n" for row in rows))
    names = ", ".join(f'"{column}"' for column in columns)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", buffer)


def _copy_text(value: Any) -> str:
    """Return a value in COPY's text format."""
    if value is None:
        return "\\N"
    text = str(value)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\t" in text or "\n" in text or "\r" in text:
        text = text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text
