"""Read all records of some days of one symbol at once, for reading rows and reporting incomplete days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets.ledger.lakes import KnownLake, known_lake
from crypto_assets.ledger.life_edges import cut_of
from crypto_assets.model import Series, State
from crypto_assets.rows.derive import Life
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.storage.revisions import HEAD, MISFITS, differs, revision

if TYPE_CHECKING:
    from crypto_assets.config.environment import Settings


@dataclass(frozen=True, slots=True)
class DayRecord:
    """The record of one day; `path`, `rows`, `size_bytes` and `sha256` are of its file, None if it has none.

    `until` is the instant up to which an unfinished day from REST has rows. `loaded` is the content of the day in the
    requested warehouse table, and `loaded_rows` its number of rows; None if the table has none. `acknowledged` says who
    accepts the day, when and why. `life` is since and until when its symbol was listed on this day, None for an end that is
    not inside the day.
    """

    day: date
    state: State
    reason: str
    rows: int | None
    path: str | None
    size_bytes: int | None
    sha256: str | None
    until: datetime | None
    loaded: str | None
    loaded_rows: int | None
    acknowledged: str | None = None
    life: Life = (None, None)


@dataclass(frozen=True, slots=True)
class DayRecords:
    """The records of some days of one symbol, by dataset and day; `lake` is the ledger's lake.

    `symbols` are the ledger's symbols with the requested datasets; read only if there are no records.
    """

    of: Mapping[str, Mapping[date, DayRecord]]
    lake: KnownLake | None
    symbols: frozenset[str] = field(default_factory=frozenset)


def database_that_is_there(now: Settings) -> str | None:
    """Return the URL of the database, or None if none exists yet: reading creates no database.

    The embedded server is started if its data exist.

    Raises:
        PostgresUnavailable: the embedded server cannot be started.
    """
    if now.postgres_url:
        return now.postgres_url
    from crypto_assets.storage import postgres_url
    from crypto_assets.storage.embedded_postgres import is_made

    return postgres_url(now, make=False) if is_made(now.home) else None


_QUERY = """
SELECT p.dataset, p.day, p.state, p.reason, p.rows, p.path, p.size_bytes, p.content_sha256,
    CASE WHEN p.source = 'rest' AND p.evidence -> 'ended' IS DISTINCT FROM 'true' THEN p.evidence ->> 'until' END,
    w.content, w.rows, a.reason, a.by, a.at,
    jsonb_build_object('listed_from', p.evidence -> 'listed_from', 'listed_until', p.evidence -> 'listed_until')
FROM collection.partitions p
LEFT JOIN collection.warehouse_loads w ON w.table_name = %(table)s AND (w.exchange, w.market_type, w.symbol, w.dataset, w.day)
    = (p.exchange, p.market_type, p.symbol, p.dataset, p.day)
LEFT JOIN collection.acknowledgements_now a ON a.withdrawn IS NULL AND (a.exchange, a.market_type, a.symbol, a.dataset, a.day)
    = (p.exchange, p.market_type, p.symbol, p.dataset, p.day)
WHERE p.exchange = %(exchange)s AND p.market_type = %(market_type)s AND p.symbol = %(symbol)s
    AND p.dataset = ANY(%(datasets)s) AND p.day BETWEEN %(first)s AND %(last)s
"""

_SYMBOLS = """
WITH RECURSIVE known AS (
    (SELECT symbol FROM collection.partitions WHERE exchange = %(exchange)s AND market_type = %(market_type)s
        ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT p.symbol FROM collection.partitions p WHERE p.exchange = %(exchange)s AND p.market_type = %(market_type)s
        AND p.symbol > known.symbol ORDER BY p.symbol LIMIT 1)
    FROM known WHERE known.symbol IS NOT NULL
)
SELECT symbol FROM known WHERE symbol IS NOT NULL AND EXISTS (
    SELECT 1 FROM collection.partitions p WHERE p.exchange = %(exchange)s AND p.market_type = %(market_type)s
        AND p.symbol = known.symbol AND p.dataset = ANY(%(datasets)s)
)
"""
# Not DISTINCT, which would read every day of every symbol.


def read_records(
    url: str, series: Series, symbol: str, first: date, last: date, datasets: Sequence[str], table: str = ""
) -> DayRecords | None:
    """Return the records of the days from first to last, both included; None if the database has no ledger yet.

    Args:
        datasets: the requested datasets of the symbol.
        table: the warehouse table whose loads are read too.

    Raises:
        PostgresUnavailable: the server does not answer.
    """
    asked = {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "symbol": symbol,
        "datasets": list(datasets),
        "first": first,
        "last": last,
        "table": table,
    }
    try:
        with psycopg.connect(url, connect_timeout=15, autocommit=True, options="-c timezone=UTC") as connection:
            found = revision(connection, url)
            if found is None:
                return None
            if found != HEAD:
                migrate(url)
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                records: dict[str, dict[date, DayRecord]] = {}
                for dataset, *row in connection.execute(_QUERY, asked).fetchall():
                    record = _record(row)
                    records.setdefault(dataset, {})[record.day] = record
                # If there are records the symbol is known; other symbols are read only if there are none.
                others = [] if records else connection.execute(_SYMBOLS, asked).fetchall()
                return DayRecords(records, known_lake(connection), frozenset(row[0] for row in others))
    except MISFITS as error:
        raise differs(url, str(error)) from error
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from error


def _record(row: Sequence[Any]) -> DayRecord:
    """Return a row of `_QUERY`, without its dataset, as a record."""
    day, state, reason, rows, path, size_bytes, sha256, until, loaded, loaded_rows, why, by, at, life = row
    return DayRecord(
        day,
        State(state),
        reason,
        rows,
        path,
        size_bytes,
        sha256,
        datetime.fromisoformat(until) if until else None,
        loaded,
        loaded_rows,
        f"acknowledged by {by} on {at:%Y-%m-%d}: {why}" if at else None,
        cut_of({name: edge for name, edge in life.items() if edge}),
    )
