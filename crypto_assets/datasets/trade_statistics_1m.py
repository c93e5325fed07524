"""Statistics of the trades of each minute with trades. The warehouse builds them (`crypto_assets.rows.derive`)."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, UTC_US
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="trade_statistics_1m",
    description="Statistics of the trades of each minute with trades, built from trades.",
    row="minute",
    columns=(
        Column(
            name="open_time",
            type=INSTANT,
            unit=UTC_US,
            doc="first instant of the minute",
            built_from=("trade_time",),
        ),
        Column(
            name="vwap",
            type=DECIMAL,
            unit="quote per base",
            optional=True,
            doc="quote amount over base amount, 18 decimals; null without quote amounts",
            built_from=("amount", "quote_amount"),
        ),
        Column(
            name="buy_volume",
            type=DECIMAL,
            unit="base",
            doc="amount of the trades in which the taker bought",
            built_from=("amount", "side"),
        ),
        Column(
            name="sell_volume",
            type=DECIMAL,
            unit="base",
            doc="amount of the trades in which the taker sold",
            built_from=("amount", "side"),
        ),
        Column(
            name="quote_volume",
            type=DECIMAL,
            unit="quote",
            optional=True,
            doc="quote amount of all trades; null if the exchange does not publish it",
            built_from=("quote_amount",),
        ),
        Column(name="trade_count", type=pa.int64(), doc="number of trades", built_from=("trade_time",)),
        Column(
            name="largest_trade",
            type=DECIMAL,
            unit="base",
            doc="amount of the largest trade",
            built_from=("amount",),
        ),
    ),
    time_column="open_time",
    key=("open_time",),
    leaf="month",
    built_from="trades",
)
