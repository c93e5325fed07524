"""Read and write the stored days of your own assets, in the schema `assets`, with the rows of each."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy


def asset_days(connection: sqlalchemy.Connection, table: str) -> dict[date, int]:
    """Return the number of rows of every stored day of a table."""
    from sqlalchemy import text

    query = text("SELECT day, rows FROM collection.asset_days WHERE table_name = :name")
    return {row.day: row.rows for row in connection.execute(query, {"name": table})}


def write_asset_day(connection: sqlalchemy.Connection, table: str, day: date, rows: int) -> None:
    """Record that a day of a table is stored, in the transaction that stores it."""
    from sqlalchemy import text

    query = text(
        "INSERT INTO collection.asset_days (table_name, day, rows) VALUES (:name, :day, :rows) "
        "ON CONFLICT (table_name, day) DO UPDATE SET rows = excluded.rows, stored_at = now()"
    )
    connection.execute(query, {"name": table, "day": day, "rows": rows})
