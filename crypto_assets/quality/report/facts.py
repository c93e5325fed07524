"""Read the facts of a report from the ledger, with one query each: states, reasons, incidents, scores and delays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import sources
from crypto_assets.checks.published_in_time import WATCHED
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.acknowledgements import Acknowledgement
from crypto_assets.ledger.gaps import NOT_COLLECTED, Gap
from crypto_assets.ledger.known_days import known_spans
from crypto_assets.ledger.lakes import NOTHING_LOST, LostDays, lost_days
from crypto_assets.ledger.report_query import (
    INCIDENTS,
    OBJECTS,
    OPEN,
    REASONS,
    SCORE,
    SCORES_OF_DAYS,
    SCORES_OF_SYMBOLS,
    SPANS,
    TOTALS,
    Asking,
)
from crypto_assets.model import COMPLETE_STATES, DAY, Series, State, Track, TrackDay, days_between
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.gap_causes import Explained, explain_with
from crypto_assets.quality.query import Query
from crypto_assets.quality.report.charts import NEVER, CoverageRow, Delays, ScoreLine, Span

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.storage.database import Database
    from crypto_assets.storage.lake import Lake

DELAY_DAYS = 400
"""Files of older days are left out of the delays: a publisher's speed years ago says little about tomorrow."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The stored data of one symbol of a series. `score` is the mean total of its days, None if none was scored.

    `rows` to `corrections` are sums over the days in `spans`; `parts` has the mean of each of the four scores.
    """

    series: Series
    symbol: str
    spans: Sequence[Span]
    rows: int = 0
    size_bytes: int = 0
    checks: int = 0
    failed_checks: int = 0
    corrections: int = 0
    score: float | None = None
    parts: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def coverage(self) -> CoverageRow:
        return CoverageRow(str(self.series), self.symbol, self.spans)


@dataclass(frozen=True, slots=True)
class Reason:
    """Consecutive days with one state, `first` to `last` included, of symbols of one series, and the reason for the state.

    `causes` are those of the incomplete days, the most frequent first. `acknowledged` counts the days that a person has
    accepted.
    """

    series: Series
    symbols: Sequence[str]
    state: str
    reason: str
    first: date
    last: date
    causes: Sequence[Kind] = ()
    acknowledged: int = 0

    @property
    def days(self) -> int:
        """Days of all symbols together."""
        return ((self.last - self.first).days + 1) * len(self.symbols)


@dataclass(frozen=True, slots=True)
class Incident:
    """A span [start, end), UTC, without data: a row of `collection.incidents`. Without a symbol it concerns all."""

    exchange: str
    market_type: str
    symbol: str | None
    dataset: str | None
    kind: str
    start: datetime
    end: datetime
    symbols: Sequence[str]
    source: str
    reference: str | None

    def concerns(self, series: Series, symbol: str) -> bool:
        return (
            (self.exchange, self.market_type) == (series.exchange, series.market_type)
            and self.symbol in (None, symbol)
            and self.dataset in (None, series.dataset)
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything on the page, for the days from `first` to `last`, both included. `below` counts days below the threshold.

    `acknowledged` counts incomplete days that a person has accepted; they are included in `incomplete`.
    `lost` are stored days that the lake does not have; they are missing.
    """

    made_at: datetime
    first: date
    last: date
    holdings: Sequence[Holding]
    reasons: Sequence[Reason]
    incidents: Sequence[Incident]
    scores: Sequence[ScoreLine]
    delays: Sequence[Delays]
    threshold: float
    score: float | None
    scored_days: int
    below: int
    acknowledged: int = 0
    lost: LostDays = NOTHING_LOST

    @property
    def counts(self) -> Counter[str]:
        """The number of days of each state, over all symbols."""
        return sum((holding.coverage.counts() for holding in self.holdings), Counter[str]())

    @property
    def incomplete(self) -> int:
        return sum(days for state, days in self.counts.items() if state not in COMPLETE_STATES)

    @property
    def verdict(self) -> str:
        """The whole report in one sentence."""
        return verdict(self.incomplete, self.counts.total())


def verdict(incomplete: int, total: int) -> str:
    """Return in one sentence how many of some days are incomplete."""
    if not total:
        return "Nothing was collected yet"
    if not incomplete:
        return f"Complete: all {total:,} days are complete or have no data"
    return f"Incomplete: {incomplete:,} of {total:,} days {'is' if incomplete == 1 else 'are'} missing or partial"


