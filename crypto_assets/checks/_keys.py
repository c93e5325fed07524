"""A compact set of keys: stored as runs in which the last key column increases by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def breaks(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return, for each row after the first, whether a new run begins there.

    Args:
        columns: the key columns, integers of one length. Within a run all but the last are constant.
    """
    *outer, inner = columns
    begins = inner[1:] != inner[:-1] + 1
    for column in outer:
        begins |= column[1:] != column[:-1]
    return begins


def whole_numbers(column: pd.Series) -> np.ndarray:
    """Return ids as int64; a missing one, which the contract refuses, is -1."""
    found: np.ndarray = (column.fillna(-1) if column.hasnans else column).to_numpy(dtype=np.int64)
    return found


class Keys:
    """The keys of all rows added.

    Consecutive ids, and the levels of an order book, need almost no memory; an id after a gap needs eight bytes. The keys
    are needed only if ids are not ascending, which is not known before the last row.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, ...]] = []
        self._last: tuple[int, ...] | None = None
        self._ascending = True

    def add(self, columns: Sequence[np.ndarray]) -> None:
        """Add the keys of at least one row: integers, one array for each column."""
        begins = breaks(columns)
        if not begins.any():
            heads, tails = [column[:1].copy() for column in columns], [column[-1:].copy() for column in columns]
        elif len(columns) == 1 and 2 * np.count_nonzero(begins) > len(begins):
            heads = tails = [columns[0].copy()]  # each id is its own run
        else:
            places = np.flatnonzero(begins)
            heads = [np.append(column[0], column[places + 1]) for column in columns]
            tails = [np.append(column[places], column[-1]) for column in columns]
        if self._ascending:
            joined = self._last is None or self._last < tuple(int(column[0]) for column in heads)
            self._ascending = joined and bool(_later([c[1:] for c in heads], [c[:-1] for c in tails]).all())
        self._last = tuple(int(column[-1]) for column in tails)
        self._runs.append((*heads, tails[-1]))

    def doubles(self) -> tuple[int, tuple[int, ...]]:
        """Return how many rows repeat an earlier key, and the smallest repeated key (empty if none)."""
        if self._ascending:
            return 0, ()
        *outer, first, last = (np.concatenate(parts) for parts in zip(*self._runs, strict=True))
        order = np.lexsort((first, *reversed(outer)))
        outer, first, last = [column[order] for column in outer], first[order], last[order]
        changes = np.zeros(len(first), dtype=bool)
        for column in outer:
            changes[1:] |= column[1:] != column[:-1]
        group = np.cumsum(changes)
        # How far the earlier runs reach, in each group: as ranks, with every later group above all earlier ones.
        values, ranks = np.unique(last, return_inverse=True)
        reach = values[np.maximum.accumulate(group * len(values) + ranks) % len(values)]
        covered = np.minimum(last[1:], reach[:-1]) - first[1:] + 1
        covered[changes[1:] | (covered < 0)] = 0
        places = np.flatnonzero(covered)
        if len(places) == 0:
            return 0, ()
        place = places[0] + 1
        return int(covered.sum()), (*(int(column[place]) for column in outer), int(first[place]))


def _later(keys: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Return which keys are greater than the others, compared column by column."""
    later = keys[-1] > others[-1]
    for key, other in zip(reversed(keys[:-1]), reversed(others[:-1]), strict=True):
        later = (key > other) | ((key == other) & later)
    return later
