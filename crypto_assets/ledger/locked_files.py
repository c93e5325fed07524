"""Read the files of days, now or as of an instant, to create or verify a lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

from crypto_assets.ledger.corrections import STATE
from crypto_assets.model import Series

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, slots=True)
class FileInForce:
    """The file in force for a day; only its first `rows` rows count; `path` is empty if the file is lost.

    `version` is 1 for the first known rows of the day. `state` is that of the day while this file was in force.
    `source_files` as in `PartitionRow`.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    path: str
    rows: int
    sha256: str
    version: int
    state: str
    known_from: datetime | None
    source: str
    source_key: str
    source_sha256: str
    source_files: Sequence[Mapping[str, Any]] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class DayState:
    """The state of a day; `path` is None if nothing is stored."""

    day: date
    state: str
    reason: str
    path: str | None


@dataclass(slots=True)
class DayFiles:
    """The files of a day: the one in force, earlier versions, growth, and corrections.

    `versions` are (sha256, path or None, in force until), `grew` (rows, the instant until which there were no more),
    `corrections` (sha256 of the earlier file, what changed), the latest first.
    """

    path: str | None = None
    sha256: str | None = None
    versions: list[tuple[str, str | None, datetime]] = field(default_factory=list)
    grew: list[tuple[int, datetime]] = field(default_factory=list)
    corrections: list[tuple[str, str]] = field(default_factory=list)


_KEYS = "exchange, market_type, symbol, dataset"
_OF_PAIR = (
    f"({_KEYS}) = (%(exchange)s, %(market_type)s, %(symbol)s, %(dataset)s) AND day BETWEEN %(first)s AND %(last)s"
)

_FILES = f"""
WITH files AS (
    SELECT {_KEYS}, day, path, rows, content_sha256 AS sha256, corrections + 1 AS version, known_from,
        CASE WHEN %(at)s::timestamptz IS NULL THEN state ELSE {STATE} END AS state, 'infinity'::timestamptz AS known_to,
        source, source_key, source_sha256, source_files
    FROM collection.partitions WHERE {_OF_PAIR} AND path IS NOT NULL
    UNION ALL
    SELECT {_KEYS}, day, coalesce(path, ''), rows, content_sha256, number, known_from,
        coalesce(state, 'corrected'), known_to, source, source_key, source_sha256, source_files
    FROM collection.versions WHERE {_OF_PAIR} AND %(at)s::timestamptz IS NOT NULL
)
SELECT {_KEYS}, day, path, coalesce(grown.rows, f.rows) AS rows, sha256, version,
    CASE WHEN grown.rows IS NULL THEN state ELSE 'provisional' END AS state, known_from, source, source_key, source_sha256,
    source_files
FROM files f LEFT JOIN LATERAL (
    SELECT g.rows FROM collection.growth g
    WHERE (g.exchange, g.market_type, g.symbol, g.dataset, g.day) = (f.exchange, f.market_type, f.symbol, f.dataset, f.day)
        AND g.known_to > %(at)s AND g.known_to < f.known_to ORDER BY g.known_to LIMIT 1
) grown ON true
WHERE %(at)s::timestamptz IS NULL OR (known_from <= %(at)s AND known_to > %(at)s) ORDER BY day
"""


def files_in_force(
    connection: psycopg.Connection[Any], series: Series, symbol: str, first: date, last: date, at: datetime | None
) -> list[FileInForce]:
    """Return the files of the days from first to last, both included, sorted by day.

    Args:
        at: the instant at which they were in force; None: now.
    """
    with connection.cursor(row_factory=class_row(FileInForce)) as cursor:
        return cursor.execute(_FILES, {**_values(series, symbol, first, last), "at": at}).fetchall()


def day_states(
    connection: psycopg.Connection[Any], series: Series, symbol: str, first: date, last: date
) -> list[DayState]:
    """Return the states of the days from first to last, both included, that have a record."""
    query = f"SELECT day, state, reason, path FROM collection.partitions WHERE {_OF_PAIR}"
    with connection.cursor(row_factory=class_row(DayState)) as cursor:
        return cursor.execute(query, _values(series, symbol, first, last)).fetchall()


def files_of_days(
    connection: psycopg.Connection[Any], series: Series, symbol: str, first: date, last: date
) -> dict[date, DayFiles]:
    """Return the files of the days from first to last, both included, with their history."""
    found: dict[date, DayFiles] = {}
    values = _values(series, symbol, first, last)

    def rows(columns: str, table: str, rest: str) -> list[tuple[DayFiles, tuple[Any, ...]]]:
        query = f"SELECT day, {columns} FROM collection.{table} WHERE {_OF_PAIR} {rest}"
        answer = connection.execute(query, values).fetchall()
        return [(found.setdefault(day, DayFiles()), tuple(row)) for day, *row in answer]

    for day, (path, sha256) in rows("path, content_sha256", "partitions", "AND path IS NOT NULL"):
        day.path, day.sha256 = path, sha256
    for day, (sha256, path, until) in rows("content_sha256, path, known_to", "versions", "ORDER BY number"):
        day.versions.append((sha256, path, until))
    for day, (count, until) in rows("rows, known_to", "growth", "ORDER BY known_to"):
        day.grew.append((count, until))
    for day, (sha256, text) in rows("former_sha256, text", "corrections", "ORDER BY id DESC"):
        day.corrections.append((sha256, text))
    return found


def _values(series: Series, symbol: str, first: date, last: date) -> dict[str, Any]:
    return {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "symbol": symbol,
        "dataset": series.dataset,
        "first": first,
        "last": last,
    }
