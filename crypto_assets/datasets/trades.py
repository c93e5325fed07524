"""Trades: one row for each match, as the exchange numbers them."""

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
    """Return what holds for every single trade."""
    import pandera.pandas as pandera

    positive = pandera.Column(float, pandera.Check.gt(0))
    return pandera.DataFrameSchema(
        {
            "trade_time": pandera.Column("datetime64[us, UTC]"),
            "trade_id": pandera.Column("int64", pandera.Check.ge(0)),
            "price": positive,
            "amount": positive,
            "quote_amount": pandera.Column(float, pandera.Check.ge(0)),
            "side": pandera.Column("category", pandera.Check.isin(SIDES)),
        },
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="trades",
    description="Every trade as the exchange publishes it.",
    schema=columns(
        ("trade_time", INSTANT),
        ("trade_id", pa.int64()),
        ("price", DECIMAL),
        ("amount", DECIMAL),
        ("quote_amount", DECIMAL),
        ("side", SIDE),
    ),
    time_column="trade_time",
    key=("trade_id",),
    contract=contract,
    to_warehouse=False,
    column_docs={
        "trade_time": "instant of the match, UTC, microseconds",
        "trade_id": "the exchange's own number, unique in the symbol",
        "price": "quote per base",
        "amount": "base",
        "quote_amount": "quote",
        "side": "what the taker did: buy or sell",
    },
)
