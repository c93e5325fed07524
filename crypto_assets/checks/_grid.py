"""The grid of a timeframe: the whole multiples of its length, at which its bars open. Bars of a day and more open at
midnight.

Some real bars lie beside it: after halts Binance published bars that open at :14.789 of each minute, and 1h bars that open 28
minutes and 14.789 seconds past the hour (spot 2017-12-04 … 17, 2018-02-09 … 11; binance-public-data #14, #77).
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from crypto_assets.model import DAY, Series, bar_length

_MICROSECOND = timedelta(microseconds=1)
DAY_US = DAY // _MICROSECOND


def step_us(series: Series) -> int:
    """Return the distance of the grid's instants in microseconds, a day at most."""
    if series.timeframe == "1mo":
        return DAY_US
    return min(bar_length(series.timeframe or ""), DAY) // _MICROSECOND


def uncovered(since: np.ndarray, step: int, count: int) -> np.ndarray:
    """Return which of the first `count` steps of a day have no bar.

    A step without a bar of its own is covered where the step beside it has two, one of them beside the grid: bars that
    leave the grid, or come back to it, put two into one step and none into the next. A bar that stands twice covers one step.

    Args:
        since: when each bar opens, in microseconds since the day began; those outside of the day are passed over.
        step: the length of a step in microseconds.
    """
    inside = since[(since >= 0) & (since < count * step)]
    bars = np.zeros(count, dtype=np.int64)
    if not (inside % step).any():
        bars[inside // step] = 1
        return bars == 0
    inside = np.unique(inside)
    np.add.at(bars, inside // step, 1)
    beside = np.zeros(count, dtype=bool)
    beside[inside[inside % step != 0] // step] = True
    for empty in np.flatnonzero(bars == 0):
        for near in (empty - 1, empty + 1):
            if 0 <= near < count and bars[near] > 1 and beside[near]:
                bars[near] -= 1
                bars[empty] = 1
                break
    return bars == 0
