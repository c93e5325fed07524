"""Read and write the scores of days (`collection.quality`), and read the facts they are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

import psycopg

from crypto_assets.model import Series

KEYS = ("exchange", "market_type", "symbol", "dataset", "day")
"""The columns that name a scored day."""

SCORES = ("accuracy", "completeness", "timeliness", "agreement")

_LOCK = 5_170_006
"""Key of the advisory lock: two processes that score the same days would both find a change."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one day; `total` is the weighted mean of the judged ones."""

    accuracy: float | None = None
    completeness: float | None = None
    timeliness: float | None = None
    agreement: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """The days of one symbol to score, both ends included."""

    series: Series
    symbol: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """The ledger's facts about a day to score.

    `error` is the kind of error of its last outcome. `profiled`: `absent` belongs to the stored file. `key` to `first_seen`
    are of the archive object it came from, None if it came from none.
    """

    state: str
    rows: int
    findings: Mapping[str, Mapping[str, Any]]
    error: str | None
    profiled: bool
    absent: bytes | None
    key: str | None
    first_modified: datetime | None
    first_seen: datetime | None


@dataclass(frozen=True, slots=True)
class DayScores:
    """The scores of one day, and its state (None: not collected yet)."""

    series: Series
    symbol: str
    day: date
    state: str | None
    scores: Scores


_WANTED = """
WITH wanted AS (
    SELECT * FROM unnest(%(exchange)s::text[], %(market_type)s::text[], %(symbol)s::text[], %(dataset)s::text[],
        %(first)s::date[], %(last)s::date[]) WITH ORDINALITY
        AS w (exchange, market_type, symbol, dataset, first, last, place)
)
"""

_FACTS = (
    _WANTED
    + """
SELECT w.place, p.day, p.state, coalesce(p.rows, 0), p.findings, p.evidence ->> 'error', f.day IS NOT NULL, f.absent,
    o.key, o.first_modified, o.first_seen
FROM wanted w JOIN collection.partitions p USING (exchange, market_type, symbol, dataset)
LEFT JOIN collection.profiles f ON (f.exchange, f.market_type, f.symbol, f.dataset, f.day, f.content_sha256)
    = (p.exchange, p.market_type, p.symbol, p.dataset, p.day, p.content_sha256)
LEFT JOIN collection.archive_objects o ON o.exchange = p.exchange AND p.source = 'archive'
    AND o.key = coalesce(p.source_files -> -1 ->> 'key', p.source_key)
WHERE p.day BETWEEN w.first AND w.last
"""
)

_FORMER = (
    _WANTED
    + f"""
SELECT DISTINCT ON (w.place, q.day) w.place, q.day, {", ".join(f"q.{field.name}" for field in fields(Scores))}
FROM wanted w JOIN collection.quality q USING (exchange, market_type, symbol, dataset)
WHERE q.day BETWEEN w.first AND w.last ORDER BY w.place, q.day, q.scored_at DESC
"""
)

_COLUMNS = {**dict.fromkeys(KEYS[:4], "text"), "day": "date", "state": "text"} | {
    field.name: "float8" for field in fields(Scores)
}

_ADD = f"""
INSERT INTO collection.quality ({", ".join(_COLUMNS)}, scored_at)
SELECT {", ".join(_COLUMNS)}, coalesce(%(now)s::timestamptz, clock_timestamp())
FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _COLUMNS.items())}) AS n ({", ".join(_COLUMNS)})
"""


def lock_scores(connection: psycopg.Connection[Any]) -> None:
    """Keep other processes from scoring until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def stored_facts(
    connection: psycopg.Connection[Any], spans: Sequence[ScoredSpan]
) -> dict[tuple[int, date], StoredFacts]:
    """Return the facts about the days of some spans, by the position of the span (from 1) and the day; one query."""
    rows = connection.execute(_FACTS, _values(spans))
    return {(place, day): StoredFacts(*row) for place, day, *row in rows}


def former_scores(connection: psycopg.Connection[Any], spans: Sequence[ScoredSpan]) -> dict[tuple[int, date], Scores]:
    """Return the last scores of the days of some spans, by the position of the span (from 1) and the day; one query."""
    return {(place, day): Scores(*row) for place, day, *row in connection.execute(_FORMER, _values(spans))}


def add_scores(connection: psycopg.Connection[Any], found: Sequence[DayScores], now: datetime | None) -> None:
    """Add a row for each day, dated now or `now`."""
    if not found:
        return
    columns: dict[str, list[Any]] = {
        "exchange": [one.series.exchange for one in found],
        "market_type": [one.series.market_type for one in found],
        "symbol": [one.symbol for one in found],
        "dataset": [one.series.dataset for one in found],
        "day": [one.day for one in found],
        "state": [one.state for one in found],
    }
    columns |= {field.name: [getattr(one.scores, field.name) for one in found] for field in fields(Scores)}
    connection.execute(_ADD, {**columns, "now": now})


def _values(spans: Sequence[ScoredSpan]) -> dict[str, list[Any]]:
    return {
        "exchange": [span.series.exchange for span in spans],
        "market_type": [span.series.market_type for span in spans],
        "symbol": [span.symbol for span in spans],
        "dataset": [span.series.dataset for span in spans],
        "first": [span.first for span in spans],
        "last": [span.last for span in spans],
    }
