"""Runs that are killed or fail at every step of publishing; what the next run finds, and what it does."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.pipeline import Pipeline, Target
from crypto_assets.engine.publication import journal
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import IDENTITY, Lake
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets.text.urls import database_of, with_database
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 25), date(2024, 2, 5)
BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
ENTRY = entry("spot", ["ohlcv_1m"], [BTC], FIRST)
HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"

# A step, and how often it is reached before the kill: in the middle of the files, and after the last one.
BEFORE = [("noted", 1), ("staged", 5), ("verified", 5), ("loaded", 1), ("moved", 5), ("moved", 9), ("forgotten", 1)]
AFTER = [("committed", 1), ("cleared", 1)]
KILLS = [
    *(("first", step, times) for step, times in [*BEFORE, *AFTER]),
    *(("republished", step, times) for step, times in [*BEFORE, ("kept", 4), *AFTER]),
]

# A killed process must be a separate one; forked from one that has imported everything, it starts in no time.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [
        "crypto_assets.engine.pipeline",
        "pandera.pandas",
        "pgpq",
        "crypto_assets_tests.engine.publication.test_crashes",
    ]
)


@dataclass
class World:
    """Lake and database before and after a run without disturbance."""

    work: Workbench
    before: dict[str, Any]
    after: dict[str, Any]
    lake: Path
    template: str


def state_of(url: str, lake: Path) -> dict[str, Any]:
    """Return everything stored, without the times and names of runs."""
    queries = {
        "market": "SELECT t.*::text FROM market.ohlcv t",
        "partitions": "SELECT to_jsonb(p) - '{run_id,collected_at,updated_at,known_from,reported_at}'::text[] "
        "FROM collection.partitions p",
        "loads": "SELECT to_jsonb(l) - 'loaded_at' FROM collection.warehouse_loads l",
        "versions": "SELECT to_jsonb(v) - '{known_from,known_to}'::text[] FROM collection.versions v",
        "corrections": "SELECT to_jsonb(c) - '{id,found_at,run_id}'::text[] FROM collection.corrections c",
        "journal": "SELECT j.*::text FROM collection.journal j",
    }
    with psycopg.connect(url) as connection:
        found: dict[str, Any] = {
            name: Counter(str(row) for (row,) in connection.execute(query)) for name, query in queries.items()
        }
    files = {str(path.relative_to(lake)): path for path in sorted(lake.rglob("*")) if path.is_file()}
    # The lake gets its id, a new one in each lake, with the first attempt.
    return found | {name: path.read_bytes() for name, path in files.items() if name != IDENTITY}


def copy_of(database: str, template: str) -> None:
    name = database_of(database)
    with psycopg.connect(with_database(database, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {database_of(template)}")


@pytest.fixture(scope="module")
def opened(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that opens a workbench with its own database and lake, at an exchange."""
    with ExitStack() as stack:

        def bench(sandbox: SandboxServer) -> Workbench:
            url = stack.enter_context(new_database(postgres_server_url))
            return Workbench(sandbox, url, tmp_path_factory.mktemp("crash") / "lake", ENTRY)

        yield bench


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[tuple[SandboxServer, SandboxServer]]:
    """An exchange, and the same after it republished some days."""
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), LAST, trades_per_day=1_440)
    with SandboxServer(archive) as one, SandboxServer(archive) as other:
        yield one, other


@pytest.fixture(scope="module")
def first(opened: Any, sandboxes: tuple[SandboxServer, SandboxServer]) -> World:
    """Nothing is stored, twelve days are published."""
    template, work = opened(sandboxes[0]), opened(sandboxes[0])
    lake = template.folder
    lake.mkdir()
    before = state_of(template.url, lake)
    assert work.collect(FIRST, LAST).tally.states == {State.AVAILABLE: 12}
    return World(work, before, state_of(work.url, work.folder), lake, template.url)


