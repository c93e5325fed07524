"""The spread between best bid and ask is not unusually wide for this symbol on this day.

The spread is (ask − bid) / mid. It jumps: in five recorded minutes of BTC/USDT:USDT with a median of 0.00016 % it
reached 0.039 % (243 times that). A multiple alone would warn every day. A book that lost levels has several per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._books import Tops, TopsFold
from crypto_assets.checks._columns import BEST, BOOK
from crypto_assets.checks._folds import at_once
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity, not_judged

if TYPE_CHECKING:
    import pandas as pd

_ALWAYS = 0.01
"""A spread of up to 1 % never fails."""

_FACTOR = 20
"""A spread may be this many times the day's median."""

_LEAST, _STEPS_A_DECADE, _DECADES = 1e-9, 100, 10
"""Spreads are counted in steps of 2.3 %, from 1e-9 to 10: the median of any number of them takes constant memory."""

_LOWER = _LEAST * 10 ** (np.arange(_STEPS_A_DECADE * _DECADES) / _STEPS_A_DECADE)


class SpreadBounded(TopsFold):
    """Counts the spreads in each step, and keeps the first snapshot of each."""

    def __init__(self, partition: Partition, series: Series) -> None:
        super().__init__(partition, series)
        self._counts = np.zeros(len(_LOWER), dtype=np.int64)
        self._firsts: dict[int, tuple[int, str]] = {}
        self._widest = 0.0

    def look(self, tops: Tops) -> None:
        both = np.flatnonzero((tops.bids > 0) & (tops.asks > 0) & (tops.asks < np.inf))
        bids, asks = tops.bids[both], tops.asks[both]
        # `book_not_crossed` reports a crossed book; here its spread does not count.
        spreads = np.maximum((asks - bids) / ((asks + bids) / 2), 0)
        if len(spreads) == 0:
            return
        steps = np.maximum(np.searchsorted(_LOWER, spreads, side="right") - 1, 0)
        self._counts = self._counts + np.bincount(steps, minlength=len(_LOWER))
        self._widest = max(self._widest, float(spreads.max()))
        firsts = {}
        for step, place in zip(*np.unique(steps, return_index=True), strict=True):
            if _LOWER[step] > _ALWAYS:
                words = f"{tops.at(both[place])}: bid {bids[place]:.12g}, ask {asks[place]:.12g}"
                firsts[int(step)] = (self.snapshots + int(both[place]), words)
        self._firsts = firsts | self._firsts

    def result(self) -> Finding:
        total = int(self._counts.sum())
        if total == 0:
            return not_judged("no snapshot has both sides")
        middle = int(np.searchsorted(np.cumsum(self._counts), (total + 1) // 2))
        median = float(_LOWER[middle])
        bound = max(_ALWAYS, _FACTOR * median)
        evidence = {"snapshots": self.snapshots, "median": _round(median), "widest": _round(self._widest)}
        wide = bound < _LOWER
        if not self._counts[wide].any():
            return Finding(True, evidence)
        _, first = min(self._firsts[step] for step in np.flatnonzero(wide & (self._counts > 0)).tolist())
        return Finding(
            False, {**evidence, "bound": _round(bound), "wide": int(self._counts[wide].sum()), "first": first}
        )


def _round(share: float) -> float:
    return float(f"{share:.3g}")


def spread_bounded(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """No spread is above 1 % and also above 20 times the median of the day."""
    return at_once(SpreadBounded(partition, series), frame)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "wide" not in evidence:
        return f"the widest spread is {100 * evidence['widest']:.3g} %"
    return wrong_rows(evidence, f"with a spread above {100 * evidence['bound']:.3g} %", "snapshot", "wide")


CHECK = Check(
    name="spread_bounded",
    columns=BOOK,
    or_columns=(BEST,),
    severity=Severity.WARN,
    description="No spread is above 1 % of the price and also above 20 times the day's median.",
    run=spread_bounded,
    fold=SpreadBounded,
    words=words,
)
