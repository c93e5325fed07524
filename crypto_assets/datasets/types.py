"""The Arrow types that all datasets share, the columns of their keys, and the words that their columns of words hold."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.model import Column

DECIMAL = pa.decimal128(38, 18)
"""Holds every digit that exchanges publish: 8 decimals at most on spot, 18 for tokens counted in wei."""

INSTANT = pa.timestamp("us", tz="UTC")

TEXT = pa.string()

WORD = pa.dictionary(pa.int8(), pa.string())
"""One of a few words, which its column names."""

UTC_US = "UTC, microseconds"
"""The unit of every instant."""

SIDES = ("buy", "sell")
"""What the taker of a trade did."""

BOOK_SIDES = ("bid", "ask")
"""The sides of an order book, in the order in which they stand in a snapshot."""

KEYS = (
    Column(name="exchange", type=TEXT, doc="the exchange as ccxt names it: binance"),
    Column(name="market_type", type=TEXT, doc="spot, linear or inverse"),
    Column(name="symbol", type=TEXT, doc="the symbol as ccxt writes it: BTC/USDT, linear BTC/USDT:USDT"),
)
"""The first columns of every table in the warehouse; in the lake the path says them."""

TIMEFRAME = Column(name="timeframe", type=TEXT, doc="the length of the bar: 1m, 1h, 1d, 1mo")
"""Stands after the keys in a table of all timeframes; in the lake the path says it."""

SOURCE = Column(
    name="source",
    type=TEXT,
    doc="archive or rest: as published there; derived: built from 1m bars, all of which were there",
)
"""The last column of a table of all timeframes."""
