"""High is the highest and low the lowest of a bar's four prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


_PRICES = ("open", "high", "low", "close")


def ohlc_consistent(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """low ≤ open, close ≤ high in every bar.

    float64 keeps the order of two decimals or makes them equal, so a right bar never fails here.
    """
    open_, high, low, close = (frame[name].to_numpy() for name in _PRICES)
    wrong = np.flatnonzero((high < open_) | (high < close) | (low > open_) | (low > close))
    if len(wrong) == 0:
        return Finding(True)
    bar = frame.iloc[wrong[0]]
    return Finding(
        False,
        {
            "bars": len(wrong),
            "first": f"{bar['open_time']}: " + ", ".join(f"{name} {bar[name]:.12g}" for name in _PRICES),
        },
    )


CHECK = Check(
    name="ohlc_consistent",
    tables=("ohlcv",),
    severity=Severity.BLOCK,
    description="low ≤ open, close ≤ high in every bar.",
    run=ohlc_consistent,
)
