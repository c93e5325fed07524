"""Create every table of `collection`, and the schema of the warehouse; the DDL is in `tables`."""

from alembic import op

from crypto_assets.storage.migrations.tables import STATEMENTS

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    # Run by psycopg directly: Alembic would read the colons of `:=` and the percent signs as parameters.
    cursor = op.get_bind().connection.cursor()
    for statement in STATEMENTS:
        cursor.execute(statement)
