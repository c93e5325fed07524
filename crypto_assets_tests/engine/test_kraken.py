"""Kraken from the sandbox, end to end: trades by cursor over several days, bars, errors inside a 200, downloaded files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series, State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.market import Trades
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.workbench import Result, Workbench

BTC, FIRST, LAST = "BTC/USDT", date(2024, 1, 1), date(2024, 1, 3)
NOW = datetime(2024, 1, 4, 6, 30, 20, tzinfo=UTC)
DAYS = days_between(FIRST, LAST)
TRADES, MINUTES = (Series.named("kraken", "spot", name) for name in ("trades", "ohlcv_1m"))


class KrakenBench(Workbench):
    """Collects Kraken's entries from the sandbox; `files` is the folder of downloaded files."""

    files: Path | None = None

    @property
    def collection(self) -> Collection:
        urls: dict[str, Any] = {**self.sandbox.urls("kraken"), "limits": {"public": ["1000/s"]}}
        if self.files:
            urls["files"] = str(self.files)
        return parse_collection({"exchanges": {"kraken": urls}, "series": self.entries})

    def trades(self, day: date) -> Trades:
        source = self.sandbox.app.state.source
        return source.market.trades(source.listed["spot", "BTCUSDT"][0], day)

    def asked(self, path: str) -> int:
        return sum(path in asked for _, asked in self.sandbox.requests())


def of_kraken(dataset: str, *symbols: str, **more: Any) -> dict[str, Any]:
    return {
        "exchange": "kraken",
        "market_type": "spot",
        "datasets": [dataset],
        "symbols": list(symbols or (BTC,)),
        "start": FIRST,
        **more,
    }


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    world = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, date(2024, 1, 4))}}, trades_per_day=2_600, now=NOW)
    with SandboxServer(world) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.app.state.limits.weights["kraken.rest"] = 1_000_000
    running.app.state.limits.forget()
    running.forget_requests()
    yield running
    running.app.state.faults.off()


@pytest.fixture
def bench(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Callable[..., KrakenBench]:
    def opened(*entries: dict[str, Any]) -> KrakenBench:
        made = KrakenBench(sandbox, postgres_url, tmp_path / "lake", *entries)
        made.now = lambda: NOW
        return made

    return opened


def states(result: Result, dataset: str) -> list[State]:
    return [result.of(day, dataset).state for day in DAYS]


def stored(bench: KrakenBench, series: Series, day: date) -> list[dict[str, Any]]:
    return bench.lake.read(series, BTC, day, day).to_pylist()


def in_market(bench: KrakenBench, day: date) -> list[tuple[Any, ...]]:
    """Return the trades of a day of the sandbox's market: time, number, price, amount, side."""
    trades = bench.trades(day)
    item = bench.sandbox.app.state.source.listed["spot", "BTCUSDT"][0]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        (
            epoch + timedelta(microseconds=int(trades.time[row])),
            int(trades.id[row]),
            Decimal(int(trades.price[row])).scaleb(-item.price_decimals),
            Decimal(int(trades.amount[row])).scaleb(-item.amount_decimals),
            "sell" if trades.is_buyer_maker[row] else "buy",
        )
        for row in range(len(trades))
    ]


def test_every_trade_of_several_days_is_collected_by_cursor_and_is_final(bench) -> None:
    made = bench(of_kraken("trades"))
    result = made.collect(FIRST, LAST)
    assert states(result, "trades") == [State.AVAILABLE] * 3, [result.of(day, "trades").reason for day in DAYS]
    for day in DAYS:
        rows = stored(made, TRADES, day)
        assert [
            tuple(row[n] for n in ("trade_time", "trade_id", "price", "amount", "side")) for row in rows
        ] == in_market(made, day)
        assert {row["quote_amount"] for row in rows} == {None}


def test_a_day_that_a_failure_cut_goes_on_from_its_last_trade(bench, sandbox) -> None:
    made = bench(of_kraken("trades"))
    last_us = int(made.trades(FIRST).time[999])
    sandbox.app.state.faults.on("reset", pattern=f"*since={last_us * 1000 + 544}*", exchange="kraken")
    first = made.collect(FIRST, FIRST)
    assert first.of(FIRST, "trades").state is State.DEGRADED
    assert [row["trade_id"] for row in stored(made, TRADES, FIRST)] == list(map(int, made.trades(FIRST).id[:1000]))
    sandbox.app.state.faults.off()
    sandbox.forget_requests()
    second = made.collect(FIRST, FIRST)
    assert second.of(FIRST, "trades").state is State.AVAILABLE
    asked = [one.query for one in sandbox.app.state.requests if one.path.endswith("/Trades")]
    assert asked[0] == f"pair=XBTUSDT&since={last_us * 1000 - 1}"  # not from midnight
    assert [row["trade_id"] for row in stored(made, TRADES, FIRST)] == list(map(int, made.trades(FIRST).id))


