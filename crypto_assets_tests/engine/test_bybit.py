"""Bybit from end to end: the engine collects from the sandbox's Bybit, through listing, files and REST."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.instruments import ask_instruments
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.dialects import bybit as dialect
from crypto_assets.sandbox.faults import make_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources import Page, Walk
from crypto_assets.sources.bybit.rest import BybitRest
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST, NOW = date(2024, 1, 1), date(2024, 1, 12), datetime(2024, 1, 12, 12, tzinfo=UTC)
DAY = date(2024, 1, 5)
LINEAR = "BTC/USDT:USDT"


class BybitBench(Workbench):
    """Collects from the sandbox's Bybit; `urls` may name its web host as the listing."""

    urls: dict[str, str]

    @property
    def collection(self) -> Collection:
        return parse_collection({"exchanges": {"bybit": self.urls}, "series": self.entries})


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    symbols = {"spot": ["BTCUSDT"], "linear": ["BTCUSDT", "ETHUSDT"], "inverse": ["BTCUSD_PERP"]}
    with SandboxServer(SyntheticArchive(symbols, FIRST, LAST, trades_per_day=1_440, now=NOW)) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    yield running
    running.app.state.faults.off()
    running.app.state.limits.forget()
    running.app.state.overrides_of["bybit"].clear()


Open = Callable[..., BybitBench]


