"""The scenes of the selftest: which symbols, datasets and days of which market are collected, and at what time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple


class Where(NamedTuple):
    """One symbol, dataset and day."""

    symbol: str
    dataset: str
    day: date

    def __str__(self) -> str:
        return f"{self.symbol} {self.dataset} {self.day}"


@dataclass(frozen=True, slots=True)
class Scene:
    """The part of a sandbox exchange that a case collects.

    Args:
        symbols: the collected ones.
        others: further symbols of the exchange; they show that a symbol has ended.
        first, last: the collected days, both included.
        now: the time at the exchange and here; None: the real time, years later. With a time the exchange continues, else
            it ends with the last day.
    """

    datasets: tuple[str, ...]
    first: date
    last: date
    symbols: tuple[str, ...] = ("BTC/USDT",)
    others: tuple[str, ...] = ()
    market_type: str = "spot"
    trades_per_day: int = 600
    now: datetime | None = None

    @property
    def days(self) -> tuple[date, ...]:
        return tuple(self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1))

    @property
    def everything(self) -> list[Where]:
        return [
            Where(symbol, dataset, day) for symbol in self.symbols for dataset in self.datasets for day in self.days
        ]

    @property
    def listed(self) -> list[str]:
        """The exchange's own names of all its symbols."""
        return [exchange_symbol(symbol) for symbol in (*self.symbols, *self.others)]


def exchange_symbol(symbol: str) -> str:
    """Return the exchange's name of a symbol: `BTC/USDT` BTCUSDT, `BTC/USDT:USDT-240105` BTCUSDT_240105."""
    pair, _, settled = symbol.partition(":")
    _, _, expiry = settled.partition("-")
    return pair.replace("/", "") + (f"_{expiry}" if expiry else "")


THREE_DAYS = Scene(("ohlcv_1m", "trades"), date(2024, 1, 1), date(2024, 1, 3))
"""Bars and trades of one symbol, years ago."""

BUSY = replace(THREE_DAYS, trades_per_day=1_500)
"""A symbol that trades every minute, so that a silence is significant."""

TWO_SYMBOLS = replace(BUSY, symbols=("BTC/USDT", "ETH/USDT"))

AGGREGATES = Scene(("agg_trades",), date(2024, 1, 1), date(2024, 1, 3))

FUTURES = Scene(
    ("ohlcv_1m", "trades", "agg_trades"), date(2024, 1, 1), date(2024, 1, 3), ("BTC/USDT:USDT",), market_type="linear"
)

LONG_BARS = Scene(
    ("ohlcv_3d", "ohlcv_1w", "ohlcv_1mo"), date(2024, 1, 1), date(2024, 3, 31), others=("ETH/USDT",), trades_per_day=20
)
"""Bars from monthly files that open on some days only."""

SIX_WEEKS = Scene(
    ("ohlcv_1h", "trades"),
    date(2024, 1, 1),
    date(2024, 2, 9),
    others=("ETH/USDT", "SOL/USDT"),
    trades_per_day=150,
    now=datetime(2024, 2, 10, 12, tzinfo=UTC),
)
"""Recent, and long enough for a symbol to end while others continue."""

ONE_MONTH = replace(SIX_WEEKS, last=date(2024, 1, 31), now=datetime(2024, 2, 20, 12, tzinfo=UTC))
"""A month with daily files and a monthly file."""

HALF_A_YEAR = Scene(
    ("ohlcv_1d",),
    date(2024, 1, 1),
    date(2024, 7, 31),
    others=("ETH/USDT",),
    trades_per_day=20,
    now=datetime(2024, 8, 1, 12, tzinfo=UTC),
)
"""Recent, and so long that a symbol without files counts as delisted if nobody can be asked."""

DATED_FUTURE = Scene(
    ("ohlcv_1h", "trades"),
    date(2024, 1, 1),
    date(2024, 1, 5),
    ("BTC/USDT:USDT-240103",),
    ("ETH/USDT:USDT",),
    market_type="linear",
    trades_per_day=150,
)
"""A future that expires on the third of five days."""

FUNDING = Scene(
    ("funding_rates",),
    date(2024, 1, 1),
    date(2024, 3, 31),
    ("BTC/USDT:USDT",),
    ("ETH/USDT:USDT",),
    market_type="linear",
    trades_per_day=50,
)
"""Datasets with monthly files only."""
