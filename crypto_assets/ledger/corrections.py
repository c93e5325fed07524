"""Read and write earlier versions and corrections: the file in force, replacements, and what was known when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.model import Partition, Series, SourceFile, parts_of
from crypto_assets.model.correction import Correction
from crypto_assets.model.described import means


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """A row of `collection.corrections`: a stored day that was published again, with the differences of its rows."""

    id: int
    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    found_at: datetime
    run_id: str | None
    text: str
    version: int | None = field(metadata=means("Number in `collection.versions`; null: the rows are equal."))
    former_sha256: str = field(metadata=means("Of the former Parquet file; `sha256`: of the new one."))
    sha256: str
    former_source: str
    source: str
    former_source_key: str
    source_key: str
    former_source_sha256: str
    source_sha256: str
    former_rows: int
    rows: int
    rows_added: int | None
    rows_removed: int | None
    rows_changed: int | None = field(metadata=means("Same key, another value; null: the former rows are lost."))
    columns: Sequence[str]
    price_change: float | None = field(metadata=means("The greatest relative change; Infinity if it was 0 before."))
    price_column: str | None
    price_key: str | None = field(metadata=means("Key of the row: an instant in UTC or an id."))
    price_before: Decimal | None
    price_after: Decimal | None
    volume_change: Decimal | None = field(
        metadata=means("The greatest absolute change in the first changed amount column.")
    )
    volume_column: str | None
    volume_key: str | None
    volume_before: Decimal | None
    volume_after: Decimal | None
    examples: Sequence[Mapping[str, str]] = field(metadata=means("The first differences in key order."))


@dataclass(frozen=True, slots=True)
class InForce:
    """The stored file of a partition, and the instant since which its rows are known (None: not in the ledger).

    `findings` are those of its checks; `state`, `reason` and `until` (as in `DayRecord`) are those of its day.
    """

    sha256: str
    rows: int
    source: SourceFile
    known_from: datetime | None
    findings: Mapping[str, Any] = field(default_factory=dict)
    state: str | None = None
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The file of a day at some instant, and how many of its first rows were known then (None: all).

    `path` is None if the file was lost before it could be kept. `state`, `reason` and `until` (as in `DayRecord`) are those
    of the day while the file was in force; `state` is None if the ledger did not know the file. `rows_in_all` counts the
    rows of the whole file.
    """

    day: date
    path: str | None
    sha256: str
    rows: int | None
    state: str | None = None
    reason: str = ""
    until: datetime | None = None
    rows_in_all: int | None = None


_KEYS = "exchange, market_type, symbol, dataset"
_SAME_DAY = " AND ".join(f"{{0}}.{name} = {{1}}.{name}" for name in (*_KEYS.split(", "), "day"))


UNTIL = """CASE WHEN source = 'rest' AND evidence -> 'ended' IS DISTINCT FROM 'true'
    THEN (evidence ->> 'until')::timestamptz END"""
"""SQL: the instant up to which an unfinished day from REST has rows."""

STATE = """CASE WHEN state <> 'corrected' THEN state
    WHEN findings -> 'complete' -> 'passed' = 'false' THEN 'degraded' ELSE 'available' END"""
"""SQL: the state of a stored version. `corrected` (a newer one was refused) says nothing about it; its check does."""


def in_force(
    connection: psycopg.Connection[Any], series: Series, partitions: Sequence[Partition]
) -> dict[Partition, InForce]:
    """Return the files in force of some partitions; partitions without a file are left out."""
    rows = connection.execute(
        f"""SELECT symbol, day, content_sha256, rows, known_from, findings, {STATE}, reason, {UNTIL},
            source_key, source_size_bytes, source_etag,
            source_sha256, source_published_digest, source_last_modified, source, source_files
        FROM collection.partitions JOIN unnest(%s::text[], %s::date[]) AS wanted (symbol, day) USING (symbol, day)
        WHERE ({_KEYS}) = (%s, %s, symbol, %s) AND path IS NOT NULL""",
        (
            [partition.symbol for partition in partitions],
            [partition.day for partition in partitions],
            series.exchange,
            series.market_type,
            series.dataset,
        ),
    ).fetchall()
    return {
        Partition(symbol, day): InForce(sha256, count, _source(*source), known_from, findings, state, reason, until)
        for symbol, day, sha256, count, known_from, findings, state, reason, until, *source in rows
    }


