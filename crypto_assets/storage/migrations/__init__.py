"""Create and upgrade the schemas `market` and `collection` with Alembic; tables of new datasets need no revision."""

from __future__ import annotations

from pathlib import Path

import psycopg

from crypto_assets.errors import ConfigError
from crypto_assets.storage.database import connected
from crypto_assets.storage.market_tables import make_tables, missing_tables
from crypto_assets.storage.migrations.columns import missing_columns
from crypto_assets.storage.patience import outlast
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.storage.revisions import HEAD, LOCK, MISFITS, differs, revision
from crypto_assets.storage.sessions import lock_wait, of_connection, process_name, require_session
from crypto_assets.text.urls import postgres_place

_FORBIDDEN = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
"""Postgres errors for a role without the right to create tables."""


def migrate(url: str) -> None:
    """Bring the database up to date; four short queries if it already is. Safe from many processes at once.

    The revisions create the tables of `collection`, the datasets those of `market`.

    Raises:
        OtherVersion: a newer version of this program made the tables, or they are not those of the revision; nothing was
            changed.
        ConfigError: a pooler in between does not keep sessions.
        PostgresUnavailable: the server does not answer, or another process has been migrating for too long.
    """
    outlast(_migrate, url)


def _migrate(url: str) -> None:
    require_session(url)
    try:
        with connected(url, lambda: _connect(url)) as connection:
            at = revision(connection, url)
            if at == HEAD and (found := missing_columns(connection)):
                raise differs(url, found)
            if at == HEAD and not missing_tables(connection):
                return
            with lock_wait(of_connection(connection), "the lock under which tables are made"):
                connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
            if revision(connection, url) != HEAD:
                _upgrade(url)
            make_tables(connection)
    except MISFITS as error:  # for example, the schema was dropped
        raise differs(url, str(error)) from error
    except _FORBIDDEN as error:
        raise _may_not(url, error) from error
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from error


def _connect(url: str) -> psycopg.Connection[object]:
    return psycopg.connect(
        url, connect_timeout=15, autocommit=True, application_name=f"{process_name()} migrating"[:63]
    )


def _upgrade(url: str) -> None:
    # Alembic and SQLAlchemy cost half a second to import; a database that is up to date does not need them.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connect"] = lambda: psycopg.connect(url, connect_timeout=15)
    try:
        command.upgrade(config, "head")
    except (DBAPIError, psycopg.Error) as error:
        found = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(found, _FORBIDDEN):
            raise _may_not(url, found) from error
        if found is None or isinstance(found, psycopg.OperationalError):
            raise found or error from error
        raise differs(url, f"that they cannot be made ({_first_line(found)})") from error


def _may_not(url: str, error: BaseException) -> ConfigError:
    return ConfigError(
        f"Postgres at {postgres_place(url)}: this role may not create the tables ({_first_line(error)}); "
        "grant it the right, or name another role or database in CRYPTO_ASSETS_POSTGRES_URL"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
