"""High is the highest and low the lowest of a bar's four prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import array_of

if TYPE_CHECKING:
    import pandas as pd


_PRICES = ("open", "high", "low", "close")


def ohlc_consistent(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """low ≤ open, close ≤ high in every bar.

    float64 keeps the order of two decimals or makes them equal: a correct bar never fails.
    """
    open_, high, low, close = (array_of(frame, name) for name in _PRICES)
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


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "bars" not in evidence:
        return "every open and close lies between low and high"
    return wrong_rows(evidence, "with a price outside low and high", "bar", "bars")


CHECK = Check(
    name="ohlc_consistent",
    columns=("open", "high", "low", "close"),
    severity=Severity.BLOCK,
    description="low ≤ open, close ≤ high in every bar.",
    run=ohlc_consistent,
    words=words,
)
