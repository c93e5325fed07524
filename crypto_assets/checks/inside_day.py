"""Every row belongs to the partition's UTC day, and every bar to the grid of its timeframe."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._times import epoch_us, instant, start_us
from crypto_assets.model import DAY, Check, Finding, Partition, Series, Severity, bar_length

if TYPE_CHECKING:
    import pandas as pd

_MICROSECOND = timedelta(microseconds=1)


class InsideDay:
    """Looks at each row alone; what it keeps are counts."""

    def __init__(self, partition: Partition, series: Series) -> None:
        self._column = datasets.get(series.table).time_column
        self._day = partition.day
        self._start = start_us(partition)
        self._step = 0
        if series.timeframe and series.timeframe != "1mo" and bar_length(series.timeframe) <= DAY:
            self._step = bar_length(series.timeframe) // _MICROSECOND
        self._rows = 0
        self._wrong = 0
        self._first = ""

    def add(self, rows: pd.DataFrame) -> None:
        times = epoch_us(rows[self._column])
        since = times - self._start
        wrong = (since < 0) | (since >= DAY // _MICROSECOND)
        if self._step:
            wrong |= since % self._step != 0
        if wrong.any():
            places = np.flatnonzero(wrong)
            self._wrong += len(places)
            place = places[0]
            self._first = (
                self._first or f"row {self._rows + place}: {instant(times[place])}, expected inside {self._day}"
            )
        self._rows += len(times)

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        return Finding(False, {"rows": self._wrong, "first": self._first}) if self._wrong else Finding(True)


def inside_day(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """start ≤ time < end, and bars of at most a day open at whole multiples of their length."""
    return at_once(InsideDay(partition, series), frame)


CHECK = Check(
    name="inside_day",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates", "order_books", "tickers"),
    severity=Severity.BLOCK,
    description="Every row lies inside the UTC day, every bar on the grid of its timeframe.",
    run=inside_day,
    fold=InsideDay,
)
