"""What `crypto-assets up` collects without anybody asking, against a sandbox: everything, or nothing where it is off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from crypto_assets.instance.switches import in_words, running_switches
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
    symbols = {"spot": {"BTCUSDT": (START, LAST)}}
    with SandboxServer(SyntheticArchive(symbols, seed=11, trades_per_day=1_440)) as running:
        published(running, date(2024, 1, 7))
        yield running


def published(sandbox: SandboxServer, day: date) -> None:
    """Let the exchange publish its files up to a day."""
    sandbox.app.state.source.now = datetime(day.year, day.month, day.day + 1, 9, tzinfo=UTC)


def ask(url: str, query: str, **variables: Any) -> Any:
    answer = httpx.post(
        f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60, trust_env=False
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "crypto_assets"}
STATES = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
    schedules { name scheduleState { id selectorId } } } } } }"""


def click(url: str, schedule: str, on: bool) -> None:
    """Switch a schedule as the UI does."""
    if on:
        change = "mutation ($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }"
        found = ask(url, change, s={**SELECTOR, "scheduleName": schedule})["startSchedule"]
    else:
        (repository,) = ask(url, STATES)["repositoriesOrError"]["nodes"]
        (state,) = [one["scheduleState"] for one in repository["schedules"] if one["name"] == schedule]
        change = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
        found = ask(url, change, id=state["id"])["stopRunningSchedule"]
    assert found["__typename"] == "ScheduleStateResult", found


def ticks(url: str, sensor: str) -> list[tuple[str, str]]:
    """Return status and reason of the last ticks of a sensor, the newest first."""
    query = """query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
        ticks(limit: 5) { status skipReason } } } } }"""
    state = ask(url, query, s={**SELECTOR, "sensorName": sensor})["sensorOrError"]["sensorState"]
    return [(tick["status"], tick["skipReason"] or "") for tick in state["ticks"]]


def failure(url: str) -> str:
    """Return the error of the last tick of `new_files` that failed; empty if none did."""
    query = """query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
        ticks(limit: 5, statuses: [FAILURE]) { error { message causes { message } } } } } } }"""
    state = ask(url, query, s={**SELECTOR, "sensorName": "new_files"})["sensorOrError"]["sensorState"]
    return " ".join(str(tick["error"]) for tick in state["ticks"])


def look_now(postgres_url: str) -> None:
    """Let the next tick of `new_files` look at the archive again."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE collection.watched_feeds SET next_look_at = now()")


def stored(mine: project.Project) -> set[date]:
    return {day for (_, _, day), record in mine.records().items() if record.state is State.AVAILABLE}


def write(mine: project.Project, **more: Any) -> None:
    mine.content |= more
    (mine.home / "collection.yaml").write_text(yaml.safe_dump(mine.content, sort_keys=False))


def test_new_files_are_collected_without_a_click_and_nothing_is_where_it_is_off(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], START))
    with Up(mine.command) as up:
        said = "".join(up.ready().printed)
        assert "automation  new files (1 series, 1 symbol), gaps (13:00 UTC), reconcile (Mondays 05:00 UTC)\n" in said
        assert f"`automation: false` in {mine.home / 'collection.yaml'}, or the switches at {up.url}/automation" in said
        assert (
            "days of single symbols and datasets since 2024-01-05 are not collected yet; those that the archive" in said
        )
        assert " has come by themselves; " in said
        published(sandbox, date(2024, 1, 8))
        wait_for("the history and the new day", lambda: stored(mine) >= {date(2024, 1, day) for day in range(5, 9)})
        click(up.url, "fill_gaps", on=False)
        on = running_switches(up.url)
        assert [name for name in ("new_files", "fill_gaps", "reconcile") if on[name]] == ["new_files", "reconcile"]
        assert in_words(mine.collection, on, LAST)[1:] == ["switched off in the UI: gaps"]

        # The listing becomes a web page, as behind the login page of a network.
        sandbox.app.state.faults.on("html")
        look_now(postgres_url)
        line = next(one for one in up.process.stderr if "new files cannot be looked for" in one)
        assert line.startswith("binance: new files cannot be looked for, and that is tried again: ")
        assert "binance_spot: " in wait_for("a tick that fails by the entry's name", lambda: failure(up.url))
        sandbox.app.state.faults.off()
        assert up.end()[0] == 0

    write(mine, automation=False)
    published(sandbox, date(2024, 1, 9))
    sandbox.forget_requests()
    look_now(postgres_url)
    with Up(mine.command) as up:
        said = "".join(up.ready().printed)
        assert "automation  nothing is collected by itself\n" in said
        wait_for("a tick of a sensor that is always on", lambda: ticks(up.url, "health"))
        # What a person clicks wins over the file, also after the next start.
        click(up.url, "reconcile", on=True)
        on = running_switches(up.url)
        assert (on["new_files"], on["fill_gaps"], on["reconcile"]) == (False, False, True)
        assert in_words(mine.collection, on, LAST)[1:] == ["switched on in the UI: reconcile"]
        assert sandbox.requests() == []
        assert up.end()[0] == 0
