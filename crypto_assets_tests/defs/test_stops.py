"""Pausing, resuming and cancelling runs as a person does: commands in one terminal, a run in another."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import PROJECT, Command
from crypto_assets_tests.project import Project, entry, make
from crypto_assets_tests.waiting import wait_for

FIRST, LAST = date(2024, 1, 1), date(2024, 2, 9)
SPAN = ("--from", str(FIRST), "--to", str(LAST))


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}})) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    yield running
    running.app.state.faults.off()


@pytest.fixture
def project(sandbox: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch) -> Project:
    mine = {**entry(["ohlcv_1h"], ["BTC/USDT"], FIRST), "rest": False}
    return make(sandbox, tmp_path / "home", postgres_url, monkeypatch, mine)


def gone_soon(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the printed text; a run that hangs would take minutes. `proofs.stops` measures how soon it ends."""
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    return out, err


def statuses(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM dagster.runs")]


def test_a_paused_run_is_shown_and_goes_on_and_one_that_is_cancelled_is_gone(project: Project, sandbox) -> None:
    command = project.command
    paused, twice = command.sequence("pause --exchange binance --reason lunch", "runs")
    assert (paused.code, paused.out) == (0, f"paused: exchange:binance by {_me()}: lunch\n")
    assert twice.out == "nothing is running; --all shows what has ended\n"
    sandbox.app.state.faults.on("drip", chunk_bytes=600, pause_s=0.2)
    sandbox.app.state.faults.on("hang", pattern="*2024-02-0*")  # the run does not end before it is cancelled
    process = command.start("collect", *SPAN)
    assert process.stderr
    said = process.stderr.readline()
    assert said == f"paused: exchange:binance by {_me()}: lunch\n"
    assert sandbox.requests() == [], "no request was made, not even whether the symbol exists"

    wrong, shown, resumed, again = command.sequence(
        "resume", "runs", "resume --exchange binance", "resume --exchange binance"
    )
    assert wrong.out == f"all: was not paused\nstill paused: exchange:binance by {_me()}: lunch\n"
    line = (
        r"(\w{8}) paused · binance spot ohlcv_1h BTC/USDT, 2024-01-01 … 2024-02-09 · 0 of 40 days · 0 rows, 0.0 MB · "
    )
    found = re.match(line + f"exchange:binance by {re.escape(_me())}: lunch\n", shown.out)
    assert found, shown.out
    assert resumed.out == "exchange:binance: resumed\n"
    assert again.out == "exchange:binance: was not paused\n"

    wait_for("some requests", lambda: len(sandbox.requests()) >= 6)
    unknown, two, cancelled = command.sequence("cancel ffff", "pause --run ffff", f"cancel {found[1]} --reason enough")
    assert unknown.code == two.code == 2
    assert "run ffff: no run has this id" in unknown.message
    assert cancelled.code == 0
    gone_soon(process)
    assert statuses(project.postgres_url) == ["CANCELED"]
    ended, late = command.sequence("runs --all --json", f"cancel {found[1]}")
    (run,) = ended.json
    assert (run["state"], run["kind"], run["total"]) == ("cancelled", "command line", 40)
    assert run["done"] == len(project.records())
    assert "found that it has ended: cancelled" in late.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_collection_at_once_and_the_next_one_completes_it(project, sandbox, number) -> None:
    sandbox.app.state.faults.on("hang", pattern="*2024-02-0*")
    process = project.command.start("collect", *SPAN)
    wait_for("the first of February hang", lambda: len(sandbox.requests()) >= 66)
    process.send_signal(number)
    _, err = gone_soon(process)
    assert err.endswith("stopped\n")
    assert "Traceback" not in err
    assert statuses(project.postgres_url) == ["CANCELED"]
    assert {record.state.value for record in project.records().values()} <= {"available"}
    sandbox.app.state.faults.off()
    answer = project.command("collect", *SPAN)
    assert answer.code == 0, answer.err
    assert len(project.records()) == 40


def test_a_host_that_refuses_everything_is_given_up_and_every_day_says_so(project: Project, sandbox) -> None:
    sandbox.app.state.faults.on("http-403", kinds=("object",))
    command = Command(project.home, {**project.command.environment, "CRYPTO_ASSETS_PAUSE_AFTER": "5"})
    answer = command("collect", *SPAN)
    assert answer.code == 1
    told = re.findall(
        r"^binance spot BTC/USDT ohlcv_1h 2024-.* \((\d+) days\): missing: (not tried: 5 failures)?", answer.out, re.M
    )
    assert sum(int(days) for days, _ in told) == 40
    assert sum(int(days) for days, not_tried in told if not_tried) > 10
    assert sum(path.endswith(".zip") for _, path in sandbox.requests()) < 30


def test_runs_end_within_the_limit_in_a_worker_as_in_a_terminal() -> None:
    """The proof itself, twice for each kind; its limit is wider here, because tests run beside other work."""
    words = ["--times", "2", "--coins", "3", "--days", "40", "--limit", "2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ASSETS_")}
    done = subprocess.run(
        [sys.executable, "-m", "proofs.stops", *words],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 of 120 days available" in done.stdout


def _me() -> str:
    from crypto_assets.ledger.pauses import me

    return me()
