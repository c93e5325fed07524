"""Every row belongs to the partition's UTC day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._times import instant, start_us
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import DAY, Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import times_us

if TYPE_CHECKING:
    import pandas as pd

_MICROSECOND = timedelta(microseconds=1)


class InsideDay:
    """Judges each row alone; keeps counts only."""

    def __init__(self, partition: Partition, series: Series) -> None:
        self._column = datasets.get(series.table).time_column
        self._day = partition.day
        self._start = start_us(partition)
        self._rows = 0
        self._wrong = 0
        self._first = ""

    def add(self, rows: pd.DataFrame) -> None:
        times = times_us(rows, self._column)
        since = times - self._start
        wrong = (since < 0) | (since >= DAY // _MICROSECOND)
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
    """start ≤ time < end, in UTC. (`on_grid` checks whether a bar opens on the grid of its timeframe.)"""
    return at_once(InsideDay(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    return wrong_rows(evidence, "of another day") if "rows" in evidence else "every row is inside the day"


CHECK = Check(
    name="inside_day",
    severity=Severity.BLOCK,
    description="Every row is inside the UTC day.",
    words=words,
    run=inside_day,
    fold=InsideDay,
)
