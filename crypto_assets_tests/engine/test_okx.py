"""OKX from its sandbox dialect, whole: index, two files a day, bundles, contracts in base, REST for what is not published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.instruments import refresh_instruments
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State, days_between
from crypto_assets.quality.quarantine.refused_files import drop, refused_files
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sandbox.world import World
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench

FIRST, LAST = date(2024, 1, 2), date(2024, 1, 4)
NOW = datetime(2024, 1, 20, 12, tzinfo=UTC)
BTC, SWAP, OTHER = "BTC/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"
ROOT = "/okx/archive/cdn/okex/traderecords"


class OkxBench(Workbench):
    """Collects from OKX's dialect; contract sizes are asked for before each collection, as runs do."""

    @property
    def collection(self) -> Collection:
        urls = self.sandbox.app.state.dialects["okx"].urls(self.sandbox.archive_url)
        return parse_collection({"exchanges": {"okx": urls}, "series": self.entries})

    def learn_instruments(self) -> None:
        with Ledger(self.url) as ledger:
            problems = [one.problem for one in refresh_instruments(self.collection, ledger)]
        assert set(problems) == {""}

    def rows(self, series: Series, symbol: str, day: date) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lake.read_partition(series, Partition(symbol, day)).to_pylist()
        return found

    def asked(self, part: str) -> list[str]:
        return [path for method, path in self.sandbox.requests() if method == "GET" and part in path]


Open = Callable[..., OkxBench]


@pytest.fixture(scope="module")
def served() -> Iterator[SandboxServer]:
    symbols = {"spot": ["BTCUSDT"], "linear": ["BTCUSDT", "ETHUSDT"], "inverse": ["BTCUSD_PERP"]}
    with SandboxServer(World(symbols, date(2024, 1, 1), date(2024, 1, 31), trades_per_day=1_440, now=NOW)) as server:
        yield server


@pytest.fixture
def bench(served: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Open]:
    def opened(market_type: str, datasets: list[str], symbols: list[str], **more: Any) -> OkxBench:
        entry = {"exchange": "okx", "market_type": market_type, "datasets": datasets, "symbols": symbols}
        found = OkxBench(served, postgres_url, tmp_path / "lake", {**entry, "start": FIRST, "rest": False, **more})
        found.now = lambda: NOW
        found.learn_instruments()
        served.forget_requests()
        return found

    yield opened
    served.app.state.faults.off()
    served.app.state.overrides_of["okx"].clear()
    served.app.state.source.now = NOW


