"""Find the gaps of a collection: every incomplete day, with its record."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.ledger.acknowledgements import NAMES, Acknowledgement
from crypto_assets.model import COMPLETE_STATES, Series, State, Track, TrackDay

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger

NOT_COLLECTED = "not collected yet"
"""The reason of a day without a record."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One incomplete day of one symbol; `state` is None if it was not collected yet.

    `entry` is its entry of the collection, None if only the ledger has it. `evidence`, `findings` and `source` (`archive` or
    `rest`, None: nothing is stored) are those of its record; `crypto_assets.quality.gap_causes` derives the cause from
    them. `lost`: the ledger has the day as complete, but the lake does not have its file. `acknowledged` is its last
    acknowledgement, even if withdrawn.
    """

    entry: SeriesEntry | None
    series: Series
    symbol: str
    day: date
    state: State | None
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    findings: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    source: str | None = None
    source_key: str | None = field(default=None, repr=False, compare=False)
    source_etag: str | None = field(default=None, repr=False, compare=False)
    attempt_error: str | None = field(default=None, repr=False, compare=False)
    lost: bool = False
    acknowledged: Acknowledgement | None = None

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)

    @property
    def track_day(self) -> TrackDay:
        return TrackDay(self.series, self.symbol, self.day)

    @property
    def is_open(self) -> bool:
        """Whether it counts: it is not acknowledged, or has changed since."""
        return self.lost or self.acknowledged is None or not self.acknowledged.holds


def gaps(
    collection: Collection,
    ledger: Ledger,
    today: date,
    entries: Iterable[SeriesEntry] | None = None,
    *,
    tracks: Container[Track] | None = None,
    first: date | None = None,
    last: date | None = None,
    lost: Mapping[TrackDay, str] | None = None,
) -> Iterator[Gap]:
    """Yield every incomplete day from an entry's start to its end or yesterday, by entry, series, symbol and day.

    Acknowledged days are included. One query for each entry.

    Args:
        today: the current UTC day; it is never a gap.
        entries: some of the collection's entries; default: all.
        tracks: some of their series and symbols; default: all.
        first, last: limit the days, both included.
        lost: days whose file is missing or damaged in the lake, with the reason to give; they are missing whatever
            their record says (`crypto_assets.ledger.lakes`).
    """
    yesterday = today - timedelta(days=1)
    for entry in collection.series if entries is None else entries:
        wanted = [track for track in entry.tracks if tracks is None or track in tracks]
        begin = max(entry.start, first or entry.start)
        end = min(entry.until(yesterday), last or yesterday)
        if wanted and begin <= end:
            yield from _of_entry(ledger, entry, wanted, begin, end, lost or {})


_QUERY = f"""
WITH wanted AS (
    SELECT * FROM unnest(%(symbols)s::text[], %(datasets)s::text[]) WITH ORDINALITY AS w (symbol, dataset, place)
), lost AS (
    SELECT * FROM unnest(%(lost_places)s::bigint[], %(lost_days)s::date[]) AS l (place, day)
), known AS (
    SELECT * FROM collection.partitions
    WHERE exchange = %(exchange)s AND market_type = %(market_type)s AND day BETWEEN %(first)s AND %(last)s
)
SELECT w.place, d.day::date, p.state, p.reason, p.evidence, p.findings, p.source, p.source_key, p.source_etag,
    p.attempt_error, {", ".join(f"a.{name}" for name in NAMES)}
FROM wanted w CROSS JOIN generate_series(%(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') AS d (day)
LEFT JOIN known p ON (p.symbol, p.dataset, p.day) = (w.symbol, w.dataset, d.day::date)
LEFT JOIN collection.acknowledgements_now a ON (a.exchange, a.market_type, a.symbol, a.dataset, a.day)
    = (%(exchange)s, %(market_type)s, w.symbol, w.dataset, d.day::date)
WHERE p.day IS NULL OR p.state <> ALL(%(complete)s)
    OR (w.place, d.day::date) IN (SELECT place, day FROM lost)
ORDER BY w.place, d.day
"""


def _of_entry(
    ledger: Ledger,
    entry: SeriesEntry,
    wanted: Sequence[Track],
    first: date,
    last: date,
    lost: Mapping[TrackDay, str],
) -> Iterator[Gap]:
    places = {track: place for place, track in enumerate(wanted, 1)}
    gone = [(places[one.track], one.day) for one in lost if one.track in places]
    values = {
        "exchange": entry.exchange,
        "market_type": entry.market_type,
        "symbols": [symbol for _, symbol in wanted],
        "datasets": [series.dataset for series, _ in wanted],
        "first": first,
        "last": last,
        "complete": [state.value for state in COMPLETE_STATES],
        "lost_places": [place for place, _ in gone],
        "lost_days": [day for _, day in gone],
    }
    with ledger.transaction() as connection:
        rows = connection.execute(_QUERY, values).fetchall()
    for place, day, state, reason, evidence, findings, source, key, etag, attempt, *acknowledged in rows:
        series, symbol = wanted[place - 1]
        where = TrackDay(series, symbol, day)
        is_lost = where in lost
        yield Gap(
            entry,
            series,
            symbol,
            day,
            State.MISSING if is_lost else None if state is None else State(state),
            lost[where] if is_lost else NOT_COLLECTED if state is None else reason,
            evidence or {},
            findings or {},
            source,
            key,
            etag,
            attempt,
            is_lost,
            None if acknowledged[0] is None else Acknowledgement(*acknowledged),
        )
