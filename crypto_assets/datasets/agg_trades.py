"""Aggregate trades: matches of one taker order at one price, merged by the exchange."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, SIDE, SIDES, columns
from crypto_assets.model import Dataset

if TYPE_CHECKING:
    import pandera.pandas as pandera


@cache
def contract() -> pandera.DataFrameSchema:
    """Return what holds for every single aggregate trade."""
    import pandera.pandas as pandera

    positive = pandera.Column(float, pandera.Check.gt(0))
    number = pandera.Column("int64")
    return pandera.DataFrameSchema(
        {
            "trade_time": pandera.Column("datetime64[us, UTC]"),
            "agg_trade_id": pandera.Column("int64", pandera.Check.ge(0)),
            "price": positive,
            "amount": positive,
            # -1 in both marks, on Binance, aggregates whose trades were removed; they are kept as published.
            "first_trade_id": number,
            "last_trade_id": number,
            "side": pandera.Column("category", pandera.Check.isin(SIDES)),
        },
        pandera.Check(
            lambda frame: frame["last_trade_id"] >= frame["first_trade_id"], name="last_trade_id >= first_trade_id"
        ),
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="agg_trades",
    description="Aggregate trades as the exchange publishes them.",
    schema=columns(
        ("trade_time", INSTANT),
        ("agg_trade_id", pa.int64()),
        ("price", DECIMAL),
        ("amount", DECIMAL),
        ("first_trade_id", pa.int64()),
        ("last_trade_id", pa.int64()),
        ("side", SIDE),
    ),
    time_column="trade_time",
    key=("agg_trade_id",),
    contract=contract,
    to_warehouse=False,
    column_docs={
        "trade_time": "instant of the match, UTC, microseconds",
        "agg_trade_id": "the exchange's own number, unique in the symbol",
        "price": "quote per base",
        "amount": "base, summed over the merged trades",
        "first_trade_id": "id of the first merged trade",
        "last_trade_id": "id of the last merged trade",
        "side": "what the taker did: buy or sell",
    },
)
