"""Rows that follow from other rows: longer bars from 1m bars, minute statistics from trades. Exact, in decimals.

Nothing is invented: a bar is built only where all its minutes are there, and a minute without trades has no statistics.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.datasets.types import DECIMAL, INSTANT, columns
from crypto_assets.model import bar_length

# Each timeframe is built from the one before: 1.3 times the rows of the day in all, where building each from 1m is six times.
DERIVED_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
_BUILT_FROM = {"5m": "1m", "15m": "5m", "30m": "15m", "1h": "30m", "4h": "1h", "1d": "4h"}

_SUMS = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")

STATISTICS_SCHEMA = columns(
    ("open_time", INSTANT),
    ("vwap", DECIMAL),
    ("buy_volume", DECIMAL),
    ("sell_volume", DECIMAL),
    ("quote_volume", DECIMAL),
    ("trade_count", pa.int64()),
    ("largest_trade", DECIMAL),
)
"""Rows of `trade_statistics_1m`: vwap in quote per base, volumes and the largest single trade in base."""

_MINUTE_US = 60_000_000


def longer_bars(minutes: pa.Table, wanted: Collection[str]) -> dict[str, pa.Table]:
    """Return the bars of the wanted timeframes that 1m bars make, by timeframe; incomplete bars are left out.

    Args:
        minutes: 1m bars in the columns of `ohlcv`, ascending, of any number of days.
        wanted: some of `DERIVED_TIMEFRAMES`.
    """
    built = {"1m": minutes}
    needed = [timeframe for timeframe in DERIVED_TIMEFRAMES if any(_leads_to(timeframe, goal) for goal in wanted)]
    for timeframe in needed:
        source = _BUILT_FROM[timeframe]
        built[timeframe] = _merge(built[source], _micros(source), _micros(timeframe))
    return {timeframe: built[timeframe] for timeframe in wanted}


def _leads_to(timeframe: str, goal: str) -> bool:
    while goal != timeframe and goal != "1m":
        goal = _BUILT_FROM[goal]
    return goal == timeframe


def _micros(timeframe: str) -> int:
    return int(bar_length(timeframe).total_seconds() * 1_000_000)


def _merge(bars: pa.Table, step_us: int, length_us: int) -> pa.Table:
    """Return the bars of `length_us` of which every part of `step_us` is there."""
    times = bars.column("open_time").cast(pa.int64()).to_numpy()
    buckets = times // length_us
    starts = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1 if len(buckets) else 0))
    counts = np.diff(np.append(starts, len(buckets)))
    whole = counts == length_us // step_us
    if not whole.all():
        bars = bars.filter(pa.array(np.repeat(whole, counts)))
        starts = np.arange(int(whole.sum())) * (length_us // step_us)
        times = bars.column("open_time").cast(pa.int64()).to_numpy()
    size = length_us // step_us
    ends = starts + (size - 1)
    groups = pa.array(np.repeat(np.arange(len(starts), dtype=np.int32), size))
    grouped = (
        bars.select(["high", "low", *_SUMS])
        .append_column("group", groups)
        .group_by("group", use_threads=False)
        .aggregate([("high", "max"), ("low", "min"), *((name, "sum") for name in _SUMS)])
    )
    result = {
        "open_time": pa.array(times[starts]).cast(INSTANT),
        "open": bars.column("open").take(pa.array(starts)),
        "high": grouped.column("high_max"),
        "low": grouped.column("low_min"),
        "close": bars.column("close").take(pa.array(ends)),
        **{name: grouped.column(f"{name}_sum").cast(bars.schema.field(name).type) for name in _SUMS},
    }
    return pa.table([result[name] for name in bars.column_names], schema=bars.schema)


def trade_statistics(trades: pa.Table) -> pa.Table:
    """Return one row for each minute with trades, in the columns of `STATISTICS_SCHEMA`.

    VWAP is the quote amount over the base amount, rounded half even to 18 decimals.

    Args:
        trades: rows of `trades`, ascending in time.
    """
    minutes = np.floor_divide(trades.column("trade_time").cast(pa.int64()).to_numpy(), _MINUTE_US)
    amount = trades.column("amount")
    zero = pa.scalar(Decimal(0), DECIMAL)
    bought = pc.equal(trades.column("side").cast(pa.string()), "buy")
    grouped = (
        pa.table(
            {
                "minute": pa.array(minutes),
                "amount": amount,
                "quote": trades.column("quote_amount"),
                "buy": pc.if_else(bought, amount, zero),
            }
        )
        .group_by("minute", use_threads=False)
        .aggregate([("amount", "sum"), ("quote", "sum"), ("buy", "sum"), ("amount", "max"), ("amount", "count")])
    )
    total, buy = grouped.column("amount_sum").cast(DECIMAL), grouped.column("buy_sum").cast(DECIMAL)
    quote = grouped.column("quote_sum").cast(DECIMAL)
    values = {
        "open_time": pc.multiply(grouped.column("minute"), _MINUTE_US).cast(INSTANT),
        "vwap": pa.chunked_array([_ratio(quote, total)]),
        "buy_volume": buy,
        "sell_volume": _difference(total, buy),
        "quote_volume": quote,
        "trade_count": grouped.column("amount_count"),
        "largest_trade": grouped.column("amount_max"),
    }
    return pa.table([values[name] for name in STATISTICS_SCHEMA.names], schema=STATISTICS_SCHEMA)


def _difference(whole: pa.ChunkedArray, part: pa.ChunkedArray) -> pa.ChunkedArray:
    # Arrow's result has one digit more than its operands, and 38 is the most there is.
    narrow = pa.decimal128(DECIMAL.precision - 1, DECIMAL.scale)
    return pc.subtract(whole.cast(narrow), part.cast(narrow)).cast(DECIMAL)


def _ratio(above: pa.ChunkedArray, below: pa.ChunkedArray) -> pa.Array:
    unit = Decimal(1).scaleb(-DECIMAL.scale)
    with localcontext() as context:
        context.prec = 60
        quotients = [
            (a / b).quantize(unit) for a, b in zip(above.to_pylist(), below.to_pylist(), strict=True)
        ]
    return pa.array(quotients, DECIMAL)
