"""Order books and tickers for tests: a market whose best bid is 100 and whose ticks are 0.01."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets_tests.checks.judging import Rows, at

TICK = Decimal("0.01")


def snapshot(minute: float, bids: int = 10, asks: int = 10, spread: int = 1) -> Rows:
    """Return the levels of one snapshot; its update id is a thousand times its minute."""
    common = {"book_time": at(minute), "update_id": int(minute * 1000), "amount": Decimal("1.5")}
    return [
        *(common | {"side": "bid", "level": n, "price": 100 - n * TICK} for n in range(bids)),
        *(common | {"side": "ask", "level": n, "price": 100 + (spread + n) * TICK} for n in range(asks)),
    ]


def book_rows(count: int = 30) -> Rows:
    return [row for minute in range(count) for row in snapshot(minute)]


def book_table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=datasets.get("order_books").schema)


def ticker_rows(spreads: Sequence[int]) -> Rows:
    """Return a ticker for each spread, in ticks, one a minute."""
    return [
        {
            "ticker_time": at(minute),
            "update_id": minute * 1000,
            "bid_price": Decimal(100),
            "bid_amount": Decimal("1.5"),
            "ask_price": 100 + spread * TICK,
            "ask_amount": Decimal("0.5"),
        }
        for minute, spread in enumerate(spreads)
    ]


def ticker_table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=datasets.get("tickers").schema)
