"""Kraken: no archive; REST below `/rest/0/public` with the trades since the first one and the newest 720 bars.

Errors stand in answers with status 200: `{"error": ["EQuery:Unknown asset pair"]}`. Times of trades have seven decimals, of
which the world knows six; the seventh is always 5. Trades of one microsecond have one instant in nanoseconds, as in real
answers. Kraken publishes no exact limit of public requests ("about one a second"); how it locks out is this dialect's guess.
(docs.kraken.com/api: Get Recent Trades, Get OHLC Data, Get Tradable Asset Pairs, Get Server Time)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.faults import Kind
from crypto_assets.sandbox.market import MINUTE, Instrument, Trades, bars_of_day, microseconds, midnight_price
from crypto_assets.sandbox.published import Numbers
from crypto_assets.sandbox.text import Column, Integer, csv_rows
from crypto_assets.sandbox.world import World, assets

LIMITS = {"kraken.rest": Allowance(15, 15.0, patience=5, first_ban_s=900)}

_PAGE, _BARS = 1000, 720
_MINUTES = (1, 5, 15, 30, 60, 240, 1440)
_OWN = {"BTC": "XBT", "DOGE": "XDG"}
_AFTER_MICROSECOND_NS = 544
"""A trade's nanoseconds beyond its microsecond; the text of its time shows their first digit."""


