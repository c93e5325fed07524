"""Every trade's price lies between low and high of the published bar of its minute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.checks._minute_bars import minute_bars
from crypto_assets.checks.agrees_with_bars import minute_series, until
from crypto_assets.model import SHOWN_ROWS, Comparison, Finding, Partition, Series, Severity, not_judged
from crypto_assets.rows.derive import silent_bars
from crypto_assets.rows.versions import matched, numbers, plain


def price_band(built: pa.Table, bars: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """low ≤ price ≤ high of the minute's bar, exactly, for every trade; minutes without a bar or with a silent one aside.

    Evidence: minutes `compared` and `outside`, and `examples` of these with the trades' and the bar's lowest and highest.

    Args:
        built: of `minute_bars`; their low and high are those of the trades.
        bars: the published 1m bars of the same symbol and day.
    """
    built, bars = until(built, bars, partition)
    bars = bars.filter(pa.array(~silent_bars(bars)))
    mine, theirs = (
        table.take(pa.array(places))
        for table, places in zip(
            (built, bars), matched(numbers(built.column("open_time")), numbers(bars.column("open_time"))), strict=True
        )
    )
    if not mine.num_rows:
        return not_judged("no minute has both trades and a bar with trades")
    below = pc.less(mine.column("low"), theirs.column("low"))
    above = pc.greater(mine.column("high"), theirs.column("high"))
    outside = np.flatnonzero(pc.or_(below, above).to_numpy())
    evidence: dict[str, Any] = {"compared": mine.num_rows, "outside": len(outside)}
    if not len(outside):
        return Finding(True, evidence)
    first = pa.array(outside[:SHOWN_ROWS])
    pairs = zip(mine.take(first).to_pylist(), theirs.take(first).to_pylist(), strict=True)
    evidence["examples"] = [
        {
            "open_time": plain(trades["open_time"]),
            "lowest": plain(trades["low"]),
            "highest": plain(trades["high"]),
            "low": plain(bar["low"]),
            "high": plain(bar["high"]),
        }
        for trades, bar in pairs
    ]
    return Finding(False, evidence)


CHECK = Comparison(
    name="price_band",
    tables=("trades", "agg_trades"),
    severity=Severity.WARN,
    description="Every price lies between low and high of the published bar of its minute.",
    source="lake",
    counterparts=minute_series,
    gather=minute_bars,
    run=price_band,
)
