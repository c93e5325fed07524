"""Rows stand in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._times import epoch_us, instant
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


class AscendingTime:
    """Looks at each row and the one before it; what it keeps is the time of the last row."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        self._column = datasets.get(series.table).time_column
        self._rows = 0
        self._last: int | None = None
        self._steps_back = 0
        self._first = ""

    def add(self, rows: pd.DataFrame) -> None:
        times = epoch_us(rows[self._column])
        if len(times) == 0:
            return
        if self._last is not None and times[0] < self._last:
            self._step_back(1, 0, times[0], self._last)
        back = times[1:] < times[:-1]
        if back.any():
            places = np.flatnonzero(back) + 1
            self._step_back(len(places), places[0], times[places[0]], times[places[0] - 1])
        self._rows += len(times)
        self._last = int(times[-1])

    def _step_back(self, count: int, place: int, later: int, earlier: int) -> None:
        self._steps_back += count
        self._first = self._first or f"row {self._rows + place}: {instant(later)} after {instant(earlier)}"

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        if self._steps_back == 0:
            return Finding(True)
        return Finding(False, {"steps_back": self._steps_back, "first": self._first})


def ascending_time(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """No row is earlier than the one before it."""
    return at_once(AscendingTime(partition, series), frame)


CHECK = Check(
    name="ascending_time",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates", "order_books", "tickers"),
    severity=Severity.BLOCK,
    description="No row is earlier than the one before it.",
    run=ascending_time,
    fold=AscendingTime,
)
