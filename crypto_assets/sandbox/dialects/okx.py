"""OKX: files of UTC+8 days found by a JSON index, bundles of funding rates, REST in an envelope with codes inside a 200.

/okx/archive/cdn/okex/traderecords/…              one file, published two days after its day of UTC+8
/okx/listing/api/v5/public/market-data-history    the index: at most 20 days a call, 5 calls in 2 seconds
/okx/rest/api/v5/{market,public}/…                time, instruments, history-candles, history-trades, funding-rate-history

Trades have seven columns from `SEVEN_COLUMNS_SINCE` on, and an old header in two languages (GBK) before `ONE_LANGUAGE_SINCE`.
Contracts are 0.01 in base, inverse ones 100 or 10 dollars. A ban is 403; an unknown instrument is code 51001, too many calls
50011 with 429.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.damage import Table
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.faults import Kind
from crypto_assets.sandbox.market import Instrument, Trades, days_between, instant, microseconds
from crypto_assets.sandbox.published import PublishedFile, PublishedFiles
from crypto_assets.sandbox.s3_listing import Objects
from crypto_assets.sandbox.text import zip_member
from crypto_assets.sandbox.world import World, assets, expiry

ONE_LANGUAGE_SINCE, SEVEN_COLUMNS_SINCE = date(2022, 1, 1), date(2026, 9, 1)

CONTRACT = 100
"""Contracts of a swap in one unit of base: one is 0.01."""

_INDEX = "/listing/api/v5/public/market-data-history"
_FOLDERS = {"1": "trades", "2": "candlesticks", "3": "swaprates"}
_ROOT = "cdn/okex/traderecords"
_DAY_MS = 86_400_000
_EAST_MS = 8 * 3_600_000
_MOST_DAYS = 20
_PAGE = 100
_BARS = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h"} | {
    "6Hutc": "6h",
    "12Hutc": "12h",
    "1Dutc": "1d",
}

_TRADES_HEADER = "instrument_name,trade_id,side,price,size,created_time"
_OLD_HEADER = "trade_id/撮合id,side/交易方向,size/数量,price/价格,created_time/成交时间"
_BARS_HEADER = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
_FUNDING_HEADER = "instrument_name,funding_rate,funding_time"

LIMITS = {
    "okx.archive": Allowance(100, 1.0),
    "okx.listing": Allowance(5, 2.0),
    "okx.rest:history-candles": Allowance(20, 2.0),
    "okx.rest:history-trades": Allowance(20, 2.0),
    "okx.rest:other": Allowance(10, 2.0),
}


Rows = list[Any]
Row = tuple[int, str, str, str, int]
"""A trade: number, side, price, size, milliseconds."""


class Okx(Dialect):
    """OKX's archive (static.okx.com) and API (www.okx.com): spot and contracts."""

    name = "okx"
    limits: ClassVar[Mapping[str, Allowance]] = LIMITS
    host = "www.okx.com"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.items = {name_of(*where): found for where, found in world.listed.items()}
        self.archive = PublishedFiles(world, self.name, self._files)

    def classify(self, path: str, query: str) -> tuple[Kind, str]:
        if path.startswith("/listing/"):
            return "listing", f"{path}?{query}"
        return super().classify(path, query)

    def charge(self, kind: Kind, path: str, query: str) -> tuple[str, int]:
        if kind != "rest":
            return super().charge(kind, path, query)
        budget = f"okx.rest:{path.rpartition('/')[2]}"
        return (budget if budget in LIMITS else "okx.rest:other"), 1

    # ---- files --------------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[PublishedFile]:
        swap_days: set[date] = set()
        for name, (item, first, last) in self.items.items():
            days = list(days_between(first, last + timedelta(days=1)))
            swap_days |= set(days) if item.market != "spot" else set()
            for day in days:
                for word, build in (("trades", self._trades_file), ("candlesticks", self._bars_file)):
                    key = f"{_ROOT}/{word}/daily/{day:%Y%m%d}/{name}-{word}-{day}.zip"
                    yield PublishedFile(key, _published(day), partial(build, key, name, day))
        for day in sorted(swap_days):
            key = f"{_ROOT}/swaprates/daily/{day:%Y%m%d}/allswap-fundingrates-{day}.zip"
            yield PublishedFile(key, _published(day), partial(self._funding_file, key, day))

    def _trades_file(self, key: str, name: str, day: date) -> bytes | None:
        rows = [row for half in self._halves(name, day) for row in half]
        if day < ONE_LANGUAGE_SINCE:
            lines = [f"{number},{side},{size},{price},{time}" for number, side, price, size, time in rows[::-1]]
            return _zipped(key, day, _OLD_HEADER.encode("gbk"), lines)
        more, header = ("", _TRADES_HEADER) if day < SEVEN_COLUMNS_SINCE else (",0", f"{_TRADES_HEADER},source")
        lines = [f"{name},{number},{side},{price},{size},{time}{more}" for number, side, price, size, time in rows]
        return _zipped(key, day, header.encode(), lines)

    def _halves(self, name: str, day: date) -> Iterator[Sequence[Row]]:
        """Yield the trades of the two UTC days that a day of UTC+8 is in."""
        begin = microseconds(day) // 1000 - _EAST_MS
        for part in (day - timedelta(days=1), day):
            yield [row for row in self._trade_rows(name, part) if begin <= row[4] < begin + _DAY_MS]

    def _trade_rows(self, name: str, day: date) -> Sequence[Row]:
        """Return the trades of a UTC day up to now."""
        item, first, last = self.items[name]
        if not first <= day <= last:
            return []
        trades: Trades = self.world.market.trades(item, day)
        now = int(self.world.time.timestamp() * 1_000_000)
        return [
            (number + 1, "sell" if sold else "buy", _price(item, price), _size(item, amount), time // 1000)
            for number, time, price, amount, sold in zip(
                trades.id.tolist(),
                trades.time.tolist(),
                trades.price.tolist(),
                trades.amount.tolist(),
                trades.is_buyer_maker.tolist(),
                strict=True,
            )
            if time <= now
        ]

    def _bars_file(self, key: str, name: str, day: date) -> bytes | None:
        begin = microseconds(day) // 1000 - _EAST_MS
        rows = [row for part in (day - timedelta(days=1), day) for row in self._bar_rows(name, "1m", part)]
        lines = [",".join((name, *row[1:8], row[0], row[8])) for row in rows if begin <= int(row[0]) < begin + _DAY_MS]
        return _zipped(key, day, _BARS_HEADER.encode(), lines)

    def _bar_rows(self, name: str, interval: str, day: date) -> Sequence[Sequence[str]]:
        """Return the bars of a UTC day that have begun, as REST writes them, oldest first."""
        item, first, last = self.items[name]
        if not first <= day <= last:
            return []
        bars = self.world.market.bars(item, interval, day)
        now = int(self.world.time.timestamp() * 1_000_000)
        rows = []
        for place, opens in enumerate(bars.open_time.tolist()):
            if opens > now:
                break
            prices = [_price(item, int(column[place])) for column in (bars.open, bars.high, bars.low, bars.close)]
            base, quote = int(bars.volume[place]), _fixed(int(bars.quote_volume[place]), item.quote_decimals)
            if item.market == "inverse":  # the market counts contracts, and has the base volume where others have quote
                inside, quote = quote, str(base * item.contract_size)
            else:
                inside = quote if item.market == "spot" else _fixed(base, item.amount_decimals)
            closed = "1" if int(bars.end_time[place]) <= now else "0"
            rows.append([str(opens // 1000), *prices, _size(item, base), inside, quote, closed])
        return rows

    def _funding_file(self, key: str, day: date) -> bytes | None:
        begin = microseconds(day) // 1000 - _EAST_MS
        lines = [
            f"{name},{rate},{time}"
            for name in self.items
            for part in (day - timedelta(days=1), day)
            for time, rate in self._events(name, part)
            if begin <= time < begin + _DAY_MS
        ]
        return _zipped(key, day, _FUNDING_HEADER.encode(), lines)

    def _events(self, name: str, day: date) -> Sequence[tuple[int, str]]:
        item, first, last = self.items[name]
        if item.market == "spot" or not first <= day <= last:
            return []
        return [(time // 1000, _fixed(rate, 8)) for time, rate in self.world.market.funding_rates(item, day)]

    # ---- the index ----------------------------------------------------------------------------------------------------

    async def list(self, request: Request, objects: Objects, seconds: float) -> Response:  # noqa: ARG002
        return await run_in_threadpool(self._index, request, objects)

    def _index(self, request: Request, objects: Objects) -> Response:
        query = request.query_params
        folder, kind = _FOLDERS.get(query.get("module", "")), query.get("instType", "")
        asked = query.get("instIdList" if kind == "SPOT" else "instFamilyList", "")
        begin, end = query.get("begin", ""), query.get("end", "")
        if not (folder and asked and begin.isdigit() and end.isdigit() and query.get("dateAggrType") == "daily"):
            return _error("50014", "Parameter can not be empty.")
        if not 0 <= int(end) - int(begin) < _MOST_DAYS * _DAY_MS or (folder == "swaprates" and asked != "ANY"):
            return _error("51000", "Parameter begin, end or instFamilyList error")
        base = str(request.base_url).rstrip("/") + f"{self.root}/archive"
        files = []
        for stamp in range(int(begin) - (int(begin) + _EAST_MS) % _DAY_MS, int(end) + 1, _DAY_MS):
            if stamp < int(begin):
                continue
            day = date.fromordinal(date(1970, 1, 1).toordinal() + (stamp + _EAST_MS) // _DAY_MS)
            for key in objects.keys(f"{_ROOT}/{folder}/daily/{day:%Y%m%d}/"):
                name = key.rpartition("/")[2]
                if folder == "swaprates" or re.match(rf"{re.escape(asked)}-(SWAP-)?{folder}-", name):
                    info = objects.info(key)
                    size = f"{info.size / 1e6:.2f}" if info else "0"
                    files.append({"dataTs": str(stamp), "filename": name, "sizeMB": size, "url": f"{base}/{key}"})
        detail = {"dateRangeStart": begin, "dateRangeEnd": end, "instFamily": asked, "groupDetails": files}
        return _answer([{"ts": begin, "totalSizeMB": "0", "dateAggrType": "daily", "details": [detail]}])

    # ---- REST ---------------------------------------------------------------------------------------------------------

    def rest(self) -> Mapping[str, Endpoint]:
        root = "/rest/api/v5"
        return {
            f"{root}/public/time": lambda request: _answer([{"ts": str(self._now_ms)}]),  # noqa: ARG005
            f"{root}/public/instruments": self._instruments,
            f"{root}/market/history-candles": self._of_symbol(self._history_candles),
            f"{root}/market/history-trades": self._of_symbol(self._history_trades),
            f"{root}/public/funding-rate-history": self._of_symbol(self._funding_history),
        }

    @property
    def _now_ms(self) -> int:
        return int(self.world.time.timestamp() * 1000)

    def _of_symbol(self, answer: Callable[[str, Mapping[str, str]], Rows]) -> Endpoint:
        def endpoint(request: Request) -> Response:
            name = request.query_params.get("instId", "")
            if name not in self.items:
                return _error("51001", "Instrument ID doesn't exist.")
            return _answer(answer(name, dict(request.query_params)))

        return endpoint

    def _instruments(self, request: Request) -> Response:
        kind = request.query_params.get("instType", "")
        found = []
        for name, (item, first, _) in self.items.items():
            if kind != ("SPOT" if item.market == "spot" else "SWAP"):
                continue
            if self.world.listed_until(item.market, item.symbol) <= self.world.time:
                continue
            base, quote = assets(item.symbol)
            contract = {"ctVal": "0.01", "ctMult": "1", "ctType": "linear", "ctValCcy": base, "settleCcy": quote}
            if item.market == "inverse":
                contract |= {
                    "ctVal": str(item.contract_size),
                    "ctType": "inverse",
                    "ctValCcy": quote,
                    "settleCcy": base,
                }
            nothing = dict.fromkeys(contract, "")
            found.append(
                {
                    "instId": name,
                    "instType": kind,
                    "state": "live",
                    "expTime": "",
                    "instFamily": "",
                    "listTime": str(microseconds(first) // 1000),
                    "tickSz": _fixed(1, item.price_decimals),
                    "lotSz": _size(item, 1),
                    **(nothing if kind == "SPOT" else contract),
                }
            )
        return _answer(found)

    def _days(self, name: str, before_ms: int) -> Iterator[date]:
        """Yield the days of a symbol that begin before an instant, the latest first."""
        _, first, last = self.items[name]
        latest = min(last, date.fromordinal(date(1970, 1, 1).toordinal() + (before_ms - 1) // _DAY_MS))
        yield from list(days_between(first, latest))[::-1]

    def _history_candles(self, name: str, query: Mapping[str, str]) -> Rows:
        before, after, limit = self._window(query)
        interval = _BARS.get(query.get("bar", "1m"), "1m")
        found: Rows = []
        for day in self._days(name, after):
            rows = [row for row in self._bar_rows(name, interval, day) if before < int(row[0]) < after]
            found += rows[::-1]
            if len(found) >= limit or microseconds(day) // 1000 <= before:
                break
        return found[:limit]

    def _history_trades(self, name: str, query: Mapping[str, str]) -> Rows:
        _, after, limit = self._window(query)
        by_time = query.get("type", "1") == "2"
        found: Rows = []
        for day in self._days(name, min(after, self._now_ms + 1) if by_time else self._now_ms + 1):
            rows = self._trade_rows(name, day)
            found += [row for row in rows[::-1] if (row[4] if by_time else row[0]) < after]
            if len(found) >= limit:
                break
        names = ("tradeId", "side", "px", "sz", "ts")
        return [
            {"instId": name, "source": "0", **dict(zip(names, map(str, row), strict=True))} for row in found[:limit]
        ]

    def _funding_history(self, name: str, query: Mapping[str, str]) -> Rows:
        before, after, limit = self._window(query)
        events = [event for day in self._days(name, after) for event in self._events(name, day)[::-1]]
        return [
            {"instId": name, "instType": "SWAP", "fundingRate": rate, "realizedRate": rate, "fundingTime": str(time)}
            for time, rate in events
            if before < time < min(after, self._now_ms)
        ][:limit]

    def _window(self, query: Mapping[str, str]) -> tuple[int, int, int]:
        """Return the exclusive bounds and the number of rows."""
        after = int(query.get("after") or self._now_ms + 1)
        return int(query.get("before") or 0), after, min(int(query.get("limit") or _PAGE), _PAGE)

    # ---- refusals and faults ------------------------------------------------------------------------------------------

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        if status == 418:
            return Response("Forbidden", 403)
        return JSONResponse({"code": "50011", "msg": "Too Many Requests", "data": []}, 429)

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:
        if kind in ("rest", "listing"):
            return f'{{"code":"50001","msg":"{phrase}","data":[]}}', "application/json"
        return super().failed(status, phrase, kind, key)

    def table(self, key: str) -> Table:
        if "/candlesticks/" in key:
            return Table("bars", 8, 3, 5, 7, high=2, close=4, header=_BARS_HEADER)
        if "/swaprates/" in key:
            return Table("funding", 2, 1, 1, header=_FUNDING_HEADER)
        return Table("trades", 5, 3, 4, header=_TRADES_HEADER)


def _answer(data: Sequence[Any]) -> JSONResponse:
    return JSONResponse({"code": "0", "msg": "", "data": data})


def _error(code: str, message: str) -> JSONResponse:
    """Return an error as OKX sends it: with status 200."""
    return JSONResponse({"code": code, "msg": message, "data": []})


def name_of(market: str, symbol: str) -> str:
    """Return OKX's name of a symbol of the world."""
    base, quote = assets(symbol)
    if market == "spot":
        return f"{base}-{quote}"
    return f"{base}-{quote}-{symbol.rpartition('_')[2] if expiry(symbol) else 'SWAP'}"


def _published(day: date) -> datetime:
    """Return when the file of a day of UTC+8 appears: two days after it, in the morning there."""
    return instant(day + timedelta(days=2), 2)


def _zipped(key: str, day: date, header: bytes, lines: Sequence[str]) -> bytes | None:
    if not lines:
        return None
    text = header + b"\n" + "\n".join(lines).encode() + b"\n"
    member = key.rpartition("/")[2].removesuffix(".zip") + ".csv"
    return zip_member(member, [text], _published(day), len(lines))


def _fixed(value: int, decimals: int) -> str:
    sign, digits = "-" if value < 0 else "", str(abs(value)).zfill(decimals + 1)
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def _price(item: Instrument, ticks: int) -> str:
    return _fixed(ticks, item.price_decimals)


def _size(item: Instrument, lots: int) -> str:
    """Return an amount in base on spot (small ones with an exponent, as OKX writes them), else in contracts."""
    if item.market == "inverse":
        return _fixed(lots, item.amount_decimals)
    if item.market == "linear":
        return _fixed(lots * CONTRACT, item.amount_decimals)
    text = _fixed(lots, item.amount_decimals)
    return repr(float(text)) if 0 < float(text) < 1e-4 else text


DIALECT = Okx
