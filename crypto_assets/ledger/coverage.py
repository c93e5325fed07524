"""Count, for every symbol of a collection, the complete days and the others by state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.ledger.lakes import LOST, LOST_STATE, NOTHING_LOST, LostDays, lost_days
from crypto_assets.model import COMPLETE_STATES
from crypto_assets.model.day_counts import DAY_COUNTS, counted

if TYPE_CHECKING:
    from crypto_assets.ledger.gaps import Gap
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.database import Database
    from crypto_assets.storage.lake import Lake

Names = tuple[str, str, str, str]
"""Exchange, market type, symbol and dataset."""


@dataclass(slots=True)
class Coverage:
    """The days of one symbol of a series, counted as `DAY_COUNTS` says; every day is in exactly one count, except that
    `provisional` counts some of the complete days again.

    Counted are the collection's days up to yesterday, and today if its record is complete so far (today is never a gap).
    For a symbol outside the collection (`in_collection` is false) the days with a record are counted. `partial` to
    `acknowledged` are the gaps: `pending` days are not published yet; `corrected` days were published again and the new
    file could not be used. `first_day` and `last_day` have a record; `first_stored`,
    `last_stored`, `rows` and `size_bytes` are of files in the lake;
    `checks` counts results of checks that could judge, `corrections` how often rows of a stored day were replaced.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    in_collection: bool = True
    days: int = 0
    complete: int = 0
    provisional: int = 0
    partial: int = 0
    missing: int = 0
    not_collected: int = 0
    no_data: int = 0
    acknowledged: int = 0
    pending: int = 0
    corrected: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    checks: int = 0
    failed_checks: int = 0
    corrections: int = 0
    first_day: date | None = None
    last_day: date | None = None
    first_stored: date | None = None
    last_stored: date | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every missing day is acknowledged, or none is missing."""
        return not (self.partial or self.missing or self.not_collected or self.pending or self.corrected)


def known_coverage(
    collection: Collection, ledger: Ledger, lake: Lake, today: date
) -> tuple[list[Gap], list[Coverage], LostDays]:
    """Return the gaps of a collection, the coverage of all that it has and of what is stored beside it, and what is lost."""
    from crypto_assets.ledger.gaps import gaps

    lost = lost_days(ledger, lake, collection=collection)
    found = list(gaps(collection, ledger, today, lost=lost.reasons))
    return found, coverage(collection, ledger, found, today, lost), lost


def coverage(
    collection: Collection, ledger: Ledger, found: Iterable[Gap], today: date, lost: LostDays = NOTHING_LOST
) -> list[Coverage]:
    """Return the coverage of everything in a collection, then of stored data outside it.

    Args:
        found: all gaps of the collection, acknowledged ones too: the counts equal what `gaps` shows.
        lost: stored days that the lake does not have; find the gaps with the same value.
    """
    result, spans = _of_collection(collection, today)
    beside: dict[Names, Coverage] = {}
    for names, inside, day_count, today_complete, no_data, numbers in _read(ledger, spans, today, lost):
        one = result[names] if inside else beside.setdefault(names, Coverage(*names, in_collection=False))
        for name, value in numbers.items():
            setattr(one, name, value)
        one.no_data = no_data
        if inside:
            one.days += today_complete
        else:
            one.days = day_count
    for gap in found:
        one = result[gap.series.exchange, gap.series.market_type, gap.symbol, gap.series.dataset]
        name = _count_of(gap)
        setattr(one, name, getattr(one, name) + 1)
    for one in beside.values():
        for name in set(_BY_STATE.values()):
            setattr(one, name, counted(one.states, name))
    for one in (*result.values(), *beside.values()):
        one.provisional = counted(one.states, "provisional")
        one.complete = one.days - sum(getattr(one, name) for name in _INCOMPLETE)
    return [*result.values(), *beside.values()]


_INCOMPLETE = [name for name, count in DAY_COUNTS.items() if name != "complete" and count.within is None]
"""The counts of days that are not complete, `no_data` among them."""

_BY_STATE = {state: name for name in _INCOMPLETE for state in DAY_COUNTS[name].states}


def _count_of(gap: Gap) -> str:
    if not gap.is_open:
        return "acknowledged"
    if gap.lost:
        return "missing"
    return "not_collected" if gap.state is None else _BY_STATE[gap.state]


def _of_collection(collection: Collection, today: date) -> tuple[dict[Names, Coverage], dict[Names, tuple[date, date]]]:
    """Return the days of everything in a collection up to yesterday, and its first and last day, today included."""
    result, spans = {}, {}
    for entry in collection.series:
        last = entry.until(today - timedelta(days=1))
        for series, symbol in entry.tracks:
            names = series.exchange, series.market_type, symbol, series.dataset
            result[names] = Coverage(*names, days=max((last - entry.start).days + 1, 0))
            spans[names] = entry.start, entry.until(today)
    return result, spans


_QUERY = f"""
WITH {LOST}, wanted AS (
    SELECT * FROM unnest(%(exchanges)s::text[], %(market_types)s::text[], %(symbols)s::text[], %(datasets)s::text[],
        %(firsts)s::date[], %(lasts)s::date[]) AS w (exchange, market_type, symbol, dataset, first, last)
), known AS (
    SELECT p.exchange, p.market_type, p.symbol, p.dataset, p.day, p.findings, p.failed_checks, p.corrections,
        CASE WHEN l.day IS NULL THEN p.state ELSE '{LOST_STATE}' END AS state,
        CASE WHEN l.lost_file IS NOT TRUE THEN p.rows END AS rows,
        CASE WHEN l.lost_file IS NOT TRUE THEN p.size_bytes END AS size_bytes
    FROM collection.partitions p LEFT JOIN lost l USING (exchange, market_type, symbol, dataset, day)
), by_state AS (
    SELECT p.exchange, p.market_type, p.symbol, p.dataset, p.state,
        coalesce(p.day BETWEEN w.first AND w.last, false) AS inside, count(*) AS days,
        count(*) FILTER (WHERE p.day = %(today)s AND p.state = ANY(%(complete)s)) AS today_complete,
        coalesce(sum(p.rows), 0) AS rows, coalesce(sum(p.size_bytes), 0) AS size_bytes,
        sum((SELECT count(*) FROM jsonb_each(p.findings) f WHERE NOT f.value ? 'not_judged')) AS checks,
        sum(cardinality(p.failed_checks)) AS failed, sum(p.corrections) AS corrections,
        min(p.day) AS first_day, max(p.day) AS last_day,
        min(p.day) FILTER (WHERE p.size_bytes IS NOT NULL) AS first_stored,
        max(p.day) FILTER (WHERE p.size_bytes IS NOT NULL) AS last_stored
    FROM known p LEFT JOIN wanted w USING (exchange, market_type, symbol, dataset)
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT exchange, market_type, symbol, dataset, inside, sum(days)::bigint, sum(today_complete)::bigint,
    coalesce(sum(days) FILTER (WHERE state = 'no_data'), 0)::bigint, jsonb_object_agg(state, days),
    sum(rows)::bigint, sum(size_bytes)::bigint, sum(checks)::bigint, sum(failed)::bigint, sum(corrections)::bigint,
    min(first_day), max(last_day), min(first_stored), max(last_stored)
FROM by_state GROUP BY 1, 2, 3, 4, 5 ORDER BY exchange, market_type, dataset, symbol
"""

_NUMBERS = (
    *("states", "rows", "size_bytes", "checks", "failed_checks", "corrections"),
    *("first_day", "last_day", "first_stored", "last_stored"),
)


def _read(
    ledger: Ledger, spans: Mapping[Names, tuple[date, date]], today: date, lost: LostDays
) -> list[tuple[Names, bool, int, int, int, dict[str, Any]]]:
    """Return names, in the collection or not, days, complete days of today, days of no data, numbers."""
    columns = list(zip(*spans, strict=True)) or [()] * 4
    values = dict(zip(("exchanges", "market_types", "symbols", "datasets"), map(list, columns), strict=True))
    more = {"firsts": [first for first, _ in spans.values()], "lasts": [last for _, last in spans.values()]}
    states = [state.value for state in COMPLETE_STATES]
    with ledger.transaction() as connection:
        given = {**values, **more, **lost.as_values(), "today": today, "complete": states}
        rows = connection.execute(_QUERY, given).fetchall()
    return [(row[:4], row[4], row[5], row[6], row[7], dict(zip(_NUMBERS, row[8:], strict=True))) for row in rows]


_STORED = """
SELECT count(*) FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::date[])
    AS w (exchange, market_type, symbol, dataset, first, last)
JOIN collection.partitions p USING (exchange, market_type, symbol, dataset) WHERE p.day BETWEEN w.first AND w.last
"""


def never_collected(database: Database, entries: Iterable[SeriesEntry], today: date) -> int:
    """Return how many days of single symbols and datasets, up to yesterday, were never collected."""
    spans = [
        (one.exchange, one.market_type, symbol, one.dataset, entry.start, entry.until(today - timedelta(days=1)))
        for entry in entries
        for one, symbol in entry.tracks
    ]
    days = sum(max((last - first).days + 1, 0) for *_, first, last in spans)
    if not days:
        return 0
    with database.transaction() as connection:
        columns = [list(column) for column in zip(*spans, strict=True)]
        (stored,) = connection.execute(_STORED, columns).fetchone() or (0,)
    return days - int(stored)
