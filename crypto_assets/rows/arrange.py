"""Sort the rows of a day by their key, and drop exact duplicates.

Exchanges publish files whose rows are not in order: in USD-M futures trades and aggregate trades, two halves are interleaved
or the rows have no order at all (binance-public-data #12, #288, #293, #301, #339). The exchange numbers trades
consecutively: their ids prove the order, even within one instant; bars are ordered by opening time. Rows are sorted by that
key. Whether the times then ascend is judged by the check `ascending_time`: if time and id contradict each other the day is
refused.

Where the exchange does not number its rows, they are sorted by time, and rows of one instant stay in the order of the file:
it is the only order there is. Each row then gets its place among the rows of its instant, which completes the key. Two
such rows may be equal, for two equal trades are two trades; only rows with the same text of the exchange (`Dataset.text_id`)
are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from crypto_assets.model import SHOWN_ROWS, Dataset
from crypto_assets.model.correction import plain
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.rows.row_keys import are_numbered, numbers, places_among_equals
from crypto_assets.rows.take import take_rows
from crypto_assets.rows.text_codes import text_codes
from crypto_assets.rows.versions import different


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The order of a day's rows in the file that published them.

    `moved` counts rows in another position than their sorted one; `first_moved` describes the first of them. `doubles`
    counts rows that equal another one in every column and were dropped; `double_rows` shows the first of them. `conflict`
    shows two different rows with one key, if there are any. `seam_rows` counts rows of the day before or after the file's
    period, left to that day's own file; `seam_shown` shows the first of them.
    """

    moved: int = 0
    first_moved: str = ""
    doubles: int = 0
    double_rows: tuple[Mapping[str, str], ...] = ()
    conflict: tuple[Mapping[str, str], ...] = ()
    seam_rows: int = 0
    seam_shown: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Arranged:
    """The rows of a day sorted by time and key, without exact duplicates, and their order in the file; large days on disk."""

    rows: pa.Table | RowsOnDisk
    arrangement: Arrangement


AS_PUBLISHED = Arrangement()
"""The rows were in order in the file, without duplicates."""


def arranged(rows: pa.Table, dataset: Dataset, *, newest_first: bool = False) -> Arranged:
    """Return the rows of a day sorted by key, without rows that equal another one in every column.

    Rows without numbers are sorted by time, stable, and get their places. If their file has the newest row first, it is read
    backwards.

    Rows already in order cost one comparison of neighbours, chunk by chunk, and no copy. Different rows with one key all
    stay; `unique_key` refuses them.
    """
    kept, arrangement = order_of(rows, dataset, newest_first=newest_first)
    if kept is not None:
        rows = take_rows(rows, kept)
    if dataset.unnumbered_key and not are_numbered(dataset, rows):
        time, place = dataset.unnumbered_key
        at = rows.schema.get_field_index(place)
        places = pa.array(places_among_equals(numbers(rows.column(time))).astype(np.int32))
        rows = rows.set_column(at, rows.schema.field(at), places)
    return Arranged(rows, arrangement)


def descents_over_ascents(times: np.ndarray) -> int:
    """Return the number of times below the one before, less the number of times above it.

    More than 0: the file has its newest row first. Single rows may be out of order; nobody documents the order of a file.
    """
    return int(np.count_nonzero(times[1:] < times[:-1]) - np.count_nonzero(times[1:] > times[:-1]))


def order_of(rows: pa.Table, dataset: Dataset, *, newest_first: bool = False) -> tuple[np.ndarray | None, Arrangement]:
    """Return the positions of the rows of a day in their sorted order, without equal ones; None: all, as they are.

    `newest_first` as for `arranged`.
    """
    key = dataset.key[0]
    if dataset.unnumbered_key and not are_numbered(dataset, rows):
        return _by_time(rows, dataset, newest_first)
    if len(dataset.key) > 1 or (
        _ascends(rows.column(key), strictly=True)
        and (key == dataset.time_column or _ascends(rows.column(dataset.time_column), strictly=False))
    ):
        return None, AS_PUBLISHED
    keys = numbers(rows.column(key))
    order = np.argsort(keys, kind="stable")
    doubled, differing = _doubled(rows, keys, order)
    kept = np.delete(order, doubled)
    in_file = np.sort(kept)
    places = np.flatnonzero(kept != in_file)
    arrangement = Arrangement(
        moved=len(places),
        first_moved=_described(rows, dataset, int(in_file[places[0]])) if len(places) else "",
        doubles=len(doubled),
        double_rows=shown(rows, order[doubled[:SHOWN_ROWS]]),
        conflict=shown(rows, order[differing[0] - 1 : differing[0] + 1]) if len(differing) else (),
    )
    return (kept if len(places) or len(doubled) else None), arrangement


