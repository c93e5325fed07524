"""Bybit over REST: `/v5/market`, JSON, no key.

Bars:    `kline` by time, 1,000 a page, newest first, both times inclusive; the open bar is among them. Nothing else has bars
         that can be trusted (the archive's are text stamps in UTC+3, some cut): a day from here is final.
Funding: `funding/history` by time, 200 a page; with only a start it is an error. Final for the same reason.
Trades:  `recent-trade` has the newest only, 1,000 (spot: 60), and takes no time. They prove a day only where they reach back
         to its beginning, or to trades that are stored; else the archive is the only source, and the day says so. Days from
         here are provisional: times are milliseconds, the archive's finer.
Errors:  inside a 200, by retCode: 10001 a parameter, 10006 too many requests, 10016 and 10000 the server. ccxt reads them.
         Past 600 requests in 5 seconds an address gets 403 for ten minutes.
Whether minutes without a trade have bars is documented nowhere; flat bars of volume 0 are expected, and a bar that is missing
counts as missing.
Sources: bybit-exchange.github.io/docs/v5 (market, rate-limit), ccxt/ccxt#27745 for the page of funding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa

from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import DAY, Partition, Series
from crypto_assets.model.epoch import at_microseconds, at_milliseconds, milliseconds
from crypto_assets.rows.bar_calendar import days_of_bar
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources.bybit import answers
from crypto_assets.sources.bybit.symbols import exchange_name
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.paging import by_time
from crypto_assets.sources.paging.rows_of_pages import between
from crypto_assets.sources.rest_query import RestQuery, state_in

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

INTERVALS = {
    "1m": "1",
    "3m": "3",
    "5m": "5",
    "15m": "15",
    "30m": "30",
    "1h": "60",
    "2h": "120",
    "4h": "240",
    "6h": "360",
    "12h": "720",
    "1d": "D",
    "1w": "W",
    "1mo": "M",
}
"""Bybit's words for timeframes."""

_BARS_PAGE, _FUNDING_PAGE = 1000, 200
_TRADES_PAGE = {"spot": 60, "linear": 1000, "inverse": 1000}

_FUNDING_AROUND = timedelta(days=1)
"""The interval of an event needs the events before and after."""

_METHODS = {
    "kline": "publicGetV5MarketKline",
    "recent-trade": "publicGetV5MarketRecentTrade",
    "funding/history": "publicGetV5MarketFundingHistory",
    "instruments-info": "publicGetV5MarketInstrumentsInfo",
    "time": "publicGetV5MarketTime",
}

# v5 "enum", status: PreLaunch, Trading, Delivering, Closed. Contracts that are being delivered do not trade any more.
_ENDED = frozenset({"Delivering", "Closed"})


