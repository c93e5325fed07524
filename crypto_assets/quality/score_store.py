"""Score days and store the changes in Postgres; `ledger/score_query.py` reads them.

A row is added only when a score of a day has changed: a day that is good from the beginning has one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from crypto_assets import sources
from crypto_assets.checks.published_in_time import WATCHED
from crypto_assets.config.collection import Collection
from crypto_assets.ledger.scores import (
    DayScores,
    ScoredSpan,
    Scores,
    StoredFacts,
    add_scores,
    former_scores,
    lock_scores,
    stored_facts,
)
from crypto_assets.model import State, Track, days_between
from crypto_assets.quality.scores import Facts, score
from crypto_assets.storage.database import Database
from crypto_assets.storage.sessions import lock_wait, of_connection

OutageMinutes = Callable[[psycopg.Connection[Any], str, str, date, date], Mapping[date, np.ndarray]]
"""Takes (connection, exchange, market type, first day, last day); returns 1,440 booleans for each day with an outage."""

_DAYS_AT_ONCE = 20_000


def refresh_scores(
    database: Database,
    collection: Collection,
    first_day: date,
    last_day: date,
    tracks: Iterable[Track] | None = None,
    *,
    outages: OutageMinutes | None = None,
    now: datetime | None = None,
) -> int:
    """Score the days from first to last, both included, and store the changed scores; return the number of changed days.

    Not scored: days outside an entry's span, and unfinished days without a record.

    Args:
        tracks: some of the collection's series and symbols; default: all. Others are ignored.
        outages: returns the minutes of an exchange's days in which nothing is expected; default:
            `quality.market_outages.outage_minutes`.
        now: the instant of the scores; default: the present.
    """
    if outages is None:
        from crypto_assets.causes.market_outages import outage_minutes

        outages = outage_minutes
    at = now or datetime.now(UTC)
    chosen = None if tracks is None else set(tracks)
    weights = collection.quality.weights.model_dump()
    changed = 0
    for spans in _portions(_spans(collection, first_day, last_day, chosen)):
        with database.transaction() as connection:
            with lock_wait(of_connection(connection), "the lock on the scores"):
                lock_scores(connection)
            found = _score(connection, spans, weights, outages, at)
            add_scores(connection, found, now)
            changed += len(found)
    return changed


def _spans(collection: Collection, first: date, last: date, chosen: set[Track] | None) -> Iterator[ScoredSpan]:
    for entry in collection.series:
        begin, end = max(first, entry.start), entry.until(last)
        for track in entry.tracks if begin <= end else ():
            if chosen is None or track in chosen:
                yield ScoredSpan(*track, begin, end)


def _portions(spans: Iterable[ScoredSpan]) -> Iterator[list[ScoredSpan]]:
    """Yield groups of spans whose days fit in memory together; a single span may be longer."""
    portion: list[ScoredSpan] = []
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
    spans: Sequence[ScoredSpan],
    weights: Mapping[str, float],
    outages: OutageMinutes,
    at: datetime,
) -> list[DayScores]:
    """Return the scores that have changed."""
    known, former = stored_facts(connection, spans), former_scores(connection, spans)
    down: dict[tuple[str, str], Mapping[date, np.ndarray]] = {}
    for span in spans:
        market = span.series.exchange, span.series.market_type
        if market not in down:
            down[market] = outages(connection, *market, min(s.first for s in spans), max(s.last for s in spans))
    changed: list[DayScores] = []
    for place, span in enumerate(spans, 1):
        outage = down[span.series.exchange, span.series.market_type]
        for day in days_between(span.first, span.last):
            row = known.get((place, day))
            if row is None and day >= at.astimezone(UTC).date():
                continue
            facts = _facts(span, day, row, at)
            scores = score(facts, weights, outage.get(day))
            if scores != former.get((place, day), Scores()):
                changed.append(DayScores(span.series, span.symbol, day, facts.state, scores))
    return changed


def _facts(span: ScoredSpan, day: date, row: StoredFacts | None, at: datetime) -> Facts:
    deadline = sources.expected_by(span.series, day)
    if row is None:
        return Facts(span.series, span.symbol, day, overdue=deadline <= at)
    delay, allowed = None, timedelta(0)
    modified, seen = row.first_modified, row.first_seen
    # Most files are history, which is quick to see; the code below costs as much as everything else.
    if row.key and modified and seen and seen - modified <= WATCHED and sources.archives(span.series):
        # The deadline is for the preferred file: the daily one if there are such; a monthly file is late for it.
        end = sources.span_of(span.series, sources.preferred_key(span.series, span.symbol, day)).end
        if seen - sources.span_of(span.series, row.key).end <= WATCHED:
            delay, allowed = max(timedelta(0), modified - end), deadline - end
    return Facts(
        span.series,
        span.symbol,
        day,
        State(row.state),
        row.rows,
        row.findings,
        row.error,
        row.profiled,
        row.absent,
        delay,
        allowed,
        deadline <= at,
    )
