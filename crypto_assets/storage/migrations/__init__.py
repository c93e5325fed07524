"""Creating and upgrading the schemas `market` and `collection`, with Alembic."""

from __future__ import annotations

from pathlib import Path

import psycopg

from crypto_assets.collection.records.database import unavailable
from crypto_assets.storage.revisions import HEAD, LOCK, revision
from crypto_assets.storage.sessions import lock_wait, of_connection, process_name, require_session


def migrate(url: str) -> None:
    """Bring the database up to date; costs one query where it is. Safe from many processes at once.

    Raises:
        OtherVersion: a newer version of this program has made the tables; nothing was changed.
        ConfigError: a pooler stands between that does not keep sessions.
        PostgresUnavailable: the server does not answer, or another process has been migrating for too long.
    """
    require_session(url)
    try:
        with psycopg.connect(
            url, connect_timeout=15, autocommit=True, application_name=f"{process_name()} migrating"[:63]
        ) as connection:
            if revision(connection, url) == HEAD:
                return
            with lock_wait(of_connection(connection), "the lock under which tables are made"):
                connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
            if revision(connection, url) != HEAD:
                _upgrade(url)
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from error


def _upgrade(url: str) -> None:
    # Alembic and SQLAlchemy cost half a second to import; a database that is up to date does without.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connect"] = lambda: psycopg.connect(url, connect_timeout=15)
    command.upgrade(config, "head")
