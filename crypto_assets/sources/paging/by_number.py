"""A walk by the number of the row, upwards, from the first row of a day to its end.

ccxt's own pagination is not used: it truncates silently, stalls on an hour without trades, and sorts ids as text.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import PermanentError
from crypto_assets.model import Partition, Series
from crypto_assets.model.epoch import microseconds
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.paging.rows_of_pages import Read, ints, last_time

_BACK = 100
"""Ids read before the first found id of a day: if they include the trade before midnight, no trade of the day is missing."""

_EMPTY_WINDOWS = 3


class NumberedPages(Protocol):
    """The requests of a feed whose rows are asked for by number."""

    @property
    def page_rows(self) -> int: ...
    @property
    def find_window(self) -> timedelta:
        """The longest span for `find`."""

    @property
    def contiguous_ids(self) -> bool:
        """Whether ids have no gaps."""

    def source_key(self, symbol: str) -> str: ...

    def by_id(self, symbol: str, first_id: int, day: datetime) -> Call:
        """Return the call for rows from an id on; `day` is their expected day."""

    def find(self, symbol: str, start: datetime, end: datetime) -> Call:
        """Return the call that finds the first id of [start, end)."""

    def found(self, answer: Any) -> int | None:
        """Return the first id in such an answer, or None if it has none."""

    def activity(self, symbol: str, start: datetime, end: datetime) -> Call:
        """Return the call that shows when in [start, end), at most a day, somebody traded."""

    def busy_from(self, answer: Any) -> datetime | None:
        """Return the start of the first hour with trades in such an answer, or None if it has none."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The names of the columns of a numbered series, and the last number that is stored (None: nothing is)."""

    id_column: str
    time_column: str
    last_id: int | None


def numbers_of(series: Series, stored: pa.Table) -> Numbers:
    """Return the numbers of a series; stored rows are in order."""
    dataset = datasets.get(series.table)
    (id_column,) = dataset.key
    last_id = stored.column(id_column)[-1].as_py() if stored.num_rows else None
    return Numbers(id_column, dataset.time_column, last_id)


def numbered(
    pages: NumberedPages, series: Series, partition: Partition, stored: pa.Table, now: datetime, read: Read
) -> Walk:
    """Ask for rows by id, from the first of the day (or after the stored ones) to its end, or to now.

    The day is complete when a row of the next day was seen, or when the day is over and there are no newer rows.

    Raises:
        PermanentError: existing ids are not served (old ids are not), or the pages do not advance.
    """
    names = numbers_of(series, stored)
    ended, until = now >= partition.end, min(now, partition.end)
    key, first, back = pages.source_key(partition.symbol), None, _BACK
    empty = stored.slice(0, 0)
    if names.last_id is None:
        first = yield from _find(pages, partition, now)
        if first is None:
            yield Page(empty, until)
            return
        cursor = max(0, first - back)
    else:
        cursor = names.last_id + 1
    while True:
        rows = read((yield pages.by_id(partition.symbol, cursor, partition.start)))
        if rows.num_rows == 0:
            if first is not None:
                raise _not_served(key, first, None)
            yield Page(empty, until)
            return
        ids, times = np.sort(ints(rows, names.id_column)), ints(rows, names.time_column)
        if ids[-1] < cursor:
            raise PermanentError(f"{key}: expected ids from {cursor} on, found {ids[0]} … {ids[-1]}")
        if first is not None:  # the beginning of the day is not proven yet
            if ids[0] > first or (pages.contiguous_ids and ids[0] > cursor and ids[0] > 1):
                raise _not_served(key, cursor, int(ids[0]))
            if times.min() >= microseconds(partition.start) and cursor > 0 and ids[0] > 1:
                back *= 10
                cursor = max(0, first - back)
                continue
            first, cursor = None, int(ids[0])
        hidden = int(ids[-1]) - cursor + 1 - len(np.unique(ids[ids >= cursor]))
        if hidden and pages.contiguous_ids:
            raise _not_served(key, cursor, int(ids[0]))
        cursor = int(ids[-1]) + 1
        complete = bool(times.max() >= microseconds(partition.end)) or (rows.num_rows < pages.page_rows and not ended)
        yield Page(rows, until if complete else last_time(rows, series, partition.start), hidden)
        if complete:
            return


def _find(pages: NumberedPages, partition: Partition, now: datetime) -> Generator[Call | Page, Any, int | None]:
    """Return the first id of a day, window by window; an empty hour only moves on to the next.

    After some empty windows it asks when there were trades at all: for a symbol that nobody trades any more, many are empty.
    """
    symbol, start, windows = partition.symbol, partition.start, 0
    while start < min(now, partition.end):
        if windows == _EMPTY_WINDOWS:
            busy = pages.busy_from((yield pages.activity(symbol, start, partition.end)))
            if busy is None:
                return None
            start = max(start, busy)
        windows += 1
        end = min(start + pages.find_window, partition.end)
        found = pages.found((yield pages.find(symbol, start, end)))
        if found is not None:
            return found
        start = end
    return None


def _not_served(key: str, wanted: int, found: int | None) -> PermanentError:
    answer = "none" if found is None else f"ids from {found} on"
    return PermanentError(
        f"{key}: expected rows from id {wanted} on without a gap, found {answer}; the exchange does not serve them any more, "
        "only the archive has them",
        wanted=wanted,
        found=found,
    )
