"""Dagster's storages with retries: a cut connection or a starting server does not end a run.

If the connection breaks under a method that asks Postgres, the whole method is repeated. The stock storages give up
after a second, with SQL and parameters in their message. An event written just as the connection broke may be in
the log twice; a batch with its own ids is not (`BatchedEventLogStorage`). For records that are added once (a run, a backfill,
a tick, a state) the retry finds the record, and adds its missing parts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg
import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as db
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickData
from dagster._core.storage.runs.schema import BackfillTagsTable, RunTagsTable
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._serdes import serialize_value
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy.engine import Connection, Engine

from crypto_assets.instance.event_log import BatchedEventLogStorage
from crypto_assets.storage.database import connected
from crypto_assets.storage.patience import outlast, repeatable
from crypto_assets.storage.postgres_faults import is_lost, unavailable

_ASIDE = frozenset({"connect", "run_connection", "index_connection", "index_transaction", "dispose", "end_watch"})
"""Methods that return a connection, or need none."""

Storage = TypeVar("Storage", bound=type)
T = TypeVar("T")


def patient(kind: Storage) -> Storage:
    """Make the methods of a storage class outlast failures of Postgres; for classes with `_engine` and `url`."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and name not in _ASIDE and not inspect.isgeneratorfunction(method):
            setattr(kind, name, repeatable(method))
    return kind


def _added(add: Callable[[], T], there: Callable[[], T | None]) -> T:
    """Return the result of an addition; repeat it if the connection breaks, unless `there` finds that it was committed."""
    tried = False

    def attempt() -> T:
        nonlocal tried
        before, tried = tried, True
        found = there() if before else None
        return add() if found is None else found

    return outlast(attempt)


@contextmanager
def connection(engine: Engine, url: str) -> Iterator[Connection]:
    """Yield a connection of an engine, as soon as the server gives one; failures in the block become PostgresUnavailable.

    Args:
        url: of Postgres, as in the rest of this project.
    """
    errors = (db.exc.DBAPIError, db.exc.TimeoutError, psycopg2.Error)
    made = connected(url, engine.connect, errors)
    try:
        with in_words(url):
            yield made
    finally:
        made.close()


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """Turn errors of the server into PostgresUnavailable, without SQL and parameters; errors of a statement pass."""
    try:
        yield
    except (db.exc.DBAPIError, psycopg2.Error) as error:
        if not is_lost(error):
            raise
        raise unavailable(url, error) from error


_plain: dict[str, str] = {}


def remember(storage_url: str, url: str) -> None:
    """Remember the project's URL of a storage's database: both share one waiting time."""
    _plain[storage_url] = url


class _Connecting:
    """A Dagster storage that reports failures with this project's errors."""

    postgres_url: str
    _engine: Engine

    def _connection(self) -> Any:
        known = _plain.get(self.postgres_url)
        if known is None:
            known = db.make_url(self.postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
            known = known.replace("+", "%20")
        return connection(self._engine, known)


@patient
class RunStorage(_Connecting, PostgresRunStorage):
    """Runs."""

    def connect(self) -> Any:
        """Return a context manager that yields a connection."""
        return self._connection()

    def add_run(self, dagster_run: dg.DagsterRun) -> dg.DagsterRun:
        """Add a run with its tags, under its own id."""
        stock = super().add_run

        def there() -> dg.DagsterRun | None:
            if not self.has_run(dagster_run.run_id):
                return None
            self._put_tags(RunTagsTable, "run_id", dagster_run.run_id, dagster_run.tags_for_storage())
            return dagster_run

        return _added(lambda: stock(dagster_run), there)

    def add_backfill(self, partition_backfill: PartitionBackfill) -> None:
        """Add a backfill with its tags, under its own id."""
        stock, key = super().add_backfill, partition_backfill.backfill_id

        def there() -> bool | None:
            if self.get_backfill(key) is None:
                return None
            self._put_tags(BackfillTagsTable, "backfill_id", key, partition_backfill.tags)
            return True

        _added(lambda: stock(partition_backfill), there)

    def _put_tags(self, table: db.Table, name: str, key: str, tags: Mapping[str, str]) -> None:
        """Ensure that tags exist; their own statement may have been cut."""
        rows = [{name: key, "key": tag, "value": value} for tag, value in tags.items()]
        with self.connect() as connection:
            connection.execute(table.delete().where(table.c[name] == key))
            if rows:
                connection.execute(table.insert(), rows)


@patient
class ScheduleStorage(_Connecting, PostgresScheduleStorage):
    """Schedules and sensors."""

    def connect(self, run_id: str | None = None) -> Any:  # noqa: ARG002  one database for all runs
        """Return a context manager that yields a connection."""
        return self._connection()

    def create_tick(self, tick_data: TickData) -> InstigatorTick:
        """Add a tick; the same text at the same instant is the same tick."""
        stock, table = super().create_tick, JobTickTable.c

        def there() -> InstigatorTick | None:
            query = db.select(table.id).where(
                table.job_origin_id == tick_data.instigator_origin_id, table.tick_body == serialize_value(tick_data)
            )
            with self.connect() as connection:
                found = connection.execute(query.order_by(table.id.desc())).first()
            return None if found is None else InstigatorTick(found[0], tick_data)

        return _added(lambda: stock(tick_data), there)

    def add_instigator_state(self, state: InstigatorState) -> InstigatorState:
        """Add the state of a sensor or schedule."""
        stock = super().add_instigator_state

        def there() -> InstigatorState | None:
            known = self.get_instigator_state(state.instigator_origin_id, state.selector_id)
            return None if known is None else self.update_instigator_state(state)  # into the second table too

        return _added(lambda: stock(state), there)


@patient
class EventLogStorage(_Connecting, BatchedEventLogStorage):
    """Events, in batches."""

    def _connect(self) -> Any:
        return self._connection()