@dataclass(frozen=True, slots=True)
class BybitRest(RestQuery):
    """One series of Bybit over REST."""

    series: Series

    ccxt_id = "bybit"
    ended = _ENDED
    key_advice = "Bybit's market endpoints need no key"

    @property
    def final(self) -> bool:
        return self.series.table != "trades"

    @property
    def _market(self) -> str:
        return self.series.market_type

    @property
    def _path(self) -> str:
        return {"ohlcv": "kline", "funding_rates": "funding/history"}.get(self.series.table, "recent-trade")

    def source_key(self, symbol: str) -> str:
        return f"rest/v5/market/{self._path}?{urlencode(self._params(symbol))}"

    def clock(self) -> Call:
        return self._call("time", {})

    def clock_time(self, answer: Any) -> datetime:
        nanoseconds = str(answers.result_of("time", answer).get("timeNano"))
        if not (nanoseconds.isascii() and nanoseconds.isdecimal()):
            raise BadContent(f"time: expected timeNano, found {str(answer)[:200]}")
        return at_microseconds(int(nanoseconds) // 1000)

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,
        now: datetime,
        instrument: Instrument | None = None,  # noqa: ARG002  contracts of 1 USD
    ) -> Walk:
        """Return the requests that complete a day; see `QueryFeed.walk`."""
        key, symbol = self.source_key(partition.symbol), partition.symbol
        name = exchange_name(self._market, symbol)
        if self.series.table == "trades":
            return self._recent(partition, until, now)
        if self.series.table == "funding_rates":
            start, end = partition.start - _FUNDING_AROUND, partition.end + _FUNDING_AROUND
            window = self._window(start, end, _FUNDING_PAGE, "startTime", "endTime")
            call = self._call(self._path, self._params(symbol) | window)
            return by_time.events(
                self.series,
                partition,
                now,
                page_rows=_FUNDING_PAGE,
                call=lambda: call,
                read=lambda answer: answers.funding(key, self.series, name, answer),
            )
        step = step_of(self.series)
        if step is None:
            return self._long_bar(partition, now)
        return by_time.bars(
            self.series,
            partition,
            stored,
            now,
            step=step,
            page_rows=_BARS_PAGE,
            call=lambda start, end, rows: self._bars(symbol, start, end, rows),
            read=lambda answer: answers.bars(key, self.series, name, answer),
        )

    def _long_bar(self, partition: Partition, now: datetime) -> Walk:
        """Ask for the bar of a week or a month that opens on a day, once it is closed."""
        closes = partition.start + len(days_of_bar(self.series.timeframe, partition.start.date())) * DAY
        if now < closes:
            return
        answer = yield self._bars(partition.symbol, partition.start, partition.end, _BARS_PAGE)
        name = exchange_name(self._market, partition.symbol)
        rows = answers.bars(self.source_key(partition.symbol), self.series, name, answer)
        yield Page(between(rows, self.series, partition.start, partition.end), partition.end)

    def _recent(self, partition: Partition, until: datetime | None, now: datetime) -> Walk:
        """Ask for the newest trades; where a page is full, its oldest instant may be cut and is left out."""
        key, most = self.source_key(partition.symbol), _TRADES_PAGE[self._market]
        begin = max(partition.start, until or partition.start)
        answer = yield self._call(self._path, self._params(partition.symbol) | {"limit": most})
        found = answers.trades(key, self.series, exchange_name(self._market, partition.symbol), answer)
        times = found.column("trade_time").to_pylist()
        if times != sorted(times):
            raise BadContent(f"{key}: expected trades newest first, found times in another order")
        reaches = times[0] < begin if times else False
        if not reaches:
            since = f"from {times[0]:%Y-%m-%d %H:%M:%S} UTC on" if times else "none"
            raise PermanentError(
                f"{key}: expected trades from {begin:%Y-%m-%d %H:%M:%S} UTC on, found the newest {most} only ({since}); the "
                "exchange has no older ones to ask for. The archive has the day when its file is published"
            )
        rows = between(found, self.series, max(begin, times[0] + timedelta(microseconds=1)), partition.end)
        yield Page(rows, min(now, partition.end))

    def status(self, symbol: str) -> Call:
        params = {"category": self._market, "symbol": exchange_name(self._market, symbol)}
        return self._call("instruments-info", params, "instruments")

    def status_of(self, symbol: str, answer: Any) -> str | None:
        name = "symbol", exchange_name(self._market, symbol)
        return state_in("instruments-info", answers.list_of("instruments-info", answer), name, ("status",))

    def first_row(self, symbol: str) -> Call | None:
        """Return the call for all weeks: with a start alone the newest bars would come, never the first."""
        if self.series.table == "funding_rates":
            return None
        return self._call("kline", self._names(symbol) | {"interval": "W", "start": 0, "limit": _BARS_PAGE})

    def latest_row(self, symbol: str) -> Call:
        params = self._params(symbol) if self.series.table != "trades" else self._names(symbol)
        return self._call(self._path, params | {"limit": 1})

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call:
        if self.series.table == "funding_rates":
            window = self._window(start, end, _FUNDING_PAGE, "startTime", "endTime")
            return self._call(self._path, self._names(symbol) | window)
        return self._call("kline", self._names(symbol) | {"interval": "D"} | self._window(start, end, _BARS_PAGE))

    def row_time(self, symbol: str, answer: Any) -> datetime | None:
        """Return the time of the earliest row, or of the earliest bar that has trades in it if the series are trades."""
        found = answers.rows_of(self.source_key(symbol), self.series, exchange_name(self._market, symbol), answer)
        times = [time for one in found if (time := self._time(one)) is not None]
        return at_milliseconds(min(times)) if times else None

    def _time(self, one: Any) -> int | None:
        try:
            if isinstance(one, list):
                return None if self.series.table == "trades" and float(one[5]) == 0 else int(one[0])
            return int(one["fundingRateTimestamp" if self.series.table == "funding_rates" else "time"])
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadContent(f"{self._path}: expected a row with a time, found {str(one)[:200]}") from None

    def _bars(self, symbol: str, start: datetime, end: datetime, rows: int) -> Call:
        return self._call("kline", self._params(symbol) | self._window(start, end, min(rows, _BARS_PAGE)))

    def _window(
        self, start: datetime, end: datetime, limit: int, first: str = "start", last: str = "end"
    ) -> dict[str, str | int]:
        """Return the parameters for rows of [start, end)."""
        return {first: milliseconds(start), last: milliseconds(end) - 1, "limit": limit}

    def _names(self, symbol: str) -> dict[str, str | int]:
        return {"category": self._market, "symbol": exchange_name(self._market, symbol)}

    def _params(self, symbol: str) -> dict[str, str | int]:
        if self.series.table != "ohlcv":
            return self._names(symbol)
        return self._names(symbol) | {"interval": INTERVALS[self.series.timeframe or ""]}

    def _call(self, path: str, params: Mapping[str, str | int], kind: str = "") -> Call:
        kinds = {"kline": "klines", "funding/history": "funding", "recent-trade": "trades"}
        return Call(_METHODS[path], params, Endpoint("bybit", "rest", kind or kinds.get(path, path)))
