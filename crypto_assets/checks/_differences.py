"""Compare two tables with one key, exactly: rows that only one has, and values that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.model import SHOWN_ROWS, Finding, Series, not_judged
from crypto_assets.model.correction import plain
from crypto_assets.rows.row_keys import RowKeys
from crypto_assets.rows.versions import different, matched, others


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences between the rows of two tables.

    `common` has the positions of the shared rows in each table. `columns` has, for each column with differing values, which
    of the shared rows differ. `only_here` and `only_there` are positions in their tables.
    """

    key: RowKeys
    here: pa.Table
    there: pa.Table
    common: tuple[np.ndarray, np.ndarray]
    only_here: np.ndarray
    only_there: np.ndarray
    columns: Mapping[str, np.ndarray]

    @property
    def equal(self) -> bool:
        return not (len(self.only_here) or len(self.only_there) or self.columns)

    @property
    def changed(self) -> int:
        """The number of shared rows with a differing value."""
        return len(np.unique(np.concatenate(list(self.columns.values())))) if self.columns else 0

    def counts(self) -> dict[str, Any]:
        """Return how many rows were compared and how they differ."""
        columns = {name: len(rows) for name, rows in self.columns.items()}
        return {
            "compared": len(self.common[0]) + len(self.only_here) + len(self.only_there),
            "only_here": len(self.only_here),
            "only_there": len(self.only_there),
            "changed": self.changed,
            **({"columns": columns} if columns else {}),
        }

    def values(self, column: str, most: int | None = None) -> Iterator[tuple[int, Any, Any]]:
        """Yield key and both values of the shared rows that differ in a column, in key order.

        Args:
            most: the largest number to yield; default: all.
        """
        rows = self.columns[column]
        keys = self.key.numbers(self.here)[self.common[0][rows]]
        order = np.argsort(keys, kind="stable")[:most]
        here, there = (pa.array(places[rows[order]]) for places in self.common)
        yield from zip(
            keys[order].tolist(),
            self.here.column(column).take(here).to_pylist(),
            self.there.column(column).take(there).to_pylist(),
            strict=True,
        )

    def shown(self, here: str, there: str) -> list[dict[str, str]]:
        """Return the first differences in key order as rows for people: key, column and both values.

        A row that only one table has is shown whole, as the column `row`.

        Args:
            here: name of the first table.
            there: name of the second table.
        """
        lines = [(key, -1, "row", text, "") for key, text in _whole_rows(self.here, self.key, self.only_here)]
        lines += [(key, -1, "row", "", text) for key, text in _whole_rows(self.there, self.key, self.only_there)]
        for column in self.columns:
            place = self.here.column_names.index(column)
            lines += [(key, place, column, plain(a), plain(b)) for key, a, b in self.values(column, SHOWN_ROWS)]
        return [
            {self.key.name: self.key.text(key), "column": column, here: one, there: other}
            for key, _, column, one, other in sorted(lines)[:SHOWN_ROWS]
        ]


def differences(here: pa.Table, there: pa.Table, key: RowKeys, columns: Sequence[str] | None = None) -> Differences:
    """Return how two tables differ. Keys are unique in each; row order is not compared.

    Args:
        columns: compared besides the key; default: all of the first table.
    """
    one, other = key.numbers(here), key.numbers(there)
    common = matched(one, other)
    aligned = all(
        np.array_equal(places, np.arange(len(rows))) for places, rows in zip(common, (one, other), strict=True)
    )
    found: dict[str, np.ndarray] = {}
    for name in columns or [name for name in here.column_names if name not in key.columns]:
        left, right = here.column(name), there.column(name)
        if not aligned:
            left, right = left.take(pa.array(common[0])), right.take(pa.array(common[1]))
        rows = np.flatnonzero(different(left, right))
        if len(rows):
            found[name] = rows
    return Differences(key, here, there, common, others(common[0], len(one)), others(common[1], len(other)), found)


def whole_day(series: Series, pieces: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of all pieces as one table, without a copy."""
    return pa.concat_tables([datasets.get(series.table).schema.empty_table(), *pieces])


def same_rows(mine: pa.Table, theirs: pa.Table, series: Series, names: tuple[str, str]) -> Finding:
    """Return whether two sources have the same rows of a day, and which rows and values differ.

    Args:
        names: names of the sources, for the rows that are shown.
    """
    if not theirs.num_rows:
        return not_judged(f"{names[1]} has no rows of the day")
    found = differences(mine, theirs, RowKeys.of(datasets.get(series.table), mine, theirs))
    evidence = found.counts()
    return Finding(found.equal, evidence if found.equal else evidence | {"differences": found.shown(*names)})


def has_one_key(series: Series) -> bool:
    """Return whether one number identifies a row (`RowKeys`); rows are matched by it."""
    return len(datasets.get(series.table).key) == 1


def _whole_rows(table: pa.Table, key: RowKeys, places: np.ndarray) -> Iterator[tuple[int, str]]:
    """Yield the first of some rows by key, as text."""
    keys = key.numbers(table)[places]
    order = np.argsort(keys, kind="stable")[:SHOWN_ROWS]
    rows = table.drop_columns(list(key.columns)).take(pa.array(places[order])).to_pylist()
    for number, row in zip(keys[order].tolist(), rows, strict=True):
        yield number, ", ".join(f"{name} {plain(value)}" for name, value in row.items() if value is not None)