@pytest.fixture(scope="module")
def republished(first: World, opened: Any, sandboxes: tuple[SandboxServer, SandboxServer]) -> World:
    """Twelve days are stored; seven are republished with other rows, one of them damaged, and two with the same rows."""
    template, work = opened(sandboxes[1]), opened(sandboxes[1])
    days = [FIRST + timedelta(days=n) for n in range(12)]
    for copy in (template, work):
        copy_of(copy.url, first.work.url)
        shutil.copytree(first.work.folder, copy.folder)
    damaged = Path(work.lake.path(BARS, Partition(BTC, days[6])))
    for folder in (template.folder, work.folder):
        (folder / damaged).write_bytes(b"PAR1 and no more")
    for number, day in enumerate(days[:9]):
        of = work.key(BARS, BTC, day)
        lines = text_of(work.bytes_at(of)).splitlines()
        if number < 7:
            cells = lines[700 + number].split(",")
            cells[5] = str(Decimal(cells[5]) + number + 1)
            lines[700 + number] = ",".join(cells)
        # The same rows in other bytes: with a header, which some of the exchange's files have.
        header = "" if number < 7 else HEADER
        work.publish(of, zip_of(of, header + "\n".join(lines) + "\n"))
    before = state_of(template.url, template.folder)
    assert work.collect(FIRST, LAST).tally.states == {State.AVAILABLE: 12}
    return World(work, before, state_of(work.url, work.folder), template.folder, template.url)


def test_the_undisturbed_run_corrects_what_it_should(republished: World) -> None:
    found = republished.after
    assert len([path for path in found if path.startswith("versions/")]) == 6
    assert (len(found["versions"]), len(found["corrections"])) == (7, 9)
    assert found["market"] != republished.before["market"]


@pytest.fixture
def again(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path) -> tuple[World, Workbench]:
    """A world, and a workbench with a copy of its state before."""
    world: World = request.getfixturevalue(request.param)
    copy_of(postgres_url, world.template)
    shutil.copytree(world.lake, tmp_path / "lake")
    return world, Workbench(world.work.sandbox, postgres_url, tmp_path / "lake", ENTRY)


def run_until(step: str, times: int, collection: dict[str, Any], url: str, lake: str, targets: list[Target]) -> None:
    """Collect in this process, which kills itself when a step is reached for the n-th time."""
    lock, left = threading.Lock(), [times]

    def end(name: str) -> None:
        with lock:
            left[0] -= name == step
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    journal.reached = end
    with Warehouse(url) as warehouse, Ledger(url) as ledger:
        Pipeline(parse_collection(collection), Stores(Lake(lake), warehouse, ledger), RunContext(run_id="killed")).run(
            targets
        )


def killed(work: Workbench, step: str, times: int) -> None:
    """Collect in another process, which is killed at a step."""
    arguments = (step, times, work.collection.model_dump(mode="json"), work.url, str(work.folder))
    child = processes.Process(target=run_until, args=(*arguments, work.targets(FIRST, LAST)))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, f"{step}: expected to be killed there, found exit code {child.exitcode}"


def wait_until_gone(url: str) -> None:
    """Wait until Postgres has noticed that a process is dead; then none of its locks are left."""
    deadline = time.monotonic() + 60
    with psycopg.connect(url, autocommit=True) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.execute(others).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.005)


def put_right(work: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LEFT_OVER_S", -60.0)  # the files left in staging/ count as old
    with Ledger(work.url) as ledger:
        Journal(work.lake, ledger).recover()


@pytest.mark.parametrize(("again", "step", "times"), KILLS, indirect=["again"])
def test_a_run_that_is_killed_at_any_step_has_happened_or_has_not(
    again: tuple[World, Workbench], step: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, work = again
    killed(work, step, times)
    wait_until_gone(work.url)
    put_right(work, monkeypatch)
    assert state_of(work.url, work.folder) == (world.after if (step, times) in AFTER else world.before)
    work.collect(FIRST, LAST)
    assert state_of(work.url, work.folder) == world.after


@pytest.mark.parametrize("again", ["republished"], indirect=True)
@pytest.mark.parametrize(("step", "times"), [("moved", 3), ("forgotten", 1)])
def test_a_run_that_starts_right_after_the_kill_waits_for_nothing(
    again: tuple[World, Workbench], step: str, times: int
) -> None:
    world, work = again
    killed(work, step, times)
    started = time.monotonic()
    work.collect(FIRST, LAST)
    assert time.monotonic() - started < 5
    assert state_of(work.url, work.folder) == world.after
