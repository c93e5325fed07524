"""The levels of a snapshot are in order: from the best price on, without holes or duplicates, bids before asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._books import is_side
from crypto_assets.checks._columns import BOOK
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._times import instant
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import array_of, times_us

if TYPE_CHECKING:
    import pandas as pd


class LevelsOrdered:
    """Compares each row with the one before; keeps the last row."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        self._rows = 0
        self._last: tuple[np.ndarray, ...] = ()
        self._wrong = 0
        self._first = ""

    def add(self, rows: pd.DataFrame) -> None:
        if len(rows) == 0:
            return
        columns: tuple[np.ndarray, ...] = (
            times_us(rows, "book_time"),
            array_of(rows, "update_id"),
            is_side(rows["side"], "ask"),
            array_of(rows, "level"),
            array_of(rows, "price"),
        )
        if self._last:
            columns = tuple(np.concatenate(pair) for pair in zip(self._last, columns, strict=True))
        places = np.flatnonzero(self._misplaced(*columns))
        if len(places):
            self._wrong += len(places)
            row = self._rows + places[0] - (1 if self._last else 0)
            self._first = self._first or f"row {row}: {_words(columns, places[0])}"
        self._last = tuple(column[-1:] for column in columns)
        self._rows += len(rows)

    def _misplaced(
        self, times: np.ndarray, ids: np.ndarray, ask: np.ndarray, levels: np.ndarray, prices: np.ndarray
    ) -> np.ndarray:
        """Return the rows that do not follow the row before; the first row must be a level 0, or was judged already."""
        same_snapshot = (times[1:] == times[:-1]) & (ids[1:] == ids[:-1])
        same_side = same_snapshot & (ask[1:] == ask[:-1])
        worse = np.where(ask[1:], prices[1:] > prices[:-1], prices[1:] < prices[:-1])
        right = np.where(same_side, (levels[1:] - 1 == levels[:-1]) & worse, levels[1:] == 0)
        right &= ~(same_snapshot & ask[:-1] & ~ask[1:])  # bids after asks
        return np.append(not self._last and levels[0] != 0, ~right)

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        return Finding(False, {"rows": self._wrong, "first": self._first}) if self._wrong else Finding(True)


def _words(columns: tuple[np.ndarray, ...], place: int) -> str:
    """Describe a row that is out of order, and the row before it."""
    times, ids, ask, levels, prices = columns
    levels_here = [f"{'ask' if ask[n] else 'bid'} {levels[n]} at {prices[n]:.12g}" for n in (place, place - 1)]
    after = f", after {levels_here[1]}" if place else ""
    return f"{instant(times[place])}, update {ids[place]}: {levels_here[0]}{after}"


def levels_ordered(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Bids descend and asks ascend from level 0 without a hole."""
    return at_once(LevelsOrdered(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    return wrong_rows(evidence, "with a level out of order") if "rows" in evidence else "levels are in order"


CHECK = Check(
    name="levels_ordered",
    columns=BOOK,
    severity=Severity.BLOCK,
    description="Bids descend, asks ascend, levels go up from 0 without holes or duplicates.",
    run=levels_ordered,
    fold=LevelsOrdered,
    words=words,
)
