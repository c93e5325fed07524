"""Trades: one row for each match.

The key is the number that the exchange gives them; without one, the time and the place among the trades of that instant.

A price or an amount of 0 is refused with its day. No file that anybody reports has a single one in a good day: futures
streams of Binance send them (price and amount 0, type NA: nautechsystems/nautilus_trader#2588), its files leave these trades
out (binance-public-data #190), and small amounts of Bybit's spot are small, not 0 (nautechsystems/nautilus_trader#2644).
"""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, SIDES, TEXT, UTC_US, WORD
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="trades",
    description="Every trade as the exchange publishes it.",
    row="trade",
    columns=(
        Column(name="trade_time", type=INSTANT, unit=UTC_US, doc="instant of the match"),
        Column(
            name="trade_id",
            type=pa.int64(),
            at_least=0,
            optional=True,
            doc="the exchange's own number, unique in the symbol; null: it does not number",
        ),
        Column(
            name="trade_place",
            type=pa.int32(),
            at_least=0,
            optional=True,
            doc="place among the trades of one instant, from 0 in file order; null where trades are numbered",
        ),
        Column(
            name="trade_uid",
            type=TEXT,
            optional=True,
            doc="the exchange's own text for the trade, where it gives one instead of a number",
        ),
        Column(name="price", type=DECIMAL, unit="quote per base", above=0, doc="price of the match"),
        Column(name="amount", type=DECIMAL, unit="base", above=0, doc="traded amount"),
        Column(
            name="quote_amount",
            type=DECIMAL,
            unit="quote",
            at_least=0,
            optional=True,
            doc="price times amount, as the exchange publishes it",
        ),
        Column(name="side", type=WORD, words=SIDES, doc="side of the taker: buy or sell"),
    ),
    time_column="trade_time",
    key=("trade_id",),
    unnumbered_key=("trade_time", "trade_place"),
    text_id="trade_uid",
    leaf="day",
)
