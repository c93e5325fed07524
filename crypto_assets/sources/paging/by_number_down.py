"""A walk by the number of the row, downwards: for an API that gives the rows before an instant or before a number.

A day that does not fit one page is read hour by hour, each from its end down to its beginning, so that a walk that ends early
has proven the hours before.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from crypto_assets.errors import PermanentError
from crypto_assets.model import Partition, Series
from crypto_assets.model.epoch import microseconds
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.paging.by_number import numbers_of
from crypto_assets.sources.paging.rows_of_pages import Read, between, ints

_WINDOW = timedelta(hours=1)

_FIRST_NUMBER = 1
"""The number of the first row that ever was; some exchanges begin with 0."""


class DescendingPages(Protocol):
    """The requests of a feed whose rows are asked for downwards; an answer may be in any order."""

    def source_key(self, symbol: str) -> str: ...

    def before_time(self, symbol: str, end: datetime) -> Call:
        """Return the call for the last rows before an instant."""

    def before_id(self, symbol: str, number: int) -> Call:
        """Return the call for the last rows before a number."""


def descending(
    pages: DescendingPages,
    series: Series,
    partition: Partition,
    stored: pa.Table,
    until: datetime | None,
    now: datetime,
    read: Read,
) -> Walk:
    """Ask for the rows of a day from `until` (or its beginning) to its end, or to now.

    An hour is complete when a row before it was seen, or the row after the last stored one, or the first row of all.

    Raises:
        PermanentError: the exchange does not serve rows that old, or the pages do not advance.
    """
    start, end = max(partition.start, until or partition.start), min(now, partition.end)
    if start >= end:
        yield Page(stored.slice(0, 0), end)
        return
    known = between(stored, series, partition.start, start)
    walk = _Down(pages, series, partition.symbol, numbers_of(series, known).last_id, read)
    newest = read((yield pages.before_time(partition.symbol, end)))
    if walk.reaches(newest, start):
        yield walk.page(newest, start, end)
        return
    last = start
    while start < end:
        last = min(last + _WINDOW, end)
        first = newest if last == end else read((yield pages.before_time(partition.symbol, last)))
        if first.num_rows == 0 and last < end:
            continue  # either trading begins later, then with the first number, or rows that old are not served
        yield (yield from walk.window(first, start, last))
        start = last


@dataclass(frozen=True, slots=True)
class _Down:
    """The way down from the end of a window to its beginning; `last_id` is the number of the last stored row."""

    pages: DescendingPages
    series: Series
    symbol: str
    last_id: int | None
    read: Read

    def window(self, first: pa.Table, start: datetime, end: datetime) -> Generator[Call | Page, Any, Page]:
        """Return the rows of [start, end), from the answer with the last ones."""
        found, rows = [first], first
        while not self.reaches(rows, start):
            if rows.num_rows == 0:
                raise self._not_served(start)
            lowest = int(self._ids(rows).min())
            rows = self.read((yield self.pages.before_id(self.symbol, lowest)))
            if rows.num_rows and int(self._ids(rows).max()) >= lowest:
                key = self.pages.source_key(self.symbol)
                raise PermanentError(f"{key}: expected numbers below {lowest}, found {int(self._ids(rows).max())}")
            found.append(rows)
        return self.page(pa.concat_tables(found), start, end)

    def reaches(self, rows: pa.Table, start: datetime) -> bool:
        """Return whether no row at or after `start` is missing before these rows."""
        if rows.num_rows == 0:
            return False
        lowest = int(self._ids(rows).min())
        if self.last_id is not None and lowest <= self.last_id + 1:
            return True
        return lowest <= _FIRST_NUMBER or int(self._times(rows).min()) < microseconds(start)

    def page(self, rows: pa.Table, start: datetime, end: datetime) -> Page:
        """Return the rows of [start, end), oldest first, which are all there are; the numbers between them are counted."""
        ids, times = self._ids(rows), self._times(rows)
        inside = (times >= microseconds(start)) & (times < microseconds(end))
        before = ids[times < microseconds(start)]
        mine = np.unique(ids[inside])
        hidden = 0
        if len(mine):
            floor = int(before.max()) if len(before) else self.last_id
            lowest = int(mine[0]) if floor is None else floor + 1
            hidden = max(0, int(mine[-1]) - lowest + 1 - len(mine))
        kept = np.flatnonzero(inside)
        return Page(rows.take(pa.array(kept[np.argsort(ids[kept], kind="stable")])), end, hidden)

    def _ids(self, rows: pa.Table) -> np.ndarray:
        return ints(rows, numbers_of(self.series, rows.slice(0, 0)).id_column)

    def _times(self, rows: pa.Table) -> np.ndarray:
        return ints(rows, numbers_of(self.series, rows.slice(0, 0)).time_column)

    def _not_served(self, start: datetime) -> PermanentError:
        return PermanentError(
            f"{self.pages.source_key(self.symbol)}: expected rows down to {start:%Y-%m-%d %H:%M} UTC, found none that old; "
            "the exchange does not serve them any more, only the archive has them"
        )
