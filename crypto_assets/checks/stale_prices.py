"""Find a feed that keeps publishing one price at which nothing trades any more.

A run of bars with trades that all close at one price is compared with how often the symbol's close repeats otherwise: a
coarse tick repeats in many bars (ALGO/USDT:USDT in 43 of 100, at most eleven in a row in 2024-09), BTC/USDT in one of 180.
Bars without trades prove nothing and are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._times import instant
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity, not_judged
from crypto_assets.rows.day_frames import array_of, times_us

if TYPE_CHECKING:
    import pandas as pd

_BARS = 30
"""Shorter runs are ignored."""

_PROBABILITY = 1e-9
"""Chance of a run of that length anywhere in the day: one false alarm in a thousand years of a thousand symbols."""

_COARSE = 0.5
"""If the close repeats in more of the bars, runs are too dependent to be judged by a rate: a stable coin may stay at
1.0000 for hours."""

_NEAR = 60
"""Bars before and after a run that are compared separately: nights are quieter than the day."""

_SPANS = 20


def stale_prices(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """No 30 or more bars with trades close at one price, unless closes repeat that often in the rest of the day."""
    traded = np.flatnonzero(array_of(frame, "trade_count") > 0)
    closes = array_of(frame, "close")[traded]
    still = closes[1:] == closes[:-1]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], still, [False])).view(np.int8)))
    first, after = edges[0::2], edges[1::2]
    long = after - first >= _BARS - 1
    if not long.any():
        return Finding(True)
    first, after = first[long], after[long]
    steps = after - first
    outside = len(still) - steps
    if outside.min() < 2 * _NEAR:
        return not_judged(
            f"{steps.max() + 1} bars close at one price, and fewer than {2 * _NEAR} others show how often it repeats"
        )
    of_day = (still.sum() - steps + 1) / (outside + 2)
    if of_day.min() >= _COARSE:
        return not_judged(f"the close repeats in {of_day.min():.0%} of the bars: its tick is too coarse")
    rate = np.maximum(of_day, _rate_near(still, first, after))
    stale = (len(still) * rate**steps < _PROBABILITY) & (of_day < _COARSE)
    if not stale.any():
        return Finding(True)
    opens = times_us(frame, "open_time")[traded]
    spans = [f"{_clock(opens[a])}–{_clock(opens[b])}" for a, b in zip(first[stale], after[stale], strict=True)]
    start, steps, rate = first[stale][0], steps[stale], rate[stale]
    return Finding(
        False,
        {
            "bars": int(steps.sum()) + len(steps),
            "first": f"{instant(opens[start])}: {steps[0] + 1} bars close at {closes[start]:.12g}, "
            f"the close repeats in {rate[0]:.1%} of the others",
            "spans": spans[:_SPANS],
        },
    )


def _rate_near(still: np.ndarray, first: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return how often the close repeats just before and after each run, both together."""
    counts = np.concatenate(([0], np.cumsum(still)))
    begin, end = np.maximum(first - _NEAR, 0), np.minimum(after + _NEAR, len(still))
    repeated = counts[first] - counts[begin] + counts[end] - counts[after]
    return (repeated + 1) / (first - begin + end - after + 2)


def _clock(us: int) -> str:
    return str(instant(us))[11:19].removesuffix(":00")


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "bars" not in evidence:
        return "no price stays the same for long"
    return wrong_rows(evidence, "with trades that keep closing at one price", "bar", "bars")


CHECK = Check(
    name="stale_prices",
    columns=("open_time", "close", "trade_count"),
    severity=Severity.WARN,
    description="No long run of bars with trades closes at one price, unless that is usual for the symbol that day.",
    run=stale_prices,
    words=words,
)
