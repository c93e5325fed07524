"""A synthetic market: the same seed gives the same trades, and any day can be generated without the days before it.

Everything is an integer: prices in ticks, amounts in lots, quote amounts in ticks x lots, times in microseconds since
1970 (UTC). Bars and aggregate trades are computed from the trades, so that they agree digit for digit.

Random access is possible because:

- the price at each midnight is a function of (seed, symbol, day); the path inside a day is a bridge between two of
  them, so the first trade of a day is at the price of the last trade of the day before;
- every day of a symbol has the same number of trades and of aggregate trades, so the ids of a day are known at once.

Only raw 64-bit words are taken from NumPy's generator: NumPy guarantees the same raw words in all versions, but not the same
distributions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from crypto_assets.sandbox.cache import BoundedCache
from crypto_assets.sandbox.instruments import INVERSE_DECIMALS, MINUTES_A_DAY, Instrument, digest

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
EPOCH = date(1970, 1, 1)

INTERVALS = {
    "1s": SECOND,
    **{f"{n}m": n * MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 60 * MINUTE for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY,
}
"""Length in microseconds of the intervals that divide a day."""

LONG_INTERVALS = ("3d", "1w", "1mo")


# Days between two knots of the price level, and the greatest distance of a knot from the base price, in millionths.
_LEVELS = ((512, 350_000), (64, 180_000), (8, 60_000), (1, 12_000))


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of one day in id order: `first_id`, `first_id + 1`, …"""

    first_id: int
    first_aggregate_id: int
    time: Ints
    price: Ints
    amount: Ints
    is_buyer_maker: Bools
    contract_ticks: int = 0

    def __len__(self) -> int:
        return len(self.time)

    @property
    def id(self) -> Ints:
        return np.arange(self.first_id, self.first_id + len(self), dtype=np.int64)

    @property
    def quote_amount(self) -> Ints:
        """Price x amount; of contracts the base amount: contracts x size / price in 1e-8, rounded half up."""
        if not self.contract_ticks:
            return self.price * self.amount
        worth = self.amount * (self.contract_ticks * 10**INVERSE_DECIMALS)
        return (2 * worth + self.price) // (2 * self.price)


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Aggregate trades of one day: neighbouring trades of the same time, price and maker side, as one row."""

    id: Ints
    time: Ints
    price: Ints
    amount: Ints
    first_trade_id: Ints
    last_trade_id: Ints
    is_buyer_maker: Bools


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars over [open_time, end_time). A bar without trades has the price before it and zero volume."""

    open_time: Ints
    end_time: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote_volume: Ints
    trade_count: Ints
    taker_buy_volume: Ints
    taker_buy_quote_volume: Ints


def microseconds(day: date) -> int:
    """Return the midnight at the start of `day`, UTC."""
    return (day - EPOCH).days * DAY


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield the days; both ends are included."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def month_end(first: date) -> date:
    """Return the last day of the month of `first`."""
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def midnight_price(seed: int, item: Instrument, day: date) -> int:
    """Return the price in ticks at the start of `day`. Spot and linear share it, as for the same asset."""
    level = 1_000_000
    for period, reach in _LEVELS:
        knot, offset = divmod((day - EPOCH).days, period)
        here, there = (
            digest("level", seed, item.symbol, period, k) % (2 * reach + 1) - reach for k in (knot, knot + 1)
        )
        level += here + (there - here) * offset // period
    return item.price * level // 1_000_000


def _smallest(keys: NDArray[np.uint64], count: int) -> Bools:
    """Mark the `count` smallest keys: a random choice of an exact size."""
    chosen = np.zeros(len(keys), dtype=np.bool_)
    if count:
        chosen[np.argpartition(keys, count - 1)[:count]] = True
    return chosen


