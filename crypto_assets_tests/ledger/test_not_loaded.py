"""What collection.yaml loads into Postgres is changed: what is missing then, what stays, and what is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets import read
from crypto_assets.defs.assets import build_assets
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.warehouse_loads import loaded_rows
from crypto_assets_tests.command import Command
from crypto_assets_tests.published import days, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

FIRST = date(2024, 1, 1)
DAYS = days(FIRST, 2)
AFTER = date(2024, 1, 3)
BTC = "BTC/USDT"
BARS, HOURS, TRADES = (Series.named("binance", "spot", name) for name in ("ohlcv_1m", "ohlcv_1h", "trades"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=1_440)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    yield Workbench(sandbox, postgres_url, tmp_path / "lake", loads())
    sandbox.app.state.overrides.clear()


def loads(datasets: tuple[str, ...] = ("ohlcv_1m", "trades"), **keys: Any) -> dict[str, Any]:
    return entry("spot", datasets, [BTC], FIRST, end=DAYS[-1], **keys)


def not_loaded(work: Workbench) -> dict[tuple[str, date], str]:
    """Return the gaps, which are all missing rows."""
    with Ledger(work.url) as ledger:
        lost = lost_days(ledger, work.lake, collection=work.collection)
        found = list(gaps(work.collection, ledger, AFTER, lost=lost.reasons))
    assert all(gap.state is State.MISSING and gap.lost for gap in found)
    return {(gap.series.dataset, gap.day): gap.reason for gap in found}


def in_tables(work: Workbench) -> dict[str, int]:
    """Return the number of rows of each timeframe and of each other table."""
    with psycopg.connect(work.url) as connection:
        found = dict(connection.execute("SELECT timeframe, count(*) FROM market.ohlcv GROUP BY 1").fetchall())
        for table in ("trades", "trade_statistics_1m"):
            (row,) = connection.execute(f"SELECT count(*) FROM market.{table}").fetchall()
            found |= {table: row[0]} if row[0] else {}
    return found


def downloads(sandbox: SandboxServer) -> int:
    return sum(path.endswith(".zip") for _, path in sandbox.requests())


def test_an_entry_without_the_warehouse_has_the_lake_and_everything_else(work: Workbench, tmp_path: Path) -> None:
    work.entries = [loads(warehouse=False)]
    result = work.collect(*DAYS)
    assert {outcome.state for outcome in result.outcomes.values()} == {State.AVAILABLE}
    assert all(outcome.warehouse_rows == {} for outcome in result.outcomes.values())
    assert in_tables(work) == {}
    with psycopg.connect(work.url) as connection:
        assert connection.execute("SELECT count(*) FROM collection.warehouse_loads").fetchone() == (0,)
        leaves = "SELECT count(*) FROM pg_class WHERE relnamespace = 'market'::regnamespace AND relispartition"
        assert connection.execute(leaves).fetchone() == (0,)
    assert not_loaded(work) == {}
    assert work.in_lake(BARS, BTC, FIRST) == work.published(BARS, BTC, FIRST)
    (assets,) = build_assets(work.collection)
    assert [key.path[0] for key in assets.keys] == ["binance", "binance"]
    assert "rows_match_lake" not in {spec.name for spec in assets.check_specs}
    command = Command.at(tmp_path, work.url, CRYPTO_ASSETS_LAKE_URL=str(work.folder))
    command.configure(work.collection.model_dump(mode="json"))
    assert command("validate").code == 0
    shown = command("warehouse")
    assert (shown.code, shown.out) == (0, "Postgres has no rows of any dataset\n")
    (checked,) = command("config", "check", "--json").json["entries"]
    assert (checked["warehouse"], checked["derived_timeframes"]) == ([], [])


def test_reading_the_warehouse_of_such_an_entry_says_that_it_has_none(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.collect(*DAYS)
    for name, value in {"HOME": tmp_path, "LAKE_URL": work.folder, "POSTGRES_URL": work.url}.items():
        monkeypatch.setenv(f"CRYPTO_ASSETS_{name}", str(value))
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))

    def ask(dataset: str, **keys: Any) -> str:
        work.entries = [loads(**keys)]
        Command.at(tmp_path).configure(work.collection.model_dump(mode="json"))
        with pytest.raises(ConfigError) as refused:
            read("binance", BTC, dataset, DAYS[0], DAYS[-1], source="warehouse")
        return str(refused.value)

    for dataset in ("ohlcv_1m", "ohlcv_1h", "trade_statistics_1m"):
        assert "this entry has no warehouse (binance_spot in collection.yaml)" in ask(dataset, warehouse=False)
    assert "binance_spot of collection.yaml does not load it" in ask("trades", warehouse=["ohlcv_1m"])
    told = ask("ohlcv_4h", derived_timeframes=["1h", "1d"])
    assert "builds (1h, 1d), found 4h; add it to `derived_timeframes`, or use source='lake' with build_from" in told
    assert len(read("binance", BTC, "ohlcv_1h", DAYS[0], DAYS[-1], source="warehouse")) == 48
    assert len(read("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[-1])) == 2880


def test_a_warehouse_that_is_turned_on_is_loaded_from_the_lake_without_a_download(work: Workbench) -> None:
    work.entries = [loads(warehouse=False)]
    work.collect(*DAYS)
    work.entries = [loads()]
    assert not_loaded(work) == {
        (dataset, day): f"its rows are not in Postgres: market.{table} does not have them"
        for dataset, table in (("ohlcv_1m", "ohlcv"), ("trades", "trade_statistics_1m"))
        for day in DAYS
    }
    before = downloads(work.sandbox)
    assert not work.collect(*DAYS).tally.problems
    assert downloads(work.sandbox) == before
    assert not_loaded(work) == {}
    built = {"5m": 576, "15m": 192, "30m": 96, "1h": 48, "4h": 12, "1d": 2}
    assert in_tables(work) == {"1m": 2880, **built, "trade_statistics_1m": 2880}
    assert work.in_warehouse("ohlcv", BTC, FIRST, "timeframe = '1m'") == work.published(BARS, BTC, FIRST)


def test_other_derived_timeframes_are_loaded_again_from_the_lake(work: Workbench) -> None:
    work.entries = [loads(("ohlcv_1m",), derived_timeframes=["1h", "1d"])]
    work.collect(*DAYS)
    assert in_tables(work) == {"1m": 2880, "1h": 48, "1d": 2}
    assert not_loaded(work) == {}
    before = downloads(work.sandbox)
    for timeframes, rows in ((["12h", "3m"], {"3m": 960, "12h": 4}), ([], {})):
        work.entries = [loads(("ohlcv_1m",), derived_timeframes=timeframes)]
        reasons = not_loaded(work)
        assert list(reasons) == [("ohlcv_1m", day) for day in DAYS]
        assert "of other timeframes than `derived_timeframes`" in reasons["ohlcv_1m", FIRST]
        assert not work.collect(*DAYS).tally.problems
        assert in_tables(work) == {"1m": 2880, **rows}
        assert not_loaded(work) == {}
    assert downloads(work.sandbox) == before


def test_published_hours_that_are_not_loaded_any_more_are_built_in_their_place(work: Workbench) -> None:
    work.entries = [loads(("ohlcv_1m", "ohlcv_1h"), derived_timeframes=[])]
    work.collect(*DAYS)
    work.entries = [loads(("ohlcv_1m", "ohlcv_1h"), warehouse=["ohlcv_1m"], derived_timeframes=["1h"])]
    work.collect(*DAYS)
    with psycopg.connect(work.url) as connection:
        sources = connection.execute("SELECT source, count(*) FROM market.ohlcv WHERE timeframe = '1h' GROUP BY 1")
        assert sources.fetchall() == [("derived", 48)]
        assert {one.track.series for one in loaded_rows(connection)} == {BARS}
    assert not_loaded(work) == {}


def test_rows_of_an_entry_that_is_not_loaded_any_more_stay_until_they_are_removed(
    work: Workbench, tmp_path: Path
) -> None:
    work.entries = [loads(warehouse=["ohlcv_1m", "trades", "trade_statistics_1m"])]
    work.collect(*DAYS)
    everything = in_tables(work)
    work.entries = [loads(warehouse=["trades"])]
    work.collect(*DAYS)
    assert (in_tables(work), not_loaded(work)) == (everything, {})
    command = Command.at(tmp_path, work.url, CRYPTO_ASSETS_LAKE_URL=str(work.folder))
    command.configure(work.collection.model_dump(mode="json"))
    shown = command("warehouse")
    assert "4 days with rows that collection.yaml does not load" in shown.out
    assert "4 days with rows that collection.yaml does not load" in command("status").out
    listed = {(one["table"], one["dataset"]): one["loaded"] for one in command("warehouse", "--json").json["datasets"]}
    assert listed == {
        ("market.ohlcv", "ohlcv_1m"): False,
        ("market.trade_statistics_1m", "trades"): False,
        ("market.trades", "trades"): True,
    }
    removed = command("warehouse", "--remove-unlisted", "--json")
    assert "removed from market.ohlcv: binance spot ohlcv_1m BTC/USDT, 2 days" in removed.err
    assert in_tables(work) == {"trades": everything["trades"]}
    tables = {one["table"] for one in removed.json["tables"]}
    assert tables == {"market.trades"}, "the disk of the others is free"
    assert json.loads(command("warehouse", "--json").out) == removed.json


def test_rows_that_nobody_loads_any_more_never_outlive_their_version(work: Workbench) -> None:
    work.entries = [loads(("ohlcv_1m", "trades"))]
    work.collect(*DAYS)
    work.entries = [loads(("ohlcv_1m", "trades"), warehouse=False)]
    key = work.key(BARS, BTC, DAYS[1])
    lines = text_of(work.bytes_at(key)).splitlines(keepends=True)
    cells = lines[700].split(",")
    lines[700] = ",".join([*cells[:5], str(float(cells[5]) * 2), *cells[6:]])
    work.publish(key, zip_of(key, "".join(lines)))
    work.collect(*DAYS)
    with psycopg.connect(work.url) as connection:
        stored = connection.execute("SELECT DISTINCT (open_time AT TIME ZONE 'UTC')::date, timeframe FROM market.ohlcv")
        assert {day for day, _ in stored.fetchall()} == {DAYS[0]}
    assert work.in_warehouse("ohlcv", BTC, FIRST, "timeframe = '1m'") == work.in_lake(BARS, BTC, FIRST)
    assert in_tables(work)["trade_statistics_1m"] == 2880, "trades were not published again"
    work.entries = [loads(("ohlcv_1m", "trades"))]
    assert list(not_loaded(work)) == [("ohlcv_1m", DAYS[1])]
    assert not work.collect(*DAYS).tally.problems
    assert work.in_warehouse("ohlcv", BTC, DAYS[1], "timeframe = '1m'") == work.in_lake(BARS, BTC, DAYS[1])
    assert not_loaded(work) == {}
