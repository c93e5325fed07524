"""OKX over REST: `/api/v5`, JSON in an envelope `{"code": "0", "msg": "", "data": […]}`, no key.

Sources: OKX's API documentation (Get candlesticks history, Get trades history, Get funding rate history, Get instruments, Get
system time), ccxt, recorded answers of 2022 and 2026.

Bars:    history-candles, newest first. `after` and `before` are milliseconds, both exclusive; 100 a call are always served.
         Nine columns; the last says whether the bar is closed (older answers have seven: refused).
Trades:  history-trades of the last three months, newest first, 100 a call: the trades before an instant (`type` 2) or before
         a number (`type` 1). Numbers of one instrument grow by 1 in all that was recorded.
Funding: funding-rate-history of the last three months, newest first. The rate of the archive is `realizedRate`.
Errors:  a code that is not 0, also inside a 200: 50011 asks for a pause, 51001 is an unknown instrument. A ban is 403.
Limits:  by endpoint and address in 2 seconds: 20 history-candles, 10 of each other one here (history-trades is said to
         have 20; the lower number of ccxt is kept).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import BadContent
from crypto_assets.model import DAY, Partition, Series
from crypto_assets.model.epoch import at_milliseconds, milliseconds
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources.answer_symbol import require_name
from crypto_assets.sources.feeds import Call, Walk
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.okx.instruments import data_of, instruments_call
from crypto_assets.sources.okx.rows import read_rows
from crypto_assets.sources.okx.symbols import exchange_name, kind_of
from crypto_assets.sources.paging import by_number_down, by_time
from crypto_assets.sources.rest_query import RestQuery, clock_of, state_in

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

BARS = {
    **{timeframe: timeframe for timeframe in ("1m", "3m", "5m", "15m", "30m")},
    **dict(zip(("1h", "2h", "4h", "6h", "12h", "1d"), ("1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc"), strict=True)),
}
"""Our timeframes in OKX's words. Without `utc` its longer bars open at 16:00 UTC."""

_PAGE = 100

_PATHS = {"ohlcv": "history-candles", "trades": "history-trades", "funding_rates": "funding-rate-history"}
_METHODS = {
    "ohlcv": "publicGetMarketHistoryCandles",
    "trades": "publicGetMarketHistoryTrades",
    "funding_rates": "publicGetPublicFundingRateHistory",
}
_BUDGETS = {"ohlcv": "candles", "trades": "trades", "funding_rates": "funding"}

_TRADE = {
    "instrument_name": "instId",
    "trade_id": "tradeId",
    "side": "side",
    "price": "px",
    "size": "sz",
    "created_time": "ts",
}
_FUNDING = {"instrument_name": "instId", "funding_rate": "realizedRate", "funding_time": "fundingTime"}
_BAR = ("open_time", "open", "high", "low", "close", "vol", "vol_ccy", "vol_quote", "confirm")

_ENDED = "expired"
"""The state of a contract that ended, if it is still listed (others: live, suspend, preopen, test)."""


