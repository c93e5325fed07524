"""Corrections: what changed in a day that is stored when another version of it takes its place.

Rows are compared by the key of their dataset, decimals exactly. Columns are taken one at a time, so that a day of millions of
trades does not stand in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from heapq import nsmallest
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.model import Dataset, Partition, Series, SourceFile

EXAMPLES = 6
"""Differing values that are kept with a correction, to be shown."""


class Rows(Protocol):
    """Rows that give their columns one at a time: `pa.Table`, or a file of the lake."""

    num_rows: int

    def column(self, name: str, /) -> pa.ChunkedArray:
        """Return one column."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number that changed: the row's key as text, the column, the value before and after."""

    key: str
    column: str
    before: Decimal
    after: Decimal

    @property
    def relative(self) -> float:
        """The change as a share of the value before; infinite where that was 0."""
        return float(abs(self.after - self.before) / abs(self.before)) if self.before else float("inf")

    def __str__(self) -> str:
        share = f" ({100 * self.relative:.3g} %)" if self.before else ""
        return f"{self.column} at {self.key}: {plain(self.before)} → {plain(self.after)}{share}"


@dataclass(frozen=True, slots=True)
class Example:
    """One difference as text: `what` is `added`, `removed` or the name of the column that changed."""

    key: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """How the rows of a new version differ from the former ones.

    `columns` are those with a changed value. `price` is the greatest relative change of a number that is no amount (prices,
    rates); `volume` the greatest absolute change in the first column of amounts that changed (`volume` before
    `quote_volume`). `examples` are the first differences in the order of the key. `grew` says that the former rows are the
    first of the new ones, in their order; `reordered` that the rows of both stand in another order.
    """

    added: int
    removed: int
    changed: int
    columns: tuple[str, ...] = ()
    price: Change | None = None
    volume: Change | None = None
    examples: tuple[Example, ...] = ()
    grew: bool = False
    reordered: bool = False

    @property
    def equal(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Correction:
    """A stored day that was replaced: by other rows, or by the same rows that were published again.

    `former_*` and `known_from` (since when its rows were known) are of the version before. `kept` is where its file lies in
    the lake now: None where the rows are the same, and where they are lost. `difference` is None where they are lost.
    `reordered` says that the same rows stand in another order: in the new file, or in the former one. `former_state` is None
    where the ledger did not know the version.
    """

    series: Series
    partition: Partition
    difference: Difference | None
    former: SourceFile
    former_sha256: str
    former_rows: int
    known_from: datetime | None
    source: SourceFile
    sha256: str
    rows: int
    kept: str | None
    reordered: bool = False
    former_state: str | None = None
    former_reason: str = ""
    former_until: datetime | None = None

    @property
    def changes_rows(self) -> bool:
        """Whether there is a former version with other rows, or may be one."""
        return self.difference is None or not self.difference.equal

    @property
    def text(self) -> str:
        """One line for people."""
        by = "" if self.former.source == self.source.source else f" ({self.former.source} → {self.source.source})"
        found = self.difference
        if found is None:
            return f"replaced{by}: {self.former_rows} rows, of which the file is damaged or gone, became {self.rows}"
        if found.equal:
            return (
                f"published again{by}, another order, same rows"
                if self.reordered
                else f"published again{by}, rows equal"
            )
        counts = {"added": found.added, "removed": found.removed, "changed": found.changed}
        text = f"rows {', '.join(f'{count} {what}' for what, count in counts.items() if count)}{by}"
        if found.columns:
            text += f"; columns {', '.join(found.columns)}"
        return text + "".join(f"; {change}" for change in (found.price, found.volume) if change)

    @property
    def markdown(self) -> str:
        """The line and the first differences as a table."""
        examples = self.difference.examples if self.difference else ()
        rows = [f"|{e.key}|{e.what}|{e.before}|{e.after}|" for e in examples]
        table = "\n\n|row|what|before|after|\n|-|-|-|-|\n" + "\n".join(rows) if rows else ""
        return self.text + table


def compare(former: Rows, new: Rows, dataset: Dataset) -> Difference:
    """Return how two versions of a partition differ. Keys are unique in each; the order of rows is not compared."""
    (key,) = dataset.key
    key_type = dataset.schema.field(key).type
    before, after = numbers(former.column(key)), numbers(new.column(key))
    old, fresh = matched(before, after)
    gone, come = others(old, len(before)), others(fresh, len(after))
    reordered = bool((fresh[1:] < fresh[:-1]).any())  # of the rows that both have, in the order of the former ones
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
        if field.name == key:
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
        n = _greatest(was, is_now, relative=not amount)
        change = Change(key_text(keys[n], key_type), field.name, was[n].as_py(), is_now[n].as_py())
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
        tuple(Example(key_text(k, key_type), *rest) for k, _, *rest in nsmallest(EXAMPLES, examples)),
        grew and not columns,
        reordered,
    )


def plain(value: Any) -> str:
    """Return a value of a row as text: decimals without trailing zeros, instants without the zone, which is UTC."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return str(value)


class _Shown:
    """The first rows that only one version has, and two of their columns: a price and an amount."""

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


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return keys, instants or ids, as int64."""
    return column.cast(pa.int64()).to_numpy()


def matched(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the keys that both have stand in each, in the order of `before`."""
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
    """Return the places below `count` that are not among these."""
    if len(places) == count:
        return np.arange(0)
    left = np.ones(count, bool)
    left[places] = False
    return np.flatnonzero(left)


def different(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    """Return where two columns of one length differ; decimals exactly, null is equal to null."""
    if pa.types.is_dictionary(one.type):
        one, other = one.cast(pa.string()), other.cast(pa.string())
    unequal = pc.not_equal(one, other)
    if unequal.null_count:
        unequal = pc.fill_null(unequal, pc.not_equal(pc.is_null(one), pc.is_null(other)))
    return unequal.to_numpy()


def _smallest(keys: np.ndarray) -> np.ndarray:
    """Return where the smallest keys are, in their order."""
    if len(keys) > EXAMPLES:
        few = np.argpartition(keys, EXAMPLES)[:EXAMPLES]
        return few[np.argsort(keys[few])]
    return np.argsort(keys)


_WIDE = pa.decimal256(39, 18)
"""Holds the difference of any two numbers of decimal128(38, 18)."""


def _greatest(before: pa.ChunkedArray, after: pa.ChunkedArray, *, relative: bool) -> int:
    """Return where the greatest change is; decimals are subtracted exactly, then compared as float64."""
    was = before.cast(_WIDE)
    size = np.abs(pc.subtract(after.cast(_WIDE), was).cast(pa.float64()).to_numpy())
    if relative:
        with np.errstate(divide="ignore"):
            size = size / np.abs(was.cast(pa.float64()).to_numpy())
    return int(size.argmax())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_text(key: int, kind: pa.DataType) -> str:
    """Return a key for people: an instant, or a number."""
    return plain(_EPOCH + timedelta(microseconds=int(key))) if pa.types.is_timestamp(kind) else str(key)
