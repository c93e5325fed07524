"""`catalog`, `symbols`, `datasets`, `config check`: what is there, before anything is collected and after."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from crypto_assets.ledger.listed_symbols import Life, write_listed
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.command import PROJECT, Command
from crypto_assets_tests.project import entry
from crypto_assets_tests.workbench import Workbench
from crypto_assets_tests.workbench import entry as workbench_entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 2)
BTC, ETH = "BTC/USDT", "ETH/USDT"


@pytest.fixture(scope="module")
def command(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Two days of bars of BTC/USDT are stored; the collection has ETH/USDT too."""
    home = tmp_path_factory.mktemp("home")
    migrate(module_postgres_url)
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}}, trades_per_day=300)) as server:
        bars = workbench_entry("spot", ["ohlcv_1m"], [BTC], FIRST, end=LAST)
        Workbench(server, module_postgres_url, home / "lake", bars).collect(FIRST, LAST)
    found = Command.at(home, module_postgres_url)
    ended = {
        "archive_url": "http://127.0.0.1:9",
        "listing_url": "http://127.0.0.1:9/listing",
    }  # the sandbox, which is not asked
    series = [entry(["ohlcv_1m", "trades"], [BTC, ETH], FIRST) | {"end": LAST}]
    found.configure({"exchanges": {"binance": ended}, "series": series})
    return found


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_catalog_and_symbols_show_what_is_stored_and_what_is_configured(command: Command) -> None:
    catalog, some, symbols, traded, unknown = command.sequence(
        "catalog",
        "catalog --symbol ETH/USDT --json",
        "symbols",
        "symbols --on 2024-01-02",
        "catalog --dataset ohlcv_1h",
    )
    assert (catalog.code, catalog.err) == (0, "")
    header, *rows = lines(catalog.out)
    assert header[:4] == ["exchange", "market", "type", "dataset"]
    assert rows[0][:9] == ["binance", "spot", "ohlcv_1m", BTC, "2024-01-01", "2024-01-02", "2", "2", "2,880"]
    assert [row[:8] for row in rows[1:]] == [
        ["binance", "spot", dataset, symbol, "–", "–", "2", "0"]
        for dataset, symbol in (("ohlcv_1m", ETH), ("trades", BTC), ("trades", ETH))
    ]
    assert [(one["dataset"], one["not_collected"], one["first_stored"]) for one in some.json] == [
        ("ohlcv_1m", 2, None),
        ("trades", 2, None),
    ]
    assert lines(symbols.out)[1:] == [
        ["binance", "spot", BTC, "2024-01-01", "2024-01-02", "ohlcv_1m", "ohlcv_1m,", "trades"],
        ["binance", "spot", ETH, "–", "–", "ohlcv_1m,", "trades"],
    ]
    assert [row[2:5] for row in lines(traded.out)[1:]] == [[BTC, "yes", "yes"], [ETH, "–", "–"]]
    assert "ohlcv_1m has 1,440 rows" in traded.out
    assert "not collected yet" in traded.out
    assert (unknown.code, "dataset 'ohlcv_1h': neither collected nor in" in unknown.err) == (2, True)


def test_datasets_shows_all_that_can_be_collected_and_the_columns_of_one(command: Command) -> None:
    everything, linear, columns, wrong, none = command.sequence(
        "datasets --json",
        "datasets --market-type linear",
        "datasets ohlcv_1h --json",
        "datasets ohlcv",
        "datasets --exchange kraken --market-type inverse",
    )
    found = {
        (one["market_type"], one["dataset"]): one["symbols"] for one in everything.json if one["exchange"] == "binance"
    }
    assert found["spot", "ohlcv_1m"] == found["spot", "trades"] == 2
    assert found["spot", "ohlcv_1h"] == found["linear", "funding_rates"] == 0
    assert {row[1] for row in lines(linear.out)[1:]} == {"linear"}
    funding = next(one for one in everything.json if one["dataset"] == "funding_rates")
    assert funding["what"] == "Funding events of perpetual contracts as the exchange publishes them."
    close = next(one for one in columns.json if one["column"] == "close")
    assert (close["unit"], close["bounds"], close["what"]) == ("quote per base", "> 0", "price of the last trade")
    assert (wrong.code, wrong.out) == (0, command.sequence("datasets ohlcv_1m")[0].out)
    assert (none.code, "; kraken spot; " in none.message) == (2, True)
    unknown = command("datasets", "trade")
    assert (unknown.code, unknown.message) == (
        2,
        "error: expected an exchange or a dataset, found 'trade'; did you mean trades?; `crypto-assets datasets` lists all",
    )


def test_datasets_says_feeds_in_order_and_which_are_final_and_what_is_null_where(command: Command) -> None:
    one, objects, trades, twice = command.sequence(
        "datasets bybit", "datasets okx --market-type spot --json", "datasets bybit trades", "datasets bybit okx"
    )
    assert "symbols" not in one.out.splitlines()[0], "collection.yaml has none of this exchange"
    rows = {tuple(line.split()[1:3]): re.split(r" {2,}", line) for line in one.out.splitlines()[1:]}
    assert {row[0] for row in rows.values()} == {"bybit"}
    assert rows["spot", "trades"][3:6] == [
        "daily archive (final), monthly archive (final), REST (provisional)",
        "the symbol's first file",
        "trade_id, trade_uid, quote_amount",
    ]
    assert rows["linear", "ohlcv_1m"][2:5] == [
        "ohlcv_1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 1w 1mo",
        "REST (final)",
        "as far as REST reaches",
    ]
    found = {row["dataset"]: row for row in objects.json}
    assert found["trades"]["feeds"] == [
        {"kind": "archive", "name": "daily", "final": True, "since": "2021-09-01"},
        {"kind": "asked", "name": "rest", "final": False, "since": None},
    ]
    assert found["trades"]["null_columns"] == {
        "trade_place": "trades are numbered",
        "trade_uid": "trades have numbers, no texts",
        "quote_amount": "OKX's trades have price and size only",
    }
    columns = {line.split()[0]: line for line in trades.out.splitlines()}
    assert "  bybit spot  " in columns["quote_amount"]
    assert "trade_id: null at bybit linear, bybit inverse: Bybit does not number trades" in trades.out
    assert (twice.code, "expected one exchange, found bybit and okx" in twice.message) == (2, True)


