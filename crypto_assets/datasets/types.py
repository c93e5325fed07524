"""The shared Arrow types of all datasets, their key columns, and the categories of their word columns."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.model import Column

DECIMAL = pa.decimal128(38, 18)
"""Fits every digit that exchanges publish: at most 8 decimals on spot, 18 for tokens counted in wei."""

INSTANT = pa.timestamp("us", tz="UTC")

TEXT = pa.string()

WORD = pa.dictionary(pa.int8(), pa.string())
"""One of a few categories, which its column lists."""

UTC_US = "UTC, microseconds"
"""The unit of every instant."""

SIDES = ("buy", "sell")
"""The side of a trade's taker."""

BOOK_SIDES = ("bid", "ask")
"""The sides of an order book, in the order of a snapshot."""

KEYS = (
    Column(name="exchange", type=TEXT, doc="the exchange as ccxt names it: binance"),
    Column(name="market_type", type=TEXT, doc="spot, linear, inverse or news"),
    Column(
        name="symbol",
        type=TEXT,
        doc="the symbol as ccxt writes it: BTC/USDT, linear BTC/USDT:USDT, inverse BTC/USD:BTC; of news the name of the site",
    ),
)
"""The first columns of every table in the warehouse; in the lake they are in the path."""

TIMEFRAME = Column(name="timeframe", type=TEXT, doc="the length of the bar: 1m, 1h, 1d, 1mo")
"""Follows the keys in a table of all timeframes; in the lake it is in the path."""

SOURCE = Column(
    name="source",
    type=TEXT,
    doc="archive or rest: as published there; derived: built from a complete set of 1m bars",
)
"""The last column of a table of all timeframes."""
