"""Runs that are interrupted, and days that are collected again: the end is that of an undisturbed run."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from crypto_assets.model import Outcome, State
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.text.urls import database_of, with_database
from crypto_assets_tests.engine.conftest import FIRST, LAST, Open
from crypto_assets_tests.engine.test_pipeline import BARS, BTC, DAYS, LINEAR, ONE, SPOT, files_of
from crypto_assets_tests.published import rows_of, text_of
from crypto_assets_tests.workbench import Workbench


def rows_in_market(url: str) -> dict[str, Counter[str]]:
    with psycopg.connect(url) as connection:
        return {
            name: Counter(row for (row,) in connection.execute(f"SELECT t.*::text FROM market.{name} t"))
            for name in ("ohlcv", "trades", "agg_trades", "funding_rates", "trade_statistics_1m")
        }


# ---- interrupted -----------------------------------------------------------------------------------------------------


def test_an_interrupted_run_that_is_completed_equals_an_undisturbed_one(
    bench: Open, sandbox: SandboxServer, postgres_server_url: str, tmp_path: Path
) -> None:
    work = bench(SPOT, LINEAR)

    batches: list[int] = []

    def interrupt(outcomes: Sequence[Outcome], rows: Sequence[object]) -> None:
        batches.append(len(outcomes))
        if len(batches) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.collect(FIRST, LAST, on_batch=interrupt)
    gc.collect()  # so that asyncio logs the cancelled task now, and not at the end of all tests
    stored = files_of(work.folder)
    assert 0 < len(stored) < 27
    assert not [name for name in stored if name.endswith(".part")]
    work.collect(FIRST, LAST)
    name = database_of(work.url) + "_undisturbed"
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = with_database(work.url, name)
    try:
        other = Workbench(sandbox, url, tmp_path / "undisturbed", SPOT, LINEAR)
        other.collect(FIRST, LAST)
        assert {n: content for n, (content, _) in files_of(work.folder).items()} == {
            n: content for n, (content, _) in files_of(other.folder).items()
        }
        rows = rows_in_market(work.url)
        assert sum(rows["ohlcv"].values()) > 3 * 3 * 1440
        assert rows == rows_in_market(url)
        assert {key: (r.state, r.rows, r.content_sha256, r.reason) for key, r in work.records().items()} == {
            key: (r.state, r.rows, r.content_sha256, r.reason) for key, r in other.records().items()
        }
    finally:
        with psycopg.connect(postgres_server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_kill_between_lake_and_warehouse_is_made_good_by_the_next_run(bench: Open) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    rows = rows_in_market(work.url)
    with psycopg.connect(work.url) as connection:  # the state after a kill behind the lake's write: no rows, no record
        connection.execute("DELETE FROM market.ohlcv WHERE open_time >= %s", (DAYS[2],))
        connection.execute("DELETE FROM collection.warehouse_loads WHERE day = %s", (DAYS[2],))
        connection.execute("DELETE FROM collection.partitions WHERE day = %s", (DAYS[2],))
    assert rows_in_market(work.url) != rows
    files = files_of(work.folder)
    work.collect(FIRST, LAST)
    assert rows_in_market(work.url) == rows
    assert files_of(work.folder) == files


def test_what_was_refused_is_collected_once_it_is_published_well(bench: Open) -> None:
    work = bench(ONE)
    of = work.key(BARS, BTC, DAYS[1])
    content = work.bytes_at(of)
    work.publish(of, content[: len(content) // 2])
    assert work.collect(FIRST, LAST).of(DAYS[1]).state is State.MISSING
    ((path, _),) = work.quarantined().items()
    reason = json.loads((work.folder / f"{path}.reason.json").read_text())
    assert reason["error"] == "BadContainer"
    work.publish(of, content)
    again = work.collect(FIRST, LAST)
    assert again.tally.states == {State.AVAILABLE: 3}
    assert work.in_lake(BARS, BTC, DAYS[1]) == rows_of("klines", text_of(content))
    assert work.records()[BTC, "ohlcv_1m", DAYS[1]].reason == ""