def test_config_check_says_where_everything_is_and_what_will_be_collected(command: Command) -> None:
    text, answer = command.sequence("config check", "config check --json")
    assert (text.code, text.err) == (0, "")
    assert f"home          {command.home}, CRYPTO_ASSETS_HOME" in text.out
    assert f"dagster.yaml  {PROJECT / 'dagster.yaml'}" in text.out
    assert (
        "environment   CRYPTO_ASSETS_CONFIG, CRYPTO_ASSETS_HOME, CRYPTO_ASSETS_POSTGRES_URL, DAGSTER_HOME" in text.out
    )
    assert "binance_spot  binance spot  ohlcv_1m, trades  BTC/USDT, ETH/USDT  2024-01-01 to 2024-01-02" in text.out
    assert text.out.splitlines()[-1] == "up to yesterday 8 days of single symbols and datasets"
    found = answer.json
    assert found["problems"] == []
    assert (found["entries"][0]["days"], found["entries"][0]["rest"]) == (8, False)
    assert found["entries"][0]["automation"] == {"new_files": True, "today": "1h", "fill_gaps": True, "reconcile": True}
    assert "by itself" in text.out
    assert "everything" in text.out


def test_config_check_shows_entries_by_rule_before_and_after_their_symbols_are_listed(
    postgres_url: str, tmp_path: Path
) -> None:
    command = Command.at(tmp_path, postgres_url)
    some = entry(["ohlcv_1d"], ["SOL/EUR", "*/USDT"], FIRST) | {"end": LAST, "name": "some"}
    top = entry(["trades"], ["*/USDT"], FIRST) | {"top": "5 by quote volume", "name": "largest"}
    every = entry(["ohlcv_1d"], [], FIRST, "linear") | {"symbols": "all", "name": "every"}
    command.configure({"series": [some, top, every]})
    migrate(postgres_url)

    def shown() -> tuple[str, dict[str, tuple[str, list[str], int]]]:
        text, answer = command.sequence("config check", "config check --json")
        assert (text.code, text.err) == (0, "")
        entries = answer.json["entries"]
        return text.out, {one["entry"]: (one["rule"], one["symbols"], one["days"]) for one in entries}

    text, entries = shown()
    rank = "top 5 by quote volume of */USDT"
    assert entries == {"some": ("*/USDT", ["SOL/EUR"], 2), "largest": (rank, [], 0), "every": ("all", [], 0)}
    assert f"{rank}: symbols not listed yet" in text
    assert "*/USDT: SOL/EUR; symbols not listed yet" in text
    assert "all: symbols not listed yet" in text
    with Ledger(postgres_url) as ledger, ledger.transaction() as connection:
        write_listed(connection, "binance", "linear", "archive", {"BTC/USDT:USDT": Life("BTCUSDT")}, datetime.now(UTC))
    text, entries = shown()
    assert entries["every"][:2] == ("all", ["BTC/USDT:USDT"])
    assert "all: BTC/USDT:USDT" in text


def test_config_check_names_all_that_is_wrong_and_makes_nothing(tmp_path: Path) -> None:
    command = Command.at(tmp_path / "home")
    command.environment |= {"DAGSTER_HOME": str(tmp_path)}
    (tmp_path / "dagster.yaml").write_text("[: no YAML")
    bad = {"series": [entry(["ohlcv_7m"], [BTC], FIRST)]}
    command.environment["CRYPTO_ASSETS_CONFIG"] = str(tmp_path / "collection.yaml")
    (tmp_path / "collection.yaml").write_text(yaml.safe_dump(bad))
    answer = command("config", "check")
    assert answer.code == 2
    assert answer.err.count("error: ") == 2
    assert (
        f"{tmp_path / 'collection.yaml'}: series[0]: dataset 'ohlcv_7m' is not published for binance spot" in answer.err
    )
    assert f"{tmp_path / 'dagster.yaml'}: expected YAML" in answer.err
    command.environment |= {"CRYPTO_ASSETS_DOWNLOADS": "many", "DAGSTER_HOME": str(PROJECT)}
    wrong = command("config", "check", "--json")
    assert wrong.code == 2
    (problem,) = wrong.json["problems"]
    assert problem.startswith("environment variable CRYPTO_ASSETS_DOWNLOADS: ")
    assert not (tmp_path / "home").exists()


def test_a_command_in_a_subfolder_says_which_project_it_works_on(tmp_path: Path, postgres_url: str) -> None:
    migrate(postgres_url)
    command = Command(tmp_path, {"CRYPTO_ASSETS_POSTGRES_URL": postgres_url})
    command.configure({"series": [entry(["ohlcv_1m"], ["SOL/USDT"], FIRST) | {"end": LAST}]})
    (tmp_path / "notebooks").mkdir()
    below, here = (command.sequence("catalog", folder=folder)[0] for folder in (tmp_path / "notebooks", tmp_path))
    assert below.err == (
        f"project {tmp_path}, found above {tmp_path / 'notebooks'}: home {tmp_path / '.crypto_assets'}, "
        f"collection {tmp_path / 'collection.yaml'}\n"
    )
    assert here.err == ""
    assert below.out == here.out
    assert "SOL/USDT" in here.out
