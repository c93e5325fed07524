"""Outcomes in the ledger that Dagster was not told of, because the process died between the two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import class_row

from crypto_assets.collection.records.database import Database
from crypto_assets.collection.records.ledger import PartitionRecord
from crypto_assets.model import Series

_KEY = ("exchange", "market_type", "symbol", "dataset", "day")


def unreported(
    database: Database, before: datetime, pairs: Sequence[tuple[Series, str]], most: int
) -> list[PartitionRecord]:
    """Return the oldest outcomes of some symbols, recorded before an instant, that Dagster should know and does not."""
    names = ", ".join(f"p.{name}" for name in PartitionRecord.__dataclass_fields__)
    query = f"""
        SELECT {names} FROM collection.partitions p
        JOIN unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS s (exchange, market_type, dataset, symbol)
            USING (exchange, market_type, dataset, symbol)
        WHERE p.reported_at IS NULL AND p.updated_at < %s
            AND (p.path IS NOT NULL OR p.state = 'no_data' OR p.findings <> '{{}}')
        ORDER BY p.updated_at LIMIT %s
    """
    columns = zip(*((s.exchange, s.market_type, s.dataset, symbol) for s, symbol in pairs), strict=True)
    with database.transaction() as connection, connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
        return cursor.execute(query, (*map(list, columns), before, most)).fetchall()


def loaded(database: Database, record: PartitionRecord) -> list[tuple[str, int]]:
    """Return the tables of the warehouse that hold the day, and how many of its rows."""
    with database.transaction() as connection:
        found = connection.execute(
            "SELECT table_name, rows FROM collection.warehouse_loads WHERE exchange = %s AND market_type = %s "
            "AND symbol = %s AND dataset = %s AND day = %s ORDER BY table_name",
            tuple(getattr(record, name) for name in _KEY),
        ).fetchall()
    return [(str(table), int(rows)) for table, rows in found]


def mark_told(database: Database, records: Sequence[PartitionRecord]) -> None:
    """Remember that Dagster was told of some outcomes; of one that was recorded again since, it was not."""
    if not records:
        return
    columns = [[getattr(record, name) for record in records] for name in (*_KEY, "updated_at")]
    with database.transaction() as connection:
        connection.execute(
            """UPDATE collection.partitions p SET reported_at = clock_timestamp()
            FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::timestamptz[])
                AS o (exchange, market_type, symbol, dataset, day, updated_at)
            WHERE (p.exchange, p.market_type, p.symbol, p.dataset, p.day, p.updated_at)
                = (o.exchange, o.market_type, o.symbol, o.dataset, o.day, o.updated_at)""",
            columns,
        )
