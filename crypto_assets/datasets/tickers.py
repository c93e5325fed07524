"""Tickers: the best bid and the best ask, one row for each change."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, UTC_US
from crypto_assets.model import Column, Dataset, RowRule


def _price(name: str, doc: str) -> Column:
    # A side without orders has price and amount 0, as Binance writes it for halted symbols.
    return Column(name=name, type=DECIMAL, unit="quote per base", at_least=0, doc=doc)


def _amount(name: str, doc: str) -> Column:
    return Column(name=name, type=DECIMAL, unit="base", at_least=0, doc=doc)


def _both_or_neither(side: str) -> RowRule:
    return RowRule(
        f"{side}_price and {side}_amount are both positive or both 0",
        lambda frame: (frame[f"{side}_price"] > 0) == (frame[f"{side}_amount"] > 0),
    )


DATASET = Dataset(
    table="tickers",
    description="The best bid and ask, as recorded.",
    row="ticker",
    columns=(
        Column(name="ticker_time", type=INSTANT, unit=UTC_US, doc="instant of the change, by the exchange's clock"),
        Column(
            name="update_id",
            type=pa.int64(),
            at_least=0,
            doc="the exchange's own number of the change in the order book, unique in the symbol",
        ),
        _price("bid_price", "highest price that is bid; 0 without a bid"),
        _amount("bid_amount", "amount that is bid at that price"),
        _price("ask_price", "lowest price that is asked; 0 without an ask"),
        _amount("ask_amount", "amount that is offered at that price"),
    ),
    rules=(_both_or_neither("bid"), _both_or_neither("ask")),
    time_column="ticker_time",
    key=("update_id",),
)
