"""Refused files of days that need two files, and of amounts in contracts: all bytes are kept, and no day is half restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.instruments import refresh_instruments
from crypto_assets.engine.run_context import Stores
from crypto_assets.errors import BadContent
from crypto_assets.ledger.instruments import instruments_at, write_instruments
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Series, State
from crypto_assets.quality.quarantine.refused_files import refused_files
from crypto_assets.quality.quarantine.retry import Restored, restorer
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sandbox.world import World
from crypto_assets.sources.binance.archive import BinanceFiles
from crypto_assets.sources.okx.archive import OkxFiles
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Row, Workbench

DAY, NEXT = date(2024, 1, 2), date(2024, 1, 3)
NOW = datetime(2024, 1, 20, 12, tzinfo=UTC)
BTC, COIN = "BTC/USDT", "BTC/USD:BTC"
OKX, BINANCE = Series.named("okx", "spot", "trades"), Series.named("binance", "inverse", "trades")
FIRST_KEY, SECOND_KEY = (
    f"cdn/okex/traderecords/trades/daily/{day:%Y%m%d}/BTC-USDT-trades-{day}.zip" for day in (DAY, NEXT)
)


class PartsBench(Workbench):
    """Collects one series of OKX or of Binance COIN-M."""

    @property
    def collection(self) -> Collection:
        [entry] = self.entries
        urls = self.sandbox.app.state.dialects[entry["exchange"]].urls(self.sandbox.archive_url)
        return parse_collection({"exchanges": {entry["exchange"]: urls}, "series": self.entries})

    def restored(self) -> list[Restored]:
        """Judge every refused file again, by its key in order."""
        found = sorted(refused_files(self.lake, self.collection), key=lambda file: file.key)
        with (
            Ledger(self.url) as ledger,
            Warehouse(self.url) as warehouse,
            restorer(self.collection, Stores(self.lake, warehouse, ledger)) as judge,
        ):
            return [judge.restore(file) for file in found]


Open = Callable[..., PartsBench]


@pytest.fixture(scope="module")
def served() -> Iterator[SandboxServer]:
    symbols = {"spot": ["BTCUSDT"], "inverse": ["BTCUSD_PERP"]}
    with SandboxServer(World(symbols, date(2024, 1, 1), date(2024, 1, 31), trades_per_day=1_440, now=NOW)) as server:
        yield server


@pytest.fixture
def bench(served: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Open]:
    def opened(series: Series, symbol: str, **more: Any) -> PartsBench:
        entry = {"exchange": series.exchange, "market_type": series.market_type, "datasets": ["trades"]}
        found = PartsBench(
            served, postgres_url, tmp_path / "lake", {**entry, "symbols": [symbol], "start": DAY, "rest": False, **more}
        )
        found.now = lambda: NOW
        return found

    yield opened
    served.app.state.overrides_of["okx"].clear()


def collected(work: PartsBench, series: Series, symbol: str) -> tuple[Outcome, list[Row]]:
    outcome = work.collect(DAY, DAY).of(DAY, "trades", symbol, series.market_type)
    return outcome, work.in_lake(series, symbol, DAY) if outcome.stored else []


def with_wrong_price(served: SandboxServer) -> bytes:
    """Return the first file of the day with one price below zero, in a trade of the day."""
    content = served.app.state.dialects["okx"].archive.read(FIRST_KEY)
    lines = text_of(content).splitlines()
    place = lines[0].split(",").index("price")
    cells = lines[-5].split(",")
    cells[place] = "-1"
    lines[-5] = ",".join(cells)
    return zip_of(FIRST_KEY, "\n".join(lines) + "\n")


def test_refused_rows_of_two_files_keep_the_bytes_of_both(bench: Open, served: SandboxServer) -> None:
    work, wrong = bench(OKX, BTC), with_wrong_price(served)
    archive, overrides = served.app.state.dialects["okx"].archive, served.app.state.overrides_of["okx"]
    overrides[FIRST_KEY] = wrong
    outcome, _ = collected(work, OKX, BTC)
    assert (outcome.state, outcome.evidence["error"]) == (State.MISSING, "InvalidRows")
    kept = {file.key: file for file in refused_files(work.lake, work.collection)}
    assert {key: work.lake.store.get(file.path) for key, file in kept.items()} == {
        FIRST_KEY: wrong,
        SECOND_KEY: archive.read(SECOND_KEY),
    }
    for file in kept.values():
        assert (file.series, file.symbol, file.days, file.error) == (OKX, BTC, (DAY,), "InvalidRows")
        assert file.reason.startswith(f"{FIRST_KEY} + {SECOND_KEY}: rows of BTC/USDT {DAY} are refused")
    assert outcome.evidence["quarantine"] == f"{kept[FIRST_KEY].path} + {kept[SECOND_KEY].path}"

    overrides.clear()
    assert [one.stored for one in work.restored()] == [{}, {}]
    outcome, rows = collected(work, OKX, BTC)
    assert (outcome.state, len(rows)) == (State.AVAILABLE, 1_440)
    assert [one.refused[DAY].partition(" (sha256")[0] for one in work.restored()] == [
        f"is available from {FIRST_KEY} + {SECOND_KEY}"
    ] * 2


@pytest.mark.parametrize("rest", [True, False])
def test_one_of_two_files_of_a_day_is_not_restored_by_itself(
    bench: Open, monkeypatch: pytest.MonkeyPatch, rest: bool
) -> None:
    work, parse = bench(OKX, BTC, rest=rest), OkxFiles.parse

    def faulty(self: Any, symbol: str, key: str, *rest: Any) -> Any:
        if key == SECOND_KEY:
            raise BadContent(f"{key}: a fault of the parser")
        return parse(self, symbol, key, *rest)

    monkeypatch.setattr(OkxFiles, "parse", faulty)
    before, rows = collected(work, OKX, BTC)
    assert (before.state, len(rows)) == ((State.PROVISIONAL, 1_440) if rest else (State.MISSING, 0))
    monkeypatch.setattr(OkxFiles, "parse", parse)
    [found] = work.restored()
    assert (found.file.key, found.stored) == (SECOND_KEY, {})
    assert found.refused == {
        DAY: f"needs 2 files together ({FIRST_KEY}, {SECOND_KEY}), and this is one of them; "
        "`crypto-assets fill` downloads and checks them together"
    }
    assert work.records()[BTC, "trades", DAY].state is before.state
    if rest:
        assert work.in_lake(OKX, BTC, DAY) == rows, "what is stored stays whole"
    after, rows = collected(work, OKX, BTC)
    assert (after.state, len(rows)) == (State.AVAILABLE, 1_440)


def test_contracts_are_converted_by_the_size_that_they_had_on_the_day(
    bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, parse = bench(BINANCE, COIN), BinanceFiles.parse
    with Ledger(work.url) as ledger:
        refresh_instruments(work.collection, ledger, now=datetime(2023, 12, 1, tzinfo=UTC))

    def faulty(self: Any, symbol: str, key: str, *rest: Any) -> Any:
        raise BadContent(f"{key}: a fault of the parser")

    monkeypatch.setattr(BinanceFiles, "parse", faulty)
    assert collected(work, BINANCE, COIN)[0].state is State.MISSING
    monkeypatch.setattr(BinanceFiles, "parse", parse)
    with Ledger(work.url) as ledger, ledger.transaction() as connection:
        known = instruments_at(connection, "binance", "inverse", NOW)[COIN].instrument
        smaller = replace(known, contract_size=Decimal(10))
        write_instruments(connection, "binance", "inverse", [smaller], datetime.now(UTC))
    [found] = work.restored()
    assert (known.contract_size, found.refused) == (Decimal(100), {})
    assert work.records()[COIN, "trades", DAY].source_contract_size == "100"
    text = text_of(work.sandbox.app.state.dialects["binance"].archive.read(found.file.key)).splitlines()
    place = text[0].split(",").index("qty")
    dollars = [100 * Decimal(line.split(",")[place]) for line in text[1:]]
    rows = work.lake.read(BINANCE, COIN, DAY, DAY).column("quote_amount").to_pylist()
    assert rows == dollars
    assert len(rows) == 1_440
