"""Builds profiles: what other checks need to know of a day, from its rows (`crypto_assets.model.Profile`).

The rows have passed the blocking checks: they ascend in time, ids are unique, prices are positive.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets, sources
from crypto_assets.checks._grid import uncovered
from crypto_assets.checks._minutes import MINUTES, to_bits
from crypto_assets.checks._times import start_us
from crypto_assets.checks.outliers import CHECK as OUTLIERS
from crypto_assets.checks.outliers import hours_of
from crypto_assets.model import DAY, Partition, Profile, Series, bar_length
from crypto_assets.model.epoch import at_microseconds
from crypto_assets.rows.day_frames import array_of, times_us
from crypto_assets.rows.numbered import NUMBERED
from crypto_assets.sources.published import dataset_of

if TYPE_CHECKING:
    import pandas as pd

_MICROSECOND = timedelta(microseconds=1)
_MINUTE_US = 60_000_000


def profile_of(series: Series, partition: Partition, frame: pd.DataFrame, content_sha256: str = "") -> Profile:
    """Return the profile of a day from its check frame (float64 numbers, UTC microsecond times), which must have rows."""
    if series.table == "ohlcv":
        return _of_bars(series, partition, frame, content_sha256)
    fold = ProfileFold(series, partition)
    fold.add(frame)
    return fold.profile(content_sha256)


class ProfileFold:
    """Builds the profile of a day whose rows come in pieces, in file order. Memory does not grow with the rows.

    For tables without bars. A table with neither ids nor a price yields counts and times only.
    """

    def __init__(self, series: Series, partition: Partition) -> None:
        self._partition = partition
        self._time = datasets.get(series.table).time_column
        self._id = NUMBERED.get(series.table) if sources.facts(series).numbered else None
        self._has_price = series.table in NUMBERED
        self._start_us = start_us(partition)
        self._rows = 0
        self._times: tuple[int, int] | None = None
        self._ids: tuple[int, int] | None = None
        self._trade_ids: tuple[int, int] | None = None
        self._removed: tuple[int, int] | None = None
        self._first_price: float | None = None
        self._last_price: float | None = None
        self._largest_step = 0.0
        self._traded = np.zeros(MINUTES, dtype=bool)

    def add(self, frame: pd.DataFrame) -> None:
        """Add some rows; an empty frame is allowed."""
        if not len(frame):
            return
        times = times_us(frame, self._time)
        self._rows += len(times)
        self._times = _wider(self._times, times)
        if not self._has_price:
            return
        if self._id is not None:
            self._ids = _wider(self._ids, array_of(frame, self._id))
        self._add_trade_ids(frame)
        prices = array_of(frame, "price")
        if self._last_price is None:
            self._first_price = self._last_price = float(prices[0])
        seam = abs(math.log(prices[0] / self._last_price))
        self._largest_step = max(self._largest_step, seam, _largest_step(prices))
        self._last_price = float(prices[-1])
        minutes = (times - self._start_us) // _MINUTE_US
        self._traded[minutes[(minutes >= 0) & (minutes < MINUTES)]] = True

    def _add_trade_ids(self, frame: pd.DataFrame) -> None:
        """Add the trade ids that aggregates name; -1 stands for removed trades.

        If a row of removed trades is at an end of the day, the trade at that end is unknown.
        """
        if "first_trade_id" not in frame:
            return
        first, last = (array_of(frame, f"{end}_trade_id") for end in ("first", "last"))
        if first.min() < 0:
            if self._id is not None:
                self._removed = _wider(self._removed, array_of(frame, self._id)[first < 0])
            first, last = first[first >= 0], last[first >= 0]
        if len(first):
            span = int(first.min()), int(last.max())
            self._trade_ids = _wider(self._trade_ids, np.array(span))

    def profile(self, content_sha256: str = "") -> Profile:
        """Return the profile of all rows so far.

        Raises:
            ValueError: there were none.
        """
        if self._times is None:
            raise ValueError(f"{self._partition}: a profile needs at least one row")
        ids, trade_ids, removed = self._ids, self._trade_ids, self._removed or (None, None)
        silent = ~self._traded
        first_us, last_us = _bounds_us(self._partition)
        silent[: first_us // _MINUTE_US] = silent[last_us // _MINUTE_US :] = False
        return Profile(
            symbol=self._partition.symbol,
            day=self._partition.day,
            content_sha256=content_sha256,
            rows=self._rows,
            first_time=_instant(self._times[0]),
            last_time=_instant(self._times[1]),
            first_id=ids[0] if ids else None,
            last_id=ids[1] if ids else None,
            missing_ids=ids[1] - ids[0] + 1 - self._rows if ids else None,
            first_trade_id=trade_ids[0] if ids and trade_ids and removed[0] != ids[0] else None,
            last_trade_id=trade_ids[1] if ids and trade_ids and removed[1] != ids[1] else None,
            first_price=self._first_price,
            last_price=self._last_price,
            largest_step=self._largest_step if self._has_price else None,
            silent=to_bits(silent) if self._has_price else None,
        )


def _of_bars(series: Series, partition: Partition, frame: pd.DataFrame, content_sha256: str) -> Profile:
    times = times_us(frame, "open_time")
    opens, close = array_of(frame, "open"), array_of(frame, "close")
    silent, absent = _minutes(series, partition, frame, times)
    return Profile(
        symbol=partition.symbol,
        day=partition.day,
        content_sha256=content_sha256,
        rows=len(times),
        first_time=_instant(times[0]),
        last_time=_instant(times[-1]),
        first_price=float(opens[0]),
        last_price=float(close[-1]),
        largest_step=max(abs(math.log(close[0] / opens[0])), _largest_step(close)),
        silent=silent,
        absent=absent,
        hours=hours_of(frame, partition, series) if _has_hours(series) else None,
        traded=not _untraded(frame).all(),
    )


def _has_hours(series: Series) -> bool:
    return OUTLIERS.applies(series) and OUTLIERS.fits(dataset_of(series))


def _untraded(frame: pd.DataFrame) -> np.ndarray:
    """Return which bars have no trade: no count, where counts are published, and no volume."""
    untraded: np.ndarray = array_of(frame, "volume") == 0
    if untraded.any() and "trade_count" in frame and not frame["trade_count"].hasnans:
        untraded &= array_of(frame, "trade_count") == 0
    return untraded


def _minutes(
    series: Series, partition: Partition, frame: pd.DataFrame, times: np.ndarray
) -> tuple[bytes | None, bytes | None]:
    """Return the silent and the missing minutes of bars; a bar longer than a minute marks all of its minutes.

    For bars shorter than a minute, a minute is silent if none of its bars traded, and missing if one of its bars is missing.
    Where the exchange publishes no bar for a time without trades, a missing bar is a silent one.
    A bar beside the grid counts for the step that it opens in; that step is silent only if the bar before, which reaches
    into it, is silent too.
    """
    if series.timeframe == "1mo" or bar_length(series.timeframe or "") > DAY:
        return None, None
    step_us = bar_length(series.timeframe or "") // _MICROSECOND
    first_us, last_us = _bounds_us(partition)
    begin, end = first_us // step_us, last_us // step_us
    untraded = _untraded(frame)
    since = times - start_us(partition)
    beside = since % step_us != 0
    # The keys of rows are unique, and all rows lie inside the day.
    if len(times) == end - begin and not untraded.any() and not beside.any():
        return None, None
    if beside.any():
        untraded[1:] &= untraded[:-1] | ~beside[1:]
    places = since // step_us
    inside = (places >= begin) & (places < end)
    places, untraded = places[inside], untraded[inside]
    absent = np.zeros(DAY // _MICROSECOND // step_us, dtype=bool)
    absent[begin:end] = uncovered(since, step_us, end)[begin:]
    silent = np.zeros(len(absent), dtype=bool)
    silent[places] = untraded
    silent[places[~untraded]] = False  # two bars may open in one step
    if sources.facts(series).silent_bars == "absent":
        silent, absent = silent | absent, np.zeros_like(absent)
    if len(absent) <= MINUTES:
        each = MINUTES // len(absent)
        return to_bits(np.repeat(silent, each)), to_bits(np.repeat(absent, each))
    missing, still = absent.reshape(MINUTES, -1), silent.reshape(MINUTES, -1)
    return to_bits(np.all(missing | still, axis=1) & np.any(still, axis=1)), to_bits(np.any(missing, axis=1))


def _bounds_us(partition: Partition) -> tuple[int, int]:
    """Return the start and end of the span with expected rows, in microseconds of the day."""
    return (partition.first - partition.start) // _MICROSECOND, (partition.last - partition.start) // _MICROSECOND


def _largest_step(prices: np.ndarray) -> float:
    """Return the greatest |log(price / previous price)|; two logarithms are enough for any number of prices."""
    if len(prices) < 2:
        return 0.0
    ratios = prices[1:] / prices[:-1]
    return max(math.log(ratios.max()), -math.log(ratios.min()))


def _wider(span: tuple[int, int] | None, values: np.ndarray) -> tuple[int, int]:
    low, high = int(values.min()), int(values.max())
    return (min(span[0], low), max(span[1], high)) if span else (low, high)


def _instant(us: int | np.int64) -> datetime:
    return at_microseconds(int(us))