@dataclass(frozen=True, slots=True)
class OkxRest(RestQuery):
    """One series of OKX over REST; `final` where no archive has it."""

    series: Series
    final: bool

    ccxt_id = "okx"
    ended = frozenset({_ENDED})
    key_advice = "OKX's public endpoints need no key"

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"rest": rest_url}

    def source_key(self, symbol: str) -> str:
        folder = "public" if self._table == "funding_rates" else "market"
        return f"rest/api/v5/{folder}/{_PATHS[self._table]}?{urlencode(self._params(symbol))}"

    def clock(self) -> Call:
        return Call("publicGetPublicTime", {}, Endpoint("okx", "public", "time"))

    def clock_time(self, answer: Any) -> datetime:
        return clock_of("okx time", data_of("time", answer), lambda told: at_milliseconds(int(told[0]["ts"])))

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,
        now: datetime,
        instrument: Instrument | None = None,
    ) -> Walk:
        series, symbol = self.series, partition.symbol

        def read(answer: Any) -> pa.Table:
            return self.rows(symbol, answer, instrument)

        if self._table == "trades":
            return by_number_down.descending(self, series, partition, stored, until, now, read)
        step = step_of(series) if self._table == "ohlcv" else None
        if step is None:
            call = self.by_time(symbol, partition.start, partition.end, _PAGE)
            return by_time.events(series, partition, now, page_rows=_PAGE, call=lambda: call, read=read)

        def bars(start: datetime, end: datetime, rows: int) -> Call:
            return self.by_time(symbol, start, end, rows)

        return by_time.bars(series, partition, stored, now, step=step, page_rows=_PAGE, call=bars, read=read)

    def by_time(self, symbol: str, start: datetime, end: datetime, rows: int) -> Call:
        """Return the call for the bars or events of [start, end), at most `rows`; both bounds are exclusive at OKX."""
        if self._table == "funding_rates":  # the interval of an event needs the events before and after
            start, end = start - DAY, end + DAY
        return self._call(
            symbol, {"before": milliseconds(start) - 1, "after": milliseconds(end), "limit": min(rows, _PAGE)}
        )

    def before_time(self, symbol: str, end: datetime) -> Call:
        return self._call(symbol, {"type": 2, "after": milliseconds(end), "limit": _PAGE})

    def before_id(self, symbol: str, number: int) -> Call:
        return self._call(symbol, {"type": 1, "after": number, "limit": _PAGE})

    def status(self, symbol: str) -> Call:
        return instruments_call(kind_of(exchange_name(symbol)))

    def status_of(self, symbol: str, answer: Any) -> str | None:
        return state_in(
            "okx instruments", data_of("instruments", answer), ("instId", exchange_name(symbol)), ("state",)
        )

    def latest_row(self, symbol: str) -> Call:
        return self._bar_or_event(symbol, {"limit": 1})

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call:
        return self._bar_or_event(symbol, {"before": milliseconds(start) - 1, "after": milliseconds(end), "limit": 1})

    def row_time(self, symbol: str, answer: Any) -> datetime | None:
        found = data_of("rows", answer)
        try:
            if self._table == "funding_rates":  # bars do not name their symbol
                require_name(self.source_key(symbol), exchange_name(symbol), (one["instId"] for one in found))
            time = found and (found[0]["fundingTime"] if self._table == "funding_rates" else found[0][0])
            return at_milliseconds(int(time)) if time else None
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadContent(
                f"okx {_PATHS[self._table]}: expected rows with times, found {str(answer)[:200]}"
            ) from None

    def rows(self, symbol: str, answer: Any, instrument: Instrument | None = None) -> pa.Table:
        """Return the rows of an answer in the columns of the dataset, oldest first; an open bar is not one.

        Raises:
            BadContent: the answer is not what OKX documents.
        """
        key, name = self.source_key(symbol), exchange_name(symbol)
        found = data_of(_PATHS[self._table], answer)[::-1]
        if self._table == "ohlcv":
            lines = [line for line in (_bar(key, one) for one in found) if line[-1] != "0"]
            header = list(_BAR)
        else:
            columns = _TRADE if self._table == "trades" else _FUNDING
            lines = [_cells(key, one, columns) for one in found]
            header = list(columns)
        if not lines:
            return datasets.get(self._table).schema.empty_table()
        text = "\n".join(",".join(line) for line in (header, *lines)) + "\n"
        return read_rows(self.series, name, key, text.encode(), instrument)

    @property
    def _table(self) -> str:
        return self.series.table

    def _params(self, symbol: str) -> dict[str, str | int]:
        name = {"instId": exchange_name(symbol)}
        return {**name, "bar": BARS[self.series.timeframe or ""]} if self._table == "ohlcv" else dict(name)

    def _call(self, symbol: str, params: Mapping[str, str | int]) -> Call:
        endpoint = Endpoint("okx", _BUDGETS[self._table], _BUDGETS[self._table])
        return Call(_METHODS[self._table], {**self._params(symbol), **params}, endpoint)

    def _bar_or_event(self, symbol: str, params: Mapping[str, str | int]) -> Call:
        """Return the call for the newest bars, or funding events of that series: trades have no window of time."""
        if self._table != "trades":
            return self._call(symbol, params)
        wanted: dict[str, str | int] = {"instId": exchange_name(symbol), "bar": "1m", **params}
        return Call(_METHODS["ohlcv"], wanted, Endpoint("okx", _BUDGETS["ohlcv"], _BUDGETS["ohlcv"]))


def _bar(key: str, one: Any) -> list[str]:
    if not isinstance(one, list) or len(one) != len(_BAR):
        raise BadContent(f"{key}: expected bars of {len(_BAR)} columns, found {str(one)[:200]}")
    return [_cell(key, cell) for cell in one]


def _cells(key: str, one: Any, columns: Mapping[str, str]) -> list[str]:
    if not isinstance(one, dict) or not set(columns.values()) <= set(one):
        raise BadContent(f"{key}: expected rows with {', '.join(columns.values())}, found {str(one)[:200]}")
    return [_cell(key, one[name]) for name in columns.values()]


def _cell(key: str, cell: Any) -> str:
    if not isinstance(cell, str) or not cell or "," in cell or "\n" in cell:
        raise BadContent(f"{key}: expected every value as text, found {str(cell)[:60]!r}")
    return cell
