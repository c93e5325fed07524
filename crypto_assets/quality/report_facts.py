"""What the report is made from: states, reasons, incidents, scores and delays, read from the ledger set-wise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import exchanges
from crypto_assets.checks.published_in_time import WATCHED, period_end
from crypto_assets.collection.records.gaps import NOT_COLLECTED
from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.errors import ConfigError
from crypto_assets.model import COMPLETE_STATES, Series
from crypto_assets.quality.charts import NEVER, CoverageRow, Delays, ScoreLine, Span
from crypto_assets.quality.query import Pair, Query

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.collection.records.database import Database

DELAY_DAYS = 400
"""Files whose day is older are left out of the delays: what a publisher did years ago says little about tomorrow."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What is there of one symbol of a series. `score` is the mean total of its days, None where none was scored.

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
    """Days of one state in a row, `first` and `last` included, of symbols of one series, and why they are in it."""

    series: Series
    symbols: Sequence[str]
    state: str
    reason: str
    first: date
    last: date

    @property
    def days(self) -> int:
        """Days of all symbols together."""
        return ((self.last - self.first).days + 1) * len(self.symbols)


@dataclass(frozen=True, slots=True)
class Incident:
    """A span [start, end), UTC, without data: a row of `collection.incidents`. Without a symbol it is of all of them."""

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
    """Everything on the page, of the days from `first` to `last`, both included. `below` counts days under the threshold."""

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

    @property
    def counts(self) -> Counter[str]:
        """The number of days of each state, over all symbols."""
        return sum((holding.coverage.counts() for holding in self.holdings), Counter[str]())

    @property
    def lacking(self) -> int:
        """Days that are not complete."""
        return sum(days for state, days in self.counts.items() if state not in COMPLETE_STATES)


def read_facts(database: Database, collection: Collection, query: Query, now: datetime | None = None) -> Facts:
    """Return what the ledger knows of the series, symbols and days of a query.

    Asked about is what collection.yaml has and what the ledger has. Without days in the query they begin with the first
    one of any entry or record, and end with the entries, yesterday at the latest. Days of an entry of which the ledger has
    nothing are `not collected yet`.

    Raises:
        ConfigError: a word of the query that chooses nothing, or no day between the first and the last.
    """
    at = now or datetime.now(UTC)
    yesterday = at.date() - timedelta(days=1)
    entries = {
        (series, symbol): entry for entry in collection.series for series in entry.series for symbol in entry.symbols
    }
    with database.transaction() as connection:
        # A million records are sorted in memory: a third of the time that Postgres' 4 MB would take.
        connection.execute("SET LOCAL work_mem = '256MB'")
        known = _known(connection)
        pairs = query.choose([*entries, *known])
        begins = [entries[pair].start for pair in pairs if pair in entries]
        begins += [known[pair] for pair in pairs if pair in known]
        ends = [entries[pair].until(yesterday) if pair in entries else yesterday for pair in pairs]
        first, last = query.first or min(begins), min(query.last or max(ends), at.date())
        if last < first:
            raise ConfigError(
                f"report: expected days from {first} on, found that they end with {last}; change --from or --to"
            )
        ask = _Asking(connection, pairs, first, last)
        spans = _spans(ask, entries, min(last, yesterday))
        totals = ask.by_pair(_TOTALS)
        means = ask.by_pair(_SCORES_OF_SYMBOLS)
        holdings = []
        for pair in pairs:
            rows, size, checks, failed, corrections = map(int, totals.get(pair, (0,) * 5))
            score, *parts = means.get(pair, (None,) * 5)
            named = dict(zip(("completeness", "accuracy", "agreement", "timeliness"), parts, strict=True))
            holdings.append(Holding(*pair, spans[pair], rows, size, checks, failed, corrections, score, named))
        score, scored, below = ask(_SCORE, threshold=collection.quality.threshold)[0]
        return Facts(
            at,
            first,
            last,
            holdings,
            _reasons(ask, spans),
            _incidents(ask),
            _score_lines(ask),
            _delays(ask),
            collection.quality.threshold,
            score,
            scored,
            below,
        )


# ---- SQL --------------------------------------------------------------------------------------------------------------

_KEYS = "exchange, market_type, dataset, symbol"

