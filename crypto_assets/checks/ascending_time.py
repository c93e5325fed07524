"""Rows are in time order, and rows with numbers in their order.

Rows in another order in the file are sorted by id before this check (`crypto_assets.rows.arrange`); then their times must
ascend too. If they do not, time and id contradict each other, and nothing tells which is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._keys import whole_numbers
from crypto_assets.checks._times import instant
from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import times_us
from crypto_assets.sources.published import dataset_of

if TYPE_CHECKING:
    import pandas as pd


class AscendingTime:
    """Compares each row with the one before; keeps the last row's time and id."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        dataset = dataset_of(series)
        self._time = dataset.time_column
        self._id = dataset.key[0] if len(dataset.key) == 1 and dataset.key[0] != self._time else None
        self._rows = 0
        self._last: tuple[int, int | None] | None = None
        self._steps_back = 0
        self._first = ""

    def add(self, rows: pd.DataFrame) -> None:
        times = times_us(rows, self._time)
        if len(times) == 0:
            return
        ids = None if self._id is None else whole_numbers(rows[self._id])
        if self._last is not None:
            time, number = self._last
            if times[0] < time or (ids is not None and number is not None and ids[0] < number):
                self._step_back(1, 0, self._text(times[0], ids, 0), self._text(time, None, 0, number))
        back = times[1:] < times[:-1]
        if ids is not None:
            back |= ids[1:] < ids[:-1]
        if back.any():
            places = np.flatnonzero(back) + 1
            here, before = int(places[0]), int(places[0]) - 1
            self._step_back(
                len(places), here, self._text(times[here], ids, here), self._text(times[before], ids, before)
            )
        self._rows += len(times)
        self._last = int(times[-1]), None if ids is None else int(ids[-1])

    def _text(self, time: int, ids: np.ndarray | None, place: int, number: int | None = None) -> str:
        number = number if ids is None else int(ids[place])
        return str(instant(time)) if number is None else f"{self._id} {number} at {instant(time)}"

    def _step_back(self, count: int, place: int, later: str, earlier: str) -> None:
        self._steps_back += count
        self._first = self._first or f"row {self._rows + place}: {later} after {earlier}"

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        if self._steps_back == 0:
            return Finding(True)
        return Finding(False, {"steps_back": self._steps_back, "first": self._first})


def ascending_time(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """No row has an earlier time or a smaller id than the row before."""
    return at_once(AscendingTime(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:
    if "steps_back" not in evidence:
        return "rows are in time order"
    dataset = dataset_of(series)
    why = "times repeat" if dataset.key[0] == dataset.time_column else "times and ids contradict each other"
    return f"out of order, and {why}: the rows cannot be sorted; the first: {evidence['first']}"


CHECK = Check(
    name="ascending_time",
    severity=Severity.BLOCK,
    description="No row is earlier than the one before it, and ids ascend with the times.",
    words=words,
    run=ascending_time,
    fold=AscendingTime,
)