@pytest.fixture
def bench(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Open:
    def opened(market_type: str, *datasets: str, **more: Any) -> BybitBench:
        symbol = {"spot": "BTC/USDT", "linear": LINEAR, "inverse": "BTC/USD:BTC"}[market_type]
        one = {**entry(market_type, datasets, [symbol], FIRST, rest=True), "exchange": "bybit", **more}
        made = BybitBench(sandbox, postgres_url, tmp_path / "lake", one)
        made.urls, made.now = sandbox.urls("bybit"), lambda: NOW
        return made

    return opened


def stored(bench: BybitBench, market_type: str, dataset: str, symbol: str, day: date) -> pa.Table:
    return bench.lake.read_partition(Series.named("bybit", market_type, dataset), Partition(symbol, day))


def asked(sandbox: SandboxServer, kind: str) -> list[str]:
    return [one.path for one in sandbox.app.state.requests if one.kind == kind]


def test_bars_and_funding_are_asked_for_and_final(bench, sandbox):
    made = bench("linear", "ohlcv_1h", "funding_rates")
    result = made.collect(DAY, DAY + timedelta(days=1))
    for dataset in ("ohlcv_1h", "funding_rates"):
        assert [result.of(DAY, dataset, LINEAR, "linear").state.value] == ["available"], result.of(
            DAY, dataset, LINEAR, "linear"
        ).reason
    world = sandbox.app.state.source
    item = world.listed["linear", "BTCUSDT"][0]
    true = world.market.bars(item, "1h", DAY)
    rows = stored(made, "linear", "ohlcv_1h", LINEAR, DAY)
    assert [int(one * 10**item.price_decimals) for one in rows["close"].to_pylist()] == true.close.tolist()
    assert [
        int(one * 10**item.quote_decimals) for one in rows["quote_volume"].to_pylist()
    ] == true.quote_volume.tolist()
    assert rows["trade_count"].null_count == 24
    events = stored(made, "linear", "funding_rates", LINEAR, DAY)
    assert [int(one * 10**8) for one in events["funding_rate"].to_pylist()] == [
        rate for _, rate in world.market.funding_rates(item, DAY)
    ]
    assert asked(sandbox, "object") == []


def linear_key(day: date) -> str:
    return f"trading/BTCUSDT/BTCUSDT{day}.csv.gz"


@pytest.mark.parametrize("listing", ["listing_url", "archive_url"])
@pytest.mark.parametrize(
    ("market_type", "symbol"), [("linear", LINEAR), ("spot", "BTC/USDT"), ("inverse", "BTC/USD:BTC")]
)
def test_trades_come_from_files_that_the_bucket_or_the_web_host_lists(bench, sandbox, listing, market_type, symbol):
    made = bench(market_type, "trades")
    made.urls = {**made.urls, "listing_url": made.urls[listing]}
    outcome = made.collect(DAY, DAY).of(DAY, "trades", symbol, market_type)
    assert outcome.state.value == "available", outcome.reason
    rows = stored(made, market_type, "trades", symbol, DAY)
    world = sandbox.app.state.source
    true = world.market.trades(
        world.listed[market_type, "BTCUSD_PERP" if market_type == "inverse" else "BTCUSDT"][0], DAY
    )
    digits = 1_000 if market_type == "spot" else 100
    assert rows["trade_time"].cast(pa.int64()).to_pylist() == (true.time // digits * digits).tolist()
    assert rows["trade_id"].null_count == len(true)
    assert rows["trade_place"].null_count == 0
    assert len({(row["trade_time"], row["trade_place"]) for row in rows.to_pylist()}) == len(true)
    assert rows["trade_uid"].null_count == (len(true) if market_type == "spot" else 0)
    assert len(asked(sandbox, "object")) == 1
    assert asked(sandbox, "checksum") == []
    assert outcome.source is not None
    assert outcome.source.published_digest == f"md5:{outcome.source.etag}"


def test_a_file_with_the_newest_row_first_keeps_the_order_within_an_instant_although_a_row_is_out_of_place(
    bench, sandbox
):
    key = f"spot/BTCUSDT/BTCUSDT_{DAY}.csv.gz"
    header, *lines = gzip.decompress(sandbox.app.state.dialects["bybit"].archive.read(key)).decode().splitlines()
    rows = [line.split(",") for line in lines]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        second[1] = first[1]  # each two trades have one instant
    expected = [(int(cells[1]) * 1_000, Decimal(cells[2]), Decimal(cells[3])) for cells in rows]
    published = rows[::-1]
    published[101], published[102] = published[102], published[101]  # of two instants: times rise there once
    text = "\n".join([header, *(",".join(cells) for cells in published)]) + "\n"
    sandbox.app.state.overrides_of["bybit"][key] = gzip.compress(text.encode(), mtime=0)
    made = bench("spot", "trades", rest=False)
    outcome = made.collect(DAY, DAY).of(DAY, "trades", "BTC/USDT", "spot")
    assert outcome.stored, outcome.reason
    table = stored(made, "spot", "trades", "BTC/USDT", DAY)
    times = table["trade_time"].cast(pa.int64()).to_pylist()
    assert list(zip(times, table["price"].to_pylist(), table["amount"].to_pylist(), strict=True)) == expected
    assert table["trade_place"].to_pylist() == [0, 1] * (len(rows) // 2)


def test_a_republished_file_is_found_by_its_etag_and_collected_again(bench, sandbox):
    made = bench("linear", "trades")
    first = made.collect(DAY, DAY).of(DAY, "trades", LINEAR, "linear")
    before = stored(made, "linear", "trades", LINEAR, DAY)
    sandbox.forget_requests()
    assert made.collect(DAY, DAY).of(DAY, "trades", LINEAR, "linear").unchanged
    assert asked(sandbox, "object") == []
    sandbox.app.state.faults.on("republished", exchange="bybit", pattern=linear_key(DAY))
    again = made.collect(DAY, DAY).of(DAY, "trades", LINEAR, "linear")
    assert len(asked(sandbox, "object")) == 1
    assert (again.state.value, again.unchanged, again.correction is None) == ("available", False, False), again.reason
    assert again.source.sha256 != first.source.sha256
    assert again.source.published_digest != first.source.published_digest
    assert before["amount"] != stored(made, "linear", "trades", LINEAR, DAY)["amount"]


def test_a_gzip_file_of_nothing_and_a_file_of_another_symbol_cost_their_day_alone(bench, sandbox):
    made = bench("linear", "trades", rest=False)
    other = sandbox.app.state.dialects["bybit"].archive.read(linear_key(DAY))
    text = gzip.decompress(other).replace(b"BTCUSDT", b"ETHUSDT")
    sandbox.app.state.overrides_of["bybit"] |= {
        linear_key(DAY): gzip.compress(b"", mtime=0),
        linear_key(DAY + timedelta(days=1)): gzip.compress(text, mtime=0),
    }
    result = made.collect(DAY, DAY + timedelta(days=2))
    found = [result.of(DAY + timedelta(days=place), "trades", LINEAR, "linear") for place in range(3)]
    assert [one.state.value for one in found] == ["missing", "missing", "available"]
    assert "found an empty text" in found[0].reason
    assert "expected trades of BTCUSDT only, found ETHUSDT" in found[1].reason


def test_an_error_inside_a_200_costs_its_series_alone_and_is_named(bench):
    made = bench("linear", "ohlcv_1h", "funding_rates", symbols=["BTC/USDT:USDT", "NOPE/USDT:USDT"])
    result = made.collect(DAY, DAY)
    assert result.of(DAY, "ohlcv_1h", LINEAR, "linear").state.value == "available"
    failed = result.of(DAY, "ohlcv_1h", "NOPE/USDT:USDT", "linear")
    assert failed.state.value != "available"
    assert "Symbol Is Invalid" in failed.reason or "10001" in failed.reason


def test_a_ban_stops_the_questions(bench, sandbox):
    made = bench("linear", "ohlcv_1h")
    sandbox.app.state.faults.on("http-403", exchange="bybit", kinds=("rest",))
    days = 5
    result = made.collect(DAY, DAY + timedelta(days=days - 1))
    states = [result.of(DAY + timedelta(days=place), "ohlcv_1h", LINEAR, "linear").state.value for place in range(days)]
    assert "available" not in states
    assert len(asked(sandbox, "rest")) < days


def test_the_newest_trades_do_not_reach_to_the_midnight_of_a_busy_day(bench):
    made = bench("spot", "trades")
    outcome = made.collect(LAST, LAST).of(LAST, "trades", "BTC/USDT")
    assert outcome.state.value in ("pending", "missing")
    assert "found the newest 60 only" in outcome.reason


@pytest.mark.parametrize("listing", ["listing_url", "archive_url"])
def test_a_symbol_without_a_folder_is_told_alone(bench, listing):
    made = bench("linear", "trades", symbols=[LINEAR, "NOPE/USDT:USDT"], rest=False)
    made.urls = {**made.urls, "listing_url": made.urls[listing]}
    result = made.collect(DAY, DAY)
    assert result.of(DAY, "trades", LINEAR, "linear").state.value == "available"
    nothing = result.of(DAY, "trades", "NOPE/USDT:USDT", "linear")
    assert nothing.state.value == "missing"
    assert "NOPEUSDT" in nothing.reason


def test_a_ban_of_the_archive_stops_the_downloads(bench, sandbox):
    made = bench("linear", "trades", rest=False)
    sandbox.app.state.faults.on("http-403", exchange="bybit", kinds=("object",))
    result = made.collect(FIRST, FIRST + timedelta(days=8))
    states = {result.of(FIRST + timedelta(days=place), "trades", LINEAR, "linear").state.value for place in range(9)}
    assert "available" not in states
    assert len(asked(sandbox, "object")) <= 4  # as many as are downloaded at once


def test_a_question_without_an_answer_costs_that_day_alone(bench, sandbox):
    made = bench("linear", "ohlcv_1h", start=date(2023, 12, 31))
    sandbox.app.state.faults.on("reset", exchange="bybit", pattern="*interval=W*")
    result = made.collect(date(2023, 12, 31), date(2024, 1, 2))
    before = result.of(date(2023, 12, 31), "ohlcv_1h", LINEAR, "linear")
    assert before.state is State.MISSING
    assert before.evidence["rest"]["error"] == "HostUnreachable"
    assert [result.of(day, "ohlcv_1h", LINEAR, "linear").state for day in (FIRST, date(2024, 1, 2))] == [
        State.AVAILABLE,
        State.AVAILABLE,
    ]


def test_a_day_of_trading_without_a_funding_event_is_missing_not_empty(bench, sandbox, monkeypatch):
    made = bench("linear", "funding_rates")
    monkeypatch.setattr(
        BybitRest, "walk", lambda self, partition, stored, until, now, instrument=None: nothing(stored, now)
    )
    outcome = made.collect(DAY, DAY).of(DAY, "funding_rates", LINEAR, "linear")
    assert outcome.state is State.MISSING
    assert "bybit answers, and has none of this day" in outcome.reason


def test_a_funding_event_that_is_missing_does_not_hide_itself(bench, sandbox, monkeypatch):
    real, eight = dialect.funding_down, int(datetime(2024, 1, 5, 8, tzinfo=UTC).timestamp()) * 1000
    monkeypatch.setattr(dialect, "funding_down", lambda *asked: [one for one in real(*asked) if int(one[0]) != eight])
    made = bench("linear", "funding_rates")
    outcome = made.collect(DAY, DAY).of(DAY, "funding_rates", LINEAR, "linear")
    assert outcome.state is State.DEGRADED
    assert "after 00:00" in outcome.reason
    events = stored(made, "linear", "funding_rates", LINEAR, DAY).to_pylist()
    assert [(one["funding_time"].hour, one["funding_interval_hours"]) for one in events] == [(0, 8), (16, 8)]


def nothing(stored: pa.Table, now: datetime) -> Walk:
    yield Page(stored, now)


def test_a_day_without_an_archive_is_missing_once_it_should_have_been_answered(bench, sandbox):
    made = bench("linear", "ohlcv_1h")
    sandbox.app.state.faults.on("reset", exchange="bybit", pattern="*kline*")
    result = made.collect(DAY, date(2024, 1, 11))
    old, new = (result.of(day, "ohlcv_1h", LINEAR, "linear") for day in (DAY, date(2024, 1, 11)))
    assert (old.state, new.state) == (State.MISSING, State.PENDING)  # the newer one ended twelve hours ago
    assert not old.reason.startswith("bybit was not asked yet")


def test_contracts_that_have_ended_are_known_and_never_take_the_place_of_one_that_trades(bench, sandbox, client):
    until = NOW - timedelta(days=1)
    made = bench("linear", "ohlcv_1h")
    sandbox.app.state.faults.on(make_fault(fault="delisted", pattern="ETHUSDT", at=until))
    found = ask_instruments(client, made.collection, "bybit", "linear")
    assert ({(one.symbol, one.status, one.delisted_at) for one in found.instruments}, found.left_out) == (
        {(LINEAR, "Trading", None), ("ETH/USDT:USDT", "Closed", until)},
        [],
    )


def test_a_host_that_ignores_the_status_tells_those_that_trade_twice_and_no_more(bench, sandbox, client, monkeypatch):
    real = dialect.Bybit._instruments_info

    def deaf(self: Any, query: dict[str, str]) -> dict[str, Any]:
        return real(self, {name: value for name, value in query.items() if name != "status"})

    monkeypatch.setattr(dialect.Bybit, "_instruments_info", deaf)
    found = ask_instruments(client, bench("linear", "ohlcv_1h").collection, "bybit", "linear")
    assert sorted(one.symbol for one in found.instruments) == [LINEAR, "ETH/USDT:USDT"]
    assert found.left_out == []
    assert sum("instruments-info" in path for _, path in sandbox.requests()) == 2
