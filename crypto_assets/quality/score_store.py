"""Scoring days and keeping what changed, in Postgres (`collection.quality`); `averages` reads it.

A row is added only when a score of a day has changed, so a day that is good from the beginning has one for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from crypto_assets import sources
from crypto_assets.checks.published_in_time import WATCHED, period_end
from crypto_assets.config.collection import Collection
from crypto_assets.model import Series, State, days_between
from crypto_assets.quality.score_query import KEYS
from crypto_assets.quality.scores import Facts, Scores, score
from crypto_assets.storage.database import Database
from crypto_assets.storage.sessions import lock_wait, of_connection

Pair = tuple[Series, str]
OutageMinutes = Callable[[psycopg.Connection[Any], str, str, date, date], Mapping[date, np.ndarray]]
"""Takes (connection, exchange, market type, first day, last day); returns 1,440 booleans for each day with an outage."""

_DAYS_AT_ONCE = 20_000

_LOCK = 5_170_006
"""Of Postgres' advisory locks: two that score the same days would both find that something changed."""

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
LEFT JOIN collection.archive_objects o ON o.exchange = p.exchange AND o.key = p.source_key AND p.source = 'archive'
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


@dataclass(frozen=True, slots=True)
class _Span:
    """The days of one symbol that are to be scored, both ends included."""

    series: Series
    symbol: str
    first: date
    last: date


def refresh_scores(
    database: Database,
    collection: Collection,
    first_day: date,
    last_day: date,
    pairs: Iterable[Pair] | None = None,
    *,
    outages: OutageMinutes | None = None,
    now: datetime | None = None,
) -> int:
    """Score the days from first to last, both included, and keep the scores that changed; return of how many days.

    Days before an entry's start or after its end are not scored, nor days that have not ended and of which nothing is known.

    Args:
        pairs: some of the collection's series and symbols; all by default. Others are ignored.
        outages: which minutes of an exchange's days are not expected; `quality.market_outages.outage_minutes` by
            default.
        now: the instant that the scores are of; this one by default.
    """
    if outages is None:
        from crypto_assets.causes.market_outages import outage_minutes

        outages = outage_minutes
    at = now or datetime.now(UTC)
    chosen = None if pairs is None else set(pairs)
    weights = collection.quality.weights.model_dump()
    changed = 0
    for spans in _portions(_spans(collection, first_day, last_day, chosen)):
        with database.transaction() as connection:
            with lock_wait(of_connection(connection), "the lock on the scores"):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            found = _score(connection, spans, weights, outages, at)
            if found["day"]:
                connection.execute(_ADD, {**found, "now": now})
            changed += len(found["day"])
    return changed


def _spans(collection: Collection, first: date, last: date, chosen: set[Pair] | None) -> Iterator[_Span]:
    for entry in collection.series:
        for series in entry.series:
            for symbol in entry.symbols:
                begin, end = max(first, entry.start), entry.until(last)
                if begin <= end and (chosen is None or (series, symbol) in chosen):
                    yield _Span(series, symbol, begin, end)


def _portions(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    """Yield spans of so many days in all that they fit in memory together; one alone may be longer."""
    portion: list[_Span] = []
    days = 0
    for span in spans:
        length = (span.last - span.first).days + 1
        if portion and days + length > _DAYS_AT_ONCE:
            yield portion
            portion, days = [], 0
        portion.append(span)
        days += length
    if portion:
        yield portion


def _score(
    connection: psycopg.Connection[Any],
    spans: Sequence[_Span],
    weights: Mapping[str, float],
    outages: OutageMinutes,
    at: datetime,
) -> dict[str, list[Any]]:
    """Return the scores of the days of spans that are not as they were, as columns."""
    wanted = {
        "exchange": [span.series.exchange for span in spans],
        "market_type": [span.series.market_type for span in spans],
        "symbol": [span.symbol for span in spans],
        "dataset": [span.series.dataset for span in spans],
        "first": [span.first for span in spans],
        "last": [span.last for span in spans],
    }
    known: dict[tuple[int, date], tuple[Any, ...]] = {
        (place, day): row for place, day, *row in connection.execute(_FACTS, wanted)
    }
    former = {(place, day): Scores(*row) for place, day, *row in connection.execute(_FORMER, wanted)}
    down: dict[tuple[str, str], Mapping[date, np.ndarray]] = {}
    for span in spans:
        market = span.series.exchange, span.series.market_type
        if market not in down:
            down[market] = outages(connection, *market, min(s.first for s in spans), max(s.last for s in spans))
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for place, span in enumerate(spans, 1):
        series = span.series
        names = {"exchange": series.exchange, "market_type": series.market_type, "dataset": series.dataset}
        for day in days_between(span.first, span.last):
            row = known.get((place, day))
            if row is None and day >= at.astimezone(UTC).date():
                continue
            facts = _facts(span, day, row, at)
            scores = score(facts, weights, down[series.exchange, series.market_type].get(day))
            if scores == former.get((place, day), Scores()):
                continue
            values = {**names, "symbol": span.symbol, "day": day, "state": facts.state, **_plain(scores)}
            for name, value in values.items():
                columns[name].append(value)
    return columns


def _plain(scores: Scores) -> dict[str, float | None]:
    return {field.name: getattr(scores, field.name) for field in fields(Scores)}


def _facts(span: _Span, day: date, row: Sequence[Any] | None, at: datetime) -> Facts:
    exchange = sources.get(span.series.exchange)
    deadline = exchange.expected_by(span.series, day)
    if row is None:
        return Facts(span.series, span.symbol, day, overdue=deadline <= at)
    state, rows, findings, error, profiled, absent, key, modified, seen = row
    delay, allowed = None, timedelta(0)
    # Most objects are history, which is soon told: what follows costs as much as all the rest.
    if modified is not None and seen - modified <= WATCHED:
        # The deadline is of the preferred file, that of the day where there are such; one of the month comes late for it.
        preferred = exchange.key(exchange.prefixes(span.series, span.symbol)[0], span.series, span.symbol, day)
        end = period_end(exchange, preferred)
        if seen - (end if key == preferred else period_end(exchange, key)) <= WATCHED:
            delay, allowed = max(timedelta(0), modified - end), deadline - end
    return Facts(
        span.series,
        span.symbol,
        day,
        State(state),
        rows,
        findings,
        error,
        profiled,
        absent,
        delay,
        allowed,
        deadline <= at,
    )
