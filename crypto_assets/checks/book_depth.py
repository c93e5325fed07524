"""Every snapshot of an order book has at least five levels on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._books import Tops, TopsFold
from crypto_assets.checks._columns import BOOK
from crypto_assets.checks._folds import at_once
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd

LEVELS = 5
"""The fewest levels that a partial-book stream sends of a side: Binance offers 5, 10 or 20 (`<symbol>@depth5`), Kraken 10
and more. With fewer levels the recorder lost some, or the market is thin enough to be worth a look."""


class BookDepth(TopsFold):
    """Counts the snapshots with too few levels on a side, and keeps the smallest number."""

    _thin = 0
    _fewest = (-1, -1)
    _first = ""

    def look(self, tops: Tops) -> None:
        fewest = int(tops.bid_levels.min()), int(tops.ask_levels.min())
        self._fewest = (
            fewest if self.snapshots == 0 else (min(fewest[0], self._fewest[0]), min(fewest[1], self._fewest[1]))
        )
        places = np.flatnonzero(np.minimum(tops.bid_levels, tops.ask_levels) < LEVELS)
        if len(places):
            self._thin += len(places)
            n = places[0]
            self._first = self._first or (
                f"{tops.at(n)}: {tops.bid_levels[n]} bids, {tops.ask_levels[n]} asks, expected {LEVELS} of each"
            )

    def result(self) -> Finding:
        bids, asks = self._fewest
        evidence = {"snapshots": self.snapshots, "fewest_bids": bids, "fewest_asks": asks}
        if self._thin == 0:
            return Finding(True, evidence)
        return Finding(False, {**evidence, "thin": self._thin, "first": self._first})


def book_depth(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every snapshot has at least five levels on both sides."""
    return at_once(BookDepth(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "thin" not in evidence:
        return f"every snapshot has at least {LEVELS} levels on both sides"
    return wrong_rows(evidence, f"with fewer than {LEVELS} levels on a side", "snapshot", "thin")


CHECK = Check(
    name="book_depth",
    columns=BOOK,
    severity=Severity.WARN,
    description=f"Every snapshot has at least {LEVELS} levels on both sides.",
    run=book_depth,
    fold=BookDepth,
    words=words,
)
