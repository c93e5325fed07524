"""Rows of Bybit's REST answers, newest first, from the market of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from crypto_assets.sandbox.market import (
    DAY,
    EPOCH,
    INTERVALS,
    Bars,
    Instrument,
    Market,
    Trades,
    bars_of_day,
    join_bars,
    microseconds,
    midnight_price,
    month_end,
)

Span = tuple[date, date]
"""The first and the last listed day of a symbol."""

_OF_WORDS = {
    **{str(minutes): f"{minutes}m" for minutes in (1, 3, 5, 15, 30)},
    **{str(hours * 60): f"{hours}h" for hours in (1, 2, 4, 6, 12)},
    "D": "1d",
}
_LONG = ("W", "M")
_HOUR_MS = 3_600_000


def number(value: int, decimals: int) -> str:
    """Return an integer of 10**-decimals as plain text."""
    whole, fraction = divmod(value, 10**decimals)
    return f"{whole}.{fraction:0{decimals}}" if decimals else str(whole)


def size_of(item: Instrument, amount: int) -> str:
    """Return an amount as Bybit writes it: contracts of the world as USD, for its own contracts are 1 USD each."""
    return str(amount * item.contract_size) if item.contract_size else number(amount, item.amount_decimals)


def bars_down(
    market: Market, item: Instrument, span: Span, now_us: int, query: Mapping[str, str], limit: int
) -> list[list[str]] | None:
    """Return bars that open in [start, end], both included; None for an unknown interval. The last one may be open."""
    interval = query.get("interval", "")
    if interval not in _OF_WORDS and interval not in _LONG:
        return None
    start, end = int(query.get("start", 0)), min(int(query.get("end", now_us // 1000)), now_us // 1000)
    rows: list[list[str]] = []
    for day in _days_down(span, min(end * 1000, now_us)):
        if len(rows) >= limit or (microseconds(day) + DAY) // 1000 <= start:
            break
        bars = _opening(market, item, span, now_us, interval, day)
        for place in reversed(range(0 if bars is None else len(bars.open_time))):
            assert bars is not None  # noqa: S101  tells the type checker
            if start <= bars.open_time[place] // 1000 <= end:
                rows.append(_bar(item, bars, place))
    return rows[:limit]


def _bar(item: Instrument, bars: Bars, place: int) -> list[str]:
    prices = (number(int(each[place]), item.price_decimals) for each in (bars.open, bars.high, bars.low, bars.close))
    volume = size_of(item, int(bars.volume[place]))
    turnover = number(int(bars.quote_volume[place]), item.quote_decimals)
    return [str(bars.open_time[place] // 1000), *prices, volume, turnover]


def _opening(market: Market, item: Instrument, span: Span, now_us: int, interval: str, day: date) -> Bars | None:
    """Return the bars that open on a day up to now."""
    if interval in _LONG:
        if (interval == "W" and day.weekday()) or (interval == "M" and day.day != 1):
            return None
        length = 7 if interval == "W" else month_end(day).day
        days = [day + timedelta(days=place) for place in range(length)]
        parts = [
            _opening(market, item, span, now_us, "D", each)
            for each in days
            if span[0] <= each <= span[1] and microseconds(each) <= now_us
        ]
        there = [part for part in parts if part is not None and len(part.open_time)]
        return replace(join_bars(there), open_time=np.array([microseconds(day)])) if there else None
    if microseconds(day) + DAY <= now_us:
        return market.bars(item, _OF_WORDS[interval], day)
    trades = _until(market.trades(item, day), now_us)
    if not len(trades):
        return None
    bars = bars_of_day(trades, day, INTERVALS[_OF_WORDS[interval]], midnight_price(market.seed, item, day))
    begun = bars.open_time <= now_us
    return Bars(**{name: getattr(bars, name)[begun] for name in Bars.__slots__})


def trades_down(
    market: Market, item: Instrument, span: Span, now_us: int, limit: int
) -> list[tuple[int, int, str, str, str]]:
    """Return number, time in microseconds, price, amount and taker's side of the newest trades."""
    rows: list[tuple[int, int, str, str, str]] = []
    for day in _days_down(span, now_us):
        trades = _until(market.trades(item, day), now_us)
        for place in reversed(range(max(0, len(trades) - (limit - len(rows))), len(trades))):
            price = number(int(trades.price[place]), item.price_decimals)
            amount = size_of(item, int(trades.amount[place]))
            side = "sell" if trades.is_buyer_maker[place] else "buy"
            rows.append((trades.first_id + place, int(trades.time[place]), price, amount, side))
        if len(rows) >= limit:
            break
    return rows


def funding_down(
    market: Market, item: Instrument, span: Span, now_us: int, query: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return time (the full hour, in milliseconds) and rate of the events in [startTime, endTime], both included."""
    start, end = int(query.get("startTime", 0)), min(int(query.get("endTime", now_us // 1000)), now_us // 1000)
    rows: list[tuple[str, str]] = []
    for day in _days_down(span, end * 1000):
        if (microseconds(day) + DAY) // 1000 <= start:
            break
        for us, rate in reversed(market.funding_rates(item, day)):
            ms = us // 1000 // _HOUR_MS * _HOUR_MS
            if start <= ms <= end:
                rows.append((str(ms), f"{'-' if rate < 0 else ''}{number(abs(rate), 8)}"))
    return rows


def _days_down(span: Span, last_us: int) -> Iterator[date]:
    day = min(span[1], EPOCH + timedelta(days=last_us // DAY))
    while day >= span[0]:
        yield day
        day -= timedelta(days=1)


def _until(trades: Trades, now_us: int) -> Trades:
    stop = int(np.searchsorted(trades.time, now_us, side="right"))
    names = ("time", "price", "amount", "is_buyer_maker")
    return replace(trades, **{name: getattr(trades, name)[:stop] for name in names})
