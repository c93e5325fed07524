"""Dagster's instance storage in the project's Postgres: pooled connections and batched events.

    # dagster.yaml
    storage:
      custom: {module: crypto_assets.instance.storage, class: InstanceStorage, config: {}}

The stock Postgres storage opens a connection for every call (12 ms each) and writes most events one by one: a run over
365 partitions takes 38–50 s with it, 1–2.4 s with this one. Dagster's tables are unchanged, in the schema
`dagster`, found through `search_path` in the URL: the stock `DagsterPostgresStorage` works on `storage_url(...)` too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import dagster
import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as db
from dagster import Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from dagster_postgres.storage import DagsterPostgresStorage
from sqlalchemy.pool import QueuePool

from crypto_assets.config.loopback import keep_loopback_direct
from crypto_assets.errors import OtherVersion, PostgresUnavailable
from crypto_assets.instance.patient import EventLogStorage, RunStorage, ScheduleStorage, in_words, remember
from crypto_assets.storage.database import connected
from crypto_assets.storage.patience import outlast
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.storage.revisions import NO_WAY_BACK
from crypto_assets.storage.sessions import Waiting, lock_wait, require_session
from crypto_assets.text.urls import postgres_place

SCHEMA = "dagster"
# With these tables the three storages check that they have been set up.
_MAIN_TABLES = ("runs", "event_logs", "jobs")
_CREATION_LOCK = 0x63727970746F  # "crypto", an arbitrary key for pg_advisory_lock

# Dagster reads this at every event; 0, its default, means "no batches". Set here because every process that
# uses this storage imports this module, however it was started.
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")

# For the same reason here: `dagster dev` and `dagster-webserver` reach the code server by gRPC, which uses http_proxy.
keep_loopback_direct()


def storage_url(postgres_url: str) -> str:
    """Return the SQLAlchemy URL of Dagster's tables in a Postgres database, for psycopg2 (the driver of dagster-postgres).

    (SQLAlchemy 2.1 takes `postgresql://` for psycopg 3.) Behind PgBouncer, `options` must be among its
    `ignore_startup_parameters`, and the role's own search_path be `dagster`.
    """
    url = db.make_url(postgres_url.replace("postgres://", "postgresql://", 1))
    options = url.query.get("options", "")
    found = " ".join(options) if isinstance(options, tuple) else options
    query = {**url.query, "options": f"{found} -csearch_path={SCHEMA}".strip()}
    return url.set(drivername="postgresql+psycopg2", query=query).render_as_string(hide_password=False)


class InstanceStorage(DagsterPostgresStorage):
    """Runs, events and schedules in `CRYPTO_ASSETS_POSTGRES_URL`, or in the embedded server if that is unset."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the storage; create schema and tables if they are missing.

        Args:
            postgres_url: the database, `postgresql://…`, without a driver or a schema.

        Raises:
            PostgresUnavailable: it does not answer, or its role may not create what is missing.
        """
        url = storage_url(postgres_url)
        remember(url, postgres_url)
        try:
            outlast(self._open, postgres_url, url, inst_data)
        except PostgresUnavailable as error:
            raise PostgresUnavailable(f"Dagster's storage needs the schema {SCHEMA}: {error}") from error
        except (psycopg2.Error, db.exc.DBAPIError) as error:  # its role may not create what is missing
            found = unavailable(postgres_url, error)
            raise PostgresUnavailable(f"Dagster's storage needs the schema {SCHEMA}: {found}") from error
        for storage in (self._event_log_storage, self._run_storage, self._schedule_storage):
            # Connections are made at first use, so a process that only reads runs has one. Checked before use:
            # the embedded server may have been restarted meanwhile.
            storage._engine = create_engine(
                url,
                isolation_level="AUTOCOMMIT",
                poolclass=QueuePool,
                pool_size=2,
                max_overflow=20,
                pool_recycle=600,
                pool_pre_ping=True,
            )

    def _open(self, postgres_url: str, url: str, inst_data: ConfigurableClassData | None) -> None:
        with in_words(postgres_url), closing(_connect(postgres_url, url)) as connection:
            connection.autocommit = True
            require_session(postgres_url)
            missing = not _has_tables(connection)
            _require_known(connection, postgres_url)
            if missing:
                with lock_wait(
                    Waiting(postgres_url, connection.info.backend_pid, connection.cancel),
                    "the lock under which Dagster's tables are made",
                ):
                    # Until the connection closes.
                    _execute(connection, "SELECT pg_advisory_lock(%s)", _CREATION_LOCK)
                if not _execute(connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", SCHEMA):
                    _execute(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            super().__init__(url, should_autocreate_tables=missing, inst_data=inst_data)
            self._run_storage = RunStorage(url, missing)
            self._event_log_storage = EventLogStorage(url, missing)
            self._schedule_storage = ScheduleStorage(url, missing)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of `config:` in dagster.yaml: nothing is needed."""
        return {"postgres_url": Field(StringSource, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> InstanceStorage:
        """Return the storage that dagster.yaml describes; called by Dagster in every process."""
        url = config_value.get("postgres_url")
        if not url:
            from crypto_assets.config.environment import settings
            from crypto_assets.storage import postgres_url

            url = postgres_url(settings())
        return cls(url, inst_data)


def _connect(postgres_url: str, url: str) -> Any:
    return connected(postgres_url, lambda: psycopg2.connect(_dsn(url)), psycopg2.OperationalError)


def _dsn(url: str) -> str:
    return db.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False).replace("+", "%20")


def _has_tables(connection: Any) -> bool:
    names = [f"{SCHEMA}.{table}" for table in _MAIN_TABLES]
    rows = _execute(connection, "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s) AS name", names)
    return bool(rows[0][0])


def _require_known(connection: Any, postgres_url: str) -> None:
    """Refuse tables that a newer dagster has migrated: this one would fail, or write rows that the newer one misreads.

    Raises:
        OtherVersion: Dagster's tables are of a revision that the installed dagster does not know.
    """
    if _execute(connection, "SELECT to_regclass(%s) IS NULL", f"{SCHEMA}.alembic_version")[0][0]:
        return
    for (revision,) in _execute(connection, f"SELECT version_num FROM {SCHEMA}.alembic_version"):
        if not knows_revision(str(revision)):
            raise OtherVersion(
                f"Dagster's tables at {postgres_place(postgres_url)}, schema {SCHEMA}: their revision is "
                f"{str(revision)[:40]!r}, which dagster {dagster.__version__} does not know: a newer one has migrated them. "
                f"Update this installation (dagster and dagster-postgres); {NO_WAY_BACK}"
            )


@cache
def knows_revision(revision: str) -> bool:
    """Whether the installed dagster has a migration of this revision; the newest are checked first: 0.2 ms."""
    folder = Path(dagster.__file__).parent / "_core" / "storage" / "alembic" / "versions"
    wanted = re.compile(rf"^revision\s*(?::\s*str\s*)?=\s*[\"']{re.escape(revision)}[\"']", re.MULTILINE)
    return any(
        wanted.search(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), reverse=True)
        if file.suffix == ".py"
    )


def _execute(connection: Any, statement: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []
