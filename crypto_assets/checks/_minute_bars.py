"""Build 1m bars from trades or aggregate trades, exactly as an exchange does, to compare them with the published bars.

Open and close are the prices of the first and the last trade in file order. Rows arrive in pieces; memory holds one bar
for each minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.checks._columns import AGGREGATE
from crypto_assets.checks._exact import SCALE, decimals, products, sums, whole
from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.model import Series

_MINUTE_US = 60_000_000
_ROWS = 1 << 16
"""Rows processed at once: their columns stay in the processor's cache, which is four times faster."""

_QUOTE_SCALE = 2 * SCALE
"""Decimal places of a product of two decimals: the sum of both."""

_PLAIN = ("open", "high", "low", "close", "volume", "taker_buy_volume")
_QUOTED = ("quote_volume", "taker_buy_quote_volume")


@dataclass(slots=True)
class _Bar:
    """One minute so far: prices and amounts in 10⁻¹⁸, quote amounts in 10⁻³⁶."""

    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    quote_volume: int = 0
    trade_count: int = 0
    taker_buy_volume: int = 0
    taker_buy_quote_volume: int = 0


def minute_bars(series: Series, pieces: Iterable[pa.Table]) -> pa.Table:
    """Return the 1m bars of trades, in the columns of `ohlcv`, ascending; minutes without trades have no bar.

    The quote amount of an aggregate trade is price times amount, and its trade count follows from its first and last id;
    an aggregate without ids (-1) has no trades left and does not count. Quote volumes with more than 18 decimals are rounded
    half even; they are null if trades are without quote amounts.

    Args:
        series: trades or aggregate trades.
        pieces: tables in file order, ascending in time; a minute may be split between them.
    """
    bars: dict[int, _Bar] = {}
    merged, quoted = datasets.get(series.table).has(AGGREGATE), True
    for piece in pieces:
        for batch in piece.to_batches(max_chunksize=_ROWS):
            rows = _with_trades(batch) if merged else batch
            if rows.num_rows:
                quoted = quoted and (merged or _has_quotes(rows))
                _add(bars, rows, merged=merged, quoted=quoted)
    minutes = sorted(bars)
    ordered = [bars[minute] for minute in minutes]
    columns = {
        "open_time": pa.array([minute * _MINUTE_US for minute in minutes], pa.int64()).cast(INSTANT),
        "trade_count": pa.array([bar.trade_count for bar in ordered], pa.int64()),
        **{name: decimals(getattr(bar, name) for bar in ordered) for name in _PLAIN},
        **{
            name: _quotes([getattr(bar, name) for bar in ordered] if quoted else None, len(minutes)) for name in _QUOTED
        },
    }
    schema = datasets.get("ohlcv").schema
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _has_quotes(rows: pa.RecordBatch) -> bool:
    return "quote_amount" in rows.schema.names and not rows.column("quote_amount").null_count


def _quotes(units: list[int] | None, count: int) -> pa.Array:
    return pa.nulls(count, DECIMAL) if units is None else decimals(map(_rounded, units))


def _add(bars: dict[int, _Bar], rows: pa.RecordBatch, *, merged: bool, quoted: bool) -> None:
    times = rows.column("trade_time").cast(pa.int64()).to_numpy()
    minutes = times // _MINUTE_US
    starts = np.concatenate(([0], np.flatnonzero(minutes[1:] != minutes[:-1]) + 1))
    ends = np.append(starts[1:], len(minutes))
    price, price_decimals = whole(rows.column("price"))
    amount, amount_decimals = whole(rows.column("amount"))
    if not merged:
        quote, quote_decimals = whole(rows.column("quote_amount")) if quoted else (np.zeros_like(amount), 0)
        counts = ends - starts
    else:
        quote, quote_decimals = products(price, amount), price_decimals + amount_decimals
        first, last = (rows.column(f"{end}_trade_id").to_numpy() for end in ("first", "last"))
        counts = np.add.reduceat(last - first + 1, starts)
    bought = _bought(rows.column("side"))
    to_price = 10 ** (SCALE - price_decimals)
    to_amount = 10 ** (SCALE - amount_decimals)
    to_quote = 10 ** (_QUOTE_SCALE - quote_decimals)
    for minute, first_price, high, low, last_price, count, volume, quotes, buys, buys_quoted in zip(
        minutes[starts].tolist(),
        price[starts].tolist(),
        np.maximum.reduceat(price, starts).tolist(),
        np.minimum.reduceat(price, starts).tolist(),
        price[ends - 1].tolist(),
        counts.tolist(),
        sums(amount, starts),
        sums(quote, starts),
        sums(amount * bought, starts),
        sums(quote * bought, starts),
        strict=True,
    ):
        bar = bars.get(minute)
        if bar is None:
            bar = bars[minute] = _Bar(*[first_price * to_price] * 4)
        bar.high = max(bar.high, high * to_price)
        bar.low = min(bar.low, low * to_price)
        bar.close = last_price * to_price
        bar.volume += volume * to_amount
        bar.quote_volume += quotes * to_quote
        bar.trade_count += count
        bar.taker_buy_volume += buys * to_amount
        bar.taker_buy_quote_volume += buys_quoted * to_quote


def _with_trades(rows: pa.RecordBatch) -> pa.RecordBatch:
    there = rows.column("first_trade_id").to_numpy() >= 0
    return rows if there.all() else rows.filter(pa.array(there))


def _bought(side: pa.DictionaryArray) -> np.ndarray:
    return pc.equal(side.indices, side.dictionary.index("buy")).to_numpy(zero_copy_only=False)


def _rounded(units: int) -> int:
    """Return 10⁻³⁶ as 10⁻¹⁸, half even."""
    result, rest = divmod(units, 10**SCALE)
    half = 10**SCALE // 2
    return result + (rest > half or (rest == half and result % 2 == 1))
