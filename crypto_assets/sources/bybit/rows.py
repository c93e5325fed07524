"""Rows of Bybit's trade files.

Linear and inverse: `timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional`, and
`RPI` in newer files (not there on 2025-03-14, there on 2025-09-02). `timestamp` is decimal seconds with four digits, in old
files more: read as decimals, exact to the microsecond. `trdMatchID` is a text without an order. `side` is the taker's.
    linear:  size is base; amount in quote = price x size.
    inverse: size is contracts of 1 USD; amount in base = size / price, to 18 digits (half even).
    `homeNotional` and `foreignNotional` hold size and the other amount as a float prints it (`78.54169999999999`, `7.8e+09`),
    named the other way round on inverse than the words say. Digits are lost in it, so it only decides which of the two
    kinds a file is; a file that is neither is refused. `grossValue` is the same float times 1e8.
Spot: `id,timestamp,price,volume,side` until 2025-03-12, with `rpi` since 2025-03-13. `timestamp` is milliseconds, `volume`
    base. `id` counts the rows of the file from 1: it is no number of the exchange's and is left out. No amount in quote.

Old files may have the newest row first; nobody documents the order. The times of a file decide it
(`rows/arrange.py`).
Sources: rows of real files; the notes on Bybit of github.com/devvir/tradebot for the trees and the defects.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.errors import BadContent
from crypto_assets.sources.bybit.amounts import in_base_and_quote
from crypto_assets.sources.formats import in_schema, instants
from crypto_assets.sources.formats_text import characters, decimal_seconds, decimals, read_text_csv, words

_TEXT, _WORD = pa.string(), pa.dictionary(pa.int32(), pa.string())

_CONTRACTS = {
    "timestamp": _TEXT,
    "symbol": _WORD,
    "side": _WORD,
    "size": _TEXT,
    "price": _TEXT,
    "trdMatchID": _TEXT,
    "homeNotional": pa.float64(),
    "foreignNotional": pa.float64(),
}
_CONTRACTS_BESIDE = ("tickDirection", "grossValue", "RPI")
_CONTRACT_SIDES = {"Buy": "buy", "Sell": "sell"}

_SPOT = {"timestamp": pa.int64(), "price": _TEXT, "volume": _TEXT, "side": _WORD}
_SPOT_BESIDE = ("id", "rpi")
_SPOT_SIDES = {"buy": "buy", "sell": "sell"}

_FLOAT_ERROR, _ROUNDED = 1e-6, 1e-8
"""A float64 of an amount differs from it by less than 1e-15 of it. Both bounds are wider: a file may have rounded amounts,
but size x price and size / price are far apart."""

_LONGEST_UID = 64
"""A UUID has 36 letters."""


def contract_trades(key: str, name: str, inverse: bool, text: bytes | bytearray) -> pa.Table:
    """Return the trades of a linear or inverse file, in its order; `name` is the symbol that the key says.

    Raises:
        BadContent: the text is not such a file, holds another symbol, or its amounts are not what its kind has.
    """
    table = read_text_csv(key, text, _CONTRACTS, beside=_CONTRACTS_BESIDE)
    found = sorted({word for chunk in table["symbol"].chunks for word in chunk.dictionary.to_pylist()})
    if found != [name]:
        raise BadContent(
            f"{key}: expected trades of {name} only, found {', '.join(found[:5])[:200]}; look at it in quarantine/"
        )
    price, size = decimals(key, "price", table["price"]), decimals(key, "size", table["size"])
    amounts = in_base_and_quote(key, "inverse" if inverse else "linear", size, price)
    _compare(key, table, size, amounts["amount" if inverse else "quote_amount"], inverse)
    return _in_schema(
        {
            "trade_time": decimal_seconds(key, "timestamp", table["timestamp"]),
            "trade_uid": _uids(key, table["trdMatchID"]),
            "price": price,
            **amounts,
            "side": words(key, "side", table["side"], _CONTRACT_SIDES),
        }
    )


def spot_trades(key: str, text: bytes | bytearray) -> pa.Table:
    """Return the trades of a spot file, in its order; raises BadContent if the text is not such a file."""
    table = read_text_csv(key, text, _SPOT, beside=_SPOT_BESIDE)
    return _in_schema(
        {
            "trade_time": instants(key, table["timestamp"]),
            "price": decimals(key, "price", table["price"]),
            "amount": decimals(key, "volume", table["volume"]),
            "side": words(key, "side", table["side"], _SPOT_SIDES),
        }
    )


def _compare(key: str, table: pa.Table, size: pa.ChunkedArray, other: pa.ChunkedArray, inverse: bool) -> None:
    """Raise unless the published floats are the size and the other amount of this kind of contract, in either order."""
    exact = [amount.cast(pa.float64()).to_numpy() for amount in (size, other)]
    published = [table[name].to_numpy() for name in ("homeNotional", "foreignNotional")]
    first = [_first_difference(*pair) for pair in zip(published, exact, strict=True)]
    if max(first) < 0 or max(_first_difference(*pair) for pair in zip(published[::-1], exact, strict=True)) < 0:
        return
    row = max(first)
    kind, rule = ("an inverse", "size / price") if inverse else ("a linear", "size x price")
    raise BadContent(
        f"{key}: expected the notionals of {kind} contract: size {exact[0][row]} and {rule} {exact[1][row]}, "
        f"found {published[0][row]} and {published[1][row]} in line {row + 2}; look at it in quarantine/",
        line=row + 2,
    )


def _first_difference(published: np.ndarray, exact: np.ndarray) -> int:
    """Return the first row whose float is not the exact amount, or -1."""
    wrong = ~(np.abs(published - exact) <= _FLOAT_ERROR * np.abs(exact) + _ROUNDED)
    return int(wrong.argmax()) if wrong.any() else -1


def _uids(key: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    if not 0 < lengths["min"] <= lengths["max"] <= _LONGEST_UID or any(
        not each.isascii() for each in characters(column)
    ):
        raise BadContent(
            f"{key}: expected trdMatchID of 1 to {_LONGEST_UID} letters, found {lengths['min']} … {lengths['max']} letters"
        )
    return column


def _in_schema(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """Return the columns of trades; those that are not given are null."""
    return in_schema(datasets.get("trades"), columns, len(columns["price"]))
