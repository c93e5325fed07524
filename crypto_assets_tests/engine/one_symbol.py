"""Files of one symbol in a world, the days that are collected from them, and what became of each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from crypto_assets.model import Outcome, State, days_between
from crypto_assets_tests.engine.world import World, at, fundings, on, trades
from crypto_assets_tests.workbench import Result, entry

A, B = "AAA/USDT", "BBB/USDT"
PERPETUAL, DATED = "AAA/USDT:USDT", "AAA/USDT:USDT-240628"


def collect(world: World, dataset: str, first: str, last: str, symbol: str = A, rest: bool = False) -> list[Outcome]:
    """Collect some days of one symbol and return the outcome of each."""
    market = "linear" if ":" in symbol else "spot"
    world.work.entries = [entry(market, [dataset], [symbol], on("2017-01-01"), rest=rest)]
    result: Result = world.work.collect(on(first), on(last))
    found = [result.of(day, dataset, symbol, market) for day in days_between(on(first), on(last))]
    assert result.tally.days == len(found)
    assert len(result.tally.problems) == sum(
        outcome.state in (State.MISSING, State.PENDING, State.DEGRADED) for outcome in found
    )
    return found


def states(found: list[Outcome]) -> dict[State, list[int]]:
    """Return the days of the month by state."""
    days: dict[State, list[int]] = {}
    for outcome in found:
        days.setdefault(outcome.state, []).append(outcome.partition.day.day)
    return days


def record(world: World, day: str, dataset: str = "ohlcv_1m", symbol: str = A) -> Any:
    return world.work.records()[symbol, dataset, on(day)]


def of_day(first_id: int, day: str, count: int = 24) -> tuple[str, int]:
    """Return trades that reach from one end of a day to the other, and the next id."""
    times = [at(day) + timedelta(hours=24) / count * n + timedelta(minutes=1) for n in range(count)]
    return trades(first_id, times), first_id + count


def publish_trades(world: World, day: str, text: str) -> None:
    world.publish(f"data/spot/daily/trades/AAAUSDT/AAAUSDT-trades-{day}.zip", text)


def funding(world: World, symbol: str, month: str, events: list[Any]) -> None:
    world.monthly(symbol, month, fundings(events), "fundingRate", market="linear")
