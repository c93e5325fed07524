"""A process killed at any step: afterwards Dagster's partitions and the ledger agree, and no run looks alive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from crypto_assets.defs import recovery
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import GONE, RunState, read_progress
from crypto_assets.model import STORED_STATES, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.project import Project, entry, key

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
LISTED = date(2024, 1, 2)
LAKE, WAREHOUSE = key("binance/spot/ohlcv_1m/BTC-USDT"), key("warehouse/binance/spot/ohlcv/BTC-USDT")

_CHILD = """
import os, signal, sys
from crypto_assets import cli
from crypto_assets.defs import reporter
from crypto_assets.engine import flow
from crypto_assets.engine.publication import journal

step, times = sys.argv[1], int(sys.argv[2])
seen = 0

def reached(name):
    global seen
    seen += name == step
    if seen == times:
        os.kill(os.getpid(), signal.SIGKILL)

def report(*arguments):
    reached("recorded")
    stock(*arguments)
    reached("reported")

stock, reporter.report = reporter.report, report
journal.reached = reached
flow.BATCH_DAYS = 2
sys.argv = ["crypto-assets", "collect", "--from", "2024-01-01", "--to", "2024-01-05"]
cli.main()
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    source = SyntheticArchive({"spot": ["BTCUSDT"]}, LISTED, LAST, trades_per_day=1_440)
    with SandboxServer(source) as server:
        yield server


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch) -> Project:
    return project.make(
        sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], FIRST) | {"rest": False}
    )


def killed_at(mine: Project, step: str, times: int) -> None:
    """Collect five days in batches of two in a process that dies at a step."""
    done = mine.command.python(_CHILD, step, str(times))
    assert done.returncode == -9, done.stdout + done.stderr


def materialized(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    return set(instance.get_materialized_partitions(asset))


def known(mine: Project) -> set[str]:
    """Return the days with a final state in the ledger."""
    records = mine.records().values()
    return {str(r.day) for r in records if r.state in STORED_STATES or r.state is State.NO_DATA}


@pytest.mark.parametrize(
    ("step", "times"),
    [("verified", 3), ("moved", 3), ("committed", 2), ("recorded", 2), ("reported", 1)],
)
def test_dagster_and_the_ledger_agree_after_a_kill_at_every_step(mine, step, times):
    killed_at(mine, step, times)
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        assert recovery.end_dead_runs(instance, ledger) == [run.run_id]
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
        recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0))
        assert materialized(instance, LAKE) == known(mine)
        assert materialized(instance, WAREHOUSE) == known(mine)
        files = {path.parent.name.removeprefix("date=") for path in Path(mine.home).rglob("data.parquet")}
        stored = {str(r.day) for r in mine.records().values() if r.state in STORED_STATES}
        # A file that was being moved when the process died is put back by the next publisher of its folder.
        assert files >= stored
        assert recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) == 0


def test_what_is_reported_later_has_the_checks_and_the_source(mine):
    killed_at(mine, "recorded", 1)
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        recovery.end_dead_runs(instance, ledger)
        assert materialized(instance, LAKE) == set()
        assert (
            recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) == len(known(mine)) > 0
        )
        event = instance.get_latest_materialization_event(LAKE)
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        record = mine.records()["BTC/USDT", "ohlcv_1m", date.fromisoformat(event.asset_materialization.partition or "")]
        assert metadata["source_sha256"].value == record.source_sha256
        assert metadata["dagster/partition_row_count"].value == record.rows == 1_440
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(LAKE, "complete"), limit=10
        )
        statuses = {execution.partition: execution.status.value for execution in history}
        stored = {str(r.day) for r in mine.records().values() if r.state in STORED_STATES}
        assert statuses == dict.fromkeys(stored, "SUCCEEDED"), "no days without rows, and no planned days"


