"""Find outcomes and acknowledgements that were not reported to Dagster, because a process died or a person wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from psycopg.rows import class_row

from crypto_assets.ledger.partitions import PartitionRecord
from crypto_assets.model import Track
from crypto_assets.storage.database import Database

_KEY = ("exchange", "market_type", "symbol", "dataset", "day")


def unreported(database: Database, before: datetime, tracks: Sequence[Track], most: int) -> list[PartitionRecord]:
    """Return the oldest outcomes of some symbols, recorded before an instant, that must be reported to Dagster.

    This includes reported outcomes (`reported_at`) with an acknowledgement that was added or ended since.
    """
    names = ", ".join(f"p.{name}" for name in PartitionRecord.__dataclass_fields__)
    keys = ", ".join(_KEY)
    # Acknowledgements are few, written by hand; the other days are found through an index of unreported days.
    query = f"""
        WITH wanted AS (
            SELECT {keys} FROM collection.partitions
            WHERE reported_at IS NULL AND (path IS NOT NULL OR state = 'no_data' OR findings <> '{{}}'
                OR state = 'missing' AND evidence ? 'was')  -- without its own run: was taken for no data before
            UNION
            SELECT {keys} FROM collection.acknowledgements a JOIN collection.partitions p USING ({keys})
            WHERE coalesce(p.reported_at, '-infinity') < greatest(a.at, a.withdrawn_at)
        )
        SELECT {names} FROM collection.partitions p JOIN wanted USING ({keys})
        JOIN unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS s (exchange, market_type, dataset, symbol)
            USING (exchange, market_type, dataset, symbol)
        WHERE p.updated_at < %s
        ORDER BY p.updated_at LIMIT %s
    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
        return cursor.execute(query, (*Track.columns(tracks), before, most)).fetchall()


def loaded(database: Database, record: PartitionRecord) -> list[tuple[str, int]]:
    """Return the warehouse tables with the day, and how many of its rows each has."""
    with database.transaction() as connection:
        found = connection.execute(
            "SELECT table_name, rows FROM collection.warehouse_loads WHERE exchange = %s AND market_type = %s "
            "AND symbol = %s AND dataset = %s AND day = %s ORDER BY table_name",
            tuple(getattr(record, name) for name in _KEY),
        ).fetchall()
    return [(str(table), int(rows)) for table, rows in found]


def now(database: Database) -> datetime:
    """Return the present instant by the server's clock."""
    with database.transaction() as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    at: datetime = row[0] if row else datetime.now(UTC)
    return at


def mark_reported(database: Database, records: Sequence[PartitionRecord], at: datetime) -> None:
    """Record that some outcomes were reported to Dagster, except those recorded again since.

    Args:
        at: when they were read, by the server's clock; later acknowledgements stay unreported.
    """
    if not records:
        return
    columns = [[getattr(record, name) for record in records] for name in (*_KEY, "updated_at")]
    with database.transaction() as connection:
        connection.execute(
            """UPDATE collection.partitions p SET reported_at = %s
            FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::timestamptz[])
                AS o (exchange, market_type, symbol, dataset, day, updated_at)
            WHERE (p.exchange, p.market_type, p.symbol, p.dataset, p.day, p.updated_at)
                = (o.exchange, o.market_type, o.symbol, o.dataset, o.day, o.updated_at)""",
            (at, *columns),
        )
