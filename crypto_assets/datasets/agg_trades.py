"""Aggregate trades: matches of one taker order at one price, merged by the exchange.

An amount of 0 is refused with its day: the files of USD-M futures from 2023-03 to 2023-05 had it in up to 38 % of the rows,
where the true amount was lost, until they were published again (binance-public-data #263, #342).
"""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, SIDES, UTC_US, WORD
from crypto_assets.model import Column, Dataset, RowRule

DATASET = Dataset(
    table="agg_trades",
    description="Trades of one taker order at one price, merged by the exchange, as it publishes them.",
    row="aggregate trade",
    columns=(
        Column(name="trade_time", type=INSTANT, unit=UTC_US, doc="instant of the match"),
        Column(name="agg_trade_id", type=pa.int64(), at_least=0, doc="the exchange's own number, unique in the symbol"),
        Column(name="price", type=DECIMAL, unit="quote per base", above=0, doc="price of the match"),
        Column(name="amount", type=DECIMAL, unit="base", above=0, doc="traded amount, summed over the merged trades"),
        # On Binance -1 in both marks aggregates whose trades were removed; they are kept as published.
        Column(name="first_trade_id", type=pa.int64(), doc="id of the first merged trade; -1: its trades were removed"),
        Column(name="last_trade_id", type=pa.int64(), doc="id of the last merged trade; -1: its trades were removed"),
        Column(name="side", type=WORD, words=SIDES, doc="side of the taker: buy or sell"),
    ),
    rules=(
        RowRule("last_trade_id >= first_trade_id", lambda frame: frame["last_trade_id"] >= frame["first_trade_id"]),
    ),
    time_column="trade_time",
    key=("agg_trade_id",),
    leaf="day",
)