def read_facts(
    database: Database, collection: Collection, query: Query, now: datetime | None = None, lake: Lake | None = None
) -> Facts:
    """Return the ledger's facts about the series, symbols and days of a query; stored days lost from the lake are missing.

    The query selects from collection.yaml and the ledger. By default the days begin with the first one of any entry or
    record, and end with the entries, yesterday at the latest. Days of an entry without a record are `not collected yet`.

    Raises:
        ConfigError: a word of the query matches nothing, or there is no day between the first and the last.
    """
    at = now or datetime.now(UTC)
    tracks, entries, first, last = _asked(database, collection, query, at)
    lost = lost_days(database, lake, tracks, first, last, collection) if lake else NOTHING_LOST
    with database.transaction() as connection:
        # A million records are sorted in memory, in a third of the time needed with Postgres' default 4 MB.
        connection.execute("SET LOCAL work_mem = '256MB'")
        ask = Asking(connection, tracks, first, last, lost, collection.quality.weights.model_dump())
        spans = _spans(ask, entries, min(last, at.date() - DAY))
        open_days = _explained(connection, ask)
        totals = ask.by_track(TOTALS)
        means = ask.by_track(SCORES_OF_SYMBOLS)
        holdings = []
        for track in tracks:
            rows, size, checks, failed, corrections = map(int, totals.get(track, (0,) * 5))
            score, *parts = means.get(track, (None,) * 5)
            named = dict(zip(("completeness", "accuracy", "agreement", "timeliness"), parts, strict=True))
            holdings.append(Holding(*track, spans[track], rows, size, checks, failed, corrections, score, named))
        score, scored, below = ask(SCORE, threshold=collection.quality.threshold)[0]
        return Facts(
            at,
            first,
            last,
            holdings,
            _reasons(ask, spans, open_days),
            _incidents(ask),
            _score_lines(ask),
            _delays(ask),
            collection.quality.threshold,
            score,
            scored,
            below,
            sum(not one.gap.is_open for one in open_days.values()),
            lost,
        )


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_coverage(
    database: Database, collection: Collection, query: Query, now: datetime | None = None, lake: Lake | None = None
) -> tuple[list[CoverageRow], date, date]:
    """Return the coverage of `read_facts`, the first and the last day, with one query of the records.

    Raises:
        ConfigError: as `read_facts`.
    """
    at = now or datetime.now(UTC)
    tracks, entries, first, last = _asked(database, collection, query, at)
    lost = lost_days(database, lake, tracks, first, last, collection) if lake else NOTHING_LOST
    with database.transaction() as connection:
        ask = Asking(connection, tracks, first, last, lost, collection.quality.weights.model_dump())
        spans = _spans(ask, entries, min(last, at.date() - DAY))
    return [CoverageRow(str(track.series), track.symbol, spans[track]) for track in tracks], first, last


def _asked(
    database: Database, collection: Collection, query: Query, at: datetime
) -> tuple[list[Track], dict[Track, SeriesEntry], date, date]:
    """Return the tracks of a query, the entries of all tracks, and the first and the last day."""
    yesterday = at.date() - timedelta(days=1)
    entries = {track: entry for entry in collection.series for track in entry.tracks}
    with database.transaction() as connection:
        known = known_spans(connection)
    tracks = query.choose([*entries, *known])
    begins = [entries[track].start for track in tracks if track in entries]
    begins += [known[track][0] for track in tracks if track in known]
    ends = [entries[track].until(yesterday) if track in entries else yesterday for track in tracks]
    first, last = query.first or min(begins), min(query.last or max(ends), at.date())
    if last < first:
        raise ConfigError(
            f"report: expected days from {first} on, found that they end with {last}; change --from or --to"
        )
    return tracks, entries, first, last


def _spans(ask: Asking, entries: Mapping[Track, SeriesEntry], last: date) -> dict[Track, list[Span]]:
    """Return the spans of every track, ascending, with the days up to `last` that were never collected."""
    found: dict[Track, list[Span]] = {track: [] for track in ask.tracks}
    for place, state, begin, end in ask(SPANS):
        found[ask.tracks[place - 1]].append(Span(state, begin, end))
    for track, spans in found.items():
        spans.sort(key=lambda span: span.first)
        if track in entries:
            spans += _holes(spans, max(entries[track].start, ask.first), entries[track].until(last))
            spans.sort(key=lambda span: span.first)
    return found


