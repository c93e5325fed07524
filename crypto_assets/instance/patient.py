"""Dagster's storages with patience: a connection that was cut, or a server that starts, does not end a run.

Every method that asks Postgres is made again as a whole where the connection breaks under it. The stock storages give up
after a second, with SQL and parameters in their message. An event that was written just as the connection broke may be in
the log twice; a batch with ids of its own is not (`BatchedEventLogStorage`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as db
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy.engine import Connection, Engine

from crypto_assets.instance.event_log import BatchedEventLogStorage
from crypto_assets.storage.database import connected
from crypto_assets.storage.patience import repeatable
from crypto_assets.storage.postgres_faults import is_lost, unavailable

_ASIDE = frozenset({"connect", "run_connection", "index_connection", "index_transaction", "dispose", "end_watch"})
"""What gives a connection, or needs none."""

Storage = TypeVar("Storage", bound=type)


def patient(kind: Storage) -> Storage:
    """Let the methods of a storage class outlast failures of Postgres; for classes with `_engine` and `url`."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and name not in _ASIDE and not inspect.isgeneratorfunction(method):
            setattr(kind, name, repeatable(method))
    return kind


@contextmanager
def connection(engine: Engine, url: str) -> Iterator[Connection]:
    """Yield a connection of an engine, once the server gives one; what breaks in the block is PostgresUnavailable.

    Args:
        url: of Postgres, as the rest of this project names it.
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
    """Let errors of the server be PostgresUnavailable, without SQL and parameters; those of a statement stay as they are."""
    try:
        yield
    except (db.exc.DBAPIError, psycopg2.Error) as error:
        if not is_lost(error):
            raise
        raise unavailable(url, error) from error


_plain: dict[str, str] = {}


def remember(storage_url: str, url: str) -> None:
    """Note by which URL the rest of this project knows the database of a storage: both wait for it together."""
    _plain[storage_url] = url


class _Connecting:
    """A storage of Dagster's that says what breaks in the words of this project."""

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


@patient
class ScheduleStorage(_Connecting, PostgresScheduleStorage):
    """Schedules and sensors."""

    def connect(self, run_id: str | None = None) -> Any:  # noqa: ARG002  one database for all runs
        """Return a context manager that yields a connection."""
        return self._connection()


@patient
class EventLogStorage(_Connecting, BatchedEventLogStorage):
    """Events, in batches."""

    def _connect(self) -> Any:
        return self._connection()
