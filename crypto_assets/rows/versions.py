"""Compare two versions of a stored day: which rows and values changed.

Rows are compared by their dataset's key, decimals exactly. Columns are read one at a time, to avoid having a day of millions
of trades in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.model import Dataset
from crypto_assets.model.correction import Change, Difference, Example, plain
from crypto_assets.rows.row_keys import RowKeys, Rows

EXAMPLES = 6
"""Most differing values kept with a correction as examples."""


def compare(former: Rows, new: Rows, dataset: Dataset) -> Difference:
    """Return how two versions of a partition differ. Keys are unique in each; the order of rows is not compared."""
    key = RowKeys.of(dataset, former, new)
    before, after = key.numbers(former), key.numbers(new)
    old, fresh = matched(before, after)
    gone, come = others(old, len(before)), others(fresh, len(after))
    reordered = bool((fresh[1:] < fresh[:-1]).any())  # of the common rows, in the earlier order
    aligned = len(old) == len(before) == len(after) and bool((old == fresh).all())
    grew = not len(gone) and bool((fresh == np.arange(len(fresh))).all())
    changed = np.zeros(len(old), bool)
    columns: list[str] = []
    price: Change | None = None
    volume: Change | None = None
    examples: list[tuple[int, int, str, str, str]] = []
    sides = [
        _Shown("removed", former, before, gone),
        _Shown("added", new, after, come),
    ]
    for place, field in enumerate(dataset.schema):
        if field.name in key.columns:
            continue
        for side in sides:
            side.show(field)
        was, is_now = former.column(field.name), new.column(field.name)
        if not aligned:
            was, is_now = was.take(pa.array(old)), is_now.take(pa.array(fresh))
        where = np.flatnonzero(different(was, is_now))
        if not len(where):
            continue
        columns.append(field.name)
        changed[where] = True
        keys = before[old[where]]
        was, is_now = was.take(pa.array(where)), is_now.take(pa.array(where))
        examples += [
            (int(keys[n]), place, field.name, plain(was[n].as_py()), plain(is_now[n].as_py())) for n in _smallest(keys)
        ]
        if not pa.types.is_decimal(field.type):
            continue
        amount = field.name.endswith(("volume", "amount"))
        if amount and volume is not None:
            continue
        both = pc.and_(pc.is_valid(was), pc.is_valid(is_now))
        if not pc.any(both).as_py():  # one version was without the column
            continue
        was, is_now, keys = was.filter(both), is_now.filter(both), keys[both.to_numpy()]
        n = _greatest(was, is_now, relative=not amount)
        change = Change(key.text(keys[n]), field.name, was[n].as_py(), is_now[n].as_py())
        if amount:
            volume = change
        elif price is None or change.relative > price.relative:
            price = change
    examples += [line for side in sides for line in side.lines()]
    return Difference(
        len(come),
        len(gone),
        int(changed.sum()),
        tuple(columns),
        price,
        volume,
        tuple(Example(key.text(k), *rest) for k, _, *rest in nsmallest(EXAMPLES, examples)),
        grew and not columns,
        reordered,
    )


class _Shown:
    """The first rows that only one version has, with two of their columns: a price and an amount."""

    def __init__(self, what: str, rows: Rows, keys: np.ndarray, where: np.ndarray) -> None:
        self._what = what
        self._rows = rows
        self._keys = keys[where]
        self._first = [int(n) for n in _smallest(self._keys)]
        self._places = where[self._first]
        self._texts: dict[bool, list[str]] = {}

    def show(self, field: pa.Field) -> None:
        amount = field.name.endswith(("volume", "amount"))
        if self._first and pa.types.is_decimal(field.type) and amount not in self._texts:
            values = self._rows.column(field.name).take(pa.array(self._places)).to_pylist()
            self._texts[amount] = [f"{field.name} {plain(value)}" for value in values]

    def lines(self) -> Iterator[tuple[int, int, str, str, str]]:
        for n, place in enumerate(self._first):
            text = ", ".join(texts[n] for texts in self._texts.values())
            sides = (text, "") if self._what == "removed" else ("", text)
            yield (int(self._keys[place]), -1, self._what, *sides)


def matched(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the common keys in each, in the order of `before`."""
    if np.array_equal(before, after):
        everywhere = np.arange(len(before))
        return everywhere, everywhere
    if not len(after):
        return np.arange(0), np.arange(0)
    order = np.argsort(after, kind="stable")
    places = np.searchsorted(after, before, sorter=order)
    places[places == len(after)] = 0
    candidates = order[places]
    there = after[candidates] == before
    return np.flatnonzero(there), candidates[there]


def others(places: np.ndarray, count: int) -> np.ndarray:
    """Return the positions below `count` that are not in `places`."""
    if len(places) == count:
        return np.arange(0)
    left = np.ones(count, bool)
    left[places] = False
    return np.flatnonzero(left)


def different(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    """Return where two columns of one length differ; decimals exactly; two nulls are equal."""
    if pa.types.is_dictionary(one.type):
        one, other = one.cast(pa.string()), other.cast(pa.string())
    unequal = pc.not_equal(one, other)
    if unequal.null_count:
        unequal = pc.fill_null(unequal, pc.not_equal(pc.is_null(one), pc.is_null(other)))
    return unequal.to_numpy()


def _smallest(keys: np.ndarray) -> np.ndarray:
    """Return the positions of the smallest keys, in key order."""
    if len(keys) > EXAMPLES:
        few = np.argpartition(keys, EXAMPLES)[:EXAMPLES]
        return few[np.argsort(keys[few])]
    return np.argsort(keys)


_WIDE = pa.decimal256(39, 18)
"""Fits the difference of any two numbers of decimal128(38, 18)."""


def _greatest(before: pa.ChunkedArray, after: pa.ChunkedArray, *, relative: bool) -> int:
    """Return the position of the greatest change; decimals are subtracted exactly, then compared as float64."""
    was = before.cast(_WIDE)
    size = np.abs(pc.subtract(after.cast(_WIDE), was).cast(pa.float64()).to_numpy())
    if relative:
        with np.errstate(divide="ignore"):
            size = size / np.abs(was.cast(pa.float64()).to_numpy())
    return int(size.argmax())