def of_world(
    served: SandboxServer, market: str, symbol: str, day: date
) -> list[tuple[int, int, Decimal, Decimal, str]]:
    """Return the trades of the synthetic market: number, milliseconds, price, amount in base, side of the taker."""
    world = served.app.state.source
    item, _, _ = world.listed[market, symbol]
    trades = world.market.trades(item, day)
    price, amount = Decimal(10) ** -item.price_decimals, Decimal(10) ** -item.amount_decimals
    columns = (trades.id, trades.time, trades.price, trades.amount, trades.is_buyer_maker)
    return [
        (number + 1, time // 1000, ticks * price, lots * amount, "sell" if sold else "buy")
        for number, time, ticks, lots, sold in zip(*(column.tolist() for column in columns), strict=True)
    ]


def as_trades(rows: list[dict[str, Any]]) -> list[tuple[int, int, Decimal, Decimal, str]]:
    return [
        (row["trade_id"], round(row["trade_time"].timestamp() * 1000), row["price"], row["amount"], row["side"])
        for row in rows
    ]


@pytest.mark.parametrize(
    ("market_type", "symbol", "name"), [("spot", BTC, "BTC-USDT"), ("linear", SWAP, "BTC-USDT-SWAP")]
)
def test_two_files_a_day_give_every_trade_in_base(
    bench: Open, served: SandboxServer, market_type: str, symbol: str, name: str
) -> None:
    okx = bench(market_type, ["trades"], [symbol])
    result = okx.collect(FIRST, LAST)
    series = Series.named("okx", market_type, "trades")
    days = list(days_between(FIRST, LAST))
    assert [result.of(day, "trades", symbol, market_type).state for day in days] == [State.AVAILABLE] * 3
    for day in days:
        assert as_trades(okx.rows(series, symbol, day)) == of_world(served, market_type, "BTCUSDT", day)
    # Each file once, though two days need it.
    files = [
        f"{ROOT}/trades/daily/{day:%Y%m%d}/{name}-trades-{day}.zip" for day in days_between(FIRST, date(2024, 1, 5))
    ]
    assert sorted(okx.asked("/archive/")) == files


def test_bars_of_spot_and_swaps_are_those_of_the_market(bench: Open, served: SandboxServer) -> None:
    okx = bench("linear", ["ohlcv_1m"], [SWAP])
    result = okx.collect(FIRST, LAST)
    assert result.of(FIRST, symbol=SWAP, market_type="linear").state is State.AVAILABLE
    item, _, _ = served.app.state.source.listed["linear", "BTCUSDT"]
    bars = served.app.state.source.market.bars(item, "1m", FIRST)
    amount = Decimal(10) ** -item.amount_decimals
    rows = okx.rows(Series.named("okx", "linear", "ohlcv_1m"), SWAP, FIRST)
    assert [row["volume"] for row in rows] == [int(volume) * amount for volume in bars.volume]
    assert [row["close"] for row in rows] == [int(price) * Decimal(10) ** -item.price_decimals for price in bars.close]
    assert {row["trade_count"] for row in rows} == {None}


def test_a_bundle_is_fetched_once_for_all_symbols(bench: Open, served: SandboxServer) -> None:
    okx = bench("linear", ["funding_rates"], [SWAP, OTHER])
    result = okx.collect(FIRST, LAST)
    for symbol, name in ((SWAP, "BTCUSDT"), (OTHER, "ETHUSDT")):
        item, _, _ = served.app.state.source.listed["linear", name]
        for day in days_between(FIRST, LAST):
            assert result.of(day, "funding_rates", symbol, "linear").state is State.AVAILABLE
            rows = okx.rows(Series.named("okx", "linear", "funding_rates"), symbol, day)
            expected = served.app.state.source.market.funding_rates(item, day)
            assert [(row["funding_rate"], row["funding_interval_hours"]) for row in rows] == [
                (Decimal(rate).scaleb(-8), 8) for _, rate in expected
            ]
            assert [round(row["funding_time"].timestamp() * 1000) for row in rows] == [
                time // 1000 for time, _ in expected
            ]
    days = days_between(FIRST, date(2024, 1, 5))
    files = [f"{ROOT}/swaprates/daily/{day:%Y%m%d}/allswap-fundingrates-{day}.zip" for day in days]
    assert sorted(okx.asked("/archive/")) == files


def test_a_refused_bundle_is_kept_once_with_the_reason_of_each_symbol(bench: Open, served: SandboxServer) -> None:
    okx = bench("linear", ["funding_rates"], [SWAP, OTHER])
    key = "cdn/okex/traderecords/swaprates/daily/20240103/allswap-fundingrates-2024-01-03.zip"
    lines = text_of(served.app.state.dialects["okx"].archive.read(key)).splitlines()
    place = lines[0].split(",").index("funding_rate")
    wrong = {"BTC-USDT-SWAP": "one", "ETH-USDT-SWAP": "two"}
    for number, line in enumerate(lines):
        cells = line.split(",")
        if cells[0] in wrong:
            cells[place] = wrong[cells[0]]
            lines[number] = ",".join(cells)
    overrides = served.app.state.overrides_of["okx"]
    overrides[key] = zip_of(key, "\n".join(lines) + "\n")
    okx.collect(FIRST, LAST)
    found = {file.symbol: file for file in refused_files(okx.lake) if file.key == key}
    assert set(found) == {SWAP, OTHER}
    assert {file.path for file in found.values()} == {found[SWAP].path}
    for symbol, word in ((SWAP, "one"), (OTHER, "two")):
        assert f"'{word}'" in found[symbol].reason
        assert found[symbol].days == (date(2024, 1, 2), date(2024, 1, 3))
        assert (found[symbol].error, found[symbol].size_bytes) == ("BadContent", len(overrides[key]))
    okx.collect(FIRST, LAST)
    assert {file.symbol: file.reason for file in refused_files(okx.lake) if file.key == key} == {
        symbol: file.reason for symbol, file in found.items()
    }
    drop(okx.lake, found[OTHER])
    (left,) = (file for file in refused_files(okx.lake) if file.key == key)
    assert (left.symbol, left.reason, left.days) == (SWAP, found[SWAP].reason, found[SWAP].days)
    assert okx.lake.store.get(left.path) == overrides[key]
    drop(okx.lake, left)
    assert okx.lake.store.get(left.path) is None
    assert not any(file.key == key for file in refused_files(okx.lake))


def test_what_is_not_published_yet_comes_from_rest_with_the_same_rows(bench: Open, served: SandboxServer) -> None:
    day = date(2024, 1, 18)  # the second file of 18 January, of the 19th in UTC+8, appears on the 21st
    okx = bench("linear", ["trades", "ohlcv_1m", "funding_rates"], [SWAP], rest=True)
    result = okx.collect(day, day)
    states = {name: result.of(day, name, SWAP, "linear").state for name in ("trades", "ohlcv_1m", "funding_rates")}
    assert states == dict.fromkeys(states, State.PROVISIONAL)
    trades = okx.rows(Series.named("okx", "linear", "trades"), SWAP, day)
    assert as_trades(trades) == of_world(served, "linear", "BTCUSDT", day)
    assert okx.asked("/archive/") == []
    before = {
        name: okx.rows(Series.named("okx", "linear", name), SWAP, day)
        for name in ("trades", "ohlcv_1m", "funding_rates")
    }
    served.app.state.source.now = NOW + timedelta(days=5)
    okx.now = lambda: NOW + timedelta(days=5)
    later = okx.collect(day, day)
    for name, rows in before.items():
        assert later.of(day, name, SWAP, "linear").state is State.AVAILABLE
        assert okx.rows(Series.named("okx", "linear", name), SWAP, day) == rows


def test_a_file_in_another_folder_is_found_where_the_index_says(bench: Open, served: SandboxServer) -> None:
    okx = bench("spot", ["trades"], [BTC])
    usual = "cdn/okex/traderecords/trades/daily/20240103/BTC-USDT-trades-2024-01-03.zip"
    overrides = served.app.state.overrides_of["okx"]
    content = served.app.state.dialects["okx"].archive.read(usual)
    overrides[usual] = None
    # The sandbox lists a day by its folder; the file has the same name in a folder below it.
    moved = "cdn/okex/traderecords/trades/daily/20240103/v2/BTC-USDT-trades-2024-01-03.zip"
    overrides[moved] = content
    result = okx.collect(FIRST, FIRST)
    assert result.of(FIRST, "trades", BTC).state is State.AVAILABLE
    found = as_trades(okx.rows(Series.named("okx", "spot", "trades"), BTC, FIRST))
    assert found == of_world(served, "spot", "BTCUSDT", FIRST)
    assert okx.asked("/v2/") == [f"/okx/archive/{moved}"]


def test_inverse_contracts_are_dollars_and_their_amounts_base(bench: Open, served: SandboxServer) -> None:
    okx = bench("inverse", ["trades", "ohlcv_1m"], ["BTC/USD:BTC"])
    result = okx.collect(FIRST, FIRST)
    for name in ("trades", "ohlcv_1m"):
        assert result.of(FIRST, name, "BTC/USD:BTC", "inverse").state is State.AVAILABLE
    # Bars have eight digits of each amount, trades have 18.
    compared = okx.collect(FIRST, FIRST).of(FIRST, "trades", "BTC/USD:BTC", "inverse").findings["agrees_with_bars"]
    assert (compared.passed, compared.evidence["compared"]) == (True, 1_440)
    assert compared.evidence["amount_tolerance"] == "0.00000001 a trade"
    world = served.app.state.source
    item, _, _ = world.listed["inverse", "BTCUSD_PERP"]
    trades, bars = world.market.trades(item, FIRST), world.market.bars(item, "1m", FIRST)
    rows = okx.rows(Series.named("okx", "inverse", "trades"), "BTC/USD:BTC", FIRST)
    dollars = [100 * int(contracts) for contracts in trades.amount]
    prices = [Decimal(int(ticks)).scaleb(-item.price_decimals) for ticks in trades.price]
    assert [row["quote_amount"] for row in rows] == dollars
    assert [row["amount"] for row in rows] == [
        (worth / price).quantize(Decimal("1e-18")) for worth, price in zip(map(Decimal, dollars), prices, strict=True)
    ]
    minutes = okx.rows(Series.named("okx", "inverse", "ohlcv_1m"), "BTC/USD:BTC", FIRST)
    assert [row["quote_volume"] for row in minutes] == [100 * int(contracts) for contracts in bars.volume]
    assert [row["volume"] for row in minutes] == [Decimal(int(base)).scaleb(-8) for base in bars.quote_volume]


def test_old_headers_and_new_columns_are_read_alike(postgres_url: str, tmp_path: Path) -> None:
    old, new = (date(2021, 12, 30), date(2022, 1, 3)), (date(2026, 8, 30), date(2026, 9, 4))
    now = datetime(2026, 9, 20, tzinfo=UTC)
    with SandboxServer(World({"spot": {"BTCUSDT": old, "ETHUSDT": new}}, trades_per_day=100, now=now)) as server:
        entry = {
            "exchange": "okx",
            "market_type": "spot",
            "datasets": ["trades"],
            "start": date(2021, 9, 1),
            "rest": False,
        }
        archive = server.app.state.dialects["okx"].archive
        headers = set()
        for symbol, name, first in ((BTC, "BTCUSDT", date(2021, 12, 31)), ("ETH/USDT", "ETHUSDT", date(2026, 8, 31))):
            okx = OkxBench(server, postgres_url, tmp_path / "lake", {**entry, "symbols": [symbol]})
            okx.now = lambda: now
            for day in (first, first + timedelta(days=1)):
                result = okx.collect(day, day)
                assert result.of(day, "trades", symbol).state is State.AVAILABLE, result.of(
                    day, "trades", symbol
                ).reason
                found = as_trades(okx.rows(Series.named("okx", "spot", "trades"), symbol, day))
                assert found == of_world(server, "spot", name, day)
                key = f"{ROOT.removeprefix('/okx/archive/')}/trades/daily/{day:%Y%m%d}/{name[:3]}-USDT-trades-{day}.zip"
                with ZipFile(BytesIO(archive.read(key))) as file:
                    headers.add(file.read(file.namelist()[0]).split(b"\n")[0])
    assert {header.count(b",") + 1 for header in headers} == {5, 6, 7}
    assert {max(header) > 127 for header in headers} == {True, False}


def test_days_before_the_archive_began_are_asked_for_or_missing(postgres_url: str, tmp_path: Path) -> None:
    day, now = date(2019, 6, 1), datetime(2019, 12, 20, tzinfo=UTC)
    life = {"BTCUSDT": (date(2019, 5, 30), date(2019, 12, 31))}
    with SandboxServer(World({"spot": life}, trades_per_day=1_440, now=now)) as server:
        entry = {"exchange": "okx", "market_type": "spot", "datasets": ["ohlcv_1m"], "symbols": [BTC], "start": day}
        for own in (day, day + timedelta(days=1)):  # OKX has none of this time, the sandbox would make them
            key = f"candlesticks/daily/{own:%Y%m%d}/BTC-USDT-candlesticks-{own}.zip"
            server.app.state.overrides_of["okx"][f"cdn/okex/traderecords/{key}"] = None
        outcomes = {}
        for rest in (False, True):
            okx = OkxBench(server, postgres_url, tmp_path / "lake", {**entry, "rest": rest})
            okx.now = lambda: now
            okx.learn_instruments()
            outcomes[rest] = okx.collect(day, day).of(day, "ohlcv_1m", BTC)
        assert outcomes[False].state is State.MISSING
        assert outcomes[False].reason == "the archive begins on 2019-12-01"
        assert outcomes[True].state is State.PROVISIONAL, outcomes[True].reason
        world = server.app.state.source
        item, _, _ = world.listed["spot", "BTCUSDT"]
        rows = okx.rows(Series.named("okx", "spot", "ohlcv_1m"), BTC, day)
        closes = [int(close) for close in world.market.bars(item, "1m", day).close]
        assert [row["close"] for row in rows] == [Decimal(close).scaleb(-item.price_decimals) for close in closes]


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("day", [date(2019, 6, 1), date(2023, 6, 1)])  # before the archive began, and later
def test_days_before_a_symbol_was_listed_are_no_data_as_its_instrument_says(
    bench: Open, day: date, *, rest: bool
) -> None:
    okx = bench("linear", ["ohlcv_1m"], [SWAP], start=day, rest=rest)
    outcome = okx.collect(day, day).of(day, "ohlcv_1m", SWAP, "linear")
    assert outcome.state is State.NO_DATA
    assert outcome.reason == "not listed before 2024-01-01 00:00 UTC: the exchange's instruments say so"
    assert (outcome.evidence["life"], outcome.evidence["listed_at"]) == ("before", "2024-01-01T00:00:00+00:00")
    assert "first_listed" not in outcome.evidence
