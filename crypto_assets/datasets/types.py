"""The Arrow types that all datasets share, and the words that their columns of words hold."""

from __future__ import annotations

import pyarrow as pa

DECIMAL = pa.decimal128(38, 18)
"""Holds every digit that exchanges publish: 8 decimals at most on spot, 18 for tokens counted in wei."""

INSTANT = pa.timestamp("us", tz="UTC")

SIDE = pa.dictionary(pa.int8(), pa.string())
SIDES = ("buy", "sell")
"""What the taker of a trade did."""

BOOK_SIDE = pa.dictionary(pa.int8(), pa.string())
BOOK_SIDES = ("bid", "ask")
"""The sides of an order book, in the order in which they stand in a snapshot."""


def columns(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    """Return a schema whose columns are never null."""
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
