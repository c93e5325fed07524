"""Tickers: the best bid and the best ask, one row for each change."""

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
    """Return what holds for every single ticker."""
    import pandera.pandas as pandera

    # A side on which nothing is offered has price and amount 0, as Binance writes it for symbols that are halted.
    number = pandera.Column(float, pandera.Check.ge(0))
    return pandera.DataFrameSchema(
        {
            "ticker_time": pandera.Column("datetime64[us, UTC]"),
            "update_id": pandera.Column("int64", pandera.Check.ge(0)),
            "bid_price": number,
            "bid_amount": number,
            "ask_price": number,
            "ask_amount": number,
        },
        [
            pandera.Check(
                lambda frame, side=side: (frame[f"{side}_price"] > 0) == (frame[f"{side}_amount"] > 0),
                name=f"{side}_price and {side}_amount are both positive or both 0",
            )
            for side in ("bid", "ask")
        ],
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="tickers",
    description="The best bid and ask, as they were recorded.",
    schema=columns(
        ("ticker_time", INSTANT),
        ("update_id", pa.int64()),
        ("bid_price", DECIMAL),
        ("bid_amount", DECIMAL),
        ("ask_price", DECIMAL),
        ("ask_amount", DECIMAL),
    ),
    time_column="ticker_time",
    key=("update_id",),
    contract=contract,
    to_warehouse=False,
    column_docs={
        "ticker_time": "instant of the change, by the exchange's clock, UTC, microseconds",
        "update_id": "the exchange's own number of the change in the order book, unique in the symbol",
        "bid_price": "highest price that is bid, quote per base; 0 where nothing is",
        "bid_amount": "base that is bid for at that price",
        "ask_price": "lowest price that is asked, quote per base; 0 where nothing is",
        "ask_amount": "base that is offered at that price",
    },
)