def _source(
    key: str, size: int, etag: str, sha256: str, digest: str | None, at: datetime | None, source: str, files: Any
) -> SourceFile:
    return SourceFile(key, size, etag, sha256, digest, at, source, parts_of(files, source))


def record_corrections(
    connection: psycopg.Connection[Any], corrections: Sequence[Correction], at: datetime, run_id: str | None
) -> None:
    """Record replacements of stored days, and the earlier versions if their rows differ."""
    for found in corrections:
        keys = _keys(found.series, found.partition)
        version = _record_version(connection, keys, found, at) if found.changes_rows else None
        difference = found.difference
        price, volume = (difference.price, difference.volume) if difference else (None, None)
        examples = difference.examples if difference else ()
        values = {
            **keys,
            "found_at": at,
            "run_id": run_id,
            "text": found.text,
            "version": version,
            "former_sha256": found.former_sha256,
            "sha256": found.sha256,
            "former_source": found.former.source,
            "source": found.source.source,
            "former_source_key": found.former.key,
            "source_key": found.source.key,
            "former_source_sha256": found.former.sha256,
            "source_sha256": found.source.sha256,
            "former_rows": found.former_rows,
            "rows": found.rows,
            "rows_added": difference.added if difference else None,
            "rows_removed": difference.removed if difference else None,
            "rows_changed": difference.changed if difference else None,
            "columns": list(difference.columns) if difference else [],
            "price_change": price.relative if price else None,
            "volume_change": abs(volume.after - volume.before) if volume else None,
            "examples": json.dumps(
                [{"key": e.key, "what": e.what, "before": e.before, "after": e.after} for e in examples]
            ),
        }
        for name, change in (("price", price), ("volume", volume)):
            for part in ("column", "key", "before", "after"):
                values[f"{name}_{part}"] = getattr(change, part) if change else None
        _insert(connection, "corrections", values)


def _record_version(
    connection: psycopg.Connection[Any], keys: Mapping[str, Any], found: Correction, at: datetime
) -> int:
    row = connection.execute(
        """SELECT count(*) + 1 FROM collection.versions WHERE exchange = %(exchange)s AND market_type = %(market_type)s
        AND symbol = %(symbol)s AND dataset = %(dataset)s AND day = %(day)s""",
        keys,
    ).fetchone()
    number = int(row[0]) if row else 1
    version = {
        **keys,
        "number": number,
        "content_sha256": found.former_sha256,
        "path": found.kept,
        "rows": found.former_rows,
        "source": found.former.source,
        "source_key": found.former.key,
        "source_etag": found.former.etag,
        "source_sha256": found.former.sha256,
        "source_files": json.dumps(found.former.described_parts),
        # Nobody who asks through the ledger ever saw a file that the ledger did not know.
        "known_from": found.known_from or at,
        "known_to": at,
        "state": found.former_state,
        "state_reason": found.former_reason,
        "until": found.former_until,
    }
    _insert(connection, "versions", version)
    connection.execute(
        """UPDATE collection.partitions SET corrections = corrections + 1 WHERE exchange = %(exchange)s
        AND market_type = %(market_type)s AND symbol = %(symbol)s AND dataset = %(dataset)s AND day = %(day)s""",
        keys,
    )
    return number


def record_growth(
    connection: psycopg.Connection[Any], series: Series, grown: Sequence[tuple[Partition, int]], at: datetime
) -> None:
    """Record how many rows provisional days had until now; these are the first rows of the new file."""
    for partition, rows in grown:
        _insert(connection, "growth", {**_keys(series, partition), "known_to": at, "rows": rows})


