"""Groups of columns that several checks need together; a dataset that has a group has rows of that kind."""

from __future__ import annotations

BAR = (
    *("open_time", "open", "high", "low", "close"),
    *("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume"),
)

TRADE = ("trade_time", "price", "amount", "quote_amount", "side")
"""A trade with its quote amount."""

AGGREGATE = ("trade_time", "price", "amount", "first_trade_id", "last_trade_id", "side")
"""Trades merged into one row, with the ids of the first and the last."""

BOOK = ("book_time", "update_id", "side", "level", "price", "amount")
"""One level of a snapshot."""

BEST = ("ticker_time", "update_id", "bid_price", "bid_amount", "ask_price", "ask_amount")
"""The best prices only."""
