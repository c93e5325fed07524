"""Read how complete a symbol of a series is over all its days, to judge the health of an asset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from crypto_assets.model import COMPLETE_STATES, Series, State, Track, TrackDay
from crypto_assets.storage.database import Database


@dataclass(frozen=True, slots=True)
class Span:
    """All days of one symbol of a series from `first` to `last`, both included."""

    series: Series
    symbol: str
    first: date
    last: date

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)


@dataclass(frozen=True, slots=True)
class Standing:
    """The days of a span, counted by completeness.

    `days` counts the finished days that were ever requested, `provisional` those that are complete from a feed that is not
    final. `open` has the incomplete ones by state; `failed` has the days
    with a failed check, by check, including today. Neither has `acknowledged` days, which a person has accepted. A stored
    day that the lake lost is `open` as missing, even if it was acknowledged before. Days are sorted.
    """

    days: int = 0
    provisional: int = 0
    acknowledged: Sequence[date] = ()
    open: Mapping[State, Sequence[date]] = field(default_factory=dict)
    failed: Mapping[str, Sequence[date]] = field(default_factory=dict)


_QUERY = """
SELECT s.n, count(*) FILTER (WHERE p.day < %(today)s),
    coalesce(array_agg(p.day) FILTER (WHERE p.day < %(today)s AND p.state = 'provisional'), '{}'),
    coalesce(jsonb_agg(jsonb_build_array(p.day, p.state, p.failed_checks, a.day IS NOT NULL) ORDER BY p.day)
        FILTER (WHERE p.state <> ALL(%(complete)s) OR p.failed_checks <> '{}'), '[]')
FROM unnest(%(exchanges)s::text[], %(market_types)s::text[], %(datasets)s::text[], %(symbols)s::text[],
        %(firsts)s::date[], %(lasts)s::date[]) WITH ORDINALITY
    AS s (exchange, market_type, dataset, symbol, first, last, n)
JOIN collection.partitions p USING (exchange, market_type, dataset, symbol)
LEFT JOIN (SELECT * FROM collection.acknowledgements_now WHERE withdrawn IS NULL) a
    USING (exchange, market_type, dataset, symbol, day)
WHERE p.day BETWEEN s.first AND s.last
GROUP BY s.n
"""


def standings(
    database: Database, spans: Sequence[Span], today: date, lost: Collection[TrackDay] = ()
) -> dict[Span, Standing]:
    """Return the standing of each span; one query for all.

    Args:
        today: the current UTC day; it is never incomplete.
        lost: series, symbols and days whose file is missing or damaged in the lake, or whose table was emptied.
    """
    if not spans:
        return {}
    values = {
        "complete": sorted(COMPLETE_STATES),
        "today": today,
        "exchanges": [span.series.exchange for span in spans],
        "market_types": [span.series.market_type for span in spans],
        "datasets": [span.series.dataset for span in spans],
        "symbols": [span.symbol for span in spans],
        "firsts": [span.first for span in spans],
        "lasts": [span.last for span in spans],
    }
    with database.transaction() as connection:
        rows = connection.execute(_QUERY, values).fetchall()
    gone: dict[Track, set[date]] = {}
    for series, symbol, day in lost:
        gone.setdefault(Track(series, symbol), set()).add(day)
    found = {}
    for number, days, provisional, marked in rows:
        span = spans[number - 1]
        mine = {day for day in gone.get(span.track, ()) if span.first <= day <= span.last}
        found[span] = _standing(days, len({*provisional} - mine), marked, today, mine)
    return {span: found.get(span, Standing()) for span in spans}


def _standing(
    days: int,
    provisional: int,
    marked: Sequence[tuple[str, str, Sequence[str], bool]],
    today: date,
    lost: Collection[date],
) -> Standing:
    acknowledged: list[date] = []
    open_: dict[State, list[date]] = {}
    failed: dict[str, list[date]] = {}
    for text, state, checks, accepted in marked:
        day = date.fromisoformat(text)
        if accepted and day not in lost:
            acknowledged.append(day)
            continue
        if day < today and day not in lost and State(state) not in COMPLETE_STATES:
            open_.setdefault(State(state), []).append(day)
        for check in checks:
            failed.setdefault(check, []).append(day)
    if missing := [day for day in lost if day < today]:
        open_[State.MISSING] = sorted([*open_.get(State.MISSING, ()), *missing])
    return Standing(days, provisional, acknowledged, open_, failed)
