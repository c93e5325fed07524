"""The universe of a market: listed from a real server, remembered, delisted symbols included, ranked without look-ahead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import crypto_assets
from crypto_assets.config.collection import parse_collection
from crypto_assets.config.symbol_rules import SymbolRule
from crypto_assets.engine.universe import refresh_universe
from crypto_assets.ledger.listed_symbols import Life, listed_symbols, write_listed
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.symbol_rules import hints, rank, top_on, universe_stamp, with_known_symbols, write_tops
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import make_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.api.served import serving
from crypto_assets_tests.project import key

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
NOW = datetime(2024, 2, 1, 12, tzinfo=UTC)
SPOT = ("binance", "spot")
NAMES = ["BTCUSDT", "ETHUSDT", "ETHBTC", "OLDUSDT"]


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": NAMES}, FIRST, LAST, seed=5, trades_per_day=1_440)) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    running.app.state.source.now = NOW
    yield running
    running.app.state.source.now = None
    running.app.state.faults.off()


def entry(symbols: Any, **more: Any) -> dict[str, Any]:
    return project.entry(["ohlcv_1d"], [], FIRST) | {"symbols": symbols} | more


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as one:
        yield one


def make(sandbox: Any, tmp_path: Any, url: str, monkeypatch: Any, *entries: dict[str, Any]) -> project.Project:
    return project.make(sandbox, tmp_path, url, monkeypatch, *entries)


def chosen(ledger: Ledger, mine: project.Project) -> dict[str, list[str]]:
    """Return the symbols of each entry, by name."""
    with ledger.transaction() as connection:
        found = with_known_symbols(connection, mine.collection)
    return {found.name_of(entry): entry.symbols for entry in found.entries}


def test_all_symbols_are_listed_delisted_ones_included_and_a_named_one_stays_in_its_entry(
    sandbox, tmp_path, ledger, monkeypatch
):
    sandbox.app.state.faults.on(make_fault(fault="delisted", pattern="OLDUSDT", at=datetime(2024, 1, 10, tzinfo=UTC)))
    named = entry(["ETH/BTC"], name="named")
    mine = make(sandbox, tmp_path, ledger.url, monkeypatch, entry("all", name="every"), named)
    (found,) = refresh_universe(mine.collection, ledger, now=NOW)
    assert (found.problems, found.unread) == ((), ())
    assert found.added == ["BTC/USDT", "ETH/BTC", "ETH/USDT", "OLD/USDT"]
    assert chosen(ledger, mine) == {"every": ["BTC/USDT", "ETH/USDT", "OLD/USDT"], "named": ["ETH/BTC"]}
    with ledger.transaction() as connection:
        lives = {
            one.symbol: (one.first_listed, one.last_listed, one.ended) for one in listed_symbols(connection, *SPOT)
        }
    assert lives["BTC/USDT"] == (FIRST, LAST, False)
    assert lives["OLD/USDT"] == (FIRST, date(2024, 1, 9), False)


def test_a_pattern_chooses_and_a_new_listing_joins_by_itself(sandbox, tmp_path, ledger, monkeypatch):
    begin = datetime(2024, 1, 20, tzinfo=UTC)
    sandbox.app.state.faults.on(
        make_fault(fault="late", pattern="*/ETHUSDT/*", kinds=("listing", "object", "checksum"))
    )
    mine = make(sandbox, tmp_path, ledger.url, monkeypatch, entry(["*/USDT"], name="usdt"))
    del mine.content["exchanges"]["binance"]["rest_url"]  # the archive alone is asked
    refresh_universe(mine.collection, ledger, now=begin)
    assert chosen(ledger, mine) == {"usdt": ["BTC/USDT", "OLD/USDT"]}
    with ledger.transaction() as connection:
        before = universe_stamp(connection, mine.collection)
    assert refresh_universe(mine.collection, ledger, older_than=timedelta(hours=1), now=begin) == []
    sandbox.app.state.faults.off()
    (found,) = refresh_universe(mine.collection, ledger, now=NOW)
    assert found.added == ["ETH/USDT"]
    assert chosen(ledger, mine) == {"usdt": ["BTC/USDT", "ETH/USDT", "OLD/USDT"]}
    with ledger.transaction() as connection:
        assert universe_stamp(connection, mine.collection) != before


def test_a_symbol_that_is_listed_no_more_stays_and_says_since_when(ledger):
    with ledger.transaction() as connection:
        write_listed(connection, *SPOT, "archive", {"A/USDT": Life("AUSDT"), "B/USDT": Life("BUSDT")}, NOW)
        later = NOW + timedelta(days=1)
        changes = write_listed(connection, *SPOT, "archive", {"B/USDT": Life("BUSDT", FIRST)}, later)
        assert (changes.total, changes.added, changes.gone) == (1, (), ("A/USDT",))
        gone, there = listed_symbols(connection, *SPOT)
        assert (gone.sources, gone.gone, gone.seen_from) == ((), ("archive",), NOW)
        assert (there.sources, there.first_listed) == (("archive",), FIRST)
        both = {"A/USDT": Life("AUSDT"), "B/USDT": Life("BUSDT")}
        again = write_listed(connection, *SPOT, "archive", both, NOW + timedelta(days=2))
        assert again.added == ("A/USDT",)
        assert [one.first_listed for one in listed_symbols(connection, *SPOT)] == [None, FIRST]


def test_an_archive_that_cannot_be_listed_changes_nothing_and_says_why(sandbox, tmp_path, ledger, monkeypatch):
    mine = make(sandbox, tmp_path, ledger.url, monkeypatch, entry("all", name="every"))
    refresh_universe(mine.collection, ledger, now=NOW)
    sandbox.app.state.faults.on("html", kinds=("listing",))
    (found,) = refresh_universe(mine.collection, ledger, now=NOW + timedelta(hours=1))
    assert found.problems[0].startswith("archive: ")
    assert chosen(ledger, mine) == {"every": ["BTC/USDT", "ETH/BTC", "ETH/USDT", "OLD/USDT"]}


def test_without_a_ledger_a_rule_chooses_nothing_and_says_what_to_do(ledger):
    entries = [entry("all", name="every"), entry(["*/EUR"], name="top", top="3 by quote volume")]
    collection = parse_collection({"series": entries})
    with ledger.transaction() as connection:
        found = with_known_symbols(connection, collection)
    assert found.series == []
    first, second = hints(found)
    assert first.startswith("every: no symbol is known yet that matches `all`; `crypto-assets symbols --refresh`")
    assert second.startswith("top: no symbol is known yet for `top 3 by quote volume of */EUR`: it ranks the 1d bars")


def test_an_entry_waits_for_symbols_until_one_that_it_matches_is_known_here_or_in_another_entry(ledger):
    named, rest = entry(["BTC/USDT"], name="named"), entry(["BTC/*"], name="rest")
    both = entry(["SOL/EUR", "*/USDC"], name="both")
    collection = parse_collection({"series": [named, rest, both]})
    with ledger.transaction() as connection:
        before = with_known_symbols(connection, collection)
        write_listed(connection, *SPOT, "archive", {"BTC/USDT": Life("BTCUSDT")}, NOW)
        after = with_known_symbols(connection, collection)
    assert [line.partition(":")[0] for line in hints(before)] == ["both", "rest"]
    assert [(line.partition(":")[0], "matches `*/USDC`" in line) for line in hints(after)] == [("both", True)]
    assert {after.name_of(one): one.symbols for one in after.entries} == {
        "named": ["BTC/USDT"],
        "rest": [],
        "both": ["SOL/EUR"],
    }


# ---- top ------------------------------------------------------------------------------------------------------------------


def volumes(ledger: Ledger, of: dict[str, list[int]]) -> None:
    """Store 1d bars with these quote volumes, from FIRST on."""
    with ledger.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS market.some_days PARTITION OF market.ohlcv DEFAULT")
        for symbol, days in of.items():
            for number, volume in enumerate(days):
                connection.execute(
                    """INSERT INTO market.ohlcv (exchange, market_type, symbol, timeframe, open_time, open, high, low, close,
                        volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume, source)
                    VALUES ('binance', 'spot', %s, '1d', %s, 1, 1, 1, 1, 1, %s, 1, 0, 0, 'archive')""",
                    (symbol, datetime(2024, 1, 1 + number, tzinfo=UTC), volume),
                )


RULE = SymbolRule(("*/USDT",), 1)


def test_the_top_of_a_day_is_that_of_the_day_before_and_a_tie_goes_to_the_first_name(ledger):
    volumes(ledger, {"BTC/USDT": [9, 1, 1], "ETH/USDT": [5, 8, 1], "BTC/EUR": [99, 99, 99]})
    day = {n: date(2024, 1, n) for n in range(1, 6)}
    with ledger.transaction() as connection:
        tops = {n: top_on(connection, *SPOT, RULE, day[n]) for n in day}
        ranked = rank(connection, *SPOT, RULE, day[1], day[5])
    assert tops == {1: [], 2: ["BTC/USDT"], 3: ["ETH/USDT"], 4: ["BTC/USDT"], 5: []}
    assert ranked == [("BTC/USDT", day[2], day[1], Decimal(9), 1), ("ETH/USDT", day[3], day[2], Decimal(8), 1)]


def test_what_a_day_trades_does_not_change_its_own_top(ledger):
    volumes(ledger, {"BTC/USDT": [9, 1], "ETH/USDT": [5, 1_000_000]})
    with ledger.transaction() as connection:
        assert top_on(connection, *SPOT, RULE, date(2024, 1, 2)) == ["BTC/USDT"]


def test_a_symbol_that_was_in_a_top_stays(ledger):
    content = {"series": [entry(["*/USDT"], name="largest", top="1 by quote volume", datasets=["ohlcv_1m"])]}
    collection = parse_collection(content)
    volumes(ledger, {"BTC/USDT": [9, 1, 1], "ETH/USDT": [5, 8, 8], "SOL/USDT": [1, 1, 1]})
    with ledger.transaction() as connection:
        assert write_tops(connection, collection.series, date(2024, 1, 2)) == {str(RULE): ["BTC/USDT"]}
        assert with_known_symbols(connection, collection).series[0].symbols == ["BTC/USDT"]
        assert write_tops(connection, collection.series, date(2024, 1, 4)) == {str(RULE): ["ETH/USDT"]}
        connection.execute("DELETE FROM market.ohlcv WHERE symbol = 'BTC/USDT'")
        assert write_tops(connection, collection.series, date(2024, 1, 4)) == {}
        assert with_known_symbols(connection, collection).series[0].symbols == ["BTC/USDT", "ETH/USDT"]


# ---- seen from outside ----------------------------------------------------------------------------------------------------


def test_commands_collect_what_is_listed_and_the_universe_of_a_day_has_no_survivorship_bias(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    sandbox.app.state.faults.on(make_fault(fault="delisted", pattern="OLDUSDT", at=datetime(2024, 1, 10, tzinfo=UTC)))
    mine = make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["BTC/*", "OLD/*"], name="some"))
    collected = mine.command("collect", "--from", "2024-01-05", "--to", "2024-01-06", "--json")
    assert collected.code == 0, collected.err
    assert {symbol for symbol, _, _ in mine.records()} == {"BTC/USDT", "OLD/USDT"}
    assert mine.command("symbols", "--refresh").code == 0
    shown = mine.command("symbols", "--listed", "--json").json
    assert [(one["symbol"], one["last_listed"], one["collected"]) for one in shown] == [
        ("BTC/USDT", "2024-01-31", True),
        ("ETH/BTC", "2024-01-31", False),
        ("ETH/USDT", "2024-01-31", False),
        ("OLD/USDT", "2024-01-09", True),
    ]

    def on(day: str) -> dict[str, tuple[Any, Any]]:
        rows = crypto_assets.universe("binance", "spot", on=day, as_="arrow", home=mine.home).to_pylist()
        return {row["symbol"]: (row["listed"], row["traded"]) for row in rows}

    assert on("2024-01-05") == {
        "BTC/USDT": (True, True),
        "ETH/BTC": (True, None),
        "ETH/USDT": (True, None),
        "OLD/USDT": (True, True),
    }
    assert on("2023-12-31") == dict.fromkeys(["BTC/USDT", "ETH/BTC", "ETH/USDT", "OLD/USDT"], (False, False))
    # The last file alone is no proof of an end.
    assert on("2024-01-20")["OLD/USDT"] == (None, None)


def test_a_top_is_chosen_by_the_next_collect_after_the_bars_that_it_ranks(sandbox, tmp_path, postgres_url, monkeypatch):
    bars = entry(["*/USDT"], name="bars")
    top = entry(["*/USDT"], name="largest", top="1 by quote volume", datasets=["ohlcv_1h"])
    mine = make(sandbox, tmp_path, postgres_url, monkeypatch, bars, top)
    days = ("--from", "2024-01-05", "--to", "2024-01-06")
    first = mine.command("collect", *days, "--json")
    assert (first.code, first.json["states"]) == (1, {"available": 6})
    (said,) = first.json["entries_without_symbols"]
    assert said.startswith(
        "largest: no symbol is known yet for `top 1 by quote volume of */USDT`: it ranks the 1d bars"
    )
    assert said.endswith("for them, then run `collect` again")
    second = mine.command("collect", *days, "--json")
    assert second.code == 0, second.err
    with Ledger(postgres_url) as ledger, ledger.transaction() as connection:
        largest = connection.execute(
            "SELECT DISTINCT ON (open_time) symbol FROM market.ohlcv WHERE timeframe = '1d' "
            "ORDER BY open_time, quote_volume DESC"
        ).fetchall()
    assert len(largest) == 2
    assert {symbol for symbol, dataset, _ in mine.records() if dataset == "ohlcv_1h"} == {one for (one,) in largest}


def test_definitions_come_from_the_ledger_alone_and_grow_with_it(sandbox, tmp_path, postgres_url, monkeypatch):
    from crypto_assets.definitions import build
    from crypto_assets.ledger.symbol_rules import load_known_collection

    mine = make(sandbox, tmp_path, postgres_url, monkeypatch, entry("all", name="every"))
    config = mine.home / "collection.yaml"

    def assets() -> set[Any]:
        repository = build(load_known_collection(config)).get_repository_def()
        assert {"universe", "instruments"} <= {job.name for job in repository.get_all_jobs()}, "all names differ"
        return set(repository.asset_graph.materializable_asset_keys)

    migrate(postgres_url)
    universe, instruments = key("binance/spot/universe"), key("binance/spot/instruments")
    assert assets() == {universe, instruments}
    assert sandbox.requests() == []
    job = build(load_known_collection(config)).get_repository_def().get_job("universe")
    with mine.instance() as instance:
        result = job.execute_in_process(instance=instance)
        (event,) = result.get_asset_materialization_events()
    shown = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (shown["new"], shown["symbols by archive"]) == (4, 4)
    symbols = ["BTC-USDT", "ETH-USDT", "ETH-BTC", "OLD-USDT"]
    lake = {key(f"binance/spot/ohlcv_1d/{symbol}") for symbol in symbols}
    assert lake <= assets()


def test_an_entry_whose_listing_failed_is_named_and_no_command_calls_it_complete(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    perp = entry("all", name="perpetual", market_type="linear")
    mine = make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["BTC/USDT"], name="named"), perp)
    sandbox.app.state.faults.on(make_fault(fault="html", pattern="*futures*", kinds=("listing",)))
    sandbox.app.state.faults.on(make_fault(fault="http-500", pattern="*/fapi/*"))
    days = ("--from", "2024-01-05", "--to", "2024-01-05")
    collected = mine.command("collect", *days, "--json")
    assert collected.code == 1, collected.err
    assert collected.json["states"] == {"available": 1}
    (said,) = collected.json["entries_without_symbols"]
    assert said.startswith("perpetual: no symbol is known yet that matches `all`")
    for command in (("collect", *days), ("fill", *days), ("gaps", *days), ("status",)):
        found = mine.command(*command)
        assert (found.code, "entry perpetual: no symbol is known yet" in " ".join(found.out.split())) == (1, True), (
            command,
            found.out,
        )
        assert "nothing is missing" not in found.out
    reason = f"not collected yet: {said.removeprefix('perpetual: ')}"
    facts = {"exchange": "binance", "market_type": "linear", "symbol": None, "dataset": "ohlcv_1d", "reason": reason}
    (gap,) = mine.command("gaps", *days, "--json").json
    assert mine.command("gaps", *days, "--json", "--market-type", "linear").json == [gap]
    assert gap.items() >= (facts | {"day": None, "state": None, "cause": "not_collected", "acknowledged": None}).items()
    assert gap["cause_evidence"] == {"entry": "perpetual", "rule": "all"}
    named, waiting = mine.command("status", "--json").json
    assert waiting.items() >= (facts | {"entry": "perpetual", "rule": "all", "days": 0, "complete": 0}).items()
    assert (named["symbol"], named["complete"]) == ("BTC/USDT", 1)
    for given in ({}, {"exchange": "binance", "market_type": "linear"}):
        frame = crypto_assets.gaps(start=days[1], end=days[3], as_="arrow", **given)
        (row,) = frame.to_pylist()
        assert row.items() >= (facts | {"day": None, "state": None, "cause": "not_collected", "open": True}).items()
    assert crypto_assets.gaps(start=days[1], end=days[3], market_type="spot", as_="arrow").num_rows == 0
    with serving(postgres_url, tmp_path / "collection.yaml") as api:
        told = api.get("/v1/status").json()["entries_without_symbols"]
        assert told == [{k: v for k, v in facts.items() if k != "symbol"} | {"entry": "perpetual", "rule": "all"}]
        asked = {"from": days[1], "to": days[3]}
        assert api.get("/v1/gaps", params=asked).json() == {"items": [gap], "next": None}
        assert api.get("/v1/gaps", params=asked | {"market_type": "linear"}).json()["items"] == [gap]
        assert api.get("/v1/gaps", params=asked | {"market_type": "spot"}).json()["items"] == []
    only = mine.command("collect", *days, "--exchange", "binance", "--market-type", "spot")
    assert only.code == 0, "the entry was not asked for"
