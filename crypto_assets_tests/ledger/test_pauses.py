"""Pausing, resuming, cancelling and stopping runs, on a sandbox that answers slowly or not at all."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from crypto_assets.engine import flow
from crypto_assets.engine.failure_streak import FailureLimits
from crypto_assets.errors import Stopped
from crypto_assets.ledger import pauses
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import RunState
from crypto_assets.model import Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.engine.running import Running
from crypto_assets_tests.waiting import wait_for
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 1), date(2024, 2, 9)
DAYS = [FIRST + timedelta(days=number) for number in range(40)]
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1h")
ENTRY = entry("spot", ["ohlcv_1h"], [BTC], FIRST)  # 24 rows a day: what is measured here is not parsing


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
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", ENTRY)


Slow = Callable[[], None]


@pytest.fixture
def slow(sandbox: SandboxServer) -> Slow:
    """A function that makes every object take a third of a second."""
    return lambda: sandbox.app.state.faults.on("drip", chunk_bytes=600, pause_s=0.1) and None


def asked(sandbox: SandboxServer) -> Counter[str]:
    return Counter(path for _, path in sandbox.requests())


# ---- what is paused -------------------------------------------------------------------------------------------------


@pytest.fixture
def controls(postgres_url: str) -> Iterator[Controls]:
    migrate(postgres_url)
    with Database(postgres_url) as database:
        yield Controls(database)


def test_a_pause_lasts_until_exactly_that_scope_is_resumed(controls: Controls) -> None:
    controls.pause("all", "ann", "maintenance")
    controls.pause("exchange:binance", "bob")
    controls.pause("exchange:binance", "cleo", "they asked us to")
    assert [str(one) for one in controls.read()] == [
        "all by ann: maintenance",
        "exchange:binance by cleo: they asked us to",
    ]
    assert [one.scope for one in controls.read(["all", "exchange:okx"])] == ["all"]
    assert not controls.resume("exchange:okx")
    assert controls.resume("all")
    assert [one.scope for one in controls.read()] == ["exchange:binance"]


def test_a_run_that_is_in_trouble_does_not_overwrite_what_a_person_said_and_resumes_only_its_own(controls) -> None:
    controls.pause("run:1", "ann", "look at the disk")
    controls.pause("run:1", pauses.ITSELF, "20 failures")
    assert [str(one) for one in controls.read()] == ["run:1 by ann: look at the disk"]
    assert not controls.resume("run:1", pauses.ITSELF)
    assert len(controls.read()) == 1


# ---- pause and resume -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["all", "exchange:binance", "run:run-1"])
def test_a_pause_lets_what_has_begun_end_and_asks_nothing_until_it_is_resumed(work, sandbox, slow, scope) -> None:
    slow()
    with Running(work, FIRST, LAST) as run:
        wait_for("some downloads", lambda: len(sandbox.requests()) > 12)
        run.controls.pause(scope, "ann", "lunch")
        paused = run.until(RunState.PAUSED)
        time.sleep(0.3)
        begun = asked(sandbox)
        assert paused.reason == f"{scope} by ann: lunch"
        wait_for("what was fetched is stored", lambda: run.progress.done * 2 >= len(asked(sandbox)) - 1)
        time.sleep(0.7)
        later = asked(sandbox)
        # Of what was in hand when it said so, only checksums were still to come: nothing new was begun.
        assert set(later) - set(begun) <= {f"{path}.CHECKSUM" for path in begun}
        objects = {path for path in later if path.endswith(".zip")}
        assert {f"{path}.CHECKSUM" for path in objects} == {p for p in later if p.endswith(".CHECKSUM")}
        assert 0 < len(objects) < len(DAYS)
        # All of it is stored, although no batch was full.
        assert {record.day for record in work.records().values()} == {
            date.fromisoformat(path[-14:-4]) for path in objects
        }
        cpu_s = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - cpu_s < 0.2, "waiting is not looking again and again"
        assert asked(sandbox) == later

        sandbox.app.state.faults.off()
        run.controls.resume(scope)
        run.ended()
        assert run.error is None
        assert run.tally.states == {State.AVAILABLE: len(DAYS)}
        assert run.states == [(RunState.PAUSED, f"{scope} by ann: lunch"), (RunState.RUNNING, "")]
    assert set(asked(sandbox).values()) == {1}, "nothing was asked twice"
    assert sorted(day for _, _, day in work.records()) == DAYS


def test_a_pause_survives_its_run_and_holds_the_next_one_before_its_first_request(work, sandbox) -> None:
    with Running(work, FIRST, LAST) as first:
        first.ended()
        first.controls.pause("all", "ann")
    asked_before = len(sandbox.requests())
    with Running(work, FIRST, LAST, "run-2") as second:
        second.until(RunState.PAUSED)
        time.sleep(0.5)
        assert len(sandbox.requests()) == asked_before
        second.controls.resume("all")
        assert second.ended().tally.unchanged == len(DAYS)


def test_the_pause_of_another_exchange_or_run_holds_nobody(work) -> None:
    with Running(work, FIRST, LAST) as run:
        run.controls.pause("exchange:okx", "ann")
        run.controls.pause("run:another", "ann")
        assert run.ended().tally.states == {State.AVAILABLE: len(DAYS)}
        assert run.states == []
        assert [one.scope for one in run.controls.read()] == ["exchange:okx", "run:another"]


def test_what_was_asked_of_one_run_alone_is_forgotten_when_it_ends(work, slow) -> None:
    slow()
    with Running(work, FIRST, LAST) as run:
        run.until(RunState.RUNNING)
        run.controls.pause("run:run-1", "ann")
        run.until(RunState.PAUSED)
        run.stop.set()
        run.ended()
        assert run.controls.read() == []


# ---- stop -----------------------------------------------------------------------------------------------------------


def holds_what_it_says(work: Workbench, sandbox: SandboxServer) -> None:
    """Every day that the ledger calls available is in the lake as published; no other day has a record."""
    for (symbol, _, day), record in work.records().items():
        assert record.state is State.AVAILABLE, record
        assert work.in_lake(BARS, symbol, day) == work.published(BARS, symbol, day)


@pytest.mark.parametrize("way", ["stop", "cancel", "while paused"])
def test_a_run_that_is_stopped_ends_soon_with_its_state_saved(work, sandbox, slow, way, monkeypatch) -> None:
    monkeypatch.setattr(flow, "BATCH_DAYS", 4)
    slow()
    with Running(work, FIRST, LAST) as run:
        run.until_stored(4)
        if way == "while paused":
            run.controls.pause("all", "ann")
            run.until(RunState.PAUSED)
        started = time.monotonic()
        if way == "cancel":
            run.controls.cancel("run-1", "ann")
        else:
            run.stop.set()
        run.ended(30)
        assert time.monotonic() - started < 15
        assert isinstance(run.error, Stopped)
        ended = run.progress
        assert ended.state is RunState.CANCELLED
        assert 4 <= ended.done < len(DAYS)
        time.sleep(0.4)
        begun = len(sandbox.requests())
        sandbox.app.state.faults.off()
        holds_what_it_says(work, sandbox)
        assert len(work.records()) == ended.done
        time.sleep(0.3)
        assert len(sandbox.requests()) == begun, "no request comes from what is left of the run"


class Interrupted(BaseException):
    """As Dagster raises it from its signal handler."""


def test_what_a_signal_handler_raises_in_the_main_thread_ends_the_run_and_is_raised_again(
    work, sandbox, monkeypatch
) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(flow, "BATCH_S", 0.2)  # the batch is not full
    run = Running(work, FIRST, LAST)
    before = signal.signal(signal.SIGUSR1, interrupt)
    sent: list[float] = []

    def send() -> None:
        run.until_stored(29)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sandbox.app.state.faults.on("hang", pattern="*2024-01-30*")
    try:
        sender.start()
        run._run()  # in this thread
        assert time.monotonic() - sent[0] < 15
    finally:
        signal.signal(signal.SIGUSR1, before)
        sender.join()
    assert isinstance(run.error, Interrupted)
    assert run.progress.state is RunState.CANCELLED
    sandbox.app.state.faults.off()
    holds_what_it_says(work, sandbox)


# ---- a host in trouble ----------------------------------------------------------------------------------------------


def downloads(sandbox: SandboxServer) -> int:
    return sum(path.endswith(".zip") for path in asked(sandbox).elements())


def test_too_many_failures_in_a_row_pause_a_run_which_goes_on_by_itself_and_tries_them_again(work, sandbox) -> None:
    fault = sandbox.app.state.faults.on("http-403", kinds=("object",))
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("pause", 6, probe_s=(0.2, 0.4))) as run:
        paused = run.until(RunState.PAUSED)
        assert paused.reason.startswith("run:run-1 by the run itself: 6 failures in a row, the last: http://")
        assert "403" in paused.reason
        assert work.records() == {}, "nothing is decided about days that will be tried again"
        hammered = downloads(sandbox)
        assert hammered <= 6 + 2 * 4
        began = time.monotonic()
        wait_for("now and then one day is tried", lambda: downloads(sandbox) - hammered >= 3)
        assert downloads(sandbox) - hammered <= 1 + (time.monotonic() - began) / 0.2
        sandbox.app.state.faults.off(fault)
        run.ended()
        assert run.tally.states == {State.AVAILABLE: len(DAYS)}
        assert run.tally.problems == []
        assert run.controls.read() == []
        assert [state for state, _ in run.states] == [RunState.PAUSED, RunState.RUNNING]
        assert run.progress.done == len(DAYS)


def test_a_person_resumes_a_run_that_has_paused_itself(work, sandbox) -> None:
    fault = sandbox.app.state.faults.on("http-403", kinds=("object",))
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("pause", 6, probe_s=(60, 60))) as run:
        run.until(RunState.PAUSED)
        sandbox.app.state.faults.off(fault)
        assert run.controls.resume("run:run-1")
        assert run.ended().tally.states == {State.AVAILABLE: len(DAYS)}


def test_a_host_in_trouble_is_not_tried_while_a_person_has_paused_too(work, sandbox) -> None:
    sandbox.app.state.faults.on("http-403", kinds=("object",))
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("pause", 6, probe_s=(0.1, 0.1))) as run:
        run.until(RunState.PAUSED)
        run.controls.pause("all", "ann")
        wait_for("both reasons", lambda: "all by ann" in run.progress.reason)
        time.sleep(0.2)
        before = downloads(sandbox)
        time.sleep(0.5)
        assert downloads(sandbox) == before
        sandbox.app.state.faults.off()
        run.controls.resume("all")
        assert run.ended().tally.states == {State.AVAILABLE: len(DAYS)}


def test_when_patience_ends_the_rest_is_recorded_as_not_tried(work, sandbox) -> None:
    sandbox.app.state.faults.on("http-403", kinds=("object",))
    with Running(
        work, FIRST, LAST, failure_limits=FailureLimits("pause", 6, give_up_after_s=0.5, probe_s=(0.2, 0.4))
    ) as run:
        run.until(RunState.PAUSED)
        run.ended()
        assert run.tally.states == {State.MISSING: len(DAYS)}
        assert run.progress.state is RunState.FAILED
        assert run.controls.read() == []
    _not_tried(work, sandbox)


def test_a_run_that_does_not_wait_gives_up_at_once_and_says_so_for_each_day(work, sandbox) -> None:
    sandbox.app.state.faults.on("http-403", kinds=("object",))
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("stop", 6)) as run:
        assert run.ended().tally.states == {State.MISSING: len(DAYS)}
        assert run.states == []
    _not_tried(work, sandbox)
    sandbox.app.state.faults.off()
    with Running(work, FIRST, LAST, "run-2") as run:
        assert run.ended().tally.states == {State.AVAILABLE: len(DAYS)}


def _not_tried(work: Workbench, sandbox: SandboxServer) -> None:
    reasons = [record.reason for record in work.records().values()]
    assert len(reasons) == len(DAYS)
    not_tried = [reason for reason in reasons if reason.startswith("not tried: 6 failures in a row, the last: http://")]
    assert len(not_tried) >= len(DAYS) - 6 - 2 * 4 - 3
    assert all(reason.endswith("; `crypto-assets fill` tries again") for reason in not_tried)
    assert all("403" in reason for reason in reasons)
    assert downloads(sandbox) <= 6 + 2 * 4 + 3


def test_wrong_bytes_are_no_reason_to_stop_asking(work, sandbox) -> None:
    sandbox.app.state.faults.on("empty")
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("stop", 2)) as run:
        assert run.ended().tally.states == {State.MISSING: len(DAYS)}
    assert {record.evidence["error"] for record in work.records().values()} == {"BadContainer"}


def test_failures_that_are_not_in_a_row_and_a_threshold_of_nought_stop_nobody(work, sandbox) -> None:
    sandbox.app.state.faults.on("http-403", pattern="*[02468].zip", kinds=("object",))
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("stop", 2)) as run:
        tally = run.ended().tally
        assert tally.states[State.AVAILABLE] == sum(day.day % 2 for day in DAYS)
    sandbox.app.state.faults.off()
    sandbox.app.state.faults.on("http-403", kinds=("object",))
    sandbox.forget_requests()
    with Running(work, FIRST, LAST, "run-2", failure_limits=FailureLimits("stop", 0)) as run:
        run.ended()
    assert downloads(sandbox) == sum(day.day % 2 == 0 for day in DAYS)


def test_a_host_that_is_away_for_a_while_is_waited_for(work, sandbox, closed_port) -> None:
    work.archive_url = f"http://127.0.0.1:{closed_port}"
    with Running(work, FIRST, LAST, failure_limits=FailureLimits("pause", 6, probe_s=(0.3, 0.5))) as run:
        assert "refuses connections" in run.until(RunState.PAUSED, 60).reason
        archive = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}})
        with SandboxServer(archive, port=closed_port):  # it comes back
            run.ended()
        assert run.tally.states == {State.AVAILABLE: len(DAYS)}
