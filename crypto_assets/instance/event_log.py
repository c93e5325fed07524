"""Dagster's event log in Postgres with true batches.

The stock `PostgresEventLogStorage.store_event_batch` batches materialisations of one asset key and writes everything
else one event at a time, a transaction or two each; a run over 900 days with checks writes thousands. Here a mixed
batch is one transaction: COPY into the same tables with the same contents. No schema change; a stock
storage reads and writes the same database.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, cast

import sqlalchemy as db
from dagster import AssetCheckEvaluation, DagsterEventType, EventLogEntry
from dagster._core.events import AssetCheckEvaluationPlanned
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

_EVENT_COLUMNS = ("id", "run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition")
_TAG_COLUMNS = ("event_id", "asset_key", "key", "value", "event_timestamp")
_CHECK_COLUMNS = (
    *("asset_key", "check_name", "partition", "run_id", "execution_status", "evaluation_event"),
    *("evaluation_event_timestamp", "evaluation_event_storage_id", "materialization_event_storage_id"),
)


class BatchedEventLogStorage(PostgresEventLogStorage):
    """The stock storage with `store_event_batch` in one transaction, for every type that comes in numbers."""

    def has_table(self, table_name: str) -> bool:
        """Whether the table exists; asked before every batch, so an existing one is remembered."""
        known: set[str] = self.__dict__.setdefault("_known_tables", set())
        if table_name not in known and super().has_table(table_name):
            known.add(table_name)
        return table_name in known

    @cached_property
    def _serializer(self) -> Serializer:
        return Serializer()

    def reserve_event_ids(self, count: int) -> list[int]:
        """Return ids for events that will be stored soon, so that events can point at each other.

        Store them at once: readers that go by the highest id seen do not look back.
        """
        with self.index_connection() as connection:
            return _reserve_ids(connection, count)

    def store_event_batch(self, events: Sequence[EventLogEntry], ids: Sequence[int] | None = None) -> None:
        """Store asset and asset check events in one transaction.

        Args:
            events: of any mix of the batched types; a batch with any other type, or with a check evaluation
                outside a run, goes the stock way, one by one.
            ids: from `reserve_event_ids`, one for each event.
        """
        if not all(_is_batched(event) for event in events):
            for event in events:
                if not event.get_dagster_event().is_asset_failed_to_materialize:  # the stock one drops these too
                    self.store_event(event)
            return
        if not events:
            return
        with self.index_transaction() as connection:
            numbered = list(zip(ids or _reserve_ids(connection, len(events)), events, strict=True))
            texts = self._serializer.texts(events)
            self._copy_events(connection, numbered, texts)
            self._copy_tags(connection, [(id_, event) for id_, event in numbered if _type(event) in _ASSET_EVENTS])
            self._update_asset_keys(connection, numbered)
            self._store_checks(connection, numbered, texts)

    def _copy_events(
        self, connection: Connection, numbered: Iterable[tuple[int, EventLogEntry]], texts: Iterable[str]
    ) -> None:
        rows = []
        for (id_, entry), text in zip(numbered, texts, strict=True):
            event = entry.get_dagster_event()
            key = event.asset_key.to_string() if event.asset_key else None
            moment = self._event_insert_timestamp(entry)
            rows.append((id_, entry.run_id, text, event.event_type_value, moment, event.step_key, key, event.partition))
        _copy(connection, "event_logs", _EVENT_COLUMNS, rows)

    def _copy_tags(self, connection: Connection, numbered: Iterable[tuple[int, EventLogEntry]]) -> None:
        rows = [
            (id_, event.get_dagster_event().asset_key.to_string(), key, value, self._event_insert_timestamp(event))  # type: ignore[union-attr]
            for id_, event in numbered
            for key, value in self._tags_for_asset_event(event).items()
        ]
        if rows and self.has_table("asset_event_tags"):
            _copy(connection, "asset_event_tags", _TAG_COLUMNS, rows)

    def _update_asset_keys(self, connection: Connection, numbered: Iterable[tuple[int, EventLogEntry]]) -> None:
        """Bring the summary row of every asset key up to date: the last event of each type decides its columns."""
        last: dict[tuple[str, str], tuple[int, EventLogEntry]] = {}
        for id_, event in numbered:
            asset_key = event.get_dagster_event().asset_key
            if asset_key and _type(event) in _ASSET_EVENTS:
                last[asset_key.to_string(), event.get_dagster_event().event_type_value] = (id_, event)
        # In the order of the keys, so that two batches never wait for each other's rows.
        for (_key, _), (id_, event) in sorted(last.items(), key=lambda item: (item[0][0], item[1][0])):
            self._store_asset_event(connection, event, id_)

    def _store_checks(
        self, connection: Connection, numbered: Iterable[tuple[int, EventLogEntry]], texts: Iterable[str]
    ) -> None:
        evaluated: dict[tuple[str, str, str, str | None], tuple[Any, ...]] = {}
        for (id_, event), text in zip(numbered, texts, strict=True):
            data = event.get_dagster_event().event_specific_data
            moment = self._event_insert_timestamp(event)
            if isinstance(data, AssetCheckEvaluationPlanned):
                self._plan_check(connection, event.run_id, data, (text, moment, id_))
            elif isinstance(data, AssetCheckEvaluation):
                status = (
                    AssetCheckExecutionRecordStatus.SUCCEEDED if data.passed else AssetCheckExecutionRecordStatus.FAILED
                )
                target = data.target_materialization_data
                row = (data.asset_key.to_string(), data.check_name, data.partition, event.run_id, status.value, text)
                key = (event.run_id, row[0], data.check_name, data.partition)
                evaluated.pop(key, None)  # the last evaluation of a partition wins, in its place
                evaluated[key] = (*row, moment, id_, target.storage_id if target else None)
        if not evaluated:
            return
        # An evaluation takes the place of what was planned (or evaluated before) for it in the same run.
        for run_id in {key[0] for key in evaluated}:
            keys = [key[1:] for key in evaluated if key[0] == run_id]
            _delete_checks(connection, run_id, [key for key in keys if key[2] is not None], "t.partition = k.partition")
            _delete_checks(connection, run_id, [key for key in keys if key[2] is None], "t.partition IS NULL")
        _copy(connection, "asset_check_executions", _CHECK_COLUMNS, evaluated.values())

    def _plan_check(
        self, connection: Connection, run_id: str, planned: AssetCheckEvaluationPlanned, event: tuple[str, Any, int]
    ) -> None:
        """Write one planned row per partition; the event, the same for all, is serialised and sent once."""
        partitions = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        text, moment, id_ = event
        connection.execute(
            db.text(
                "INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status,"
                " evaluation_event, evaluation_event_timestamp, evaluation_event_storage_id)"
                " SELECT :asset_key, :check_name, partition, :run_id, :status, :event, :moment, :id"
                " FROM unnest(CAST(:partitions AS text[])) AS partition"
            ),
            {
                "asset_key": planned.asset_key.to_string(),
                "check_name": planned.check_name,
                "run_id": run_id,
                "status": AssetCheckExecutionRecordStatus.PLANNED.value,
                "event": text,
                "moment": moment,
                "id": id_,
                "partitions": list(partitions),
            },
        )


def _type(event: EventLogEntry) -> DagsterEventType:
    return event.get_dagster_event().event_type


def _is_batched(event: EventLogEntry) -> bool:
    kind = _type(event)
    return kind in _BATCHED and (kind != DagsterEventType.ASSET_CHECK_EVALUATION or bool(event.run_id))


def _reserve_ids(connection: Connection, count: int) -> list[int]:
    # In the order of the loop that calls nextval: ascending, with gaps where others write too.
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