def generate_trades(seed: int, item: Instrument, day: date) -> Trades:
    """Generate one day: taker orders arrive at distinct milliseconds; each fills one or more trades.

    A trade inside an order has the price of the one before it (both are one aggregate) or, when the order sweeps the
    book, a price further in the taker's direction (a new aggregate at the same time).
    """
    n, aggregates = item.trades_per_day, item.aggregates_per_day
    source = np.random.PCG64(digest("trades", seed, item.market, item.symbol, day.isoformat()))
    opening = midnight_price(seed, item, day)
    closing = midnight_price(seed, item, day + timedelta(days=1))

    keys = source.random_raw(n)
    keys[0] = 0
    starts_aggregate = _smallest(keys, aggregates)

    # Enough orders remain for one in every minute.
    keys = source.random_raw(aggregates)
    keys[0] = np.iinfo(np.uint64).max
    is_sweep = _smallest(keys, (aggregates - min(aggregates, MINUTES_A_DAY)) // 5)
    order_at = np.flatnonzero(~is_sweep)
    orders = len(order_at)

    words = source.random_raw(orders)
    time = _order_times(words)

    words = source.random_raw(orders)
    reach = max(1, math.isqrt(6 * (opening // 40) ** 2 // orders))  # about 2.5 % a day
    moves = (words & 0xFF) < 180
    moves[0], moves[-1] = False, True
    step = np.where(moves, ((words >> 16) % np.uint64(2 * reach + 1)).astype(np.int64) - reach, 0)
    with_the_move = ((words >> 8) & 0x3) != 0
    is_buyer_maker = np.where(step == 0, ((words >> 10) & 1) == 1, (step < 0) == with_the_move)

    order_of = np.cumsum(~is_sweep) - 1
    steps = np.zeros(aggregates, dtype=np.int64)
    steps[order_at] = step
    deeper = 1 + (keys[is_sweep] >> np.uint64(8)) % np.uint64(max(1, reach // 8))
    steps[is_sweep] = np.where(is_buyer_maker[order_of[is_sweep]], -1, 1) * deeper.astype(np.int64)
    walk = np.cumsum(steps)
    # The remaining way to the closing price is spread over the orders that move the price, and only over them: a
    # sweep keeps its direction and trades of one aggregate keep one price.
    progress = np.cumsum(moves)[order_of]
    price = opening + walk + (closing - opening - walk[-1]) * progress // progress[-1]

    aggregate_of = np.cumsum(starts_aggregate) - 1
    words = source.random_raw(n)
    amount = 1 + ((words >> np.uint64(8)) % np.uint64(2 * item.lots) >> (words & 0x3)).astype(np.int64)
    order_of_trade = order_of[aggregate_of]
    number = (day - EPOCH).days
    return Trades(
        first_id=number * n + 1,
        first_aggregate_id=number * aggregates + 1,
        time=microseconds(day) + time[order_of_trade],
        price=price[aggregate_of],
        amount=amount,
        is_buyer_maker=is_buyer_maker[order_of_trade],
        contract_ticks=item.contract_size * 10**item.price_decimals,
    )


def _order_times(words: NDArray[np.uint64]) -> Ints:
    """Return ascending microseconds of the day: a distinct millisecond for each order, one order a minute if they suffice.

    The first is exactly at midnight, so that the closed end of the day is tested every day.
    """
    orders = len(words)
    # The last tenth of a second stays free for orders that move on because their millisecond is taken.
    free = np.uint64(100)
    millisecond = ((words >> 10) % (np.uint64(86_400_000) - free)).astype(np.int64)
    spread = min(orders, MINUTES_A_DAY)
    if orders >= MINUTES_A_DAY:
        inside = ((words[:spread] >> 10) % (np.uint64(60_000) - free)).astype(np.int64)
        millisecond[:spread] = np.arange(spread) * 60_000 + inside
    millisecond.sort()
    millisecond[0] = 0
    position = np.arange(orders)
    millisecond = np.maximum.accumulate(millisecond - position) + position
    time = millisecond * 1_000 + (words & 0x3FF).astype(np.int64) % 1_000
    time[0] = 0
    return time


def aggregate(trades: Trades) -> Aggregates:
    """Merge neighbours of the same millisecond, price and maker side."""
    millisecond, price, maker = trades.time // 1_000, trades.price, trades.is_buyer_maker
    differs = (np.diff(millisecond) != 0) | (np.diff(price) != 0) | (maker[1:] != maker[:-1])
    start = np.concatenate(([0], np.flatnonzero(differs) + 1))[: len(trades)]
    end = np.append(start[1:], len(trades))[: len(trades)]
    return Aggregates(
        id=trades.first_aggregate_id + np.arange(len(start), dtype=np.int64),
        time=trades.time[start],
        price=price[start],
        amount=np.add.reduceat(trades.amount, start),
        first_trade_id=trades.first_id + start,
        last_trade_id=trades.first_id + end - 1,
        is_buyer_maker=maker[start],
    )


def bars_of_day(trades: Trades, day: date, length: int, opening: int) -> Bars:
    """Return bars of `length` microseconds, a divisor of the day; `opening` is the price before the first trade."""
    open_time = microseconds(day) + np.arange(DAY // length, dtype=np.int64) * length
    edges = np.append(np.searchsorted(trades.time, open_time), len(trades))
    count = np.diff(edges)
    full = np.flatnonzero(count)
    start = edges[full]

    last_full = np.maximum.accumulate(np.where(count > 0, np.arange(len(count)), -1))
    prices = trades.price if len(trades) else np.array([opening])
    close = np.where(last_full < 0, opening, prices[np.maximum(edges[last_full + 1] - 1, 0)])

    def spread(values: Ints, empty: Ints) -> Ints:
        result = empty.copy()
        result[full] = values
        return result

    nothing = np.zeros(len(count), dtype=np.int64)
    quote = trades.quote_amount
    taker_buys = ~trades.is_buyer_maker
    return Bars(
        open_time=open_time,
        end_time=open_time + length,
        open=spread(trades.price[start], close),
        high=spread(np.maximum.reduceat(trades.price, start), close),
        low=spread(np.minimum.reduceat(trades.price, start), close),
        close=close,
        volume=spread(np.add.reduceat(trades.amount, start), nothing),
        quote_volume=spread(np.add.reduceat(quote, start), nothing),
        trade_count=count,
        taker_buy_volume=spread(np.add.reduceat(trades.amount * taker_buys, start), nothing),
        taker_buy_quote_volume=spread(np.add.reduceat(quote * taker_buys, start), nothing),
    )


def join_bars(parts: list[Bars]) -> Bars:
    """Join consecutive bars, each with trades, into one."""
    every = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Bars.__slots__}
    first, last = np.array([0]), len(every["open"]) - 1
    how = {"open": every["open"][:1], "close": every["close"][last:]}
    how |= {"open_time": every["open_time"][:1], "end_time": every["end_time"][last:]}
    how["high"] = np.maximum.reduceat(every["high"], first)
    how["low"] = np.minimum.reduceat(every["low"], first)
    return Bars(**{name: how[name] if name in how else np.add.reduceat(every[name], first) for name in Bars.__slots__})


class Market:
    """All symbols of one seed; trades of recently used days are cached."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # About 8 million trades: 250 MB at most, two busy days or a thousand quiet ones.
        self._trades: BoundedCache[tuple[Instrument, date], Trades] = BoundedCache(8_000_000, len)

    def trades(self, item: Instrument, day: date) -> Trades:
        return self._trades.get((item, day), lambda: generate_trades(self.seed, item, day))

    def bars(self, item: Instrument, interval: str, day: date) -> Bars:
        """Return the bars of one day, of an interval that divides the day."""
        opening = midnight_price(self.seed, item, day)
        return bars_of_day(self.trades(item, day), day, INTERVALS[interval], opening)

    def long_bars(self, item: Instrument, interval: str, month: date, last_day: date) -> Iterator[Bars]:
        """Yield bars of 3 days (counted from 1970-01-01), a week (from Monday) or a month that open in `month`.

        A bar may reach into the next month, not beyond `last_day`; its `end_time` is always the nominal one.
        """
        for day in days_between(month, month_end(month)):
            if interval == "3d" and (day - EPOCH).days % 3 == 0:
                length = 3
            elif interval == "1w" and day.weekday() == 0:
                length = 7
            elif interval == "1mo" and day.day == 1:
                length = month_end(month).day
            else:
                continue
            last = day + timedelta(days=length - 1)
            parts = [self.bars(item, "1d", d) for d in days_between(day, min(last, last_day))]
            if parts := [part for part in parts if len(part.open_time)]:
                bar = join_bars(parts)
                bar.open_time[:], bar.end_time[:] = microseconds(day), microseconds(last) + DAY
                yield bar

    def funding_rates(self, item: Instrument, day: date) -> list[tuple[int, int]]:
        """Return (time in microseconds, rate in 1e-8) of 00:00, 08:00 and 16:00, each 0 to 13 ms late."""
        name = "funding", self.seed, item.market, item.symbol, day.isoformat()
        chances = [(hour, digest(*name, hour)) for hour in (0, 8, 16)]
        times = [microseconds(day) + hour * 60 * MINUTE + chance % 14 * 1_000 for hour, chance in chances]
        return [(time, (chance >> 32) % 15_001 - 5_000) for time, (_, chance) in zip(times, chances, strict=True)]

    def has_day(self, item: Instrument, day: date, *, traded: bool) -> bool:  # noqa: ARG002 - always in a usual market
        """Return whether a symbol is listed at any time of a day; with `traded`, whether it trades on it."""
        return True

    def listed_until(self, item: Instrument) -> datetime | None:  # noqa: ARG002
        """Return when a symbol ends permanently, None if it does not."""
        return None


def instant(day: date, hour: int) -> datetime:
    """Return `hour` o'clock UTC on `day`."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
