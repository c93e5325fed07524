"""What a run writes about itself while it goes on, and what readers see of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.engine import flow, pipeline
from crypto_assets.ledger.progress import ProgressWriter, RunState, read_progress
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.engine.running import Running
from crypto_assets_tests.waiting import wait_for
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 20)
ENTRY = entry("spot", ["ohlcv_1h"], ["BTC/USDT"], FIRST)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}})) as server:
        yield server


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    yield Workbench(sandbox, postgres_url, tmp_path / "lake", ENTRY)
    sandbox.app.state.faults.off()


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    migrate(postgres_url)
    with Database(postgres_url) as opened:
        yield opened


def test_every_batch_is_written_and_the_last_row_says_what_the_run_did(work, sandbox, monkeypatch) -> None:
    monkeypatch.setattr(flow, "BATCH_DAYS", 5)
    sandbox.app.state.faults.on("empty", pattern="*2024-01-07*")
    written: list[tuple[int, int, int]] = []
    count = ProgressWriter.count

    def noted(self: ProgressWriter, **values: int) -> None:
        count(self, **values)
        (row,) = read_progress(database, run_id="run-1")
        written.append((row.done, row.failed, row.rows))

    monkeypatch.setattr(ProgressWriter, "count", noted)
    with Database(work.url) as database, Running(work, FIRST, LAST, kind="a test") as run:
        run.ended()
        batches, second_look = [(5, 0, 120), (10, 1, 216), (15, 1, 336), (20, 1, 456)], (20, 1, 456)
        assert written == [*batches, second_look]
        row = run.progress
    assert (row.state, row.kind, row.total, row.remaining) == (RunState.FAILED, "a test", 20, 0)
    assert row.what == "binance spot ohlcv_1h BTC/USDT, 2024-01-01 … 2024-01-20"
    assert row.last_partition == "binance spot ohlcv_1h BTC/USDT 2024-01-20"
    assert row.bytes == sum(record.size_bytes for record in work.records().values() if record.size_bytes)
    assert row.pid == os.getpid()
    assert row.started_at <= row.updated_at


def test_a_run_that_waits_for_a_slow_exchange_shows_that_it_lives(work, sandbox, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "HEARTBEAT_S", 0.1)
    sandbox.app.state.faults.on("hang")
    with Running(work, FIRST, LAST) as run:
        first = run.until(RunState.RUNNING).updated_at
        wait_for("another heartbeat", lambda: run.progress.updated_at > first)
        assert run.progress.done == 0


def test_a_database_that_fails_ends_the_run_as_failed_with_the_reason(work, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    with Running(work, FIRST, LAST, on_batch=refuse) as run:
        run.ended()
        assert isinstance(run.error, OSError)
        row = run.progress
    assert (row.state, row.reason) == (RunState.FAILED, "no space left on device")


def test_rates_are_of_the_last_half_minute_and_tell_what_is_left(database: Database) -> None:
    clock = iter(range(1_000))
    writer = ProgressWriter(database, "run-1", "", "", 1_000, clock=lambda: float(next(clock)))
    for second in range(1, 61):  # two days a second, then four
        done = 2 * second if second <= 30 else 60 + 4 * (second - 30)
        writer.count(done=done, failed=0, rows=100 * done, size_bytes=0, last_partition="")
    (row,) = read_progress(database)
    assert row.days_per_s == pytest.approx(4, rel=0.05)
    assert row.rows_per_s == pytest.approx(400, rel=0.05)
    assert row.eta_s == pytest.approx((1_000 - 180) / 4, rel=0.05)
    writer.state(RunState.PAUSED, "lunch")
    (row,) = read_progress(database)
    assert (row.days_per_s, row.eta_s, row.reason) == (0, None, "lunch")


def test_a_run_that_has_not_written_for_half_a_minute_is_stalled_and_one_that_ended_is_not(database: Database) -> None:
    for name in ("dead", "ended", "alive"):
        ProgressWriter(database, name, "", "", 1).begin()
    ProgressWriter(database, "ended", "", "", 1).state(RunState.DONE)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE collection.progress SET updated_at = now() - interval '31 s' WHERE run_id <> 'alive'"
        )
    assert {run.run_id: run.state for run in read_progress(database)} == {
        "dead": RunState.STALLED,
        "ended": RunState.DONE,
        "alive": RunState.RUNNING,
    }
    assert [run.run_id for run in read_progress(database, states=[RunState.STALLED])] == ["dead"]


def test_rows_of_long_ago_go_when_a_run_begins(database: Database) -> None:
    ProgressWriter(database, "old", "", "", 1).begin()
    with database.transaction() as connection:
        connection.execute("UPDATE collection.progress SET updated_at = now() - interval '91 days'")
    ProgressWriter(database, "new", "", "", 1).begin()
    assert [run.run_id for run in read_progress(database)] == ["new"]


def test_a_stopped_database_holds_up_nobody_who_only_says_how_far_he_is(closed_port: int) -> None:
    with Database(f"postgresql://nobody@127.0.0.1:{closed_port}/nothing") as away:
        away.stop()
        started = time.monotonic()
        ProgressWriter(away, "run-1", "", "", 1).begin()
        assert time.monotonic() - started < 15
