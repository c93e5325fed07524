"""Run by Alembic for every command."""

import sqlalchemy
from alembic import context

# libpq reads the URL itself: SQLAlchemy does not know all of its forms.
engine = sqlalchemy.create_engine(
    "postgresql+psycopg://", creator=context.config.attributes["connect"], poolclass=sqlalchemy.NullPool
)
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS collection"))
    context.configure(connection, version_table="migrations", version_table_schema="collection")
    with context.begin_transaction():
        context.run_migrations()
