"""The best bid is below the best ask: crossing orders would have been matched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._books import Tops, TopsFold
from crypto_assets.checks._columns import BEST, BOOK
from crypto_assets.checks._folds import at_once
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


class BookNotCrossed(TopsFold):
    """Counts the snapshots whose best bid is not below the best ask."""

    _crossed = 0
    _first = ""

    def look(self, tops: Tops) -> None:
        places = np.flatnonzero(tops.bids >= tops.asks)
        if len(places):
            self._crossed += len(places)
            n = places[0]
            self._first = self._first or f"{tops.at(n)}: bid {tops.bids[n]:.12g}, ask {tops.asks[n]:.12g}"

    def result(self) -> Finding:
        evidence = {"snapshots": self.snapshots}
        if self._crossed == 0:
            return Finding(True, evidence)
        return Finding(False, {**evidence, "crossed": self._crossed, "first": self._first})


def book_not_crossed(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """In every snapshot every bid is below every ask."""
    return at_once(BookNotCrossed(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "crossed" not in evidence:
        return "every bid is below every ask"
    return wrong_rows(evidence, "with a bid that is not below every ask", "snapshot", "crossed")


CHECK = Check(
    name="book_not_crossed",
    columns=BOOK,
    or_columns=(BEST,),
    severity=Severity.BLOCK,
    description="Every bid of a snapshot is below every ask.",
    run=book_not_crossed,
    fold=BookNotCrossed,
    words=words,
)