# Places are grouped and sorted by, as numbers: texts in the order of a language cost many times as much.
_WANTED = f"""
WITH wanted AS (
    SELECT * FROM unnest(%(exchanges)s::text[], %(market_types)s::text[], %(datasets)s::text[], %(symbols)s::text[])
        WITH ORDINALITY AS w ({_KEYS}, place)
), days AS (
    SELECT p.*, place FROM collection.partitions p JOIN wanted USING ({_KEYS}) WHERE day BETWEEN %(first)s AND %(last)s
)
"""

# Days in a row have the same distance between day and row number.
_SPANS = """
SELECT place, state, min(day), max(day) FROM (
    SELECT place, state, day, day - (row_number() OVER (PARTITION BY place, state ORDER BY day))::int AS island FROM days
) numbered GROUP BY place, state, island ORDER BY place, min(day)
"""

# Reasons name the file of their day, its digest and the deadline; without these, equal reasons are one.
_REASONS = rf"""
SELECT exchange, market_type, dataset, array_agg(symbol ORDER BY symbol), state, min(reason), first, last FROM (
    SELECT {_KEYS}, state, alike, min(reason) AS reason, min(day) AS first, max(day) AS last FROM (
        SELECT {_KEYS}, state, reason, alike, day,
            day - (row_number() OVER (PARTITION BY {_KEYS}, state, alike ORDER BY day))::int AS island
        FROM (SELECT *, regexp_replace(replace(replace(replace(reason, symbol, '…'), replace(symbol, '/', '-'), '…'),
            replace(split_part(symbol, ':', 1), '/', ''), '…'), '\d{{4}}-\d\d-\d\d|[0-9a-f]{{16,}}', '…', 'g') AS alike
            FROM days) named
        WHERE state <> ALL(%(plain)s)
    ) numbered GROUP BY {_KEYS}, state, alike, island
) of_symbols GROUP BY exchange, market_type, dataset, state, alike, first, last
ORDER BY exchange, market_type, dataset, first, state
"""

_TOTALS = """
SELECT place, coalesce(sum(rows), 0), coalesce(sum(size_bytes), 0),
    coalesce(sum((SELECT count(*) FROM jsonb_each(findings) f WHERE NOT f.value ? 'not_judged')), 0),
    coalesce(sum(cardinality(failed_checks)), 0), coalesce(sum(corrections), 0)
FROM days GROUP BY place
"""

_SCORED = f"""
, scored AS (
    SELECT q.*, place FROM collection.quality_now q JOIN wanted USING ({_KEYS})
    WHERE day BETWEEN %(first)s AND %(last)s AND total IS NOT NULL
)
"""

_SCORES_OF_SYMBOLS = f"""{_SCORED}
SELECT place, avg(total), avg(completeness), avg(accuracy), avg(agreement), avg(timeliness) FROM scored GROUP BY place
"""

_SCORES_OF_DAYS = f"""{_SCORED}
SELECT exchange, market_type, dataset, day, avg(total), min(total) FROM scored
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""

_SCORE = f"""{_SCORED}
SELECT avg(total), count(*), count(*) FILTER (WHERE total < %(threshold)s) FROM scored
"""

_INCIDENTS = """
SELECT exchange, market_type, symbol, dataset, kind, start_time, end_time, symbols, source, reference
FROM collection.incidents
WHERE (exchange, market_type) IN (SELECT exchange, market_type FROM wanted)
    AND start_time < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND end_time > %(first)s::date::timestamp AT TIME ZONE 'UTC'
ORDER BY start_time
"""

_OBJECTS = """
SELECT DISTINCT exchange, market_type, dataset, o.key, o.first_modified, o.first_seen
FROM days JOIN collection.archive_objects o USING (exchange)
WHERE o.key = days.source_key AND days.source = 'archive' AND o.first_modified IS NOT NULL
    AND day > %(last)s::date - %(recent)s
