"""No two rows of a partition have the same key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._times import epoch_us
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


def unique_key(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Every row has a key of its own: open_time for bars, the exchange's id for trades."""
    (name,) = datasets.get(series.table).key
    column = frame[name]
    values = column.to_numpy() if column.dtype == np.int64 else epoch_us(column)
    # Rows arrive in order; only where they do not is the sort needed.
    steps = np.diff(values)
    if not (steps > 0).all():
        ordered = np.sort(values)
        double = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(double):
            return Finding(False, {"doubles": len(double), "first": f"{name} {ordered[double[0]]}"})
    return Finding(True)


CHECK = Check(
    name="unique_key",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.BLOCK,
    description="No two rows have the same key.",
    run=unique_key,
)