def _holes(spans: Sequence[Span], first: date, last: date) -> list[Span]:
    """Return the days from first to last, both included, outside all spans; the spans are ascending."""
    holes, at = [], first
    for span in spans:
        if span.first > at and at <= last:
            holes.append(Span(NEVER, at, min(span.first - timedelta(days=1), last)))
        at = max(at, span.last + timedelta(days=1))
    return [*holes, Span(NEVER, at, last)] if at <= last else holes


def _explained(connection: psycopg.Connection[Any], ask: Asking) -> dict[TrackDay, Explained]:
    """Return the incomplete days with a record, with their causes."""
    found = []
    for place, day, state, reason, evidence, findings, is_lost, *acknowledged in ask(
        OPEN, complete=[state.value for state in COMPLETE_STATES]
    ):
        series, symbol = ask.tracks[place - 1]
        known = None if acknowledged[0] is None else Acknowledgement(*acknowledged)
        found.append(
            Gap(None, series, symbol, day, State(state), reason, evidence, findings, lost=is_lost, acknowledged=known)
        )
    explained = explain_with(connection, found)
    return {one.gap.track_day: one for one in explained}


def _reasons(
    ask: Asking, spans: Mapping[Track, Sequence[Span]], open_days: Mapping[TrackDay, Explained]
) -> list[Reason]:
    """Return the reasons for missing days: first days with a record, then days that were not collected yet."""
    found = []
    for *names, symbols, state, reason, first, last in ask(REASONS, plain=["available", "provisional"]):
        series = Series.named(*names)
        mine = [
            one
            for symbol in symbols
            for day in days_between(first, last)
            if (one := open_days.get(TrackDay(series, symbol, day))) is not None
        ]
        causes = [kind for kind, _ in Counter(one.cause.kind for one in mine).most_common()]
        accepted = sum(not one.gap.is_open for one in mine)
        found.append(Reason(series, symbols, state, reason, first, last, causes, accepted))
    never: dict[tuple[Series, date, date], list[str]] = {}
    for (series, symbol), mine_ in spans.items():
        for span in mine_:
            if span.state == NEVER:
                never.setdefault((series, span.first, span.last), []).append(symbol)
    return found + [
        Reason(series, symbols, NEVER, NOT_COLLECTED, first, last, [Kind.NOT_COLLECTED])
        for (series, first, last), symbols in never.items()
    ]


def _incidents(ask: Asking) -> list[Incident]:
    """Return the incidents that concern one of the tracks, by time."""
    found = [Incident(*row) for row in ask(INCIDENTS)]
    return [incident for incident in found if any(incident.concerns(*track) for track in ask.tracks)]


def _score_lines(ask: Asking) -> list[ScoreLine]:
    lines: dict[Series, list[tuple[date, float, float]]] = {}
    for *names, day, mean, worst in ask(SCORES_OF_DAYS):
        lines.setdefault(Series.named(*names), []).append((day, mean, worst))
    return [ScoreLine(str(series), *zip(*found, strict=True)) for series, found in lines.items()]


def _delays(ask: Asking) -> list[Delays]:
    """Return the delays of the files behind the latest days; daily and monthly files separately."""
    found: dict[tuple[Series, bool], list[tuple[datetime, float, bool]]] = {}
    for *names, key, modified, seen in ask(OBJECTS, recent=DELAY_DAYS):
        series = Series.named(*names)
        try:
            span = sources.span_of(series, key)
        except ValueError:  # not a data file
            continue
        end = span.end
        hours = (modified - end).total_seconds() / 3600
        if hours >= 0:  # otherwise it was written before its period ended
            found.setdefault((series, not span.is_of_a_day), []).append((end, hours, seen - end <= WATCHED))
    both = {series for series, monthly in found if monthly} & {series for series, monthly in found if not monthly}
    result = []
    for (series, monthly), rows in sorted(found.items()):
        ends, hours_, watched = zip(*sorted(rows), strict=True)
        times = np.array([end.replace(tzinfo=None) for end in ends], "datetime64[s]")
        label = f"{series}{' (months)' if monthly and series in both else ''}"
        result.append(Delays(label, times, np.array(hours_, float), np.array(watched, bool)))
    return result