def test_bars_come_as_far_back_as_kraken_has_them_and_older_days_say_so(bench) -> None:
    made = bench(of_kraken("ohlcv_1m"))
    result = made.collect(FIRST, LAST)
    assert "newest 720 bars only, from 2024-01-03 18:30 UTC on" in result.of(FIRST, "ohlcv_1m").reason
    assert result.of(FIRST, "ohlcv_1m").state is State.MISSING


def test_an_unknown_pair_is_told_as_one(bench) -> None:
    before = date(2023, 11, 1)
    made = bench(of_kraken("trades", "ABC/USDT", start=before))
    result = made.collect(before, LAST)
    for day in days_between(before, LAST):
        outcome = result.of(day, "trades", "ABC/USDT")
        assert outcome.state is not State.AVAILABLE
        assert "EQuery:Unknown asset pair" in outcome.reason
    # Only the days that were in flight at the first answer ask: the exchange does not know the symbol.
    assert 1 <= made.asked("Trades") <= 20 < len(days_between(before, LAST))


def test_a_slow_down_inside_a_good_answer_makes_all_wait(bench, sandbox, monkeypatch) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 100.0)  # longer than a run waits for
    made = bench(of_kraken("trades"))
    sandbox.app.state.limits.weights["kraken.rest"] = 2
    result = made.collect(FIRST, FIRST)
    assert result.of(FIRST, "trades").state is not State.AVAILABLE
    assert "Rate limit exceeded" in result.of(FIRST, "trades").reason
    assert "all of kraken public waits until 20" in result.of(FIRST, "trades").reason
    assert 1 <= made.asked("Trades") <= 3  # nobody goes on asking


def test_a_lockout_inside_a_good_answer_ends_all_requests_for_a_quarter_of_an_hour(bench, sandbox) -> None:
    made = bench(of_kraken("trades"))
    sandbox.app.state.faults.on("http-418", exchange="kraken", kinds=("rest",), pattern="*Trades*")
    outcome = made.collect(FIRST, FIRST).of(FIRST, "trades")
    assert outcome.state is not State.AVAILABLE
    assert "Temporary lockout" in outcome.reason
    until = datetime.fromisoformat(re.search(r"waits until (\S+ \S+) UTC", outcome.reason)[1]).replace(tzinfo=UTC)
    assert timedelta(minutes=14) < until - datetime.now(UTC) < timedelta(minutes=19)
    assert made.asked("Trades") == 1


# ---- downloaded files ------------------------------------------------------------------------------------------------


def write_minutes(bench: KrakenBench, folder: Path, days: list[date]) -> dict[datetime, list[str]]:
    """Write the market's minutes in which somebody traded as Kraken's file has them; return its lines by time."""
    lines: dict[datetime, list[str]] = {}
    for day in days:
        trades = in_market(bench, day)
        minutes = np.array([row[0].replace(second=0, microsecond=0) for row in trades])
        for minute in sorted(set(minutes)):
            of_minute = [trades[place] for place in np.flatnonzero(minutes == minute)]
            prices = [row[2] for row in of_minute]
            cells = [prices[0], max(prices), min(prices), prices[-1], sum(row[3] for row in of_minute)]
            lines[minute] = [str(int(minute.timestamp())), *(f"{cell:f}" for cell in cells), str(len(of_minute))]
    folder.mkdir(exist_ok=True)
    (folder / "XBTUSDT_1.csv").write_text("".join(",".join(line) + "\n" for line in lines.values()))
    return lines


def test_days_of_downloaded_files_are_collected_and_need_no_request(bench, tmp_path) -> None:
    made = bench(of_kraken("ohlcv_1m", rest=False))
    lines = write_minutes(made, tmp_path / "files", days_between(FIRST, date(2024, 1, 2)))
    made.files = tmp_path / "files"
    result = made.collect(FIRST, date(2024, 1, 2))
    assert result.of(FIRST, "ohlcv_1m").state is State.AVAILABLE, result.of(FIRST, "ohlcv_1m").reason
    rows = stored(made, MINUTES, FIRST)
    assert [
        (row["open_time"], row["open"], row["high"], row["low"], row["close"], row["volume"], row["trade_count"])
        for row in rows
    ] == [(time, *map(Decimal, line[1:6]), int(line[6])) for time, line in lines.items() if time.date() == FIRST]
    assert made.sandbox.requests() == []
    record = made.records()[BTC, "ohlcv_1m", FIRST]
    assert record.source == "archive"


def test_the_folder_is_checked_when_the_collection_is_read(bench) -> None:
    with pytest.raises(ConfigError, match="expected an absolute path"):
        parse_collection({"exchanges": {"kraken": {"files": "here"}}, "series": [of_kraken("trades")]})
    with pytest.raises(ConfigError, match="no downloaded files of binance are read"):
        parse_collection({"exchanges": {"binance": {"files": "/tmp"}}, "series": [of_kraken("trades")]})
