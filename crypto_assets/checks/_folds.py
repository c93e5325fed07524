"""Run checks on rows that arrive in pieces (`crypto_assets.model.Fold`), or on all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crypto_assets.model import Finding, Fold, Partition, Series

if TYPE_CHECKING:
    import pandas as pd

NO_ROWS = Finding(False, {"rows": 0})
"""A day without rows passes no check."""


def at_once(fold: Fold, rows: pd.DataFrame) -> Finding:
    """Return the finding of a fold on all rows of a partition: both ways give the same result."""
    fold.add(rows)
    return fold.finding()


class Gathered:
    """A check of a table with few rows a day: collects the pieces and judges them together."""

    def __init__(
        self,
        run: Callable[[pd.DataFrame, Partition, Series], Finding],
        partition: Partition,
        series: Series,
    ) -> None:
        self._run = run
        self._partition = partition
        self._series = series
        self._pieces: list[pd.DataFrame] = []

    def add(self, rows: pd.DataFrame) -> None:
        if len(rows):
            self._pieces.append(rows)

    def finding(self) -> Finding:
        import pandas as pd

        if not self._pieces:
            return NO_ROWS
        return self._run(pd.concat(self._pieces, ignore_index=True), self._partition, self._series)