def _by_time(rows: pa.Table, dataset: Dataset, newest_first: bool) -> tuple[np.ndarray | None, Arrangement]:
    time, place = dataset.unnumbered_key
    doubled, differing = _same_text(rows.drop_columns([place]), dataset.text_id)
    conflict = shown(rows, differing)
    if not newest_first and not len(doubled) and _ascends(rows.column(time), strictly=False):
        return None, Arrangement(conflict=conflict)
    as_they_are = np.arange(rows.num_rows)
    kept = as_they_are[::-1] if newest_first else as_they_are
    if len(doubled):
        kept = kept[~np.isin(kept, doubled)]
    times = numbers(rows.column(time))
    order = kept[np.argsort(times[kept], kind="stable")]
    moved = np.flatnonzero(order != kept)
    arrangement = Arrangement(
        moved=len(moved),
        first_moved=_described(rows, dataset, int(kept[moved[0]])) if len(moved) else "",
        doubles=len(doubled),
        double_rows=shown(rows, doubled[:SHOWN_ROWS]),
        conflict=conflict,
    )
    return (None if np.array_equal(order, as_they_are) else order), arrangement


def _same_text(rows: pa.Table, text_id: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of rows that equal an earlier one with the same text, and of the first two that do not."""
    none = np.arange(0)
    if text_id is None or rows.column(text_id).null_count:
        return none, none
    codes = text_codes(rows.column(text_id))
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    if not (ordered[1:] == ordered[:-1]).any():
        return none, none
    doubled, differing = _doubled(rows, codes, order)
    if len(differing):  # two different texts may have the same code; then nothing is wrong
        texts = [take_rows(rows.select([text_id]), order[differing - back]).column(0) for back in (1, 0)]
        differing = differing[~different(*texts)]
    return np.sort(order[doubled]), order[differing[0] - 1 : differing[0] + 1] if len(differing) else none


def _ascends(column: pa.ChunkedArray, *, strictly: bool) -> bool:
    """Return whether no value is smaller than the one before; with `strictly`, nor equal to it."""
    compare = np.greater if strictly else np.greater_equal
    last: int | None = None
    for chunk in column.cast(pa.int64()).chunks:
        values = chunk.to_numpy()
        if not len(values):
            continue
        if last is not None and not compare(values[0], last):
            return False
        if not compare(values[1:], values[:-1]).all():
            return False
        last = int(values[-1])
    return True


def _doubled(rows: pa.Table, keys: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in `order` of rows with the key of the row before: equal rows, and different rows."""
    ordered = keys[order]
    places = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(places):
        return places, places
    one, other = take_rows(rows, order[places]), take_rows(rows, order[places + 1])
    unequal = np.zeros(len(places), dtype=bool)
    for left, right in zip(one.columns, other.columns, strict=True):
        unequal |= different(left, right)
    return places[~unequal] + 1, places[unequal] + 1


def shown(rows: pa.Table, places: np.ndarray) -> tuple[Mapping[str, str], ...]:
    """Return some rows as text."""
    return tuple({name: plain(value) for name, value in row.items()} for row in take_rows(rows, places).to_pylist())


def _described(rows: pa.Table, dataset: Dataset, place: int) -> str:
    """Describe a row by its position, from 0: `row 7: trade_id 12 at 2024-01-01 00:00:01.5`."""
    return f"row {place}: {row_text(rows, dataset, place)}"


def row_text(rows: pa.Table, dataset: Dataset, place: int) -> str:
    """Return a row's key and time: `trade_id 12 at 2024-01-01 00:00:01.5`, `2024-01-01 00:05:00` for a bar."""
    time = plain(rows.column(dataset.time_column)[place].as_py())
    number = rows.column(dataset.key[0])[place].as_py()
    if dataset.key[0] == dataset.time_column or number is None:
        return time
    return f"{dataset.key[0]} {number} at {time}"
