"""Walks through the pages of a REST API until a day is complete: by time for bars and events, by id for trades.

ccxt's own pagination is not used: it truncates silently, stalls on an hour without trades, and sorts ids as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.errors import InvalidRows, PermanentError
from crypto_assets.model import Partition, Series, bar_length
from crypto_assets.sources import Call, Rest

Ask = Callable[[Call], Any]

_BACK = 100
"""Ids read before the first found id of a day: if they include the trade before midnight, no trade of the day is missing."""

_EMPTY_WINDOWS = 3


@dataclass(slots=True)
class Reached:
    """The progress of a walk: `complete` when the whole day is proven to be read."""

    complete: bool = False
    missing_ids: int = 0


def bar_end(series: Series, opens: datetime) -> datetime:
    """Return the first instant after a bar."""
    if series.timeframe == "1mo":
        return (opens.replace(day=28) + timedelta(days=4)).replace(day=1)
    return opens + bar_length(series.timeframe or "")


def missing_spans(stored: pa.Table, start: datetime, end: datetime, step: timedelta) -> list[tuple[datetime, datetime]]:
    """Return the spans [first, last) of [start, end) with bars that are not stored; `end` is on the grid.

    A stored bar beside the grid counts for the step that it opens in.
    """
    width = step // timedelta(microseconds=1)
    expected = np.arange(_us(start), _us(end), width)
    absent = expected[~np.isin(expected, _ints(stored, "open_time") // width * width)]
    if len(absent) == 0:
        return []
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > width) + 1)
    return [(_at(start, run[0]), _at(start, run[-1] + width)) for run in runs]


def bars(
    ask: Ask,
    rest: Rest,
    series: Series,
    symbol: str,
    spans: list[tuple[datetime, datetime]],
    step: timedelta,
    reached: Reached,
) -> Iterator[pa.Table]:
    """Yield pages of bars that open in the spans; an empty window (an outage) only moves the cursor on."""
    key = rest.source_key(symbol)
    for first, end in spans:
        cursor = first
        while cursor < end:
            window_end = min(end, cursor + rest.page_rows * step)
            rows = rest.rows(key, ask(rest.by_time(symbol, cursor, window_end, (window_end - cursor) // step)))
            rows = _between(rows, series, cursor, window_end)
            cursor = window_end
            reached.complete = (first, end) == spans[-1] and cursor >= end
            yield rows
    reached.complete = True


def events(ask: Ask, rest: Rest, series: Series, symbol: str, partition: Partition, reached: Reached) -> pa.Table:
    """Return the events of a day; a page holds many times more than a day can have."""
    call = rest.by_time(symbol, partition.start, partition.end, rest.page_rows)
    rows = rest.rows(rest.source_key(symbol), ask(call))
    reached.complete = rows.num_rows < rest.page_rows
    return _between(rows, series, partition.start, partition.end)


def numbered(
    ask: Ask,
    rest: Rest,
    series: Series,
    symbol: str,
    partition: Partition,
    last_id: int | None,
    now: datetime,
    reached: Reached,
) -> Iterator[pa.Table]:
    """Yield pages of rows by id, from the first of the day (or after `last_id`) to its end, or to now.

    The day is complete when a row of the next day was seen, or when the day is over and there are no newer rows.

    Raises:
        PermanentError: existing ids are not served (old ids are not), or the pages do not advance.
    """
    schema = datasets.get(series.table)
    (id_column,) = schema.key
    ended = now >= partition.end
    key, first, back = rest.source_key(symbol), None, _BACK
    if last_id is None:
        first = _find(ask, rest, symbol, partition, now)
        if first is None:
            reached.complete = ended
            return
        cursor = max(0, first - back)
    else:
        cursor = last_id + 1
    while True:
        rows = rest.rows(key, ask(rest.by_id(symbol, cursor, partition.start)))
        if rows.num_rows == 0:
            if first is not None:
                raise _not_served(key, first, None)
            reached.complete = ended
            return
        ids, times = np.sort(_ints(rows, id_column)), _ints(rows, schema.time_column)
        if ids[-1] < cursor:
            raise PermanentError(f"{key}: expected ids from {cursor} on, found {ids[0]} … {ids[-1]}")
        if first is not None:  # the beginning of the day is not proven yet
            if ids[0] > first or (rest.contiguous_ids and ids[0] > cursor and ids[0] > 1):
                raise _not_served(key, cursor, int(ids[0]))
            if times.min() >= _us(partition.start) and cursor > 0 and ids[0] > 1:
                back *= 10
                cursor = max(0, first - back)
                continue
            first, cursor = None, int(ids[0])
        hidden = int(ids[-1]) - cursor + 1 - len(np.unique(ids[ids >= cursor]))
        if hidden and rest.contiguous_ids:
            raise _not_served(key, cursor, int(ids[0]))
        reached.missing_ids += hidden
        cursor = int(ids[-1]) + 1
        reached.complete = bool(times.max() >= _us(partition.end))
        yield rows
        if reached.complete:
            return
        if rows.num_rows < rest.page_rows and not ended:
            return


def _find(ask: Ask, rest: Rest, symbol: str, partition: Partition, now: datetime) -> int | None:
    """Return the first id of a day, window by window; an empty hour only moves on to the next.

    After some empty windows it asks when there were trades at all: for a symbol that nobody trades any more, many are empty.
    """
    start, windows = partition.start, 0
    while start < min(now, partition.end):
        if windows == _EMPTY_WINDOWS:
            busy = rest.busy_from(ask(rest.activity(symbol, start, partition.end)))
            if busy is None:
                return None
            start = max(start, busy)
        windows += 1
        end = min(start + rest.find_window, partition.end)
        found = rest.found(ask(rest.find(symbol, start, end)))
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


def merged(series: Series, key: str, tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables by key; a row that was received twice is kept once.

    Raises:
        InvalidRows: two rows of one key that differ.
    """
    (column,) = datasets.get(series.table).key
    rows = pa.concat_tables(tables, promote_options="none").combine_chunks()
    values = _ints(rows, column)
    if (np.diff(values) < 0).any():
        order = np.argsort(values, kind="stable")
        rows, values = rows.take(pa.array(order)), values[order]
    same = np.flatnonzero(values[1:] == values[:-1])
    if len(same) == 0:
        return rows
    for place in same:
        first, second = rows.slice(place, 1).to_pylist(), rows.slice(place + 1, 1).to_pylist()
        if first != second:
            raise InvalidRows(
                f"{key}: expected one row for {column} {values[place]}, found two that differ: {first[0]} and {second[0]}"
            )
    keep = np.ones(len(values), dtype=bool)
    keep[same + 1] = False
    return rows.filter(pa.array(keep))


def _between(rows: pa.Table, series: Series, start: datetime, end: datetime) -> pa.Table:
    times = _ints(rows, datasets.get(series.table).time_column)
    inside = (times >= _us(start)) & (times < _us(end))
    return rows if inside.all() else rows.filter(pa.array(inside))


def of_day(rows: pa.Table, series: Series, partition: Partition) -> pa.Table:
    """Return the rows of a partition."""
    return _between(rows, series, partition.start, partition.end)


def last_time(rows: pa.Table, series: Series, start: datetime) -> datetime:
    """Return the time of the last row; `start` if there are no rows."""
    latest = pc.max(rows.column(datasets.get(series.table).time_column).cast(pa.int64())).as_py()
    return start if latest is None else _at(start, latest)


def _ints(rows: pa.Table, column: str) -> np.ndarray:
    return rows.column(column).cast(pa.int64()).to_numpy()


def _us(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000)


def _at(near: datetime, us: int) -> datetime:
    """Return an instant from microseconds; exact, because it counts from a whole second."""
    start = near.replace(microsecond=0)
    return start + timedelta(microseconds=int(us) - _us(start))
