"""Every trade's price is between low and high of the published bar of its minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.checks._columns import TRADE
from crypto_assets.checks._minute_bars import minute_bars
from crypto_assets.checks._words import counted
from crypto_assets.checks.agrees_with_bars import OFF_GRID, minute_series, on_the_minute, until
from crypto_assets.model import SHOWN_ROWS, Comparison, Finding, Partition, Series, Severity, not_judged
from crypto_assets.model.correction import plain
from crypto_assets.rows.derive import silent_bars
from crypto_assets.rows.row_keys import numbers
from crypto_assets.rows.versions import matched


def price_band(built: pa.Table, bars: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """low ≤ price ≤ high of the minute's bar, exactly, for every trade.

    Minutes without a bar, with a silent bar or with a bar off the grid are not compared.

    Evidence: minutes `compared` and `outside`; `examples` gives the lowest and highest price of trades and bar for some
    minutes that are outside.

    Args:
        built: from `minute_bars`; low and high are those of the trades.
        bars: the published 1m bars of the same symbol and day.
    """
    built, bars = until(built, bars, partition)
    built, bars, beside = on_the_minute(built, bars)
    bars = bars.filter(pa.array(~silent_bars(bars)))
    mine, theirs = (
        table.take(pa.array(places))
        for table, places in zip(
            (built, bars), matched(numbers(built.column("open_time")), numbers(bars.column("open_time"))), strict=True
        )
    )
    if not mine.num_rows:
        return not_judged(OFF_GRID if beside else "no minute has both trades and a bar with trades")
    below = pc.less(mine.column("low"), theirs.column("low"))
    above = pc.greater(mine.column("high"), theirs.column("high"))
    outside = np.flatnonzero(pc.or_(below, above).to_numpy())
    evidence: dict[str, Any] = {"compared": mine.num_rows, "outside": len(outside)}
    if beside:
        evidence["off_grid"] = beside
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


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    compared = counted(evidence["compared"], "minute")
    if not evidence["outside"]:
        return f"every price is inside the bar of its minute ({compared} compared)"
    first = evidence["examples"][0]
    return (
        f"prices are outside the bar in {evidence['outside']:,} of {compared}; the first: {first['open_time']}, "
        f"trades {first['lowest']}–{first['highest']}, bar {first['low']}–{first['high']}"
    )


CHECK = Comparison(
    name="price_band",
    columns=TRADE,
    severity=Severity.WARN,
    description="Every price is between low and high of the published bar of its minute.",
    source="lake",
    counterparts=minute_series,
    gather=minute_bars,
    run=price_band,
    words=words,
)
