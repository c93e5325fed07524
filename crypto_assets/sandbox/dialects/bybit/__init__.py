"""Bybit: gzip files of trades, an S3 listing and HTML indexes, REST v5 with its errors inside a 200, a ban that is a 403.

    /bybit/listing?prefix=…          S3 XML
    /bybit/archive/<folder>/         an HTML index of the folder; parameters are ignored
    /bybit/archive/<key>             a file; its ETag is its MD5, there is no checksum
    /bybit/rest/v5/market/…          kline, recent-trade, funding/history, instruments-info, time

Times of contracts' files are seconds with four digits after the point, notionals floats as Python prints them. Sizes of
inverse contracts are USD, and their notionals stand the other way round: size, then size / price.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from html import escape
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.damage import Table
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.dialects.bybit.rows import bars_down, funding_down, number, size_of, trades_down
from crypto_assets.sandbox.faults import Kind
from crypto_assets.sandbox.market import Instrument, days_between, instant, month_end
from crypto_assets.sandbox.published import PublishedFile, PublishedFiles, gzip_member
from crypto_assets.sandbox.s3_listing import Objects
from crypto_assets.sandbox.world import World, assets, expiry

MARKETS = ("spot", "linear", "inverse")
CONTRACTS = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,RPI"
SPOT = "id,timestamp,price,volume,side,rpi"

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_OTHER_AMOUNTS = ("wrong-bytes", "republished", "republished-stale-checksum", "conflicting-rows")
_MOST_RECENT = {"spot": 60, "linear": 1000, "inverse": 1000}
_LETTERS = "FGHJKMNQUVXZ"


class Refused(Exception):
    """An error of the API: retCode and retMsg, in an answer with status 200."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Bybit(Dialect):
    """public.bybit.com and api.bybit.com."""

    name = "bybit"
    host = "public.bybit.com"
    # Beyond 600 requests in 5 s an address is banned for 10 minutes.
    limits = {"bybit.rest": Allowance(600, 5.0, patience=0, first_ban_s=600)}  # noqa: RUF012 - as the others

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.names = {
            (market, bybit_name(symbol)): listed
            for (market, symbol), listed in world.listed.items()
            if market in MARKETS
        }
        self.archive = PublishedFiles(world, "public.bybit.com", self._files)

    def classify(self, path: str, query: str) -> tuple[Kind, str]:
        if path == "/archive" or (path.startswith("/archive/") and path.endswith("/")):
            return "listing", path.removeprefix("/archive").removeprefix("/")
        return super().classify(path, query)

    async def list(self, request: Request, objects: Objects, seconds: float) -> Response:
        path = request.url.path.removeprefix(self.root)
        if not path.startswith("/archive"):
            return await super().list(request, objects, seconds)
        folder = path.removeprefix("/archive").removeprefix("/")
        links = await run_in_threadpool(self._links, folder, objects)
        if folder and not links:
            return self.missing(folder)
        lines = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>\n' for link in ("../", *links))
        return Response(f"<!DOCTYPE html>\n<html><body><ul>\n{lines}</ul></body></html>\n", media_type="text/html")

    def media_type(self, key: str) -> str:  # noqa: ARG002 - all are gzip
        return "application/gzip"

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        """Answer 403 to an address that asks too often; a slow-down of the API is an error inside a 200."""
        if status == 429 and budget.endswith(".rest"):
            return JSONResponse({"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}})
        return Response("access too frequent", 403)

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:
        if kind == "rest":
            return f'{{"retCode":10016,"retMsg":"{phrase}","result":{{}}}}', "application/json"
        return super().failed(status, phrase, kind, key)

    def table(self, key: str) -> Table:
        if key.startswith("spot/"):
            return Table("trades", time=1, price=2, amount=3, header=SPOT, pack="gzip")
        return Table("trades", time=0, price=4, amount=3, quote=9, header=CONTRACTS, pack="gzip")

    def damaged(self, fault: str, key: str, content: bytes) -> bytes:
        """Return the bytes under a fault; a file with another amount has its notional too, as the exchange's would."""
        changed = super().damaged(fault, key, content)
        if fault not in _OTHER_AMOUNTS or key.startswith("spot/"):
            return changed
        header, *lines = gzip.decompress(changed).decode().splitlines()
        cells = [line.split(",") for line in lines]
        for row in cells:
            row[8] = repr(float(row[3]))
            if ("inverse", key.split("/")[1]) in self.names:
                row[9] = repr(float(row[3]) / float(row[4]))
        return gzip_member([(",".join(row) + "\n").encode() for row in cells], header)

    # ---- files --------------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[PublishedFile]:
        for (market, name), (item, first, last) in self.names.items():
            for day in days_between(first, last):
                spot = market == "spot"
                key = f"spot/{name}/{name}_{day}.csv.gz" if spot else f"trading/{name}/{name}{day}.csv.gz"
                write = self._spot if spot else partial(self._contracts, name)
                yield PublishedFile(key, instant(day + timedelta(days=1), 2), partial(write, item, day))
                if spot and day.day == 1 and month_end(day) <= last:
                    key = f"spot/{name}/{name}-{day:%Y-%m}.csv.gz"
                    write = partial(self._spot, item, day, month_end(day))
                    yield PublishedFile(key, instant(month_end(day) + timedelta(days=2), 2), write)

    def _spot(self, item: Instrument, day: date, last: date | None = None) -> bytes | None:
        """Return the file of a day, or of the days up to the last one; a file numbers its rows from 1."""
        cells = (
            cell for one in days_between(day, last or day) for cell in _cells(item, self.world.market.trades(item, one))
        )
        lines = [
            f"{place},{us // 1000},{price},{amount},{side},0\n".encode()
            for place, (us, price, amount, side) in enumerate(cells, 1)
        ]
        return gzip_member(lines, SPOT) if lines else None

    def _contracts(self, name: str, item: Instrument, day: date) -> bytes | None:
        trades = self.world.market.trades(item, day)
        lines = []
        for place, (us, price, amount, side) in enumerate(_cells(item, trades)):
            other = float(amount) / float(price) if item.market == "inverse" else float(amount) * float(price)
            time = f"{us // 1_000_000}.{us % 1_000_000 // 100:04}"
            uid = uuid(name, trades.first_id + place)
            numbers = f"{other * 1e8!r},{float(amount)!r},{other!r}"
            lines.append(f"{time},{name},{side.title()},{amount},{price},ZeroPlusTick,{uid},{numbers},0\n".encode())
        return gzip_member(lines, CONTRACTS) if lines else None

    def _links(self, folder: str, objects: Objects) -> Sequence[str]:
        found = [key.removeprefix(folder) for key in objects.keys(folder)]
        return list(dict.fromkeys(name.partition("/")[0] + ("/" if "/" in name else "") for name in found))

    # ---- REST ---------------------------------------------------------------------------------------------------------

    def rest(self) -> Mapping[str, Endpoint]:
        answers: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "time": self._time,
            "kline": self._kline,
            "recent-trade": self._recent_trade,
            "funding/history": self._funding_history,
            "instruments-info": self._instruments_info,
        }
        return {f"/rest/v5/market/{path}": self._endpoint(answer) for path, answer in answers.items()}

    def _endpoint(self, answer: Callable[[Mapping[str, str]], dict[str, Any]]) -> Endpoint:
        def endpoint(request: Request) -> Response:
            head: dict[str, Any] = {"retCode": 0, "retMsg": "OK"}
            try:
                result = answer(request.query_params)
            except Refused as refused:
                head, result = {"retCode": refused.code, "retMsg": str(refused)}, {}
            return JSONResponse({**head, "result": result, "retExtInfo": {}, "time": self._now_us() // 1000})

        return endpoint

    def _now_us(self) -> int:
        return int(self.world.time.timestamp() * 1_000_000)

    def _asked(self, query: Mapping[str, str]) -> tuple[Instrument, date, date]:
        category, name = query.get("category", "linear"), query.get("symbol", "")
        if category not in MARKETS:
            raise Refused(10001, "params error: Category is invalid")
        if (category, name) not in self.names:
            raise Refused(10001, "params error: Symbol Is Invalid")
        return self.names[category, name]

    def _time(self, query: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG002
        us = self._now_us()
        return {"timeSecond": str(us // 1_000_000), "timeNano": f"{us}000"}

    def _kline(self, query: Mapping[str, str]) -> dict[str, Any]:
        item, first, last = self._asked(query)
        rows = bars_down(self.world.market, item, (first, last), self._now_us(), query, _limit(query, 200, 1000))
        if rows is None:
            raise Refused(10001, "params error: Invalid period!")
        return {"category": item.market, "symbol": query["symbol"], "list": rows}

    def _funding_history(self, query: Mapping[str, str]) -> dict[str, Any]:
        item, first, last = self._asked(query)
        if item.market == "spot":
            raise Refused(10001, "params error: Category is invalid")
        if "startTime" in query and "endTime" not in query:
            raise Refused(10001, "params error: EndTime Is Required")
        events = funding_down(self.world.market, item, (first, last), self._now_us(), query)
        rows = [
            {"symbol": query["symbol"], "fundingRate": rate, "fundingRateTimestamp": time}
            for time, rate in events[: _limit(query, 200, 200)]
        ]
        return {"category": item.market, "list": rows}

    def _recent_trade(self, query: Mapping[str, str]) -> dict[str, Any]:
        item, first, last = self._asked(query)
        most = _MOST_RECENT[item.market]
        found = trades_down(self.world.market, item, (first, last), self._now_us(), _limit(query, most, most))
        rows = [
            {
                "execId": uuid(query["symbol"], trade_id)
                if item.market != "spot"
                else str(2_290_000_000_000_000_000 + trade_id),
                "symbol": query["symbol"],
                "price": price,
                "size": amount,
                "side": side.title(),
                "time": str(us // 1000),
                "isBlockTrade": False,
                "isRPITrade": False,
            }
            for trade_id, us, price, amount, side in found
        ]
        return {"category": item.market, "list": rows}

    def _instruments_info(self, query: Mapping[str, str]) -> dict[str, Any]:
        category, wanted = query.get("category", ""), query.get("symbol")
        if category not in MARKETS:
            raise Refused(10001, "params error: Category is invalid")
        names = [name for market, name in self.names if market == category and wanted in (None, name)]
        rows = [self._instrument(category, name) for name in names]
        if wanted is None:
            rows = [row for row in rows if row["status"] == query.get("status", "Trading")]
        most, start = _limit(query, 500, 1000), int(query.get("cursor") or 0)
        if category == "spot":
            return {"category": category, "list": rows}
        following = str(start + most) if start + most < len(rows) else ""
        return {"category": category, "list": rows[start : start + most], "nextPageCursor": following}

    def _instrument(self, category: str, name: str) -> dict[str, Any]:
        item, first, _ = self.names[category, name]
        ended = self.world.time >= self.world.listed_until(category, item.symbol)
        base, quote = assets(item.symbol)
        tick, lot = number(1, item.price_decimals), "1" if category == "inverse" else number(1, item.amount_decimals)
        common = {
            "symbol": name,
            "status": "Closed" if ended else "Trading",
            "baseCoin": base,
            "quoteCoin": quote,
            "priceFilter": {"tickSize": tick},
        }
        if category == "spot":
            return {**common, "lotSizeFilter": {"basePrecision": lot}}
        ends = expiry(item.symbol)
        return {
            **common,
            "contractType": f"{category.title()}{'Futures' if ends else 'Perpetual'}",
            "settleCoin": base if category == "inverse" else quote,
            "launchTime": _milliseconds(instant(first, 0)),
            "deliveryTime": _milliseconds(ends or self.world.listed_until(category, item.symbol))
            if ends or ended
            else "0",
            "lotSizeFilter": {"qtyStep": lot},
            "fundingInterval": 480,
        }


def bybit_name(symbol: str) -> str:
    """Return Bybit's name of a symbol of the world: BTCUSDT_240628 is `BTCUSDT-28JUN24`, BTCUSD_240628 `BTCUSDM24`."""
    pair, _, _ = symbol.partition("_")
    ends = expiry(symbol)
    if ends is not None and pair.endswith("USD"):
        return f"{pair}{_LETTERS[ends.month - 1]}{ends:%y}"
    return pair if ends is None else f"{pair}-{ends.day}{_MONTHS[ends.month - 1]}{ends:%y}"


def uuid(name: str, number: int) -> str:
    """Return the id of a trade: the same in files and answers, without an order."""
    text = hashlib.md5(f"{name} {number}".encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _cells(item: Instrument, trades: Any) -> Iterator[tuple[int, str, str, str]]:
    """Yield time in microseconds, price, amount and the taker's side."""
    for us, price, amount, sold in zip(
        trades.time.tolist(), trades.price.tolist(), trades.amount.tolist(), trades.is_buyer_maker.tolist(), strict=True
    ):
        yield us, number(price, item.price_decimals), size_of(item, amount), "sell" if sold else "buy"


def _limit(query: Mapping[str, str], usual: int, most: int) -> int:
    text = query.get("limit", str(usual))
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 1000:
        raise Refused(10001, "params error: Limit is invalid")
    return min(int(text), most)


def _milliseconds(time: datetime) -> str:
    return str(int(time.timestamp()) * 1000)


DIALECT = Bybit
