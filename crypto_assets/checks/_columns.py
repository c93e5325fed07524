"""Groups of columns that several checks need together; a dataset that has a group has rows of that kind."""

from __future__ import annotations

BAR = ("open_time", "open", "high", "low", "close", "volume")
"""A bar; its quote volume, trade count and taker volumes are not published everywhere."""

TRADE = ("trade_time", "price", "amount", "side")
"""A trade, or trades merged into one."""

AGGREGATE = ("trade_time", "price", "amount", "first_trade_id", "last_trade_id", "side")
"""Trades merged into one row, with the ids of the first and the last."""

BOOK = ("book_time", "update_id", "side", "level", "price", "amount")
"""One level of a snapshot."""

BEST = ("ticker_time", "update_id", "bid_price", "bid_amount", "ask_price", "ask_amount")
"""The best prices only."""
