"""Run by Alembic for every command."""

import sqlalchemy
from alembic import context

from crypto_assets.storage.revisions import HEAD
from crypto_assets.version import __version__

# libpq reads the URL itself: SQLAlchemy does not know all of its forms.
engine = sqlalchemy.create_engine(
    "postgresql+psycopg://", creator=context.config.attributes["connect"], poolclass=sqlalchemy.NullPool
)
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS collection"))
    context.configure(connection, version_table="migrations", version_table_schema="collection")
    with context.begin_transaction():
        context.run_migrations()
    # In the same transaction: an older version that finds this database can name the version it needs. The first revision
    # makes the table; before that, only the revision can be named.
    if connection.scalar(sqlalchemy.text("SELECT to_regclass('collection.migrated') IS NOT NULL")):
        connection.execute(
            sqlalchemy.text(
                """INSERT INTO collection.migrated (revision, program) VALUES (:revision, :program)
                ON CONFLICT (revision) DO UPDATE SET program = excluded.program, migrated_at = clock_timestamp()"""
            ),
            {"revision": HEAD, "program": __version__},
        )
