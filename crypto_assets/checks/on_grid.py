"""Bars open on the grid of their timeframe (`crypto_assets.checks._grid`).

Bars off the grid are real and are stored as published. Code that builds longer bars from them, or compares them with
trades and other bars, leaves their steps out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._grid import beside_us, step_us
from crypto_assets.checks._times import instant, start_us
from crypto_assets.checks._words import counted, lasting, verb
from crypto_assets.model import SHOWN_ROWS, Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import times_us

if TYPE_CHECKING:
    import pandas as pd


def on_grid(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every bar opens at a whole multiple of its length.

    Evidence: `off_grid` of `bars`; their `first_time` and `last_time`; their distance from the nearest instant of the grid
    (`least_s` to `most_s`, negative before it); and the first of them.
    """
    opens = times_us(frame, "open_time")
    beside = beside_us(opens - start_us(partition), step_us(series))
    if not beside.any():
        return Finding(True)
    places = np.flatnonzero(beside)
    return Finding(
        False,
        {
            "off_grid": len(places),
            "bars": len(opens),
            "first_time": str(instant(opens[places[0]])),
            "last_time": str(instant(opens[places[-1]])),
            "least_s": int(beside[places].min()) / 1e6,
            "most_s": int(beside[places].max()) / 1e6,
            "examples": [
                {"open_time": str(instant(opens[place])), "beside_s": int(beside[place]) / 1e6}
                for place in places[:SHOWN_ROWS]
            ],
        },
    )


def words(evidence: Mapping[str, Any], series: Series) -> str:
    if "off_grid" not in evidence:
        return f"every bar opens on the grid of {series.timeframe}"
    number, bars = evidence["off_grid"], counted(evidence["bars"], "bar")
    least, most = _offset(evidence["least_s"]), _offset(evidence["most_s"])
    return (
        f"{number:,} of {bars} {verb(number, 'opens', 'open')} off the grid of {series.timeframe}, "
        f"{least if least == most else f'{least} to {most}'} it, from {evidence['first_time']} to "
        f"{evidence['last_time']}; stored as published"
    )


def _offset(seconds: float) -> str:
    return f"{lasting(abs(seconds))} {'before' if seconds < 0 else 'after'}"


CHECK = Check(
    name="on_grid",
    columns=("timeframe", "open_time"),
    severity=Severity.WARN,
    description="Every bar opens on the grid of its timeframe; others are stored as published.",
    words=words,
    run=on_grid,
)
