"""Kraken over REST: `/0/public`, JSON, no key.

Sources: docs.kraken.com/api (Get Recent Trades, Get OHLC Data, Get Tradable Asset Pairs, Get Server Time), recorded answers.

Trades: the whole history. 1,000 a page, ascending; `since` is an instant in nanoseconds, exclusive; the answer's `last` is
        the `since` of the next page. Numbers of trades grow by 1 (1,000 of 1,000 rows recorded in 2025).
Bars:   the newest 720 only, whatever `since` says; the open bar comes last. 720 bars of a minute are 12 hours.
Errors: inside a 200: `{"error": ["EQuery:Unknown asset pair"]}`. `EAPI:Rate limit exceeded`, `EGeneral:Too many requests` and
        `EGeneral:Temporary lockout` ask for a pause (ccxt: DDoSProtection).
Answers may be cached for two seconds (`Cache-Control: public,max-age=2`, recorded in 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa

from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Partition, Series, bar_length
from crypto_assets.model.epoch import at_microseconds
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.kraken import rows
from crypto_assets.sources.kraken.symbols import exchange_symbol
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.paging.by_token import TokenPage, TokenPages, by_token
from crypto_assets.sources.rest_query import RestQuery

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

BAR_PAGE = 720
"""The bars that REST has. Recorded answers have 720 (2017) or 721 rows (2025) with the open one."""

_TRADE_WIDTHS = (6, 7)
_BAR_WIDTHS = (8,)


@dataclass(frozen=True, slots=True)
class KrakenRest(RestQuery):
    """One series of Kraken over REST; what it answers does not change any more."""

    series: Series

    final = True
    ccxt_id = "kraken"
    key_advice = "Kraken's public endpoints need no key"

    def source_key(self, symbol: str) -> str:
        path = "OHLC" if self.series.table == "ohlcv" else "Trades"
        return f"rest/0/public/{path}?{urlencode(self._params(symbol))}"

    def clock(self) -> Call:
        return Call("publicGetTime", {}, Endpoint("kraken", "public", "time"))

    def clock_time(self, answer: Any) -> datetime:
        seconds = rows.result_of("Time", answer).get("unixtime")
        if not isinstance(seconds, int):
            raise BadContent(f"Time: expected unixtime, found {str(answer)[:200]}")
        return datetime.fromtimestamp(seconds, UTC)

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,
        now: datetime,
        instrument: Instrument | None = None,  # noqa: ARG002  amounts are in base
    ) -> Walk:
        """Return the requests that complete a day; see `QueryFeed.walk`."""
        if self.series.table == "ohlcv":
            return self._bars(partition, until, now)
        symbol = partition.symbol
        return by_token(
            TokenPages(
                self.source_key(symbol),
                "trade_id",
                "trade_time",
                lambda token: self._trades(symbol, {"since": str(token)}),
                lambda answer: self._page(symbol, answer),
                self.latest_row(symbol),
            ),
            partition,
            stored,
            now,
        )

    def _page(self, symbol: str, answer: Any) -> TokenPage:
        key = self.source_key(symbol)
        found, last = rows.rows_of(key, answer, _TRADE_WIDTHS, symbol)
        if any(len(row) < 7 for row in found):
            raise BadContent(
                f"{key}: expected seven values with the number of the trade, found six: {str(found[0])[:100]}; without "
                "numbers nobody can say that a day is complete"
            )
        if not last.isascii() or not last.isdecimal():
            raise BadContent(f"{key}: expected `last` in nanoseconds, found {last[:60]!r}")
        return TokenPage(rows.trades(key, found), int(last))

    def _bars(self, partition: Partition, until: datetime | None, now: datetime) -> Walk:
        step = bar_length(self.series.timeframe or "")
        begin = max(partition.start, until or partition.start)
        end = min(partition.start + (now - partition.start) // step * step, partition.end)
        if begin >= end:
            return
        key = self.source_key(partition.symbol)
        since = int((begin - step).timestamp())
        answer = yield self._call("OHLC", self._params(partition.symbol) | {"since": since}, "klines")
        found, _ = rows.rows_of(key, answer, _BAR_WIDTHS, partition.symbol)
        first = at_microseconds(rows.micros(key, found[0][0])) if found else end
        # By time, never by the number of rows: recorded answers to ccxt's and freqtrade's users had 707 to 718 rows.
        reach = partition.start + (now - partition.start) // step * step - (BAR_PAGE - 1) * step
        problem = ""
        if begin < reach and first > begin:
            reach = min(first, reach)
            oldest = f"{key}: Kraken has the newest {BAR_PAGE} bars only, from {reach:%Y-%m-%d %H:%M} UTC on"
            if reach >= end:
                raise PermanentError(
                    f"{oldest}; there is no source of older bars but Kraken's downloadable files "
                    "(`exchanges: kraken: files:` in collection.yaml)"
                )
            known, problem = None, oldest
        else:
            known = end
        table = rows.bars(key, found)
        opens = table.column("open_time")
        inside = [begin <= one < end for one in opens.to_pylist()]
        yield Page(table.filter(pa.array(inside, pa.bool_())), known, problem=problem)

    def status(self, symbol: str) -> Call:
        return self._call("AssetPairs", {"pair": exchange_symbol(symbol)}, "instruments")

    # All of Kraken's words for a pair that is listed (cancel_only, post_only …) can pass: none means that it has ended.
    def status_of(self, symbol: str, answer: Any) -> str | None:
        pairs = rows.result_of("AssetPairs", answer).values()
        name = exchange_symbol(symbol)
        found = [one for one in pairs if isinstance(one, dict) and one.get("altname") == name]
        return str(found[0].get("status", "online")) if found else None

    def first_row(self, symbol: str) -> Call:
        return self._trades(symbol, {"since": "0", "count": 1})

    def latest_row(self, symbol: str) -> Call:
        return self._trades(symbol, {"count": 1})

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call:  # noqa: ARG002  the next trade tells
        return self._trades(symbol, {"since": f"{int(start.timestamp()) * 1_000_000_000 - 1}", "count": 1})

    def row_time(self, symbol: str, answer: Any) -> datetime | None:
        """Return the time of the first trade; bars are not asked, because REST has the newest only."""
        found, _ = rows.rows_of("Trades", answer, _TRADE_WIDTHS, symbol)
        if not found:
            return None
        us = rows.micros("Trades", found[0][2])
        return at_microseconds(us)

    def _params(self, symbol: str) -> dict[str, str | int]:
        params: dict[str, str | int] = {"pair": exchange_symbol(symbol)}
        if self.series.table == "ohlcv":
            params["interval"] = bar_length(self.series.timeframe or "") // timedelta(minutes=1)
        return params

    def _trades(self, symbol: str, params: Mapping[str, str | int]) -> Call:
        return self._call("Trades", {"pair": exchange_symbol(symbol), **params}, "trades")

    def _call(self, path: str, params: Mapping[str, str | int], kind: str) -> Call:
        return Call(f"publicGet{path}", params, Endpoint("kraken", "public", kind))