def test_a_day_that_could_not_be_had_is_explained_later_and_once(mine, sandbox):
    lost = date(2024, 1, 3)
    key_of = "data/spot/{}/klines/BTCUSDT/1m/BTCUSDT-1m-{}.zip".format
    names = [key_of("daily", lost), key_of("monthly", "2024-01")]
    sandbox.app.state.overrides |= {name + end: None for name in names for end in ("", ".CHECKSUM")}
    try:
        killed_at(mine, "recorded", 2)
    finally:
        sandbox.app.state.overrides.clear()
    record = mine.records()["BTC/USDT", "ohlcv_1m", lost]
    assert record.state is State.MISSING
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        recovery.end_dead_runs(instance, ledger)
        for _ in range(2):
            recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0))
            for asset in (LAKE, WAREHOUSE):
                wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[str(lost)])
                (seen,) = instance.fetch_observations(wanted, limit=5).records
                assert seen.asset_observation.metadata["reason"].value == record.reason
                assert seen.asset_observation.metadata["state"].value == "missing"
                check = dg.AssetCheckKey(asset, "all_days_complete")
                (latest,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
                assert latest.status.value == "FAILED"
                assert str(lost) in latest.evaluation.description


def test_a_young_outcome_and_one_of_a_living_run_are_left_to_their_run(mine):
    killed_at(mine, "recorded", 1)
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        assert (
            recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) == 0
        )  # still looks alive
        recovery.end_dead_runs(instance, ledger)
        assert recovery.report_unreported(instance, mine.collection, ledger) == 0  # not settled yet
        assert recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) > 0


def test_the_next_command_ends_the_run_that_was_killed_and_completes_it(mine):
    killed_at(mine, "recorded", 2)
    assert mine.command("collect", "--from", str(FIRST), "--to", str(LAST)).code == 0
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        assert sorted(run.status.value for run in instance.get_runs()) == ["FAILURE", "SUCCESS"]
        assert sorted(run.state for run in read_progress(ledger)) == ["done", "failed"]
        assert materialized(instance, LAKE) == known(mine) == {f"2024-01-0{day}" for day in range(1, 6)}


def test_a_run_that_was_killed_is_shown_as_failed_and_cannot_be_cancelled(mine):
    killed_at(mine, "recorded", 2)
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        (run_id,) = [run.run_id for run in instance.get_runs()]
        shown, everything, cancelled = mine.command.sequence("runs", "runs --all", f"cancel {run_id[:8]}")
        assert shown.out == "nothing is running; --all shows what has ended\n"
        assert everything.out.startswith(f"{run_id[:8]} failed · ")
        assert "its process has ended; stored days stay" in everything.out
        assert " left" not in everything.out
        assert cancelled.code == 2
        assert "found that it has ended: failed, its process has ended" in cancelled.message
        written = "SELECT state, reason, eta_s FROM collection.progress"
        with ledger.transaction() as connection:
            assert connection.execute(written).fetchone()[0] == "running", "reading the status writes nothing"
        recovery.end_dead_runs(instance, ledger)
        with ledger.transaction() as connection:
            assert connection.execute(written).fetchall() == [("failed", GONE, None)]


def test_a_stalled_run_of_another_machine_ends_as_dagster_says(mine):
    killed_at(mine, "recorded", 2)
    stall = "UPDATE collection.progress SET host = 'elsewhere', state = 'running', updated_at = now() - interval '31 s'"
    with mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        with ledger.transaction() as connection:
            connection.execute(stall)
        (run,) = instance.get_runs()
        assert read_progress(ledger)[0].state is RunState.STALLED
        instance.report_run_failed(run)
        cancelled = mine.command("cancel", run.run_id)
        assert cancelled.code == 2
        assert "it has ended: failed, it has ended in Dagster (FAILURE)" in cancelled.message
        assert Controls(ledger).read() == []
        with ledger.transaction() as connection:
            connection.execute(stall)
        recovery.end_dead_runs(instance, ledger)
        (shown,) = read_progress(ledger)
        assert (shown.state, shown.eta_s, shown.days_per_s) == (RunState.FAILED, None, 0)
