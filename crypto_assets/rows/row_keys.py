"""The key of rows as one integer each: an id, an instant, or an instant and the place among the rows of that instant.

Rows with numbers and rows without are told apart by their columns, not by their exchange: the key column of numbers is null
throughout where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from crypto_assets.model import Dataset
from crypto_assets.model.correction import plain
from crypto_assets.model.epoch import at_microseconds

_PLACE_BITS = 26
_SPAN_US = 1 << (63 - _PLACE_BITS)
"""38 hours; rows that are compared are of one UTC day."""


class Rows(Protocol):
    """Rows with access to one column at a time: `pa.Table`, or a file of the lake."""

    num_rows: int

    def column(self, name: str, /) -> pa.ChunkedArray:
        """Return one column."""


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Turns the key of rows into integers, which ascend with the key, and back into text.

    `base_us` is an instant before all rows; only for keys of an instant and a place.
    """

    columns: tuple[str, ...]
    is_instant: bool
    base_us: int = 0

    @classmethod
    def of(cls, dataset: Dataset, *tables: Rows) -> RowKeys:
        """Return the key that rows of a dataset have: that of numbered rows, if each of them has a number.

        Raises:
            ValueError: the dataset's key is more than one column, and it has no other.
        """
        if not dataset.unnumbered_key or are_numbered(dataset, *tables):
            (key,) = dataset.key
            return cls(dataset.key, pa.types.is_timestamp(dataset.column(key).type))
        first = [int(times.min()) for table in tables if len(times := numbers(table.column(dataset.time_column)))]
        return cls(dataset.unnumbered_key, True, min(first, default=0))

    @property
    def name(self) -> str:
        """The column of the key; of an instant and a place, the instant."""
        return self.columns[0]

    def numbers(self, rows: Rows) -> np.ndarray:
        """Return the key of each row as int64.

        Raises:
            ValueError: the rows are of more than a day, or one instant has more than 67 million.
        """
        first = numbers(rows.column(self.columns[0]))
        if len(self.columns) == 1:
            return first
        column = rows.column(self.columns[1])
        place = places_among_equals(first) if column.null_count else numbers(column)
        since = first - self.base_us
        if len(since) and (since.max() >= _SPAN_US or place.max() >= 1 << _PLACE_BITS):
            raise ValueError(f"expected rows of one day with at most {1 << _PLACE_BITS:,} at one instant, found others")
        return (since << _PLACE_BITS) + place

    def text(self, key: int) -> str:
        """Return a key as text: `12`, `2024-01-01 00:05:00`, `2024-01-01 00:05:00 (3)` for the third row of an instant."""
        if len(self.columns) == 1:
            return text_of_instant(key) if self.is_instant else str(key)
        time = text_of_instant((int(key) >> _PLACE_BITS) + self.base_us)
        return f"{time} ({(int(key) & ((1 << _PLACE_BITS) - 1)) + 1})"


def are_numbered(dataset: Dataset, *tables: Rows) -> bool:
    """Return whether each row has a value in the dataset's key column, and that is a number."""
    return dataset.key != dataset.unnumbered_key and not any(
        table.column(dataset.key[0]).null_count for table in tables
    )


def places_among_equals(ascending: np.ndarray) -> np.ndarray:
    """Return the place of each value among the equal ones before and after it, from 0."""
    there = np.arange(len(ascending))
    begins = np.ones(len(ascending), dtype=bool)
    begins[1:] = ascending[1:] != ascending[:-1]
    return there - np.maximum.accumulate(np.where(begins, there, 0))


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return keys, instants or ids, as int64."""
    return column.cast(pa.int64()).to_numpy()


def text_of_instant(us: int) -> str:
    """Return microseconds since 1970 as text, without the zone."""
    return plain(at_microseconds(int(us)))
