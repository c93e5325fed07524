"""Splits the rows of large archive files into days, in pieces and on disk; the rules are those of `split_days.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.engine.archive.split_days import FarRows
from crypto_assets.model import SHOWN_ROWS, Partition, Series
from crypto_assets.model.epoch import DAY_US, day_at, microseconds
from crypto_assets.rows.arrange import Arranged, descents_over_ascents, shown
from crypto_assets.rows.arrange_on_disk import DayOnDisk
from crypto_assets.rows.numbered import NUMBERED
from crypto_assets.rows.row_keys import numbers
from crypto_assets.rows.take import take_rows


class SplitOnDisk:
    """Takes the rows of files in pieces; bars of one day, which are never that many, are left to `split_days.py`."""

    def __init__(self, series: Series, key: str, period: tuple[date, date], days: Sequence[date]) -> None:
        self._dataset = datasets.get(series.table)
        self._period, self._days = period, days
        self._number = NUMBERED.get(series.table)
        self._parts = {day: DayOnDisk(self._dataset) for day in days}
        self._before, self._after = _Seam(), _Seam()
        self._far = FarRows(key, period, self._dataset)
        self._outline: list[pa.Table] = []
        self._rows = self._descents_over_ascents = 0
        self._last_time: int | None = None

    def add(self, rows: pa.Table) -> None:
        """Append a piece; raises OutOfResources if the disk for temporary files is full."""
        times = numbers(rows.column(self._dataset.time_column))
        if not len(times):
            return
        with_last = times if self._last_time is None else np.concatenate([[self._last_time], times])
        self._descents_over_ascents += descents_over_ascents(with_last)
        self._last_time = int(times[-1])
        if self._period[0] == self._period[1]:
            self._take(self._days[0], rows)
        else:
            start = microseconds(Partition("", self._period[0]).start)
            end = microseconds(Partition("", self._period[1]).end)
            self._far.add(rows, times, self._rows)
            self._before.add(rows, np.flatnonzero(times < start))
            self._after.add(rows, np.flatnonzero(times >= end))
            days = times // DAY_US
            for day in np.unique(days):
                here = np.flatnonzero(days == day)
                run = here[-1] - here[0] + 1 == len(here)
                self._take(
                    day_at(int(day) * DAY_US),
                    rows.slice(here[0], len(here)) if run else take_rows(rows, here),
                )
        self._rows += rows.num_rows

    def _take(self, day: date, rows: pa.Table) -> None:
        self._outline.append(self._ends(rows))
        if (part := self._parts.get(day)) is not None:
            part.add(rows)

    def _ends(self, rows: pa.Table) -> pa.Table:
        """Return the earliest and the latest row, and those with the smallest and the largest number, in their order."""
        names = [self._dataset.time_column, *([self._number] if self._number else [])]
        columns = [numbers(rows.column(name)) for name in names if not rows.column(name).null_count]
        places = sorted({int(find(column)) for column in columns for find in (np.argmin, np.argmax)})
        return take_rows(rows, np.array(places))

    def outline(self) -> pa.Table:
        """Return a few rows of each piece of each day, in file order, as `ReadFiles.rows` describes them."""
        return pa.concat_tables(self._outline) if self._outline else self._dataset.schema.empty_table()

    def days(self) -> list[Arranged]:
        """Return the rows of each wanted day; nothing may be added any more.

        Raises:
            InvalidRows: files of many days have rows further outside of their period than a day.
        """
        self._far.refuse()
        return list(self._arranged(self._days))

    def _arranged(self, days: Iterable[date]) -> Iterable[Arranged]:
        for day in days:
            rows, arrangement = self._parts.pop(day).arranged(newest_first=self._descents_over_ascents > 0)
            seams = [
                seam
                for seam, edge in zip((self._before, self._after), self._period, strict=True)
                if day == edge and seam.count
            ]
            if seams:
                first = pa.concat_tables([seam.first for seam in seams]).slice(0, SHOWN_ROWS)
                arrangement = replace(
                    arrangement,
                    seam_rows=sum(seam.count for seam in seams),
                    seam_shown=shown(first, np.arange(first.num_rows)),
                )
            yield Arranged(rows, arrangement)


class _Seam:
    """Rows of the day before a period, or after it: their number, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: pa.Table = None

    def add(self, rows: pa.Table, places: np.ndarray) -> None:
        if not len(places):
            return
        if self.count < SHOWN_ROWS:
            more = rows.take(pa.array(places[: SHOWN_ROWS - self.count]))
            self.first = more if self.first is None else pa.concat_tables([self.first, more])
        self.count += len(places)
