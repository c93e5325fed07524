"""Many keys in little room: as runs in which the last column of the key goes up by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def breaks(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return, for each row but the first, whether it begins a run.

    Args:
        columns: of the key, integers of one length. In a run all but the last stay as they are.
    """
    *outer, inner = columns
    begins = inner[1:] != inner[:-1] + 1
    for column in outer:
        begins |= column[1:] != column[:-1]
    return begins


class Keys:
    """The keys of all rows so far.

    Ids that follow each other, and the levels of an order book, take no room to speak of; where an exchange leaves numbers
    out an id takes eight bytes. They are needed only if ids turn out not to ascend, which nobody knows before the last.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, ...]] = []
        self._last: tuple[int, ...] | None = None
        self._ascending = True

    def add(self, columns: Sequence[np.ndarray]) -> None:
        """Take the keys of some rows, at least one: integers, a column after the other."""
        begins = breaks(columns)
        if not begins.any():
            heads, tails = [column[:1].copy() for column in columns], [column[-1:].copy() for column in columns]
        elif len(columns) == 1 and 2 * np.count_nonzero(begins) > len(begins):
            heads = tails = [columns[0].copy()]  # each id a run of its own
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
        """Return how many rows have a key that another has already, and the smallest such key (empty: none)."""
        if self._ascending:
            return 0, ()
        *outer, first, last = (np.concatenate(parts) for parts in zip(*self._runs, strict=True))
        order = np.lexsort((first, *reversed(outer)))
        outer, first, last = [column[order] for column in outer], first[order], last[order]
        changes = np.zeros(len(first), dtype=bool)
        for column in outer:
            changes[1:] |= column[1:] != column[:-1]
        group = np.cumsum(changes)
        # How far the runs before reach, in each group: as ranks, so that a later group is above all of an earlier one.
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
    """Return which keys come after the others, column by column."""
    later = keys[-1] > others[-1]
    for key, other in zip(reversed(keys[:-1]), reversed(others[:-1]), strict=True):
        later = (key > other) | ((key == other) & later)
    return later
