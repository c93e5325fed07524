"""An exchange that stands still for some hours: a market whose trades keep out of these hours.

Trades are not taken away but moved, so that ids run on without a hole, as they do at an exchange that was down. Bars and
aggregate trades follow, for they are computed from the trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import numpy as np

from crypto_assets.sandbox.market import DAY, Instrument, Ints, Market, Trades, microseconds

Span = tuple[datetime, datetime]

_RESERVE = 1_000_000
"""Microseconds at the end of what is left, for orders that move on because their millisecond is taken."""


class SilentMarket(Market):
    """The market of a seed, with nobody trading inside the spans [start, end).

    Raises:
        ValueError: a span holds a whole UTC day; ids could not run on.
    """

    def __init__(self, seed: int, spans: Sequence[Span]) -> None:
        super().__init__(seed)
        self._spans = [(_us(start), _us(end)) for start, end in spans]
        for (begin, end), (start, stop) in zip(self._spans, spans, strict=True):
            if any(begin <= midnight <= end - DAY for midnight in range(begin - begin % DAY, end, DAY)):
                raise ValueError(
                    f"an outage from {start} to {stop} holds a whole UTC day; expected some of each day left"
                )

    def trades(self, item: Instrument, day: date) -> Trades:
        found = super().trades(item, day)
        midnight = microseconds(day)
        time = found.time - midnight
        for begin, end in self._spans:
            begin, end = max(begin - midnight, 0), min(end - midnight, DAY)
            if begin < end:
                time = _around(time, begin, end)
        return replace(found, time=time + midnight)


def _around(time: Ints, begin: int, end: int) -> Ints:
    """Move times (ascending, of one day) out of [begin, end), orders apart as before: to behind it, else before it."""
    if end < DAY:
        start, stop, first, last = begin, DAY, end, DAY - _RESERVE
    else:
        start, stop, first, last = 0, DAY, 0, begin - _RESERVE
    moved = time >= start
    if not moved.any():
        return time
    mine = time[moved]
    orders = np.concatenate([[True], mine[1:] != mine[:-1]])
    at = mine[orders]
    # Not times the length first: 8.6e10 squared is beyond 64 bits.
    millisecond = (first + ((at - start) / (stop - start) * (last - first)).astype(np.int64)) // 1_000
    position = np.arange(len(millisecond))
    millisecond = np.maximum.accumulate(millisecond - position) + position
    result = time.copy()
    result[moved] = (millisecond * 1_000 + at % 1_000)[np.cumsum(orders) - 1]
    return result


def _us(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000)