class Kraken(Dialect):
    """Kraken's spot market."""

    name = "kraken"
    limits = LIMITS
    host = "api.kraken.com"

    def urls(self, base: str) -> dict[str, str]:
        return {"rest_url": f"{base}{self.root}/rest"}

    def rest(self) -> Mapping[str, Endpoint]:
        return {
            "/rest/0/public/Time": self._time,
            "/rest/0/public/AssetPairs": self._pairs,
            "/rest/0/public/Trades": lambda request: self._of_pair(request, _trades),
            "/rest/0/public/OHLC": lambda request: self._of_pair(request, _bars),
        }

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        """Answer with status 200, as Kraken does."""
        return _error("EGeneral:Temporary lockout" if status == 418 else "EAPI:Rate limit exceeded")

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:  # noqa: ARG002
        return f"<html><title>{status} {phrase}</title></html>", "text/html"

    def _time(self, request: Request) -> Response:  # noqa: ARG002
        return _result(
            {"unixtime": int(self.world.time.timestamp()), "rfc1123": f"{self.world.time:%a, %d %b %y %T %z}"}
        )

    def _items(self) -> Iterator[tuple[Instrument, date, date]]:
        return (listed for (market, _), listed in self.world.listed.items() if market == "spot")

    def _pairs(self, request: Request) -> Response:
        found = {}
        for item, _, _ in self._items():
            base, quote = (_OWN.get(asset, asset) for asset in assets(item.symbol))
            found[base + quote] = {
                "altname": base + quote,
                "wsname": f"{base}/{quote}",
                "aclass_base": "currency",
                "base": base,
                "aclass_quote": "currency",
                "quote": quote,
                "pair_decimals": item.price_decimals,
                "lot_decimals": 8,
                "lot_multiplier": 1,
                "tick_size": str(10**-item.price_decimals),
                "status": "online",
            }
        pair = request.query_params.get("pair")
        if pair is None:
            return _result(found)
        return _result({pair: found[pair]}) if pair in found else _error("EQuery:Unknown asset pair")

    def _of_pair(self, request: Request, answer: Callable[[_Asked, Mapping[str, str]], str]) -> Response:
        pair = request.query_params.get("pair", "")
        for item, first, last in self._items():
            if "".join(_OWN.get(asset, asset) for asset in assets(item.symbol)) == pair:
                asked = _Asked(self.world, item, first, last, int(self.world.time.timestamp() * 1_000_000))
                try:
                    text = answer(asked, request.query_params)
                except ValueError:
                    return _error("EGeneral:Invalid arguments")
                return Response('{"error":[],"result":{"' + pair + '":' + text + "}}", media_type="application/json")
        return _error("EQuery:Unknown asset pair")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One pair, as far as it can be seen now; times in microseconds."""

    world: World
    item: Instrument
    first_day: date
    last_day: date
    now_us: int

    def trades(self, day: date) -> Trades | None:
        """Return the trades of a day up to now, None if there are none."""
        if not self.first_day <= day <= self.last_day or microseconds(day) > self.now_us:
            return None
        trades = self.world.market.trades(self.item, day)
        stop = int(np.searchsorted(trades.time, self.now_us, side="right"))
        return _part(trades, 0, stop) if stop else None

    def days(self, first: date) -> list[date]:
        first, last = max(first, self.first_day), min(self.last_day, _day(self.now_us))
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _trades(asked: _Asked, query: Mapping[str, str]) -> str:
    """Return the trades after `since` (nanoseconds), the oldest first; without it the newest ones."""
    count = min(int(query.get("count", _PAGE)), _PAGE)
    rows: list[str] = []
    last_ns = int(query.get("since", 0))
    if "since" in query:
        for day in asked.days(_day(last_ns // 1000)):
            if (trades := asked.trades(day)) is not None and len(rows) < count:
                start = int(np.searchsorted(trades.time * 1000 + _AFTER_MICROSECOND_NS, last_ns, side="right"))
                rows += _lines(asked.item, _part(trades, start, min(len(trades), start + count - len(rows))))
            if len(rows) == count:
                break
    else:
        for day in reversed(asked.days(asked.first_day)):
            if (trades := asked.trades(day)) is not None:
                rows = _lines(asked.item, _part(trades, max(0, len(trades) - count + len(rows)), len(trades))) + rows
            if len(rows) == count:
                break
    if rows:
        seconds, fraction = rows[-1].split(",")[2].split(".")
        last_ns = int(seconds) * 10**9 + int(fraction[:6]) * 1000 + _AFTER_MICROSECOND_NS
    return f'[{",".join(rows)}],"last":"{last_ns}"'


def _lines(item: Instrument, trades: Trades) -> list[str]:
    write = Numbers(item)
    lines = _csv([write.price(trades.price), write.amount(trades.amount), Integer(trades.time), Integer(trades.id)])
    sides = ["s" if maker else "b" for maker in trades.is_buyer_maker]
    found = []
    for (price, amount, us, number), side in zip(lines, sides, strict=True):
        time = f"{us[:-6]}.{us[-6:]}{_AFTER_MICROSECOND_NS // 100}"
        found.append(f'["{price}","{amount}",{time},"{side}","l","",{number}]')
    return found


def _bars(asked: _Asked, query: Mapping[str, str]) -> str:
    """Return the newest bars, at most 720 and the open one; bars before `since` (seconds) are left out."""
    minutes = int(query.get("interval", 1))
    if minutes not in _MINUTES:
        raise ValueError(minutes)
    length = minutes * MINUTE
    open_us = asked.now_us // length * length
    oldest = max(open_us - _BARS * length, int(query.get("since", 0)) * 1_000_000)
    write = Numbers(asked.item)
    rows: list[str] = []
    for day in asked.days(_day(oldest)):
        trades = asked.trades(day)
        if trades is None:
            continue
        opening = midnight_price(asked.world.market.seed, asked.item, day)
        bars = bars_of_day(trades, day, length, opening)
        columns: list[Column] = [Integer(bars.open_time // 1_000_000)]
        columns += [write.price(values) for values in (bars.open, bars.high, bars.low, bars.close)]
        columns += [write.amount(bars.volume), Integer(bars.trade_count)]
        for open_time, (time, *prices, volume, count) in zip(bars.open_time, _csv(columns), strict=True):
            if oldest <= open_time <= open_us:
                quoted = ",".join(f'"{text}"' for text in (*prices, prices[-1], volume))
                rows.append(f"[{time},{quoted},{count}]")
    return f'[{",".join(rows)}],"last":{(open_us - length) // 1_000_000}'


def _csv(columns: list[Column]) -> list[list[str]]:
    text = b"".join(bytes(piece) for piece in csv_rows(columns)).decode()
    return [line.split(",") for line in text.splitlines()]


def _part(trades: Trades, start: int, stop: int) -> Trades:
    piece = slice(start, stop)
    return replace(
        trades,
        first_id=trades.first_id + start,
        time=trades.time[piece],
        price=trades.price[piece],
        amount=trades.amount[piece],
        is_buyer_maker=trades.is_buyer_maker[piece],
    )


def _day(us: int) -> date:
    return datetime.fromtimestamp(max(us, 0) // 1_000_000, UTC).date()


def _result(result: Mapping[str, object]) -> Response:
    return JSONResponse({"error": [], "result": result})


def _error(text: str) -> Response:
    return JSONResponse({"error": [text]})


DIALECT = Kraken
