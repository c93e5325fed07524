"""Walks by time: bars step by step of the grid, and events that fit on one page a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pyarrow as pa

from crypto_assets.model import Partition, Series
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.paging.rows_of_pages import Read, between, last_time, missing_spans, on_grid


def bars(
    series: Series,
    partition: Partition,
    stored: pa.Table,
    now: datetime,
    *,
    step: timedelta,
    page_rows: int,
    call: Callable[[datetime, datetime, int], Call],
    read: Read,
) -> Walk:
    """Ask for the closed bars of a day that are not stored; an empty answer (an outage) only moves the cursor on.

    Args:
        call: returns the request for the bars of [start, end), so many at most.
    """
    end = min(on_grid(partition.start, now, step), partition.end)
    spans = missing_spans(stored, partition.start, end, step)
    for number, (first, last) in enumerate(spans):
        cursor = first
        while cursor < last:
            window_end = min(last, cursor + page_rows * step)
            rows = read((yield call(cursor, window_end, (window_end - cursor) // step)))
            rows = between(rows, series, cursor, window_end)
            cursor = window_end
            known = cursor if cursor < last else spans[number + 1][0] if number + 1 < len(spans) else end
            yield Page(rows, known)
    if not spans:
        yield Page(stored.slice(0, 0), end)


def events(
    series: Series, partition: Partition, now: datetime, *, page_rows: int, call: Callable[[], Call], read: Read
) -> Walk:
    """Ask for the events of a day with one request; a page holds many times more than a day can have."""
    found = read((yield call()))
    rows = between(found, series, partition.start, partition.end)
    whole = found.num_rows < page_rows
    yield Page(rows, min(now, partition.end) if whole else last_time(rows, series, partition.start))