"""


class _Asking:
    """Asks about some pairs, over the days from `first` to `last`, both included."""

    def __init__(self, connection: psycopg.Connection[Any], pairs: Sequence[Pair], first: date, last: date) -> None:
        self.pairs, self.first, self.last = pairs, first, last
        self._connection = connection

    def __call__(self, query: str, **more: Any) -> list[Any]:
        """Return the rows of a query that may name `wanted`, the pairs, and `days`, their records."""
        values = {
            "exchanges": [series.exchange for series, _ in self.pairs],
            "market_types": [series.market_type for series, _ in self.pairs],
            "datasets": [series.dataset for series, _ in self.pairs],
            "symbols": [symbol for _, symbol in self.pairs],
            "first": self.first,
            "last": self.last,
        }
        return self._connection.execute(_WANTED + query, values | more).fetchall()

    def by_pair(self, query: str) -> dict[Pair, list[Any]]:
        """Return what stands behind the first column, the place of a pair counted from 1, by that pair."""
        return {self.pairs[place - 1]: rest for place, *rest in self(query)}


# ---- reading ----------------------------------------------------------------------------------------------------------


def _known(connection: psycopg.Connection[Any]) -> dict[Pair, date]:
    """Return every pair of which the ledger knows a day, and the first of its days."""
    rows = connection.execute(f"SELECT {_KEYS}, min(day) FROM collection.partitions GROUP BY {_KEYS}").fetchall()
    return {(Series.named(*names), symbol): day for *names, symbol, day in rows}


def _spans(ask: _Asking, entries: Mapping[Pair, SeriesEntry], last: date) -> dict[Pair, list[Span]]:
    """Return the spans of every pair, ascending; up to `last` the days that were never collected are among them."""
    found: dict[Pair, list[Span]] = {pair: [] for pair in ask.pairs}
    for place, state, begin, end in ask(_SPANS):
        found[ask.pairs[place - 1]].append(Span(state, begin, end))
    for pair, spans in found.items():
        spans.sort(key=lambda span: span.first)
        if pair in entries:
            spans += _holes(spans, max(entries[pair].start, ask.first), entries[pair].until(last))
            spans.sort(key=lambda span: span.first)
    return found


def _holes(spans: Sequence[Span], first: date, last: date) -> list[Span]:
    """Return the days from first to last, both included, that are in none of the spans, which ascend."""
    holes, at = [], first
    for span in spans:
        if span.first > at and at <= last:
            holes.append(Span(NEVER, at, min(span.first - timedelta(days=1), last)))
        at = max(at, span.last + timedelta(days=1))
    return [*holes, Span(NEVER, at, last)] if at <= last else holes


def _reasons(ask: _Asking, spans: Mapping[Pair, Sequence[Span]]) -> list[Reason]:
    """Return why days are not there: those of records, then those that were never collected."""
    found = [
        Reason(Series.named(*names), symbols, state, reason, first, last)
        for *names, symbols, state, reason, first, last in ask(_REASONS, plain=["available", "provisional"])
    ]
    never: dict[tuple[Series, date, date], list[str]] = {}
    for (series, symbol), mine in spans.items():
        for span in mine:
            if span.state == NEVER:
                never.setdefault((series, span.first, span.last), []).append(symbol)
    return found + [
        Reason(series, symbols, NEVER, NOT_COLLECTED, first, last) for (series, first, last), symbols in never.items()
    ]


def _incidents(ask: _Asking) -> list[Incident]:
    """Return the incidents that concern one of the pairs, by time."""
    found = [Incident(*row) for row in ask(_INCIDENTS)]
    return [incident for incident in found if any(incident.concerns(*pair) for pair in ask.pairs)]


def _score_lines(ask: _Asking) -> list[ScoreLine]:
    lines: dict[Series, list[tuple[date, float, float]]] = {}
    for *names, day, mean, worst in ask(_SCORES_OF_DAYS):
        lines.setdefault(Series.named(*names), []).append((day, mean, worst))
    return [ScoreLine(str(series), *zip(*found, strict=True)) for series, found in lines.items()]


def _delays(ask: _Asking) -> list[Delays]:
    """Return the delays of the files that the latest days came from, those of days and of months apart."""
    found: dict[tuple[Series, bool], list[tuple[datetime, float, bool]]] = {}
    for *names, key, modified, seen in ask(_OBJECTS, recent=DELAY_DAYS):
        series = Series.named(*names)
        exchange = exchanges.get(series.exchange)
        try:
            end, (first, last) = period_end(exchange, key), exchange.period(key)
        except ValueError:  # a file that is no data
            continue
        hours = (modified - end).total_seconds() / 3600
        if hours >= 0:  # else written while its period went on
            found.setdefault((series, first != last), []).append((end, hours, seen - end <= WATCHED))
    both = {series for series, monthly in found if monthly} & {series for series, monthly in found if not monthly}
    result = []
    for (series, monthly), rows in sorted(found.items()):
        ends, hours_, watched = zip(*sorted(rows), strict=True)
        times = np.array([end.replace(tzinfo=None) for end in ends], "datetime64[s]")
        label = f"{series}{' (months)' if monthly and series in both else ''}"
        result.append(Delays(label, times, np.array(hours_, float), np.array(watched, bool)))
    return result
