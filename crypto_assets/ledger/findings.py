"""Read and write the findings of stored days, and read the files to compare days with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.model import Partition, Series

Findings = Mapping[str, Mapping[str, Any]]
"""Findings by name, in their stored form."""


@dataclass(frozen=True, slots=True)
class StoredFindings:
    """A stored day with its findings. The last three columns are of the profile of its file, None if it has none."""

    symbol: str
    day: date
    state: str
    reason: str
    evidence: Mapping[str, Any]
    source: str | None
    content_sha256: str
    findings: Findings
    first_time: datetime | None
    last_time: datetime | None
    absent: bytes | None


@dataclass(frozen=True, slots=True)
class NewFindings:
    """New findings of a stored day; `findings` is JSON. `tell`: report the change to Dagster."""

    symbol: str
    day: date
    findings: str
    failed_checks: Sequence[str]
    state: str
    reason: str
    tell: bool


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored day of a dataset, and the sha256 of its file."""

    dataset: str
    symbol: str
    day: date
    content_sha256: str


_STORED = """
SELECT symbol, day, p.state, p.reason, p.evidence, p.source, p.content_sha256, p.findings,
    f.first_time, f.last_time, f.absent
FROM collection.partitions p
JOIN unnest(%s::text[], %s::date[]) AS wanted (symbol, day) USING (symbol, day)
LEFT JOIN collection.profiles f USING (exchange, market_type, symbol, dataset, day, content_sha256)
WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND p.path IS NOT NULL
ORDER BY symbol, day
"""

_WRITE = """
UPDATE collection.partitions p SET findings = o.findings, state = o.state, reason = o.reason,
    failed_checks = string_to_array(o.failed, ','),
    reported_at = CASE WHEN o.tell THEN NULL ELSE p.reported_at END,
    updated_at = CASE WHEN o.tell THEN clock_timestamp() ELSE p.updated_at END
FROM unnest(%s::text[], %s::date[], %s::jsonb[], %s::text[], %s::text[], %s::text[], %s::boolean[])
    AS o (symbol, day, findings, failed, state, reason, tell)
WHERE (p.exchange, p.market_type, p.symbol, p.dataset, p.day) = (%s, %s, o.symbol, %s, o.day)
"""


def stored_findings(
    connection: psycopg.Connection[Any], series: Series, partitions: Iterable[Partition], *, lock: bool = False
) -> list[StoredFindings]:
    """Return the stored days among some days, with findings, by symbol and day; `lock` keeps others from changing them."""
    query = _STORED + ("FOR UPDATE OF p" if lock else "")
    with connection.cursor(row_factory=class_row(StoredFindings)) as cursor:
        return cursor.execute(query, (*_places(partitions), *_names(series))).fetchall()


def write_findings(connection: psycopg.Connection[Any], series: Series, changes: Sequence[NewFindings]) -> None:
    """Write findings of stored days, with the resulting state and reason."""
    if not changes:
        return
    rows = [
        (one.symbol, one.day, one.findings, ",".join(one.failed_checks), one.state, one.reason, one.tell)
        for one in changes
    ]
    columns = map(list, zip(*rows, strict=True))
    connection.execute(_WRITE, (*columns, series.exchange, series.market_type, series.dataset))


def days_with_findings(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, first: date, last: date, names: Iterable[str]
) -> list[StoredFile]:
    """Return the stored days of a market on which one of some checks failed or used an outage; sorted.

    Args:
        first, last: both included.
    """
    rows = connection.execute(
        """SELECT dataset, symbol, day, content_sha256 FROM collection.partitions
        WHERE exchange = %s AND market_type = %s AND day BETWEEN %s AND %s AND path IS NOT NULL AND EXISTS (
            SELECT FROM unnest(%s::text[]) AS name
            WHERE findings -> name -> 'passed' = 'false' OR findings -> name ? 'outages')
        ORDER BY dataset, symbol, day""",
        (exchange, market_type, first, last, list(names)),
    ).fetchall()
    return [StoredFile(*row) for row in rows]


def stored_files(
    connection: psycopg.Connection[Any], series: Series, datasets: Iterable[str], partitions: Sequence[Partition]
) -> list[StoredFile]:
    """Return the stored files of some datasets, in the market of a series, on the days of some partitions."""
    rows = connection.execute(
        """SELECT dataset, symbol, day, content_sha256 FROM collection.partitions
        JOIN unnest(%s::text[], %s::date[]) AS wanted (symbol, day) USING (symbol, day)
        WHERE exchange = %s AND market_type = %s AND dataset = ANY(%s) AND content_sha256 IS NOT NULL""",
        (*_places(partitions), series.exchange, series.market_type, list(datasets)),
    ).fetchall()
    return [StoredFile(*row) for row in rows]


def findings_by_day(
    connection: psycopg.Connection[Any], series: Series, partitions: Sequence[Partition]
) -> dict[Partition, Findings]:
    """Return the findings of the stored days among some days, by symbol and day."""
    rows = connection.execute(
        """SELECT symbol, day, findings FROM collection.partitions
        JOIN unnest(%s::text[], %s::date[]) AS wanted (symbol, day) USING (symbol, day)
        WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND path IS NOT NULL ORDER BY symbol, day""",
        (*_places(partitions), *_names(series)),
    ).fetchall()
    return {Partition(symbol, day): findings for symbol, day, findings in rows}


def _places(partitions: Iterable[Partition]) -> tuple[list[str], list[date]]:
    pairs = [(partition.symbol, partition.day) for partition in partitions]
    return [symbol for symbol, _ in pairs], [day for _, day in pairs]


def _names(series: Series) -> tuple[str, str, str]:
    return series.exchange, series.market_type, series.dataset
