"""Every row belongs to the partition's UTC day, and every bar to the grid of its timeframe."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._times import epoch_us, start_us
from crypto_assets.model import DAY, Check, Finding, Partition, Series, Severity, bar_length

if TYPE_CHECKING:
    import pandas as pd

_MICROSECOND = timedelta(microseconds=1)


def inside_day(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """start ≤ time < end, and bars of at most a day open at whole multiples of their length."""
    times = epoch_us(frame[datasets.get(series.table).time_column])
    since = times - start_us(partition)
    wrong = (since < 0) | (since >= DAY // _MICROSECOND)
    if series.timeframe and series.timeframe != "1mo" and bar_length(series.timeframe) <= DAY:
        wrong |= since % (bar_length(series.timeframe) // _MICROSECOND) != 0
    places = np.flatnonzero(wrong)
    if len(places) == 0:
        return Finding(True)
    first = np.datetime64(int(times[places[0]]), "us")
    return Finding(False, {"rows": len(places), "first": f"row {places[0]}: {first}, expected inside {partition.day}"})


CHECK = Check(
    name="inside_day",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.BLOCK,
    description="Every row lies inside the UTC day, every bar on the grid of its timeframe.",
    run=inside_day,
)
