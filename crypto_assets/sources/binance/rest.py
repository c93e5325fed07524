"""Binance over REST: spot `/api/v3`, USD-M futures `/fapi/v1`, COIN-M futures `/dapi/v1`.

Sources: github.com/binance/binance-spot-api-docs (rest-api.md, state of 2026-07-21) for spot; for futures the pages of
developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api.

Bars:    klines by time, 1,000 (spot) or 1,500 (futures) a call; the open bar comes last; both times are inclusive.
Trades:  historicalTrades by id, 1,000 (spot) or 500 (futures) a call; it has no time filter, and aggTrades finds the first
         id of a day (window of less than one hour). Futures need an API key for it and keep only the last months; trades
         that the order book did not match (insurance fund, ADL) are left out there.
Funding: fundingRate by time, 1,000 a call.
Numbers are text, with the zeros of the archive; ids and times are integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import BadContent
from crypto_assets.model import Partition, Series
from crypto_assets.model.epoch import at_milliseconds, milliseconds
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources.answer_symbol import require_name
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.feeds import Call, Walk
from crypto_assets.sources.funding import hours_of
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.paging import by_number, by_time
from crypto_assets.sources.rest_query import RestQuery, clock_of, state_in

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

_PATHS = {"spot": "api/v3", "linear": "fapi/v1", "inverse": "dapi/v1"}
_PREFIXES = {"spot": "public", "linear": "fapiPublic", "inverse": "dapiPublic"}  # of ccxt's endpoint names

# Archive and REST agree digit for digit only in one time unit: spot files have microseconds from this data date on
# (binance-public-data README), and REST returns them on request (spot CHANGELOG 2024-12, X-MBX-TIME-UNIT).
_SPOT_MICROSECONDS_SINCE = date(2025, 1, 1)

_KLINES_PAGE = {"spot": 1000, "linear": 1500, "inverse": 1500}
_TRADES_PAGE = {"spot": 1000, "linear": 500, "inverse": 500}
_FUNDING_AROUND = timedelta(days=1)

# rest-api.md "ENUM definitions", symbol status: TRADING, END_OF_DAY, HALT, BREAK; futures "contractStatus": PENDING_TRADING,
# TRADING, PRE_DELIVERING, DELIVERING, DELIVERED, PRE_SETTLE, SETTLING, CLOSE. A halt ends some time; delisted symbols stay
# in BREAK (spot), or are left out (futures).
_ENDED = frozenset({"BREAK", "DELIVERED", "SETTLING", "CLOSE"})

_DEFAULT_INTERVAL = "1m"

_LONGEST_INVERSE = timedelta(days=200)
"""dapi refuses klines of a longer time: code -4088, "Maximum time interval is 200 days."."""


@dataclass(frozen=True, slots=True)
class BinanceRest(RestQuery):
    """One series of Binance over REST.

    `parse` reads rows from CSV text, as for the archive's files.
    """

    series: Series
    facts: Facts
    exchange_symbol: Callable[[str, str], str]
    parse: Callable[[Series, str, bytes, Instrument | None], pa.Table]

    final = False
    ccxt_id = "binance"
    # `settle`: klines, aggTrades and historicalTrades are read from a database that may lag (rest-api.md, "Data Sources"; no
    # figure).
    ended = _ENDED
    find_window = timedelta(hours=1)
    key_advice = (
        "Binance wants an API key for old futures trades: set CRYPTO_ASSETS_BINANCE_API_KEY, or wait for the archive"
    )

    @property
    def page_rows(self) -> int:
        match self.series.table:
            case "ohlcv":
                return _KLINES_PAGE[self._market]
            case "trades":
                return _TRADES_PAGE[self._market]
            case _:
                return 1000

    @property
    def contiguous_ids(self) -> bool:
        return self.facts.contiguous

    @property
    def _market(self) -> str:
        return self.series.market_type

    def urls(self, rest_url: str) -> dict[str, str]:
        return {_PREFIXES[market]: f"{rest_url}/{path}" for market, path in _PATHS.items()}

    def source_key(self, symbol: str) -> str:
        path, params = self._source(symbol)
        return f"rest/{_PATHS[self._market]}/{path}?{urlencode(params)}"

    def clock(self) -> Call:
        return self._call("time", {}, 1)

    def clock_time(self, answer: Any) -> datetime:
        return clock_of(f"{self._market} time", answer, lambda told: at_milliseconds(int(told["serverTime"])))

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,  # noqa: ARG002  the stored rows say it
        now: datetime,
        instrument: Instrument | None = None,
    ) -> Walk:
        series, symbol = self.series, partition.symbol

        def read(answer: Any) -> pa.Table:
            return self.rows(symbol, answer, instrument)

        if series.table in ("trades", "agg_trades"):
            return by_number.numbered(self, series, partition, stored, now, read)
        step, page_rows = step_of(series) if series.table == "ohlcv" else None, self.page_rows
        if step is None:
            call = self.by_time(symbol, partition.start, partition.end, page_rows)
            return by_time.events(series, partition, now, page_rows=page_rows, call=lambda: call, read=read)

        def bars(start: datetime, end: datetime, rows: int) -> Call:
            return self.by_time(symbol, start, end, rows)

        return by_time.bars(series, partition, stored, now, step=step, page_rows=page_rows, call=bars, read=read)

    def by_time(self, symbol: str, start: datetime, end: datetime, rows: int) -> Call:
        """Return the call for rows of [start, end), at most `rows`."""
        path, params = self._source(symbol)
        if path == "fundingRate":  # the interval of an event needs the events before and after
            start, end = start - _FUNDING_AROUND, end + _FUNDING_AROUND
            rows = self.page_rows
        limit = min(rows, self.page_rows)
        window: dict[str, str | int] = {
            "startTime": milliseconds(start),
            "endTime": milliseconds(end) - 1,
            "limit": limit,
        }
        weight = 1 if path == "fundingRate" else _klines_weight(self._market, limit)
        return self._call(path, params | window, weight, start)

    def by_id(self, symbol: str, first_id: int, day: datetime) -> Call:
        path, params = self._source(symbol)
        weight = {"aggTrades": (4, 20), "historicalTrades": (25, 200)}[path][self._market != "spot"]
        return self._call(path, params | {"fromId": first_id, "limit": self.page_rows}, weight, day)

    def find(self, symbol: str, start: datetime, end: datetime) -> Call:
        window: dict[str, str | int] = {"startTime": milliseconds(start), "endTime": milliseconds(end) - 1, "limit": 10}
        return self._call(
            "aggTrades",
            {"symbol": self.exchange_symbol(self._market, symbol)} | window,
            4 if self._market == "spot" else 20,
        )

    def found(self, answer: Any) -> int | None:
        name = "a" if self.series.table == "agg_trades" else "f"
        # -1 marks an aggregate whose trades were removed.
        ids = [int(row[name]) for row in _rows(answer, (name,)) if int(row[name]) >= 0]
        return min(ids, default=None)

    def activity(self, symbol: str, start: datetime, end: datetime) -> Call:
        window: dict[str, str | int] = {"startTime": milliseconds(start), "endTime": milliseconds(end) - 1, "limit": 24}
        params: dict[str, str | int] = {"symbol": self.exchange_symbol(self._market, symbol), "interval": "1h"}
        return self._call("klines", params | window, _klines_weight(self._market, 24))

    def busy_from(self, answer: Any) -> datetime | None:
        # The ninth column counts the trades.
        hours = [int(row[0]) for row in _rows(answer) if int(row[8])]
        return at_milliseconds(min(hours)) if hours else None

    def status(self, symbol: str) -> Call:
        # Futures always return all contracts; for spot that would be megabytes.
        spot = self._market == "spot"
        params: dict[str, str | int] = {"symbol": self.exchange_symbol(self._market, symbol)} if spot else {}
        return self._call("exchangeInfo", params, 20 if spot else 1)

    def status_of(self, symbol: str, answer: Any) -> str | None:
        found = answer.get("symbols") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise BadContent(f"{self._market} exchangeInfo: expected symbols, found {str(answer)[:200]}")
        name = "symbol", self.exchange_symbol(self._market, symbol)
        return state_in(f"{self._market} exchangeInfo", found, name, ("status", "contractStatus"))

    def first_row(self, symbol: str) -> Call | None:
        if self._market == "inverse" and self.series.table != "funding_rates":
            return None  # without an end, dapi ends the answer 200 days after `startTime`
        return self._one_row(symbol, {"startTime": 0})

    def latest_row(self, symbol: str) -> Call:
        return self._one_row(symbol, {})

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call | None:
        if self._market == "inverse" and end - start > _LONGEST_INVERSE:
            return None
        return self._one_row(symbol, {"startTime": milliseconds(start), "endTime": milliseconds(end) - 1}, "1d")

    def _one_row(self, symbol: str, window: Mapping[str, str | int], interval: str = "") -> Call:
        """Return the call for the first row of a window, or for the last row; trades have no time filter, their bars do."""
        path, params = self._source(symbol)
        if path not in ("klines", "fundingRate"):
            path, params = (
                "klines",
                {"symbol": self.exchange_symbol(self._market, symbol), "interval": _DEFAULT_INTERVAL},
            )
        if path == "klines" and interval:
            params = params | {"interval": interval}
        weight = 1 if path == "fundingRate" else _klines_weight(self._market, 1)
        return self._call(path, {**params, **window, "limit": 1}, weight)

    def row_time(self, symbol: str, answer: Any) -> datetime | None:
        if self.series.table == "funding_rates":
            times = [event["fundingTime"] for event in self._events(symbol, answer)]
        else:  # bars do not name their symbol
            times = [row[0] for row in _rows(answer)]
        return at_milliseconds(int(times[0])) if times else None

    def rows(self, symbol: str, answer: Any, instrument: Instrument | None = None) -> pa.Table:
        """Return the rows of an answer in the columns and the order of the dataset.

        Raises:
            BadContent: the answer is not what the exchange documents, or names another symbol: only funding events say
                whose they are.
        """
        spot, key = self._market == "spot", self.source_key(symbol)
        match self.series.table:
            case "ohlcv":
                lines = [_line(row) for row in _rows(answer)]
            case "trades":
                amount = "baseQty" if self._market == "inverse" else "quoteQty"
                names = ("id", "price", "qty", amount, "time", "isBuyerMaker", *(("isBestMatch",) if spot else ()))
                lines = [_line([row[name] for name in names]) for row in _rows(answer, names)]
            case "agg_trades":
                names = ("a", "p", "q", "f", "l", "T", "m", *(("M",) if spot else ()))
                lines = [_line([row[name] for name in names]) for row in _rows(answer, names)]
            case _:
                lines = _funding_lines(self._events(symbol, answer))
        if not lines:
            return datasets.get(self.series.table).schema.empty_table()
        return self.parse(self.series, key, "".join(lines).encode(), instrument)

    def _events(self, symbol: str, answer: Any) -> list[Any]:
        """Return the funding events of an answer, which are of one symbol."""
        events = _rows(answer, ("symbol", "fundingTime", "fundingRate"))
        name = self.exchange_symbol(self._market, symbol)
        require_name(self.source_key(symbol), name, (event["symbol"] for event in events))
        return events

    def _source(self, symbol: str) -> tuple[str, dict[str, str | int]]:
        """Return the endpoint of the rows, and the parameters of every call to it."""
        params: dict[str, str | int] = {"symbol": self.exchange_symbol(self._market, symbol)}
        match self.series.table:
            case "ohlcv":
                timeframe = self.series.timeframe or ""
                return "klines", params | {"interval": "1M" if timeframe == "1mo" else timeframe}
            case "trades":
                return "historicalTrades", params
            case "agg_trades":
                return "aggTrades", params
            case _:
                return "fundingRate", params

    def _call(self, path: str, params: Mapping[str, str | int], weight: int, day: datetime | None = None) -> Call:
        kind = {"ohlcv": "klines", "funding_rates": "funding"}.get(self.series.table, "trades")
        microseconds = self._market == "spot" and day is not None and day.date() >= _SPOT_MICROSECONDS_SINCE
        headers = {"x-mbx-time-unit": "MICROSECOND"} if microseconds else {}
        method = f"{_PREFIXES[self._market]}Get{path[0].upper()}{path[1:]}"
        return Call(method, params, Endpoint("binance", self._market, kind, weight), headers)


def _klines_weight(market: str, limit: int) -> int:
    if market == "spot":
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _rows(answer: Any, names: Sequence[str] = ()) -> list[Any]:
    """Return the rows of an answer: objects with these names, or lists if there are none.

    Raises:
        BadContent: it has another form.
    """
    if not isinstance(answer, list):
        raise BadContent(f"expected a JSON list of rows, found {str(answer)[:200]}")
    for row in answer:
        if not (isinstance(row, dict) and all(name in row for name in names) if names else isinstance(row, list)):
            raise BadContent(f"expected rows with {', '.join(names) or 'columns'}, found {str(row)[:200]}")
    return answer


def _line(cells: Sequence[Any]) -> str:
    return ",".join(("true" if cell else "false") if isinstance(cell, bool) else str(cell) for cell in cells) + "\n"


def _funding_lines(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return events as the archive writes them: time, hours, rate. The answer has no hours; see `sources/funding.py`."""
    hours = hours_of(np.array([int(event["fundingTime"]) * 1000 for event in events], dtype=np.int64))
    return [
        _line([event["fundingTime"], int(length), event["fundingRate"]])
        for event, length in zip(events, hours, strict=True)
    ]
