"""Bars: open, high, low, close and volumes of [open_time, open_time + timeframe)."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, UTC_US
from crypto_assets.model import Column, Dataset


def _price(name: str, doc: str) -> Column:
    return Column(name=name, type=DECIMAL, unit="quote per base", above=0, doc=doc)


DATASET = Dataset(
    table="ohlcv",
    description="Bars of [open_time, open_time + timeframe) as the exchange publishes them.",
    row="bar",
    columns=(
        Column(name="open_time", type=INSTANT, unit=UTC_US, doc="first instant of the bar"),
        _price("open", "price of the first trade"),
        _price("high", "highest price"),
        _price("low", "lowest price"),
        _price("close", "price of the last trade"),
        Column(name="volume", type=DECIMAL, unit="base", at_least=0, doc="traded amount"),
        Column(
            name="quote_volume", type=DECIMAL, unit="quote", at_least=0, optional=True, doc="traded amount in quote"
        ),
        Column(name="trade_count", type=pa.int64(), at_least=0, optional=True, doc="number of trades"),
        Column(
            name="taker_buy_volume",
            type=DECIMAL,
            unit="base",
            at_least=0,
            optional=True,
            doc="amount of the trades in which the taker bought",
        ),
        Column(
            name="taker_buy_quote_volume",
            type=DECIMAL,
            unit="quote",
            at_least=0,
            optional=True,
            doc="quote amount of the trades in which the taker bought",
        ),
    ),
    time_column="open_time",
    key=("open_time",),
    leaf="month",
    to_warehouse=True,
    has_timeframes=True,
)
