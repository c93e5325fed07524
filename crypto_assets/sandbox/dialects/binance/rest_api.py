"""Binance's REST API for the sandbox's market: the trades and bars, up to now, that the archive publishes later.

/api/v3:  ping, time, exchangeInfo, klines, trades, historicalTrades, aggTrades
/fapi/v1: the same, and fundingRate
/dapi/v1: as /fapi/v1; amounts are contracts, volumes and quote amounts are in base, klines of 200 days at most (-4088)

Numbers are written as in the archive (spot with eight digits). Times are milliseconds; on spot microseconds if the header
`X-MBX-TIME-UNIT: MICROSECOND` requests them. startTime and endTime are inclusive. The open bar is the last one. A `fromId`
below the oldest served trade is answered from the oldest trade on. Errors are `{"code": …, "msg": …}` with status 400.
(github.com/binance/binance-spot-api-docs: rest-api.md, errors.md)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox.dialects.binance.exchange_info import exchange_info
from crypto_assets.sandbox.dialects.binance.layout import Format
from crypto_assets.sandbox.market import (
    DAY,
    INTERVALS,
    Aggregates,
    Bars,
    Instrument,
    Market,
    Trades,
    aggregate,
    bars_of_day,
    join_bars,
    microseconds,
    midnight_price,
    month_end,
)
from crypto_assets.sandbox.text import Column, csv_rows
from crypto_assets.sandbox.world import World

ROOTS = {"spot": "/api/v3", "linear": "/fapi/v1", "inverse": "/dapi/v1"}
_INTERVALS = (*INTERVALS, "3d", "1w", "1M")
_HOUR_MS = 3_600_000
_MOST_DAYS = 200  # of one request for klines of COIN-M
_MOST = {
    "klines": {"spot": 1000, "linear": 1500, "inverse": 1500},
    "historicalTrades": {"spot": 1000, "linear": 500, "inverse": 500},
}
_DEFAULT = {
    "historicalTrades": {"spot": 500, "linear": 100, "inverse": 100},
    "fundingRate": {"linear": 100, "inverse": 100},
}

_TRADE = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
_AGGREGATE = ("a", "p", "q", "f", "l", "T", "m", "M")


class _Refused(Exception):
    """An answer with an error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, and the part of the market visible now; times in milliseconds."""

    market: Market
    item: Instrument
    first_day: date
    last_day: date
    now_us: int
    unit: int
    limit: int
    start: int | None
    end: int | None
    from_id: int | None
    interval: str

    def trades(self, day: date) -> Trades | None:
        """Return the trades of a day up to now, None if there are none."""
        if not self.first_day <= day <= self.last_day or microseconds(day) > self.now_us:
            return None
        trades = self.market.trades(self.item, day)
        count = int(np.searchsorted(trades.time, self.now_us, side="right"))
        return _part(trades, 0, count) if count else None

    @property
    def latest_day(self) -> date:
        return min(self.last_day, _day(self.now_us))

    def days_up(self, first: date) -> Iterator[date]:
        for offset in range((self.latest_day - max(first, self.first_day)).days + 1):
            yield max(first, self.first_day) + timedelta(days=offset)

    def days_down(self, last: date) -> Iterator[date]:
        for offset in range((min(last, self.latest_day) - self.first_day).days + 1):
            yield min(last, self.latest_day) - timedelta(days=offset)


def rest_routes(source: World) -> dict[str, Callable[[Request], Response]]:
    """Return the routes of the REST API over a world; they block and are called from threads."""
    routes: dict[str, Callable[[Request], Response]] = {}
    for market, root in ROOTS.items():
        for name, answer in _ANSWERS.items():
            if name != "fundingRate" or market != "spot":
                routes[f"{root}/{name}"] = _endpoint(source, market, name, answer)
        routes[f"{root}/ping"] = lambda request: JSONResponse({})  # noqa: ARG005
        routes[f"{root}/time"] = _time(source)
        routes[f"{root}/exchangeInfo"] = exchange_info(source, market)
    return routes


def _time(source: World) -> Callable[[Request], JSONResponse]:
    def time(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"serverTime": _now_us(source) // 1000})

    return time


def _endpoint(
    source: World, market: str, name: str, answer: Callable[[_Asked], list[Any]]
) -> Callable[[Request], JSONResponse]:
    def endpoint(request: Request) -> JSONResponse:
        try:
            return JSONResponse(answer(_asked(source, market, name, request)))
        except _Refused as refused:
            return _error(refused)

    return endpoint


def _error(refused: _Refused) -> JSONResponse:
    return JSONResponse({"code": refused.code, "msg": str(refused)}, 400)


def _asked(source: World, market: str, name: str, request: Request) -> _Asked:
    query = request.query_params
    symbol = query.get("symbol", "")
    if not symbol:
        raise _Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    if not re.fullmatch(r"[A-Z0-9\-_.]{1,20}", symbol):
        raise _Refused(-1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.")
    if (market, symbol) not in source.listed:
        raise _Refused(-1121, "Invalid symbol.")
    item, first_day, last_day = source.listed[market, symbol]

    def number(parameter: str) -> int | None:
        text = query.get(parameter)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise _Refused(
                -1100, f"Illegal characters found in parameter '{parameter}'; legal range is '^[0-9]{{1,20}}$'."
            )
        return int(text)

    most = _MOST.get(name, {}).get(market, 1000)
    limit = number("limit")
    if limit is None:
        limit = _DEFAULT.get(name, {}).get(market, 500)
    if limit == 0 or (market != "spot" and limit > most):
        raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    interval = query.get("interval", "")
    if name == "klines" and (interval not in _INTERVALS or (interval == "1s" and market != "spot")):
        raise _Refused(-1120, "Invalid interval.")
    from_id, oldest = number("fromId"), source.oldest_ids.get((market, symbol), 0)
    micro = market == "spot" and request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"
    return _Asked(
        source.market,
        item,
        first_day,
        last_day,
        _now_us(source),
        1 if micro else 1_000,
        min(limit, most),
        _milliseconds(number("startTime")),
        _milliseconds(number("endTime")),
        from_id if from_id is None or name != "historicalTrades" else max(from_id, oldest),
        interval,
    )


def _milliseconds(value: int | None) -> int | None:
    # Clients may send either unit.
    return value // 1000 if value is not None and value >= 10**14 else value


def _now_us(source: World) -> int:
    now = source.now or datetime.now(UTC)
    return int(now.timestamp() * 1_000_000)


# ---- bars ------------------------------------------------------------------------------------------------------------


def _klines(asked: _Asked) -> list[Any]:
    span_ms = asked.end - asked.start if asked.start is not None and asked.end is not None else 0
    if asked.item.contract_size and span_ms > _MOST_DAYS * 24 * _HOUR_MS:
        raise _Refused(-4088, f"Maximum time interval is {_MOST_DAYS} days.")
    # Without a start, the request means the bars before the end.
    backward = asked.start is None
    last_ms = min(asked.end, asked.now_us // 1000) if asked.end is not None else asked.now_us // 1000
    days = asked.days_down(_day(last_ms * 1000)) if backward else asked.days_up(_day((asked.start or 0) * 1000))
    parts: list[Bars] = []
    count = 0
    for day in days:
        if count >= asked.limit or (not backward and microseconds(day) > last_ms * 1000):
            break
        bars = _bars_opening(asked, day)
        if bars is None:
            continue
        inside = (bars.open_time >= (asked.start or 0) * 1000) & (bars.open_time <= last_ms * 1000)
        part = _chosen(bars, inside)
        parts.append(part)
        count += len(part.open_time)
    if not count:
        return []
    parts.sort(key=lambda part: int(part.open_time[0]) if len(part.open_time) else 0)
    whole = Bars(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Bars.__slots__})
    wanted = slice(-asked.limit, None) if backward else slice(asked.limit)
    rows = _cells(Format(asked.item, asked.unit).klines(_chosen(whole, wanted)))
    return [[int(row[0]), *row[1:6], int(row[6]), row[7], int(row[8]), *row[9:]] for row in rows]


def _bars_opening(asked: _Asked, day: date) -> Bars | None:
    """Return the bars that open on a day, up to now; the last one may be open."""
    if asked.interval in INTERVALS:
        if microseconds(day) + DAY <= asked.now_us:
            return asked.market.bars(asked.item, asked.interval, day)
        trades = asked.trades(day) or _part(asked.market.trades(asked.item, day), 0, 0)
        if not len(trades):
            return None
        bars = bars_of_day(trades, day, INTERVALS[asked.interval], midnight_price(asked.market.seed, asked.item, day))
        return _chosen(bars, bars.open_time <= asked.now_us)
    if asked.interval == "3d" and (microseconds(day) // DAY) % 3 == 0:
        length = 3
    elif asked.interval == "1w" and day.weekday() == 0:
        length = 7
    elif asked.interval == "1M" and day.day == 1:
        length = month_end(day).day
    else:
        return None
    days = [day + timedelta(days=n) for n in range(length) if day + timedelta(days=n) <= asked.latest_day]
    parts = [_bars_opening(replace(asked, interval="1d"), within) for within in days]
    there = [part for part in parts if part is not None and len(part.open_time)]
    opens = np.array([microseconds(day)], dtype=np.int64)
    return replace(join_bars(there), open_time=opens, end_time=opens + length * DAY) if there else None


# ---- trades ----------------------------------------------------------------------------------------------------------


def _trades(asked: _Asked) -> list[Any]:
    write = Format(asked.item, asked.unit)
    chosen: list[tuple[Trades, int, int]] = []
    left = asked.limit
    if asked.from_id is None:
        for day in asked.days_down(asked.latest_day):
            trades = asked.trades(day)
            if trades is not None and left:
                take = min(left, len(trades))
                chosen.insert(0, (trades, len(trades) - take, len(trades)))
                left -= take
            if not left:
                break
    else:
        first = date(1970, 1, 1) + timedelta(days=max(0, asked.from_id - 1) // asked.item.trades_per_day)
        for day in asked.days_up(first):
            if not left:
                break
            trades = asked.trades(day)
            if trades is None:  # no trades on that day
                continue
            start = max(0, asked.from_id - trades.first_id)
            stop = min(len(trades), start + left)
            if start < stop:
                chosen.append((trades, start, stop))
                left -= stop - start
    rows = [row for trades, start, stop in chosen for row in _cells(write.trades(_part(trades, start, stop)))]
    names = tuple("baseQty" if name == "quoteQty" and asked.item.contract_size else name for name in _TRADE)
    return [_named(names, row, integers=(0, 4)) for row in rows]


def _aggregate_trades(asked: _Asked) -> list[Any]:
    if (
        asked.from_id is None
        and asked.start is not None
        and asked.end is not None
        and asked.end - asked.start >= _HOUR_MS
    ):
        raise _Refused(-1127, "More than 1 hours between startTime and endTime.")
    rows: list[list[str]] = []
    if asked.from_id is None and asked.start is None:
        last = asked.end if asked.end is not None else asked.now_us // 1000
        for day in asked.days_down(_day(last * 1000)):
            if len(rows) >= asked.limit:
                break
            rows = _aggregates_of(asked, day, lambda merged: merged.time // 1000 <= last) + rows
        rows = rows[-asked.limit :]
    else:
        if asked.from_id is not None:
            wanted = asked.from_id
            first = date(1970, 1, 1) + timedelta(days=max(0, wanted - 1) // asked.item.aggregates_per_day)
            choose: Callable[[Aggregates], Any] = lambda merged: merged.id >= wanted  # noqa: E731
            end = asked.now_us // 1000
        else:
            start, end = asked.start or 0, asked.end if asked.end is not None else asked.now_us // 1000
            first = _day(start * 1000)
            choose = lambda merged: (merged.time // 1000 >= start) & (merged.time // 1000 <= end)  # noqa: E731
        for day in asked.days_up(first):
            if len(rows) >= asked.limit or microseconds(day) > end * 1000:
                break
            rows += _aggregates_of(asked, day, choose)
        rows = rows[: asked.limit]
    return [_named(_AGGREGATE, row, integers=(0, 3, 4, 5)) for row in rows]


def _aggregates_of(asked: _Asked, day: date, choose: Callable[[Aggregates], Any]) -> list[list[str]]:
    trades = asked.trades(day)
    if trades is None:
        return []
    merged = aggregate(trades)
    inside = np.flatnonzero(choose(merged))
    # One page needs no more than this from one end of a day.
    part = inside[-asked.limit :] if asked.from_id is None and asked.start is None else inside[: asked.limit]
    if not len(part):
        return []
    return _cells(Format(asked.item, asked.unit).aggregate_trades(_chosen(merged, part)))


def _funding_rates(asked: _Asked) -> list[Any]:
    last_ms = min(asked.end, asked.now_us // 1000) if asked.end is not None else asked.now_us // 1000
    events = []
    days = asked.days_up(_day((asked.start or 0) * 1000)) if asked.start is not None else asked.days_up(asked.first_day)
    for day in days:
        for time_us, rate in asked.market.funding_rates(asked.item, day):
            if (asked.start or 0) <= time_us // 1000 <= last_ms:
                text = f"{'-' if rate < 0 else ''}0.{abs(rate):08d}"
                events.append({"symbol": asked.item.symbol, "fundingTime": time_us // 1000, "fundingRate": text})
    return events[: asked.limit] if asked.start is not None else events[-asked.limit :]


_ANSWERS: dict[str, Callable[[_Asked], list[Any]]] = {
    "klines": _klines,
    "trades": lambda asked: _trades(replace(asked, from_id=None)),
    "historicalTrades": _trades,
    "aggTrades": _aggregate_trades,
    "fundingRate": _funding_rates,
}


# ---- columns to JSON -------------------------------------------------------------------------------------------------


def _cells(columns: Sequence[Column]) -> list[list[str]]:
    text = b"".join(bytes(chunk) for chunk in csv_rows(columns)).decode()
    return [line.split(",") for line in text.splitlines()]


def _named(names: Sequence[str], row: Sequence[str], integers: Sequence[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for place, (name, cell) in enumerate(zip(names, row, strict=False)):
        if cell in ("True", "False", "true", "false"):
            result[name] = cell.lower() == "true"
        else:
            result[name] = int(cell) if place in integers else cell
    return result


def _part(trades: Trades, start: int, stop: int) -> Trades:
    arrays = {name: getattr(trades, name)[start:stop] for name in ("time", "price", "amount", "is_buyer_maker")}
    return replace(trades, first_id=trades.first_id + start, **arrays)


Columns = TypeVar("Columns", Bars, Aggregates)


def _chosen(columns: Columns, index: Any) -> Columns:
    """Return some rows of bars or aggregates."""
    return type(columns)(**{name: getattr(columns, name)[index] for name in type(columns).__slots__})


def _day(us: int) -> date:
    return date(1970, 1, 1) + timedelta(days=us // DAY)
