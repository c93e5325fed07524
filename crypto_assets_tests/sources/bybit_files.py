"""Files of Bybit's archive made from text, and the rows that their text says."""

from __future__ import annotations

import csv
import gzip
import io
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import pyarrow as pa

CONTRACT_HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_STEP = Decimal(1).scaleb(-18)


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def told(text: str, market_type: str) -> list[dict[str, Any]]:
    """Return what the text of a file with ascending times says, in the terms of the dataset; times in microseconds."""
    found: list[dict[str, Any]] = []
    for line in csv.DictReader(io.StringIO(text)):
        spot = market_type == "spot"
        size, price = Decimal(line["volume" if spot else "size"]), Decimal(line["price"])
        us = Decimal(line["timestamp"]) * (1000 if spot else 1_000_000)
        amounts = {
            "spot": (size, None),
            "linear": (size, size * price),
            "inverse": (_CONTEXT.divide(size, price).quantize(_STEP, context=_CONTEXT), size),
        }[market_type]
        found.append(
            {
                "trade_time": int(us),
                "trade_id": None,
                "trade_place": sum(one["trade_time"] == us for one in found),
                "trade_uid": None if spot else line["trdMatchID"],
                "price": price,
                "amount": amounts[0],
                "quote_amount": amounts[1],
                "side": line["side"].lower(),
            }
        )
    return found


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table with times in microseconds."""
    times = table.column("trade_time").cast(pa.int64()).to_pylist()
    return [{**row, "trade_time": time} for row, time in zip(table.to_pylist(), times, strict=True)]
