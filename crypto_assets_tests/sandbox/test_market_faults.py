"""Symbols that are listed, delisted, relisted, silent or expired: the same in daily files, monthly files and REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import FaultError, parse_fault
from crypto_assets.sandbox.server import SandboxServer

Rows = list[list[str]]

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)


class World:
    """A sandbox of one month of two spot symbols and a dated future, and its files as rows."""

    def __init__(self, server: SandboxServer, client: httpx.Client, read: Callable[[bytes], tuple[str, Rows]]) -> None:
        self.source = server.app.state.source
        self._server = server
        self._client = client
        self._read = read

    def turn(self, *faults: str) -> None:
        for fault in faults:
            self._server.app.state.faults.on(parse_fault(fault))

    def rows(self, dataset: str, period: str, symbol: str = "BTCUSDT", root: str = "spot") -> Rows | None:
        """Return the rows of a file, None if it does not exist; the listing must agree."""
        cadence = "daily" if len(period) == 10 else "monthly"
        folder = f"data/{root}/{cadence}/{self._path(dataset, symbol)}"
        key = f"{folder}{symbol}-{dataset}-{period}.zip"
        answer = self._client.get(f"{self._server.archive_url}/{key}")
        listing = self._client.get(self._server.listing_url, params={"prefix": folder}).text
        assert (f"<Key>{key}</Key>" in listing) == (answer.status_code == 200)
        if answer.status_code == 404:
            return None
        rows = self._read(answer.content)[1]
        return rows[1:] if root != "spot" else rows

    def _path(self, dataset: str, symbol: str) -> str:
        below = f"{symbol}/{dataset}/" if dataset[0].isdigit() else f"{symbol}/"
        return f"klines/{below}" if dataset[0].isdigit() else f"{dataset}/{below}"

    def rest(self, path: str, **parameters: object) -> list[list[object]]:
        answer = self._client.get(f"{self._server.rest_url}{path}", params={"symbol": "BTCUSDT", **parameters})
        found: list[list[object]] = answer.raise_for_status().json()
        return found


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[SandboxServer, httpx.Client]]:
    symbols = {"spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT", "BTCUSDT_240112"]}
    source = SyntheticArchive(symbols, FIRST, LAST, trades_per_day=600)
    with SandboxServer(source) as server, httpx.Client(trust_env=False, timeout=10) as client:
        yield server, client


@pytest.fixture
def world(running: tuple[SandboxServer, httpx.Client], read: Callable[[bytes], tuple[str, Rows]]) -> Iterator[World]:
    yield World(*running, read)
    running[0].app.state.faults.off()


def at(day: int, hour: int = 0) -> int:
    """Milliseconds since 1970 of an hour of January 2024."""
    return int(datetime(2024, 1, day, hour, tzinfo=UTC).timestamp()) * 1_000


def times(rows: Rows | None, place: int = 0) -> list[int]:
    assert rows is not None
    return [int(cells[place]) for cells in rows]


def test_a_symbol_is_listed_at_an_hour(world: World) -> None:
    usual = world.rows("trades", "2024-01-03", "ETHUSDT")
    world.turn("listed:BTCUSDT:at=2024-01-02T04")
    assert [world.rows(name, "2024-01-01") for name in ("1m", "1d", "trades", "aggTrades")] == [None] * 4
    assert times(world.rows("1m", "2024-01-02")) == [at(2, 4) + 60_000 * n for n in range(1_200)]
    assert times(world.rows("1d", "2024-01-02")) == [at(2)]  # the bar of the day still opens at midnight
    trades = world.rows("trades", "2024-01-02")
    assert times(trades) == list(range(1, 601))  # a symbol's first trade is number 1
    assert min(times(trades, 4)) >= at(2, 4)
    assert times(world.rows("trades", "2024-01-03"))[0] == 601
    assert times(world.rows("1d", "2024-01")) == [at(day) for day in range(2, 32)]
    assert times(world.rows("1w", "2024-01"))[0] == at(1)
    assert world.rest("/api/v3/klines", interval="1h", startTime=0, limit=1)[0][0] == at(2, 4)
    assert world.rest("/api/v3/historicalTrades", fromId=0, limit=1)[0]["id"] == 1  # type: ignore[call-overload]
    assert world.rows("trades", "2024-01-03", "ETHUSDT") == usual


def test_a_symbol_is_delisted_at_an_hour(world: World) -> None:
    world.turn("delisted:BTCUSDT:at=2024-01-20T12")
    assert times(world.rows("1h", "2024-01-20")) == [at(20, hour) for hour in range(12)]
    assert max(times(world.rows("trades", "2024-01-20"), 4)) < at(20, 12)
    assert [world.rows(name, "2024-01-21") for name in ("1m", "trades")] == [None, None]
    assert times(world.rows("1h", "2024-01"))[-1] == at(20, 11)
    assert world.rest("/api/v3/klines", interval="1h", limit=1)[0][0] == at(20, 11)
    assert world.source.listed_until("spot", "BTCUSDT") == datetime(2024, 1, 20, 12, tzinfo=UTC)
    assert world.source.listed_until("spot", "ETHUSDT") == datetime(2024, 2, 1, tzinfo=UTC)


def test_a_symbol_is_listed_again_and_its_ids_run_on(world: World) -> None:
    world.turn("relisted:BTC*:start=2024-01-10T06:end=2024-01-12T09")
    assert times(world.rows("1h", "2024-01-10")) == [at(10, hour) for hour in range(6)]
    assert world.rows("1h", "2024-01-11") is None
    assert times(world.rows("1h", "2024-01-12")) == [at(12, hour) for hour in range(9, 24)]
    before, after = world.rows("trades", "2024-01-10"), world.rows("trades", "2024-01-12")
    assert times(after)[0] == times(before)[-1] + 1
    assert times(world.rows("aggTrades", "2024-01-12"))[0] == times(world.rows("aggTrades", "2024-01-10"))[-1] + 1
    hours = [bar[0] for bar in world.rest("/api/v3/klines", interval="1h", startTime=at(10, 5), limit=2)]
    assert hours == [at(10, 5), at(12, 9)]
    assert world.source.listed_until("spot", "BTCUSDT") == datetime(2024, 2, 1, tzinfo=UTC)


def test_a_symbol_that_is_silent_for_a_day_has_flat_bars_and_no_file_of_trades(world: World) -> None:
    world.turn("silence:BTCUSDT:start=2024-01-02:end=2024-01-03")
    bars = world.rows("1m", "2024-01-02")
    assert times(bars) == [at(2) + 60_000 * n for n in range(1_440)]
    assert {tuple(cells[5:6] + cells[8:9]) for cells in bars or []} == {("0.00000000", "0")}
    assert [world.rows(name, "2024-01-02") for name in ("trades", "aggTrades")] == [None, None]
    before, after = world.rows("trades", "2024-01-01"), world.rows("trades", "2024-01-03")
    assert times(after)[0] == times(before)[-1] + 1
    # The first id after follows the last id before, also if a page spans the day.
    page = world.rest("/api/v3/historicalTrades", fromId=times(before)[-1], limit=2)
    assert [trade["id"] for trade in page] == [times(before)[-1], times(after)[0]]  # type: ignore[call-overload]
    assert len(world.rows("trades", "2024-01-02", "ETHUSDT") or []) == 600


def test_silent_hours_are_those_of_the_symbol_alone(world: World) -> None:
    usual = world.rows("1m", "2024-01-02", "ETHUSDT")
    world.turn("silence:BTCUSDT:start=2024-01-02T08:end=2024-01-02T11")
    silent = [int(cells[0]) for cells in world.rows("1h", "2024-01-02") or [] if cells[8] == "0"]
    assert silent == [at(2, hour) for hour in (8, 9, 10)]
    assert times(world.rows("trades", "2024-01-02")) == list(range(*_ids(2)))
    assert world.rows("1m", "2024-01-02", "ETHUSDT") == usual


def test_a_dated_future_expires_at_eight(world: World) -> None:
    symbol, root = "BTCUSDT_240112", "futures/um"
    assert times(world.rows("1h", "2024-01-12", symbol, root)) == [at(12, hour) for hour in range(8)]
    assert max(times(world.rows("trades", "2024-01-12", symbol, root), 4)) < at(12, 8)
    assert world.rows("1h", "2024-01-13", symbol, root) is None
    assert len(world.rows("1h", "2024-01-13", "BTCUSDT", root) or []) == 24
    assert times(world.rows("fundingRate", "2024-01", symbol, root))[-1] < at(12, 8)
    assert world.source.listed_until("linear", symbol) == datetime(2024, 1, 12, 8, tzinfo=UTC)


def test_several_at_once_leave_what_none_of_them_takes(world: World) -> None:
    world.turn(
        "listed:BTCUSDT:at=2024-01-02T02",
        "silence:*:start=2024-01-02T04:end=2024-01-02T09",
        "outage:start=2024-01-02T11:end=2024-01-02T12",
        "delisted:BTC*:at=2024-01-02T22",
    )
    trades = world.rows("trades", "2024-01-02")
    assert {(time - at(2)) // 3_600_000 for time in times(trades, 4)} == {2, 3, 9, 10, *range(12, 22)}
    assert times(trades, 4) == sorted(times(trades, 4))
    assert times(trades) == list(range(1, 601))
    assert times(world.rows("1h", "2024-01-02")) == [at(2, hour) for hour in range(2, 22)]


def test_what_is_lifted_is_as_it_was(world: World) -> None:
    before = {name: world.rows(name, "2024-01-02") for name in ("1m", "trades", "aggTrades")}
    world.turn("listed:BTCUSDT:at=2024-01-02T04", "silence:BTCUSDT:start=2024-01-03:end=2024-01-05")
    assert world.rows("1m", "2024-01-02") != before["1m"]
    world._server.app.state.faults.off()
    assert {name: world.rows(name, "2024-01-02") for name in before} == before


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("listed:BTCUSDT", "listed needs `at` alone"),
        ("delisted:BTCUSDT:at=2024-01-02:end=2024-01-03", "delisted needs `at` alone"),
        ("relisted:BTCUSDT:at=2024-01-02", "relisted needs `start` and a later `end`"),
        ("silence:BTCUSDT:start=2024-01-02:end=2024-01-02", "a silence needs `start` and a later `end`"),
        ("silence:BTCUSDT:3:start=2024-01-02:end=2024-01-03", "takes no times, seconds or probability"),
        ("outage:BTCUSDT:start=2024-01-02:end=2024-01-03", "an outage concerns every symbol"),
    ],
)
def test_a_change_of_the_market_that_cannot_be_is_refused(fault: str, says: str) -> None:
    with pytest.raises(FaultError, match=says):
        parse_fault(fault)


def _ids(day: int) -> tuple[int, int]:
    """Return the first id of a day of January 2024, and of the next one."""
    number = (FIRST + timedelta(days=day - 1) - date(1970, 1, 1)).days
    return number * 600 + 1, number * 600 + 601
