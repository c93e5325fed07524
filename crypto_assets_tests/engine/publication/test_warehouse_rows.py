"""Warehouse rows counted against the lake: every change made to a table by hand is found, day by day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from crypto_assets.defs.asset_checks import tables_of
from crypto_assets.engine.publication.warehouse_rows import Loads, Table, judge, loaded_days, loads_of
from crypto_assets.model import Finding, Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

FIRST, PARTIAL, LAST = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
SPOT, PERP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    # Funding rates are published by the month.
    symbols = {"spot": {"BTCUSDT": (FIRST, LAST)}, "linear": {"BTCUSDT": (FIRST, date(2024, 1, 31))}}
    with SandboxServer(SyntheticArchive(symbols, seed=5, trades_per_day=2_000)) as server:
        yield server


@pytest.fixture
def bench(sandbox, tmp_path, postgres_url) -> Workbench:
    """Three days in every table; the second misses 20 minutes of 1m bars."""
    work = Workbench(
        sandbox,
        postgres_url,
        Path(tmp_path),
        entry(
            "spot",
            ["ohlcv_1m", "ohlcv_1h", "trades", "agg_trades"],
            [SPOT],
            FIRST,
            warehouse=["ohlcv_1m", "ohlcv_1h", "trades", "agg_trades", "trade_statistics_1m"],
        ),
        entry("linear", ["funding_rates"], [PERP], FIRST),
    )
    of = work.key(Series.named("binance", "spot", "ohlcv_1m"), SPOT, PARTIAL)
    lines = text_of(work.bytes_at(of)).splitlines(keepends=True)
    work.publish(of, zip_of(of, "".join(lines[:130] + lines[150:])))
    work.collect(FIRST, LAST)
    return work


def table(bench: Workbench, name: str, dataset: str, market_type: str = "spot") -> Table:
    series = Series.named("binance", market_type, dataset)
    (found,) = [
        one for one in tables_of(bench.collection, series, SPOT if market_type == "spot" else PERP) if one.name == name
    ]
    return found


def judged(bench: Workbench, of: Table) -> dict[date, Finding]:
    with Database(bench.url) as database:
        return judge(database, of, [FIRST, PARTIAL, LAST])


def passed(bench: Workbench, of: Table) -> list[bool]:
    return [finding.passed and finding.judged for finding in judged(bench, of).values()]


def change(bench: Workbench, statement: str) -> int:
    with psycopg.connect(bench.url) as connection:
        return connection.execute(statement).rowcount


def all_tables(bench: Workbench) -> list[Table]:
    named = [
        ("ohlcv", "ohlcv_1m"),
        ("trades", "trades"),
        ("trade_statistics_1m", "trades"),
        ("agg_trades", "agg_trades"),
    ]
    return [*(table(bench, *name) for name in named), table(bench, "funding_rates", "funding_rates", "linear")]


def test_what_was_loaded_passes_in_every_table_a_partial_day_too(bench):
    for of in all_tables(bench):
        assert passed(bench, of) == [True] * 3, of.name
    with Database(bench.url) as database:
        assert loaded_days(database, all_tables(bench)) == {one: [FIRST, PARTIAL, LAST] for one in all_tables(bench)}
    bars = table(bench, "ohlcv", "ohlcv_1m")
    assert [series.dataset for series in bars.feeders] == ["ohlcv_1m", "ohlcv_1h"]
    evidence = judged(bench, bars)[PARTIAL].evidence
    # Bars of 1h are published, so none is built: 20 minutes from 02:10 cost 4 bars of 5m, 2 of 15m, 1 of 30m, 4h and 1d.
    assert evidence == {
        "rows": 1420 + 24,
        "rows_in_lake": 1420 + 24,
        "built_bars": 288 + 96 + 48 + 6 + 1 - (4 + 2 + 1 + 1 + 1),
        "built_bars_due": 288 + 96 + 48 + 6 + 1 - (4 + 2 + 1 + 1 + 1),
    }


@pytest.mark.parametrize(
    ("name", "dataset", "where", "says"),
    [
        ("ohlcv", "ohlcv_1m", "timeframe = '1m' AND open_time = '2024-01-03 05:00Z'", "ohlcv_1m: 1,439 of 1,440 rows"),
        ("ohlcv", "ohlcv_1m", "timeframe = '1h' AND open_time = '2024-01-03 05:00Z'", "ohlcv_1h: 23 of 24 rows"),
        ("ohlcv", "ohlcv_1m", "timeframe = '1d' AND open_time = '2024-01-03'", "built 1d bars: 0 of 1"),
        ("trades", "trades", "trade_time >= '2024-01-03' AND trade_time < '2024-01-04'", "trades: 0 of 2,000 rows"),
        ("trade_statistics_1m", "trades", "open_time >= '2024-01-03 12:00Z'", "of 2,000 rows"),
        ("agg_trades", "agg_trades", "trade_time >= '2024-01-03 12:00Z'", "agg_trades: "),
    ],
)
def test_rows_deleted_by_hand_fail_their_day_until_it_is_loaded_again(bench, name, dataset, where, says):
    of = table(bench, name, dataset)
    other = table(bench, "ohlcv", "ohlcv_1m") if name == "trades" else table(bench, "trades", "trades")
    spans = dict.fromkeys((of, other), (FIRST, LAST))
    assert change(bench, f"DELETE FROM market.{name} WHERE {where}") > 0
    assert passed(bench, of) == [True, True, False]
    found = judged(bench, of)[LAST]
    assert any(says in one for one in found.evidence["differs"]), found.evidence
    with Database(bench.url) as database:
        assert loads_of(database, spans) == {of: Loads(3, (LAST,)), other: Loads(3)}
        bench.collect(LAST, LAST)
        assert passed(bench, of) == [True] * 3
        assert loads_of(database, spans) == {of: Loads(3), other: Loads(3)}


def test_a_table_that_is_emptied_fails_on_every_day_until_it_is_loaded_again(bench):
    of = table(bench, "funding_rates", "funding_rates", "linear")
    change(bench, "CREATE TABLE kept AS SELECT * FROM market.funding_rates")
    change(bench, "TRUNCATE market.funding_rates")
    assert passed(bench, of) == [False] * 3
    # Rows inserted by hand prove nothing about their values.
    change(bench, "INSERT INTO market.funding_rates SELECT * FROM kept")
    (says,) = judged(bench, of)[FIRST].evidence["differs"]
    assert says == "funding_rates: rows were missing before, and the day was not loaded again"
    bench.collect(FIRST, LAST)
    assert passed(bench, of) == [True] * 3


def test_rows_too_many_fail_and_so_does_another_version(bench):
    of = table(bench, "ohlcv", "ohlcv_1m")
    bar = "'2024-01-02 02:10Z'"
    change(
        bench,
        f"INSERT INTO market.ohlcv SELECT exchange, market_type, symbol, timeframe, {bar}, open, high, low, close, volume, "
        "quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume, source FROM market.ohlcv "
        "WHERE timeframe = '1m' AND open_time = '2024-01-02 02:00Z'",
    )
    assert passed(bench, of) == [True, False, True]
    which = "dataset = 'ohlcv_1m' AND day = '2024-01-03'"
    change(bench, f"UPDATE collection.warehouse_loads SET content = 'other' || content WHERE {which}")
    assert judged(bench, of)[LAST].evidence["differs"] == ["ohlcv_1m: not the lake's version"]


def test_a_day_that_was_never_loaded_is_not_judged(bench):
    of = table(bench, "ohlcv", "ohlcv_1m")
    change(bench, "DELETE FROM collection.warehouse_loads WHERE day = '2024-01-01'")
    found = judged(bench, of)
    assert [finding.judged for finding in found.values()] == [False, True, True]
    with Database(bench.url) as database:
        assert judge(database, of, []) == {}
