"""Sorts the rows of a large day as `arrange.py` does, on disk: memory follows the piece, not the day.

Rows in order are written once. Others are read again in their sorted order; that takes some 24 bytes a row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crypto_assets.model import Dataset
from crypto_assets.rows.arrange import AS_PUBLISHED, Arrangement, order_of
from crypto_assets.rows.on_disk import PIECE_ROWS, RowsOnDisk, Spool
from crypto_assets.rows.row_keys import are_numbered, numbers, places_among_equals
from crypto_assets.rows.take import take_rows


class DayOnDisk:
    """Takes the rows of one day in pieces, in the order of their file."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._spool = Spool(dataset)
        self._numbered = True
        self._ascending = len(dataset.key) == 1
        self._last: tuple[int, int] | None = None

    @property
    def num_rows(self) -> int:
        return self._spool.num_rows

    def add(self, rows: pa.Table) -> None:
        """Append a piece; raises OutOfResources if the disk is full."""
        if not rows.num_rows:
            return
        times = numbers(rows.column(self._dataset.time_column))
        self._numbered &= not self._dataset.unnumbered_key or are_numbered(self._dataset, rows)
        if self._ascending and self._numbered:
            self._ascending = self._goes_on(numbers(rows.column(self._dataset.key[0])), times)
        self._spool.add(rows)

    def _goes_on(self, keys: np.ndarray, times: np.ndarray) -> bool:
        """Return whether keys rise and times do not fall, from the last row added before."""
        last, self._last = self._last, (int(keys[-1]), int(times[-1]))
        goes_on = last is None or (keys[0] > last[0] and times[0] >= last[1])
        return bool(goes_on and (keys[1:] > keys[:-1]).all() and (times[1:] >= times[:-1]).all())

    def arranged(self, *, newest_first: bool = False) -> tuple[RowsOnDisk, Arrangement]:
        """Return the rows in order and their order in the file; nothing may be added any more.

        `newest_first` as for `arrange.arranged`.
        """
        rows = self._spool.done()
        numbered = self._numbered
        if numbered and self._ascending:
            return rows, AS_PUBLISHED
        order, arrangement = order_of(rows.table, self._dataset, newest_first=newest_first)
        rows.give_back()
        if order is None and numbered:
            return rows, arrangement
        return self._again(rows, order), arrangement

    def _again(self, rows: RowsOnDisk, order: np.ndarray | None) -> RowsOnDisk:
        """Return rows written again in an order, those without numbers with their places."""
        spool = Spool(self._dataset)
        places = None if self._numbered else _Places(self._dataset)
        for start in range(0, rows.num_rows if order is None else len(order), PIECE_ROWS):
            if order is None:
                part = rows.table.slice(start, PIECE_ROWS)
            else:
                part = take_rows(rows.table, order[start : start + PIECE_ROWS])
            spool.add(part if places is None else places.in_piece(part))
            rows.give_back()
        return spool.done()


class _Places:
    """Counts the rows of one instant over pieces whose times ascend."""

    def __init__(self, dataset: Dataset) -> None:
        self._time, self._place = dataset.unnumbered_key
        self._last: int | None = None
        self._before = 0

    def in_piece(self, rows: pa.Table) -> pa.Table:
        times = numbers(rows.column(self._time))
        places = places_among_equals(times)
        if self._last is not None:
            places = np.where(times == self._last, places + self._before, places)
        self._last, self._before = int(times[-1]), int(places[-1]) + 1
        at = rows.schema.get_field_index(self._place)
        return rows.set_column(at, rows.schema.field(at), pa.array(places.astype(np.int32)))
