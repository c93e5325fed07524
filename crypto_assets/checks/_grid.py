"""The grid of a timeframe: the whole multiples of its length, at which its bars open. Bars of a day and more open at
midnight.

Some real bars are off the grid: after halts Binance published bars that open at :14.789 of each minute, and 1h bars that
open 28 minutes and 14.789 seconds past the hour (spot 2017-12-04 … 17, 2018-02-09 … 11; binance-public-data #14, #77).
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from crypto_assets.model import DAY, Series, bar_length
from crypto_assets.model.epoch import DAY_US

_MICROSECOND = timedelta(microseconds=1)


def step_us(series: Series) -> int:
    """Return the distance of the grid's instants in microseconds, at most a day."""
    if series.timeframe == "1mo":
        return DAY_US
    return min(bar_length(series.timeframe or ""), DAY) // _MICROSECOND


def uncovered(since: np.ndarray, step: int, count: int) -> np.ndarray:
    """Return which of the first `count` steps of a day have no bar.

    A bar counts for the step in which it opens. If that step has a bar already, a bar off the grid counts for the next step,
    which it covers in part: bars that leave the grid, or return to it, put two into one step. A duplicate bar counts once.

    Args:
        since: opening time of each bar, in microseconds since the day began; bars outside the day are ignored.
        step: the length of a step in microseconds.
    """
    inside = since[(since >= 0) & (since < count * step)]
    bare = np.ones(count, dtype=bool)
    bare[inside // step] = False
    beside = inside % step != 0
    if not bare.any() or not beside.any():
        return bare
    bare[:] = True
    for opens in np.unique(inside).tolist():
        place = opens // step
        if not bare[place] and opens % step and place + 1 < count:
            place += 1
        bare[place] = False
    return bare


def beside_us(since: np.ndarray, step: int) -> np.ndarray:
    """Return the distance of bars from the nearest instant of the grid, in microseconds; negative before it."""
    after = since % step
    return np.where(2 * after > step, after - step, after)
