"""Rows of pages: which are inside a day, which bars are missing, when the last one was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.model import Series
from crypto_assets.model.epoch import at_microseconds, microseconds

Read = Callable[[Any], pa.Table]
"""Returns the rows of an answer, in the columns of the dataset."""


def missing_spans(stored: pa.Table, start: datetime, end: datetime, step: timedelta) -> list[tuple[datetime, datetime]]:
    """Return the spans [first, last) of [start, end) with bars that are not stored; `end` is on the grid.

    A stored bar beside the grid counts for the step that it opens in.
    """
    width = step // timedelta(microseconds=1)
    expected = np.arange(microseconds(start), microseconds(end), width)
    absent = expected[~np.isin(expected, ints(stored, "open_time") // width * width)]
    if len(absent) == 0:
        return []
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > width) + 1)
    return [(at_microseconds(int(run[0])), at_microseconds(int(run[-1]) + width)) for run in runs]


def on_grid(start: datetime, now: datetime, step: timedelta) -> datetime:
    """Return the last instant of the grid of steps from `start` that is not after `now`."""
    return start + (now - start) // step * step


def between(rows: pa.Table, series: Series, start: datetime, end: datetime) -> pa.Table:
    """Return the rows in [start, end)."""
    times = ints(rows, datasets.get(series.table).time_column)
    inside = (times >= microseconds(start)) & (times < microseconds(end))
    return rows if inside.all() else rows.filter(pa.array(inside))


def last_time(rows: pa.Table, series: Series, start: datetime) -> datetime:
    """Return the time of the last row; `start` if there are no rows."""
    latest = pc.max(rows.column(datasets.get(series.table).time_column).cast(pa.int64())).as_py()
    return start if latest is None else at_microseconds(latest)


def ints(rows: pa.Table, column: str) -> np.ndarray:
    """Return a column of integers or instants (microseconds) as numbers."""
    return rows.column(column).cast(pa.int64()).to_numpy()
