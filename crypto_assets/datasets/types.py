"""The Arrow types that all datasets share."""

from __future__ import annotations

import pyarrow as pa

DECIMAL = pa.decimal128(38, 18)
"""Holds every digit that exchanges publish: 8 decimals at most on spot, 18 for tokens counted in wei."""

INSTANT = pa.timestamp("us", tz="UTC")

SIDE = pa.dictionary(pa.int8(), pa.string())


def columns(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    """Return a schema whose columns are never null."""
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
