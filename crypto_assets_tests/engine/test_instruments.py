"""Asking an exchange for its instruments: a real server, the limits of all requests, the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter

import pytest

from crypto_assets.engine.instruments import (
    _one_of_each,
    instrument_query,
    instruments_of,
    markets_with_instruments,
    refresh_instruments,
)
from crypto_assets.ledger.instruments import instrument_at, instrument_versions
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Instrument, Series, Track
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.bybit.instruments import BybitInstruments
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.project import entry, key

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
NOW = datetime(2024, 1, 20, 12, tzinfo=UTC)
SPOT, LINEAR = ("binance", "spot"), ("binance", "linear")


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    source = SyntheticArchive({"spot": ["BTCUSDT"], "linear": ["BTCUSDT", "BTCUSDT_240126"]}, FIRST, LAST, seed=5)
    with SandboxServer(source) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    running.app.state.source.now = NOW
    yield running
    running.app.state.source.now = None
    running.app.state.faults.off()


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch) -> project.Project:
    migrate(postgres_url)
    entries = entry(["ohlcv_1m"], ["BTC/USDT"], FIRST), entry(["trades"], ["BTC/USDT:USDT"], FIRST, "linear")
    return project.make(sandbox, tmp_path, postgres_url, monkeypatch, *entries)


def test_every_market_is_asked_once_and_an_old_contract_ends(mine, sandbox):
    with Ledger(mine.postgres_url) as ledger:
        found = {one.market_type: one for one in refresh_instruments(mine.collection, ledger, now=NOW)}
        assert found["spot"].changes.added == ("BTC/USDT",)
        assert found["linear"].changes.added == ("BTC/USDT:USDT", "BTC/USDT:USDT-240126")
        assert sorted(path.partition("?")[0] for _, path in sandbox.requests()) == [
            "/api/v3/exchangeInfo",
            "/fapi/v1/exchangeInfo",
        ]
        later = NOW + timedelta(days=8)
        sandbox.app.state.source.now = later
        assert refresh_instruments(mine.collection, ledger, older_than=timedelta(days=9), now=later) == []
        (linear,) = refresh_instruments(mine.collection, ledger, [LINEAR], now=later)
        assert linear.changes.gone == ("BTC/USDT:USDT-240126",)
        with ledger.transaction() as connection:
            ended = instrument_at(connection, *LINEAR, "BTC/USDT:USDT-240126", later)
    assert ended is not None
    assert (ended.valid_from, ended.valid_until) == (NOW, later)
    assert ended.instrument.delisted_at == datetime(2024, 1, 26, 8, tzinfo=UTC)
    assert ended.instrument.listed_at == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_market_without_an_answer_keeps_what_is_known_and_costs_no_other(mine, sandbox):
    with Ledger(mine.postgres_url) as ledger:
        refresh_instruments(mine.collection, ledger, now=NOW)
        sandbox.app.state.faults.on("http-403", pattern="*fapi*")
        later = NOW + timedelta(days=1)
        found = {one.market_type: one for one in refresh_instruments(mine.collection, ledger, now=later)}
        assert found["spot"].problem == ""
        assert "403" in found["linear"].problem
        with ledger.transaction() as connection:
            (kept,) = instrument_versions(connection, *LINEAR, "BTC/USDT:USDT")
    assert kept.valid_until is None


def test_an_exchange_is_not_asked_about_another_archive(mine):
    assert markets_with_instruments(mine.collection) == [LINEAR, SPOT]
    del mine.content["exchanges"]["binance"]["rest_url"]
    assert markets_with_instruments(mine.collection) == []


def test_a_market_type_without_instruments_has_no_query():
    assert instrument_query("binance", "option") is None


def test_amounts_in_base_need_no_instrument_and_no_request(mine, sandbox):
    with Ledger(mine.postgres_url) as ledger:
        assert instruments_of(mine.collection, ledger, [Track(Series(*SPOT, "trades"), "BTC/USDT")]) == {}
    assert sandbox.requests() == []


def test_contract_sizes_are_asked_for_before_they_are_needed_and_once_a_day(mine, sandbox, monkeypatch):
    from crypto_assets import sources
    from crypto_assets.sources.facts import Facts

    monkeypatch.setattr(sources, "facts", lambda _: Facts(amounts="contracts"))
    track = Track(Series(*LINEAR, "trades"), "BTC/USDT:USDT")
    with Ledger(mine.postgres_url) as ledger:
        for hours in (0, 1):
            found = instruments_of(mine.collection, ledger, [track], NOW + timedelta(hours=hours))
            assert {name: one.contract_size for name, one in found.items()} == {(*LINEAR, "BTC/USDT:USDT"): Decimal(1)}
        assert len(sandbox.requests()) == 1
        unknown = Track(track.series, "NO/USDT:USDT")
        assert instruments_of(mine.collection, ledger, [unknown], NOW + timedelta(hours=2)) == {}
        assert len(sandbox.requests()) == 2
        assert instruments_of(mine.collection, ledger, [track], NOW + timedelta(days=2)).keys() == {
            (*LINEAR, "BTC/USDT:USDT")
        }
        assert len(sandbox.requests()) == 3


def test_the_assets_have_what_changed_and_only_they_ask(mine, sandbox):
    job = mine.definitions().get_repository_def().get_job("instruments")
    with mine.instance() as instance:
        result = job.execute_in_process(instance=instance)
        assert result.success
        metadata = {
            event.asset_key.to_user_string(): {
                name: value.value for name, value in event.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
        }
    assert {name: (one["instruments"], one["new"], one["new symbols"]) for name, one in metadata.items()} == {
        "binance/spot/instruments": (1, 1, "BTC/USDT"),
        "binance/linear/instruments": (2, 2, "BTC/USDT:USDT, BTC/USDT:USDT-240126"),
    }
    assert len(sandbox.requests()) == 2
    assert (
        key("binance/spot/instruments") in mine.definitions().get_repository_def().asset_graph.materializable_asset_keys
    )


def test_the_command_asks_shows_and_remembers(mine):
    asked = mine.command("instruments", "--refresh", "--market-type", "linear", "--json")
    assert (asked.code, "binance linear: 2 instruments; 2 new" in asked.err) == (0, True), asked.err
    assert [(one["symbol"], one["exchange_symbol"], one["contract_size"], one["inferred"]) for one in asked.json] == [
        ("BTC/USDT:USDT", "BTCUSDT", "1", False),
        ("BTC/USDT:USDT-240126", "BTCUSDT_240126", "1", False),
    ]
    shown = mine.command("instruments", "--symbol", "BTC/USDT:USDT", "--as-of", "2024-01-05", "--json")
    assert [(one["symbol"], one["inferred"]) for one in shown.json] == [("BTC/USDT:USDT", True)]


def test_the_function_gives_decimals(mine):
    import crypto_assets

    with Ledger(mine.postgres_url) as ledger:
        refresh_instruments(mine.collection, ledger, now=NOW)
    table = crypto_assets.instruments("binance", "spot", as_="arrow", home=mine.home)
    (row,) = table.to_pylist()
    assert (row["symbol"], row["tick_size"], row["lot_size"]) == ("BTC/USDT", Decimal("0.01"), Decimal("0.00001"))
    assert (row["valid_from"], row["valid_until"], row["inferred"]) == (NOW, None, False)


def test_asking_imports_no_ccxt(mine):
    code = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from crypto_assets.config.collection import load_collection\n"
        "from crypto_assets.engine.instruments import refresh_instruments\n"
        "from crypto_assets.ledger.partitions import Ledger\n"
        "with Ledger(os.environ['CRYPTO_ASSETS_POSTGRES_URL']) as ledger:\n"
        "    found = refresh_instruments(load_collection(Path(os.environ['CRYPTO_ASSETS_CONFIG'])), ledger)\n"
        "print(json.dumps([sum(one.changes.total for one in found), 'ccxt' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [3, False]


def test_only_an_instrument_that_has_ended_gives_its_name_or_symbol_to_another():
    def made(name: str, symbol: str, status: str, size: int = 1) -> Instrument:
        base, _, quote = symbol.partition("/")
        return Instrument("bybit", "spot", symbol, name, base, quote, status=status, contract_size=Decimal(size))

    def chosen(*found: Instrument, of: str = "symbol") -> tuple[list[Instrument], list[str]]:
        return _one_of_each(found, attrgetter(of), BybitInstruments("spot").has_ended)

    live, other, again = made("A", "A/USDT", "Trading"), made("B", "B/USDT", "Trading"), made("C", "B/USDT", "Trading")
    ended, renamed = made("A", "OLD/USDT", "Closed"), made("OLDA", "A/USDT", "Closed", 10)
    assert chosen(live, ended, of="exchange_symbol") == chosen(ended, live, of="exchange_symbol") == ([live], [])
    assert chosen(live, renamed) == chosen(renamed, live) == ([live], [])
    assert chosen(live, other, again) == ([live], ["B/USDT"])
    # Another status alone does not say which of two contract sizes is meant.
    halted = made("OLDA", "A/USDT", "PreLaunch", 10)
    assert chosen(live, halted, other) == chosen(halted, live, other) == ([other], ["A/USDT"])
    assert chosen(renamed, made("OLDER", "A/USDT", "Closed")) == ([], ["A/USDT"])
    assert chosen(renamed) == ([renamed], [])
    assert chosen(live, other, made("A", "A/USDT", "Trading")) == ([live, other], [])
