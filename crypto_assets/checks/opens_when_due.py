"""A weekly or monthly bar opens at the right time: on a Monday or on the 1st, at midnight.

A bar that opens elsewhere is stored as published. (Bars of three days may start on any day; checking them needs other
days. Shorter bars: `inside_day`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.rows.bar_calendar import due

if TYPE_CHECKING:
    import pandas as pd


def opens_when_due(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every 1w bar opens on a Monday, every 1mo bar on the 1st, both at midnight."""
    expected = due(series.timeframe or "", partition.day)
    early = [str(time) for time in frame["open_time"] if time != partition.start]
    if expected.opens and not early:
        return Finding(True)
    return Finding(
        False,
        {
            "rows": len(frame),
            "expected": expected.because,
            "found": f"a bar that opens at {frame['open_time'].iloc[0]}",
        },
    )


def words(evidence: Mapping[str, Any], series: Series) -> str:
    if "expected" not in evidence:
        return f"the {series.timeframe} bar opens when it is due"
    return f"{evidence['expected']}; found {evidence['found']}, stored as published"


CHECK = Check(
    name="opens_when_due",
    columns=("timeframe", "open_time"),
    severity=Severity.WARN,
    description="A 1w bar opens on a Monday, a 1mo bar on the 1st, at midnight.",
    applies=lambda series: series.timeframe in ("1w", "1mo"),
    run=opens_when_due,
    words=words,
)