def known_since(
    connection: psycopg.Connection[Any], series: Series, symbol: str, first: date, last: date
) -> dict[date, datetime]:
    """Return, for each stored day from first to last, both included, the instant since which it is known."""
    rows = connection.execute(
        """SELECT day, min(known_from) FROM (
            SELECT exchange, market_type, symbol, dataset, day, known_from FROM collection.partitions WHERE path IS NOT NULL
            UNION ALL
            SELECT exchange, market_type, symbol, dataset, day, known_from FROM collection.versions
        ) files
        WHERE (exchange, market_type, symbol, dataset) = (%s, %s, %s, %s) AND day BETWEEN %s AND %s
        GROUP BY day""",
        (series.exchange, series.market_type, symbol, series.dataset, first, last),
    )
    return {day: at for day, at in rows if at is not None}


def known_files(
    connection: psycopg.Connection[Any], series: Series, symbol: str, first: date, last: date, at: datetime
) -> list[KnownFile]:
    """Return the files of the days from first to last, both included, at an instant; sorted by day."""
    rows = connection.execute(
        f"""WITH files AS (
            SELECT {_KEYS}, day, path, content_sha256, known_from, 'infinity'::timestamptz AS known_to,
                {STATE} AS state, reason, {UNTIL} AS until, rows
            FROM collection.partitions WHERE path IS NOT NULL
            UNION ALL
            SELECT {_KEYS}, day, path, content_sha256, known_from, known_to, state, coalesce(state_reason, ''), until, rows
            FROM collection.versions
        )
        SELECT f.day, f.path, f.content_sha256, (
            SELECT g.rows FROM collection.growth g
            WHERE {_SAME_DAY.format("g", "f")} AND g.known_to > %(at)s AND g.known_to < f.known_to
            ORDER BY g.known_to LIMIT 1
        ), f.state, f.reason, f.until, f.rows
        FROM files f
        WHERE exchange = %(exchange)s AND market_type = %(market_type)s AND symbol = %(symbol)s
            AND dataset = %(dataset)s AND day BETWEEN %(first)s AND %(last)s AND known_from <= %(at)s AND known_to > %(at)s
        ORDER BY day""",
        {**_keys(series, Partition(symbol, first)), "first": first, "last": last, "at": at},
    ).fetchall()
    return [KnownFile(*row) for row in rows]


def find_corrections(
    connection: psycopg.Connection[Any], conditions: Mapping[str, Any], limit: int | None, offset: int = 0
) -> list[CorrectionRecord]:
    """Return the corrections that meet all conditions (SQL with one %s each, and its value), the latest first."""
    names = ", ".join(CorrectionRecord.__dataclass_fields__)
    query = (
        f"SELECT {names} FROM collection.corrections WHERE {' AND '.join(conditions) or 'true'} "
        "ORDER BY found_at DESC, id DESC LIMIT %s OFFSET %s"
    )
    with connection.cursor(row_factory=class_row(CorrectionRecord)) as cursor:
        return cursor.execute(query, [*conditions.values(), limit, offset]).fetchall()


def _keys(series: Series, partition: Partition) -> dict[str, Any]:
    return {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "symbol": partition.symbol,
        "dataset": series.dataset,
        "day": partition.day,
    }


def _insert(connection: psycopg.Connection[Any], table: str, values: Mapping[str, Any]) -> None:
    connection.execute(
        f"INSERT INTO collection.{table} ({', '.join(values)}) VALUES ({', '.join(f'%({n})s' for n in values)})", values
    )


def is_version(connection: psycopg.Connection[Any], path: str) -> bool:
    """Return whether a file of the lake is an earlier version of a day."""
    row = connection.execute("SELECT 1 FROM collection.versions WHERE path = %s LIMIT 1", (path,)).fetchone()
    return row is not None
