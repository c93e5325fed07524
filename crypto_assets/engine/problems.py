"""Puts many problems into few sentences: equal neighbouring days become a span, equal spans of several symbols a sentence.

Pure functions: nothing here reads the ledger or asks a host. Used by the command line, the API and the text of a failed run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from crypto_assets.model import Outcome, Series, State, Track, day_spans
from crypto_assets.text.visible import visible

NAMES_SHOWN = 3
"""The most symbols that a sentence names; it counts the others."""

_WORDS: dict[str | None, str] = {
    None: "not collected yet",
    State.MISSING: "missing",
    State.DEGRADED: "partial",
    State.NO_DATA: "no data",
    State.PENDING: "not published yet",
}

# The parts that differ between the days of one failure: dates, months and times in keys and sentences, milliseconds in the
# parameters of a URL, hashes.
_OF_ONE_DAY = re.compile(
    r"\d{4}-\d{2}(?:-\d{2})?(?:[ T]\d{2}:\d{2}(?::\d{2})?)?|\b1\d{12}(?:\d{3})?\b|\b[0-9a-f]{32,64}\b"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One incomplete day of one symbol; `state` is None if the day has no record. `note` is added at the end."""

    series: Series
    symbol: str
    day: date
    state: State | None
    reason: str = ""
    cause: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive days of one symbol, both ends included, in one state for one reason (that of the first day)."""

    series: Series
    symbol: str
    first: date
    last: date
    state: State | None
    reason: str = ""
    cause: str = ""
    note: str = ""

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return f"{self.track} {days_text(self.first, self.last)}: {_why(self)}"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One failure: the same days of some symbols, in one state for one reason. `spans` belong to the first symbol."""

    tracks: tuple[Track, ...]
    spans: tuple[Span, ...]

    @property
    def days(self) -> int:
        """The number of partitions: symbols × days."""
        return len(self.tracks) * self._days_each

    @property
    def _days_each(self) -> int:
        return sum(span.days for span in self.spans)

    def __str__(self) -> str:
        names = [str(track) for track in self.tracks]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        first = self.spans[0]
        when = days_text(first.first, first.last)
        if len(self.spans) > 1:
            when = f"{first.first} … {self.spans[-1].last} ({self._days_each:,} days in {len(self.spans):,} spans)"
        each = " each" if len(names) > 1 and self._days_each > 1 else ""
        return f"{', '.join(names[:NAMES_SHOWN])}{more} {when}{each}: {_why(first)}"


def problem_of(outcome: Outcome) -> Problem:
    """Return an outcome of a run as a problem."""
    return Problem(
        outcome.series, outcome.partition.symbol, outcome.partition.day, State(outcome.state), outcome.reason
    )


def spans(problems: Iterable[Problem]) -> list[Span]:
    """Return the problems as spans, by series, symbol and first day.

    Reasons are equal if they differ only in dates, times and hashes: the failure of 31 files is one failure.
    """
    alike: dict[tuple[Series, str, str, str, str, str], dict[date, Problem]] = {}
    for one in problems:
        like = one.series, one.symbol, str(one.state or ""), one.cause, without_day(one.reason), one.note
        alike.setdefault(like, {})[one.day] = one
    found = [span for days in alike.values() for span in _consecutive(days)]
    return sorted(found, key=lambda span: (_order(span.series), span.symbol, span.first, span.last))


def sentences(problems: Iterable[Problem]) -> list[Sentence]:
    """Return the problems as few sentences, the sentence about the most days first."""
    by_failure: dict[tuple[Series, str, str, str, str, str], list[Span]] = {}
    for span in spans(problems):
        like = span.series, span.symbol, str(span.state or ""), span.cause, without_day(span.reason), span.note
        by_failure.setdefault(like, []).append(span)
    alike: dict[tuple[object, ...], tuple[list[Track], tuple[Span, ...]]] = {}
    for (series, symbol, *why), mine in by_failure.items():
        days = tuple((span.first, span.last) for span in mine)
        alike.setdefault((*why, days), ([], tuple(mine)))[0].append(Track(series, symbol))
    found = [Sentence(tuple(tracks), mine) for tracks, mine in alike.values()]
    return sorted(found, key=lambda one: -one.days)


def lines(problems: Iterable[Problem], most: int, more: str) -> list[str]:
    """Return at most `most` sentences as lines, and a last line that counts the others; `more` says where to find them."""
    found = sentences(problems)
    if len(found) <= most:
        return [str(one) for one in found]
    left = found[most - 1 :]
    count = f"… and {sum(one.days for one in left):,} more days in {len(left):,} more lines: {more}"
    return [*(str(one) for one in found[: most - 1]), count]


def without_day(reason: str) -> str:
    """Return a reason without the parts that differ between the days of one failure."""
    return _OF_ONE_DAY.sub("…", reason)


def word_of(state: str | None) -> str:
    """Return the word that people read for a state; None is a day without a record, other texts stay as they are."""
    return _WORDS.get(state, str(state))


def days_text(first: date, last: date) -> str:
    """Return days as `2024-01-05`, or `2024-01-07 … 2024-01-09 (3 days)`."""
    return str(first) if first == last else f"{first} … {last} ({(last - first).days + 1:,} days)"


def _why(span: Span) -> str:
    text = word_of(span.state) + (f": {span.reason}" if span.reason else "")
    return visible(text + (f" [{span.cause}]" if span.cause else "") + (f"; {span.note}" if span.note else ""))


def _order(series: Series) -> tuple[str, str, str, str]:
    return series.exchange, series.market_type, series.table, series.timeframe or ""


def _consecutive(days: dict[date, Problem]) -> list[Span]:
    return [_span(days[first], first, last) for first, last in day_spans(days)]


def _span(one: Problem, first: date, last: date) -> Span:
    return Span(one.series, one.symbol, first, last, one.state, one.reason, one.cause, one.note)
