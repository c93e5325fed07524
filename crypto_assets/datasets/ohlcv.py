"""Bars: open, high, low, close and what was traded in [open_time, open_time + timeframe)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, columns
from crypto_assets.model import Dataset

if TYPE_CHECKING:
    import pandera.pandas as pandera


@cache
def contract() -> pandera.DataFrameSchema:
    """Return what holds for every single bar; order, key, day and completeness are checks of their own."""
    import pandera.pandas as pandera

    price = pandera.Column(float, pandera.Check.gt(0))
    volume = pandera.Column(float, pandera.Check.ge(0))
    return pandera.DataFrameSchema(
        {
            "open_time": pandera.Column("datetime64[us, UTC]"),
            "open": price,
            "high": price,
            "low": price,
            "close": price,
            "volume": volume,
            "quote_volume": volume,
            "trade_count": pandera.Column("int64", pandera.Check.ge(0)),
            "taker_buy_volume": volume,
            "taker_buy_quote_volume": volume,
        },
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="ohlcv",
    description="Bars as the exchange publishes them.",
    schema=columns(
        ("open_time", INSTANT),
        ("open", DECIMAL),
        ("high", DECIMAL),
        ("low", DECIMAL),
        ("close", DECIMAL),
        ("volume", DECIMAL),
        ("quote_volume", DECIMAL),
        ("trade_count", pa.int64()),
        ("taker_buy_volume", DECIMAL),
        ("taker_buy_quote_volume", DECIMAL),
    ),
    time_column="open_time",
    key=("open_time",),
    contract=contract,
    to_warehouse=True,
    column_docs={
        "open_time": "first instant of the bar, UTC, microseconds",
        "open": "price of the first trade, quote per base",
        "high": "highest price, quote per base",
        "low": "lowest price, quote per base",
        "close": "price of the last trade, quote per base",
        "volume": "traded amount in base",
        "quote_volume": "traded amount in quote",
        "trade_count": "number of trades",
        "taker_buy_volume": "base amount of trades whose taker bought",
        "taker_buy_quote_volume": "quote amount of trades whose taker bought",
    },
)
