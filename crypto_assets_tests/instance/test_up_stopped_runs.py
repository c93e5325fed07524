"""A stop of `crypto-assets up` while a run works: its days are requested again once, those that a person cancels never."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from crypto_assets.model import State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.instance.test_up import Up
from crypto_assets_tests.project import entry
from crypto_assets_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")

START, LAST = date(2024, 1, 5), date(2024, 1, 20)


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (START, LAST)}}, seed=11)) as running:
        yield running


class Watched:
    """A project under `up`, and what its runs left."""

    def __init__(self, sandbox: SandboxServer, mine: project.Project) -> None:
        self.sandbox, self.mine = sandbox, mine

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.mine.postgres_url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def runs(self) -> list[tuple[str, str]]:
        """Return id and status of the runs, the oldest first."""
        return self.rows("SELECT run_id, status FROM dagster.runs ORDER BY id")

    def statuses(self) -> list[str]:
        return [status for _, status in self.runs()]

    def discoveries(self) -> list[tuple[int, bool]]:
        """Return for each discovery how often its run was stopped, and whether it waits for a run."""
        return self.rows("SELECT stops, run_key IS NULL FROM collection.discoveries ORDER BY discovery_id")

    def stored(self) -> set[int]:
        """Return the days of January that are stored."""
        return {day.day for (_, _, day), one in self.mine.records().items() if one.state is State.AVAILABLE}

    def publish(self, day: int, *, hanging: bool = True) -> None:
        """Let the exchange publish its files up to a day of January; the last one may never be answered."""
        self.sandbox.app.state.source.now = datetime(2024, 1, day + 1, 9, tzinfo=UTC)
        if hanging:
            self.sandbox.app.state.faults.on("hang", kinds=("object",), pattern=f"*2024-01-{day:02}*")

    def look_now(self) -> None:
        with psycopg.connect(self.mine.postgres_url, autocommit=True) as connection:
            connection.execute("UPDATE collection.watched_feeds SET next_look_at = now()")

    def downloads(self) -> list[int]:
        """Return the days of January whose zip was requested, ascending; a day twice if it was requested twice."""
        return sorted(int(path[-6:-4]) for _, path in self.sandbox.requests() if path.endswith(".zip"))

    def asks(self, day: int) -> bool:
        return day in self.downloads()


@pytest.fixture
def watched(sandbox, tmp_path, postgres_url, monkeypatch) -> Watched:
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], START))
    return Watched(sandbox, mine)


def terminate(url: str, run_id: str) -> None:
    """Cancel a run as the UI does."""
    change = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
    answer = httpx.post(
        f"{url}/graphql", json={"query": change, "variables": {"id": run_id}}, timeout=60, trust_env=False
    )
    assert answer.json()["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess", answer.text


def test_days_of_a_run_that_a_stop_of_up_ended_come_at_the_next_start_and_cancelled_ones_do_not(watched):
    watched.publish(8)
    with Up(watched.mine.command) as up:
        up.ready()
        wait_for("three stored days, and one that hangs", lambda: watched.stored() == {5, 6, 7} and watched.asks(8))
        assert watched.discoveries() == [(0, False)]
        assert up.end()[0] == 0
    assert watched.statuses() == ["CANCELED"]
    assert watched.discoveries() == [(1, True)], "they wait for the next start"
    assert watched.stored() == {5, 6, 7}

    watched.sandbox.app.state.faults.off()
    watched.sandbox.forget_requests()
    with Up(watched.mine.command) as up:
        up.ready()
        wait_for("the day that was not collected", lambda: watched.statuses() == ["CANCELED", "SUCCESS"])
        assert watched.stored() == {5, 6, 7, 8}
        assert watched.downloads() == [8], "stored days are not downloaded again"

        ways = {9: lambda run: watched.mine.command("cancel", run, "--reason", "enough"), 10: None}
        for day, cancel in ways.items():
            watched.publish(day)
            watched.look_now()
            wait_for("the new day hangs", lambda day=day: watched.asks(day))
            run_id, _ = watched.runs()[-1]
            if cancel is None:
                terminate(up.url, run_id)
            else:
                assert cancel(run_id).code == 0
            wait_for("it is cancelled", lambda: watched.statuses()[-1] == "CANCELED")
        assert watched.discoveries() == [(1, False), (0, False), (0, False)]
        assert watched.statuses() == ["CANCELED", "SUCCESS", "CANCELED", "CANCELED"]
        assert up.end()[0] == 0
    assert watched.discoveries() == [(1, False), (0, False), (0, False)], "what a person cancelled stays so"
