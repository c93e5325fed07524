"""Rows of the answers of Bybit's REST API v5.

An answer is `{"retCode": 0, "retMsg": "OK", "result": {…}, "time": ms}`; an error has another retCode in a 200. Lists are
newest first. All numbers are text without exponents, times milliseconds.

Bars:    `[start, open, high, low, close, volume, turnover]`. volume is base and turnover quote on spot and linear; on inverse
         volume is contracts of 1 USD and turnover base (a documented bar: 268611 at 17071 is 15.74).
Funding: `fundingRate`, `fundingRateTimestamp`; no interval, see `sources/funding.py`.
Trades:  `execId, price, size, side, time`; execId is a UUID, on spot a number of 19 digits, which archives do not have.
Sources: bybit-exchange.github.io/docs/v5/market (kline, funding-history, recent-trade), recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import BadContent
from crypto_assets.model import Series
from crypto_assets.rows.row_keys import numbers, places_among_equals
from crypto_assets.sources.answer_symbol import require_name
from crypto_assets.sources.bybit.amounts import in_base_and_quote
from crypto_assets.sources.formats import in_schema, instants
from crypto_assets.sources.formats_text import decimals, words
from crypto_assets.sources.funding import intervals

_BAR_CELLS = 7


def result_of(what: str, answer: Any) -> Mapping[str, Any]:
    """Return the result of an answer.

    Raises:
        BadContent: it is an error, or has another form.
    """
    found = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(found, dict) or str(answer.get("retCode")) != "0":
        raise BadContent(f"{what}: expected retCode 0 and a result, found {str(answer)[:200]}")
    return found


def list_of(what: str, answer: Any) -> list[Any]:
    """Return the list of an answer's result, oldest first; raises BadContent as `result_of`."""
    found = result_of(what, answer).get("list")
    if not isinstance(found, list):
        raise BadContent(f"{what}: expected a list in the result, found {str(answer)[:200]}")
    return found[::-1]


def rows_of(key: str, series: Series, name: str, answer: Any) -> list[Any]:
    """Return the rows of an answer about one symbol, oldest first; `name` is Bybit's own.

    An answer says its category; the symbol is in the result of bars, and in each row of funding events and trades. Bars
    may answer a question about any series.

    Raises:
        BadContent: it is about another category or symbol, or does not say which; and as `list_of`.
    """
    result, found = result_of(key, answer), list_of(key, answer)
    has_bars = series.table == "ohlcv" or any(isinstance(one, list) for one in found)
    owners = [result] if has_bars else found
    symbols = [one.get("symbol") if isinstance(one, dict) else None for one in owners]
    if (category := result.get("category")) != series.market_type:
        raise BadContent(
            f"{key}: expected category {series.market_type}, found {str(category)[:60]}; nothing of this answer was stored"
        )
    require_name(key, name, symbols)
    return found


def bars(key: str, series: Series, name: str, answer: Any) -> pa.Table:
    """Return the bars of an answer, oldest first."""
    found = rows_of(key, series, name, answer)
    for row in found:
        if not isinstance(row, list) or len(row) != _BAR_CELLS:
            raise BadContent(f"{key}: expected bars of {_BAR_CELLS} values, found {str(row)[:200]}")
    names = ("open_time", "open", "high", "low", "close", "volume", "quote_volume")
    columns = _columns(key, names, found)
    if series.market_type == "inverse":
        columns["volume"], columns["quote_volume"] = columns["quote_volume"], columns["volume"]
    return in_schema(datasets.get("ohlcv"), columns, len(found)) if found else _nothing(series)


def funding(key: str, series: Series, name: str, answer: Any) -> pa.Table:
    """Return the funding events of an answer, oldest first, each with its interval."""
    found = [_cells(key, one, ("fundingRateTimestamp", "fundingRate")) for one in rows_of(key, series, name, answer)]
    if not found:
        return _nothing(series)
    columns = _columns(key, ("funding_time", "funding_rate"), found)
    columns["funding_interval_hours"] = intervals(columns["funding_time"])
    return in_schema(datasets.get("funding_rates"), columns, len(found))


def trades(key: str, series: Series, name: str, answer: Any) -> pa.Table:
    """Return the trades of an answer, oldest first, each with its place among those of its instant in the answer."""
    found = [
        _cells(key, one, ("time", "price", "size", "execId", "side")) for one in rows_of(key, series, name, answer)
    ]
    if not found:
        return _nothing(series)
    columns = _columns(key, ("trade_time", "price", "amount"), found)
    columns |= in_base_and_quote(key, series.market_type, columns.pop("amount"), columns["price"])
    side = pa.chunked_array([pa.array([cells[4] for cells in found]).dictionary_encode()])
    columns["side"] = words(key, "side", side, {"Buy": "buy", "Sell": "sell"})
    columns["trade_place"] = _places(columns["trade_time"])
    if series.market_type != "spot":
        columns["trade_uid"] = pa.chunked_array([pa.array([cells[3] for cells in found])])
    return in_schema(datasets.get("trades"), columns, len(found))


def _places(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each row how many rows before it have its time (int32, from 0); the times may be in any order."""
    us = numbers(times)
    order = np.argsort(us, kind="stable")
    found = np.empty(len(us), np.int32)
    found[order] = places_among_equals(us[order])
    return pa.chunked_array([pa.array(found)])


def _cells(key: str, one: Any, names: Sequence[str]) -> list[str]:
    if not isinstance(one, dict) or not all(isinstance(one.get(name), str) for name in names):
        raise BadContent(f"{key}: expected rows with the texts {', '.join(names)}, found {str(one)[:200]}")
    return [one[name] for name in names]


def _columns(key: str, names: Sequence[str], found: Sequence[Sequence[Any]]) -> dict[str, pa.ChunkedArray]:
    """Return columns from the first cells of rows: the first as a time in milliseconds, the others as decimals."""
    columns = {}
    for place, name in enumerate(names):
        texts = pa.chunked_array([pa.array([str(row[place]) for row in found], pa.string())])
        exact = decimals(key, name, texts) if found else None
        if exact is None:
            continue
        if place:
            columns[name] = exact
            continue
        try:
            columns[name] = instants(key, exact.cast(pa.int64()))
        except pa.ArrowInvalid:
            raise BadContent(f"{key}: expected times in milliseconds, found {found[0][0]!r:.100}") from None
    return columns


def _nothing(series: Series) -> pa.Table:
    return datasets.get(series.table).schema.empty_table()
