"""A market with spans without trades, and spans in which symbols are not listed.

Trades are moved, not removed, so that ids continue without a hole, as at a real exchange after an outage. A whole day
without trades has no ids: the next day continues from the day before, and a symbol's first trade has the id 1. Bars and
aggregate trades follow, because they are computed from the trades. While a symbol is not listed it has no bars either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from crypto_assets.sandbox.market import (
    DAY,
    Bars,
    Instrument,
    Ints,
    Market,
    Trades,
    microseconds,
)

Span = tuple[datetime, datetime]

_RESERVE = 1_000
"""Milliseconds kept free at the end of the remaining time, for orders that move on because their millisecond is taken."""

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Quiet:
    """The symbols of `pattern` (a glob over the exchange's names) do not trade in [start, end); None: unlimited.

    `listed` is False if the exchange does not list them then.
    """

    start: datetime | None
    end: datetime | None
    pattern: str = "*"
    listed: bool = True

    @property
    def span(self) -> tuple[int, int]:
        """The span in microseconds since 1970."""
        return _us(self.start or _ALWAYS[0]), _us(self.end or _ALWAYS[1])


class SilentMarket(Market):
    """The market of a seed, without trades inside some spans."""

    def __init__(self, seed: int, quiet: Sequence[Quiet]) -> None:
        super().__init__(seed)
        self._quiet = list(quiet)
        self._spans: dict[tuple[str, bool], list[tuple[int, int]]] = {}

    def trades(self, item: Instrument, day: date) -> Trades:
        found = super().trades(item, day)
        midnight = microseconds(day)
        spans = self._spans_of(item.symbol)
        # Days without trades have no ids.
        days = sum(max(0, min(stop // DAY, midnight // DAY) - -(-begin // DAY)) for begin, stop in spans)
        found = replace(
            found,
            first_id=found.first_id - days * item.trades_per_day,
            first_aggregate_id=found.first_aggregate_id - days * item.aggregates_per_day,
        )
        time = _outside(found.time - midnight, _of_day(spans, midnight))
        if time is None:
            return replace(
                found,
                time=found.time[:0],
                price=found.price[:0],
                amount=found.amount[:0],
                is_buyer_maker=found.is_buyer_maker[:0],
            )
        return replace(found, time=time + midnight)

    def bars(self, item: Instrument, interval: str, day: date) -> Bars:
        bars = super().bars(item, interval, day)
        kept = np.ones(len(bars.open_time), dtype=np.bool_)
        for begin, stop in self._spans_of(item.symbol, unlisted=True):
            kept &= ~((bars.open_time >= begin) & (bars.end_time <= stop))
        return Bars(**{name: getattr(bars, name)[kept] for name in Bars.__slots__})

    def funding_rates(self, item: Instrument, day: date) -> list[tuple[int, int]]:
        spans = self._spans_of(item.symbol, unlisted=True)
        return [
            (time, rate)
            for time, rate in super().funding_rates(item, day)
            if not any(begin <= time < stop for begin, stop in spans)
        ]

    def has_day(self, item: Instrument, day: date, *, traded: bool) -> bool:
        midnight = microseconds(day)
        spans = self._spans_of(item.symbol, unlisted=not traded)
        return not any(begin <= midnight <= stop - DAY for begin, stop in spans)

    def listed_until(self, item: Instrument) -> datetime | None:
        ends = [q.start for q in self._quiet if not q.listed and q.end is None and fnmatchcase(item.symbol, q.pattern)]
        return min((end for end in ends if end is not None), default=None)

    def _spans_of(self, symbol: str, *, unlisted: bool = False) -> list[tuple[int, int]]:
        """Return the spans that concern a symbol, ascending and disjoint."""
        key = symbol, unlisted
        if key not in self._spans:
            mine = [q.span for q in self._quiet if fnmatchcase(symbol, q.pattern) and not (unlisted and q.listed)]
            self._spans[key] = _joined(mine)
        return self._spans[key]


def whole_days(quiet: Quiet) -> bool:
    """Return whether a span covers a whole UTC day."""
    begin, stop = quiet.span
    return -(-begin // DAY) * DAY + DAY <= stop


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for begin, stop in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1] = result[-1][0], max(stop, result[-1][1])
        else:
            result.append((begin, stop))
    return result


def _of_day(spans: Sequence[tuple[int, int]], midnight: int) -> list[tuple[int, int]]:
    """Return the parts of spans inside a day, in milliseconds since its midnight."""
    inside = [(max(begin - midnight, 0), min(stop - midnight, DAY)) for begin, stop in spans]
    return [(begin // 1_000, -(-stop // 1_000)) for begin, stop in inside if begin < stop]


def _outside(time: Ints, spans: Sequence[tuple[int, int]]) -> Ints | None:
    """Move times of a day (ascending) out of spans, keep orders distinct; None if the spans leave nothing of the day.

    Times before the first span stay unchanged; the others are compressed into the remaining time after it. If nothing
    remains after it, the whole day is compressed into the remaining time.
    """
    if not spans:
        return time
    length = DAY // 1_000
    edges = [(0, 0), *spans, (length, length)]
    free = [(stop, begin) for (_, stop), (begin, _) in pairwise(edges) if stop < begin]
    if sum(stop - begin for begin, stop in free) <= _RESERVE:
        return None
    moved_from = 0
    if spans[-1][1] < length and spans[0][0] > 0:
        moved_from, free = spans[0][0], free[1:]
    moved = time >= moved_from * 1_000
    if not moved.any():
        return time
    mine = time[moved]
    orders = np.concatenate([[True], mine[1:] != mine[:-1]])
    at = mine[orders]
    left = sum(stop - begin for begin, stop in free)
    share = (at / 1_000 - moved_from) / (length - moved_from)
    place = (share * (left - _RESERVE)).astype(np.int64)
    position = np.arange(len(place))
    place = np.maximum.accumulate(place - position) + position
    # From milliseconds of the free time to milliseconds of the day.
    starts = np.concatenate([[0], np.cumsum([stop - begin for begin, stop in free])[:-1]])
    which = np.searchsorted(starts, place, side="right") - 1
    millisecond = place - starts[which] + np.array([begin for begin, _ in free])[which]
    result = time.copy()
    result[moved] = (millisecond * 1_000 + at % 1_000)[np.cumsum(orders) - 1]
    return result


def _us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000
