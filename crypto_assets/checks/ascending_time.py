"""Rows stand in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._times import epoch_us
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


def ascending_time(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """No row is earlier than the one before it."""
    times = epoch_us(frame[datasets.get(series.table).time_column])
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back) == 0:
        return Finding(True)
    place = int(back[0])
    return Finding(
        False,
        {
            "steps_back": len(back),
            "first": f"row {place + 1}: {_instant(times[place + 1])} after {_instant(times[place])}",
        },
    )


def _instant(us: np.int64) -> np.datetime64:
    return np.datetime64(int(us), "us")


CHECK = Check(
    name="ascending_time",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.BLOCK,
    description="No row is earlier than the one before it.",
    run=ascending_time,
)
