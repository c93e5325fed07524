"""Dagster's asset keys and partition keys ↔ our series, symbols and days.

Lake assets are `[exchange, market_type, dataset, symbol]`, like the lake's paths: Dagster's lineage shows the last part.
Warehouse assets begin with `warehouse` and have the table instead of the dataset; sources begin with `source` and have no
symbol, as instruments and universe of a market. A partition key is a UTC day, `2024-01-01`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg

from crypto_assets.instance.names import allow_every_letter
from crypto_assets.model import Series, day_spans, path_symbol

SOURCE, WAREHOUSE = "source", "warehouse"

allow_every_letter()


def lake_key(series: Series, symbol: str) -> dg.AssetKey:
    """Return the key of a lake asset: `binance/spot/ohlcv_1m/BTC-USDT`."""
    return dg.AssetKey([series.exchange, series.market_type, series.dataset, path_symbol(symbol)])


def warehouse_key(series: Series, symbol: str, table: str) -> dg.AssetKey:
    """Return the key of a warehouse asset: `warehouse/binance/spot/ohlcv/BTC-USDT`."""
    return dg.AssetKey([WAREHOUSE, series.exchange, series.market_type, table, path_symbol(symbol)])


def source_key(series: Series) -> dg.AssetKey:
    """Return the key of what an exchange publishes of a series: `source/binance/spot/ohlcv_1m`."""
    return dg.AssetKey([SOURCE, series.exchange, series.market_type, series.dataset])


def instruments_key(exchange: str, market_type: str) -> dg.AssetKey:
    """Return the key of what an exchange says about the symbols of a market: `binance/spot/instruments`."""
    return dg.AssetKey([exchange, market_type, "instruments"])


def universe_key(exchange: str, market_type: str) -> dg.AssetKey:
    """Return the key of all symbols that a market ever had: `binance/spot/universe`."""
    return dg.AssetKey([exchange, market_type, "universe"])


def daily(start: date, end: date | None = None, *, today: bool = False) -> dg.DailyPartitionsDefinition:
    """Return the days from `start` to yesterday, UTC, but not after `end`; with `today` also the unfinished day."""
    after = None if end is None else (end + timedelta(days=1)).isoformat()  # Dagster's end is not included
    return dg.DailyPartitionsDefinition(start.isoformat(), end_date=after, timezone="UTC", end_offset=int(today))


def day_of(partition_key: str) -> date:
    """Return the day of a partition key."""
    return date.fromisoformat(partition_key)


def days_text(days: Iterable[date], most: int = 20) -> str:
    """Return days as `2024-01-05, 2024-01-07 … 2024-01-09`: at most `most` spans, then the number of the others."""
    spans = day_spans(days)
    text = ", ".join(str(first) if first == last else f"{first} … {last}" for first, last in spans[:most])
    return text + (f" and {len(spans) - most} more" if len(spans) > most else "")
