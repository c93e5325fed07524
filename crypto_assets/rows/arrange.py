"""The order of the rows of a day, proven by their keys, and exact doubles.

Exchanges publish files whose rows are not in order: of USD-M futures trades and aggregate trades two halves are
interleaved, or a file is sorted by nothing (binance-public-data #12, #288, #293, #301, #339). The exchange numbers its
trades one after the other, so their ids say how they followed each other, also inside one instant; bars follow by the time
they open. Rows are sorted by that key. Whether the times then ascend, which is the proof, is for the check
`ascending_time` to say: where time and id contradict each other the day is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from crypto_assets.model import SHOWN_ROWS, Dataset
from crypto_assets.model.correction import plain
from crypto_assets.rows.versions import different, key_text, numbers


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the rows of a day stood in the file that published them.

    `moved` counts rows that stood in another place among the rows of their day; `first_moved` describes the first of them.
    `doubles` counts rows that repeat another one in every column and were dropped; `double_rows` shows the first of these.
    `conflict` shows two rows of one key that differ, where there are any.
    `seam_rows` are rows of the day before or after the period of the file, which were left to that day's own file: so many
    in all, and the first of them in `seam_shown`.
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
    """The rows of a day by time and key, without exact doubles, and how they stood in the file."""

    rows: pa.Table
    arrangement: Arrangement


AS_PUBLISHED = Arrangement()
"""The rows stood in order in the file, none of them twice."""


def arranged(rows: pa.Table, dataset: Dataset) -> Arranged:
    """Return the rows of a day in the order of their key, without rows that repeat another one in every column.

    Rows that are in order already cost one comparison of neighbours, chunk by chunk, and no copy. Rows of one key with other
    values all stay, for `unique_key` to refuse.
    """
    key = dataset.key[0]
    if len(dataset.key) > 1 or (
        _ascends(rows.column(key), strictly=True)
        and (key == dataset.time_column or _ascends(rows.column(dataset.time_column), strictly=False))
    ):
        return Arranged(rows, AS_PUBLISHED)
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
    return Arranged(rows.take(pa.array(kept)) if len(places) or len(doubled) else rows, arrangement)


def _ascends(column: pa.ChunkedArray, *, strictly: bool) -> bool:
    """Return whether no value is smaller than the one before it; `strictly`: nor equal to it."""
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
    """Return the places in `order` of rows with the key of the row before them: equal ones, and ones that differ."""
    ordered = keys[order]
    places = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(places):
        return places, places
    one, other = rows.take(pa.array(order[places])), rows.take(pa.array(order[places + 1]))
    unequal = np.zeros(len(places), dtype=bool)
    for left, right in zip(one.columns, other.columns, strict=True):
        unequal |= different(left, right)
    return places[~unequal] + 1, places[unequal] + 1


def shown(rows: pa.Table, places: np.ndarray) -> tuple[Mapping[str, str], ...]:
    """Return some rows as text."""
    return tuple({name: plain(value) for name, value in row.items()} for row in rows.take(pa.array(places)).to_pylist())


def _described(rows: pa.Table, dataset: Dataset, place: int) -> str:
    """Return which row one is, from row 0 on: `row 7: trade_id 12 at 2024-01-01 00:00:01.5`."""
    return f"row {place}: {row_text(rows, dataset, place)}"


def row_text(rows: pa.Table, dataset: Dataset, place: int) -> str:
    """Return a row's key and time: `trade_id 12 at 2024-01-01 00:00:01.5`, `2024-01-01 00:05:00` for a bar."""
    time = plain(rows.column(dataset.time_column)[place].as_py())
    if dataset.key[0] == dataset.time_column:
        return time
    kind = rows.schema.field(dataset.key[0]).type
    return f"{dataset.key[0]} {key_text(rows.column(dataset.key[0])[place].as_py(), kind)} at {time}"
