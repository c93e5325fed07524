"""Trades: one row for each match, as the exchange numbers them."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, SIDES, UTC_US, WORD
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="trades",
    description="Every trade as the exchange publishes and numbers it.",
    row="trade",
    columns=(
        Column(name="trade_time", type=INSTANT, unit=UTC_US, doc="instant of the match"),
        Column(name="trade_id", type=pa.int64(), at_least=0, doc="the exchange's own number, unique in the symbol"),
        Column(name="price", type=DECIMAL, unit="quote per base", above=0, doc="price of the match"),
        Column(name="amount", type=DECIMAL, unit="base", above=0, doc="traded amount"),
        Column(name="quote_amount", type=DECIMAL, unit="quote", at_least=0, doc="price times amount"),
        Column(name="side", type=WORD, words=SIDES, doc="side of the taker: buy or sell"),
    ),
    time_column="trade_time",
    key=("trade_id",),
    leaf="day",
)
