"""Rows of Binance's CSV text, from its archive's files and, written the same way, from its REST answers.

The format of a file follows no date rule, because old files are regenerated: spot files mostly have no header, futures files
mostly have one; spot times are microseconds since 2025-01-01 and milliseconds before, futures times milliseconds; booleans
are `True` on spot, `true` on futures. The parser decides each by the content of the file.

COIN-M (`inverse`): amounts are contracts. Bars have the base volume in the column called quote_volume (binance-public-data
#267), trades have it in `base_qty`; both are taken as published. The amount in quote is contracts times the contract's size
(100 or 10 USD). Aggregates have contracts only: their amount in base is contracts times size / price, to 18 digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.datasets.types import DECIMAL
from crypto_assets.errors import BadContent
from crypto_assets.model import Series
from crypto_assets.sources.contracts import base_of_inverse, times
from crypto_assets.sources.formats import in_schema, instants, read_csv, sides

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

_INTEGER, _TEXT = pa.int64(), pa.string()

_KLINES = {
    "open_time": _INTEGER,
    "open": DECIMAL,
    "high": DECIMAL,
    "low": DECIMAL,
    "close": DECIMAL,
    "volume": DECIMAL,
    # Two rows of early 2018 have a wrong close_time (binance-public-data #77); it follows from open_time and is not used.
    "close_time": _INTEGER,
    "quote_volume": DECIMAL,
    "trade_count": _INTEGER,
    "taker_buy_volume": DECIMAL,
    "taker_buy_quote_volume": DECIMAL,
    "ignore": _TEXT,
}
_KLINES_NAMES = ("open_time", "open", "high", "low", "close", "volume", "close_time")
_KLINES_HEADERS = (
    (*_KLINES_NAMES, "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    # Named as in the README and the REST API.
    (
        *_KLINES_NAMES,
        *("quote_asset_volume", "number_of_trades", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
        "ignore",
    ),
)

_TRADES = {
    "trade_id": _INTEGER,
    "price": DECIMAL,
    "amount": DECIMAL,
    "quote_amount": DECIMAL,
    "trade_time": _INTEGER,
    "taker_sold": pa.bool_(),
}
_TRADES_HEADERS = (
    ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker"),
    ("trade_id", "price", "quantity", "quote_quantity", "timestamp", "is_buyer_maker"),
)

_AGG_TRADES = {
    "agg_trade_id": _INTEGER,
    "price": DECIMAL,
    "amount": DECIMAL,
    "first_trade_id": _INTEGER,
    "last_trade_id": _INTEGER,
    "trade_time": _INTEGER,
    "taker_sold": pa.bool_(),
}
_AGG_TRADES_HEADERS = (
    ("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker"),
    ("agg_id", "price", "qty", "first_trade_id", "last_trade_id", "time", "is_buyer_maker"),
    (
        "aggregate_trade_id",
        "price",
        "quantity",
        "first_trade_id",
        "last_trade_id",
        "timestamp",
        "was_the_buyer_the_maker",
    ),
)

# Spot files have one column more; some files of futures name the amount in base beside the one in quote.
_BEST_MATCH = {"is_best_match": pa.bool_()}
_BESIDE = {**_BEST_MATCH, "base_qty": DECIMAL}

# The quantity is contracts (`83.0`), base_qty the amount in base (a row of BTCUSD_PERP-trades-2026-09-01.csv).
_INVERSE_TRADES = {
    "trade_id": _INTEGER,
    "price": DECIMAL,
    "contracts": DECIMAL,
    "amount": DECIMAL,
    "trade_time": _INTEGER,
    "taker_sold": pa.bool_(),
}
_INVERSE_TRADES_HEADERS = (("id", "price", "qty", "base_qty", "time", "is_buyer_maker"),)

_FUNDING = {"funding_time": _INTEGER, "funding_interval_hours": pa.int16(), "funding_rate": DECIMAL}
_FUNDING_HEADERS = (("calc_time", "funding_interval_hours", "last_funding_rate"),)

_BOOLEANS = (b"true", b"false")

_KLINES_USED = [name for name in _KLINES if name not in ("close_time", "ignore")]


def read_rows(series: Series, key: str, text: bytes | bytearray, instrument: Instrument | None = None) -> pa.Table:
    """Return the rows of CSV text in the columns of the dataset and in its order.

    Args:
        instrument: needed for inverse series but funding rates.

    Raises:
        BadContent: the text is not what the series' files have.
    """
    spot = series.market_type == "spot"
    match series.table:
        case "ohlcv":
            table = read_csv(key, text, _KLINES, headers=_KLINES_HEADERS, use=_KLINES_USED)
        case "trades":
            table = _trades(series, key, text)
        case "agg_trades":
            columns = _AGG_TRADES | _BEST_MATCH if spot else _AGG_TRADES
            table = read_csv(key, text, columns, headers=_AGG_TRADES_HEADERS, optional=_BESIDE, words=_BOOLEANS)
        case "funding_rates":
            table = read_csv(key, text, _FUNDING, headers=_FUNDING_HEADERS)
        case _:
            raise ValueError(f"{series}: Binance's archive has no such dataset")
    dataset = datasets.get(series.table)
    found = {name: table.column(name) for name in table.column_names}
    found[dataset.time_column] = instants(key, found[dataset.time_column])
    if "taker_sold" in found:
        found["side"] = sides(found.pop("taker_sold"))
    if series.market_type == "inverse" and series.table != "funding_rates":
        if instrument is None:
            raise BadContent(
                f"{key}: expected the contract size of the symbol, found no instrument; collect instruments first"
            )
        found |= _in_base(series, key, found, instrument)
    return in_schema(dataset, found, table.num_rows)


def _trades(series: Series, key: str, text: bytes | bytearray) -> pa.Table:
    if series.market_type == "inverse":
        return read_csv(key, text, _INVERSE_TRADES, headers=_INVERSE_TRADES_HEADERS, words=_BOOLEANS)
    columns = _TRADES | _BEST_MATCH if series.market_type == "spot" else _TRADES
    return read_csv(key, text, columns, headers=_TRADES_HEADERS, optional=_BESIDE, words=_BOOLEANS)


def _in_base(
    series: Series, key: str, found: dict[str, pa.ChunkedArray], instrument: Instrument
) -> dict[str, pa.ChunkedArray]:
    """Return the columns of amounts in base and in quote, from contracts."""
    size = instrument.contract_size
    match series.table:
        case "ohlcv":
            return {
                "volume": found["quote_volume"],
                "quote_volume": times(key, found["volume"], size),
                "taker_buy_volume": found["taker_buy_quote_volume"],
                "taker_buy_quote_volume": times(key, found["taker_buy_volume"], size),
            }
        case "trades":
            return {"quote_amount": times(key, found["contracts"], size)}
        case _:
            return {"amount": base_of_inverse(key, found["amount"], size, found["price"])}
