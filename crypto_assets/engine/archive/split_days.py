"""Splits the rows of archive files into days; rows at a seam go to the file that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.checks._grid import step_us
from crypto_assets.errors import InvalidRows
from crypto_assets.model import SHOWN_ROWS, Dataset, Partition, Series
from crypto_assets.model.epoch import DAY_US, microseconds
from crypto_assets.rows.arrange import Arranged, arranged, descents_over_ascents, row_text, shown


def split_days(
    series: Series, rows: pa.Table, key: str, period: tuple[date, date], days: Sequence[date]
) -> list[Arranged]:
    """Return the rows of each wanted day of an object, in order. Each day is checked by its own rows.

    A fault of one day does not affect the others. Rows of the day before or after the period are left to the files of those
    days and reported on the nearest day: from an object of many days all of them, from a daily one only bars beside the grid
    that reach over midnight. Other rows of another day stay in a daily object, so that its checks refuse them.

    Raises:
        InvalidRows: an object of many days with rows further outside its period.
    """
    dataset = datasets.get(series.table)
    times = rows.column(dataset.time_column).cast(pa.int64()).to_numpy()
    newest_first = descents_over_ascents(times) > 0
    if period[0] == period[1]:
        before, after = _over_midnight(series, times, period[0])
        if not (len(before) or len(after)):
            return [arranged(rows, dataset, newest_first=newest_first)]
        inside = np.delete(np.arange(len(times)), np.concatenate([before, after]))
        part = arranged(rows.take(pa.array(inside)), dataset, newest_first=newest_first)
        return [_with_seam(part, rows, np.concatenate([before, after]))]
    before, after = _outside(rows, times, key, period, dataset)
    ascending = not (times[1:] < times[:-1]).any()
    parts = []
    for day in days:
        partition = Partition("", day)
        start, end = microseconds(partition.start), microseconds(partition.end)
        if ascending:
            begin, stop = np.searchsorted(times, [start, end])
            mine = rows.slice(begin, stop - begin)
        else:
            mine = rows.take(pa.array(np.flatnonzero((times >= start) & (times < end))))
        seam = np.concatenate([before if day == period[0] else before[:0], after if day == period[1] else after[:0]])
        parts.append(_with_seam(arranged(mine, dataset, newest_first=newest_first), rows, seam))
    return parts


def _with_seam(part: Arranged, rows: pa.Table, seam: np.ndarray) -> Arranged:
    """Return a day with a note on the rows of the file that were left to the days beside it."""
    if not len(seam):
        return part
    return replace(
        part,
        arrangement=replace(part.arrangement, seam_rows=len(seam), seam_shown=shown(rows, seam[:SHOWN_ROWS])),
    )


def _over_midnight(series: Series, times: np.ndarray, day: date) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of bars beside the grid that open less than a bar's length before a day, or after it."""
    none = np.arange(0)
    if series.table != "ohlcv" or not len(times):
        return none, none
    start, end = microseconds(Partition("", day).start), microseconds(Partition("", day).end)
    if times.min() >= start and times.max() < end:
        return none, none
    step = step_us(series)
    beside = (times - start) % step != 0
    return (
        np.flatnonzero(beside & (times < start) & (times > start - step)),
        np.flatnonzero(beside & (times >= end) & (times < end + step)),
    )


def _outside(
    rows: pa.Table, times: np.ndarray, key: str, period: tuple[date, date], dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of rows of the day before a period and of the day after it; raises as `split_days`."""
    far = FarRows(key, period, dataset)
    far.add(rows, times)
    far.refuse()
    first, last = microseconds(Partition("", period[0]).start), microseconds(Partition("", period[1]).end)
    return np.flatnonzero(times < first), np.flatnonzero(times >= last)


@dataclass
class FarRows:
    """Rows of files of many days that are more than a day outside their period: the first one, and their number."""

    key: str
    period: tuple[date, date]
    dataset: Dataset
    count: int = 0
    first: str = ""

    def add(self, rows: pa.Table, times: np.ndarray, rows_before: int = 0) -> None:
        """Count the far ones among some rows.

        Args:
            times: of the rows, in microseconds since 1970.
            rows_before: the number of rows of the file before these.
        """
        first, last = (microseconds(Partition("", day).start) for day in self.period)
        far = np.flatnonzero((times < first - DAY_US) | (times >= last + 2 * DAY_US))
        if len(far) and not self.count:
            self.first = f"row {rows_before + far[0]}: {row_text(rows, self.dataset, int(far[0]))}"
        self.count += len(far)

    def refuse(self) -> None:
        """Raise InvalidRows if there are any."""
        if self.count:
            found = "1 row of another day" if self.count == 1 else f"{self.count:,} rows of other days"
            raise InvalidRows(
                f"{self.key}: expected times inside {self.period[0]} … {self.period[1]}, found {found}; the first is "
                f"{self.first}"
            )
