"""Automatic runs: the listing sensor, the daily schedule, and the schedule that fills gaps."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.model import State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.project import entry, key

START, LAST = date(2024, 1, 5), date(2024, 1, 20)
BARS = "data/spot/daily/klines/{0}USDT/1m/{0}USDT-1m-{1}.zip"
BTC = [key("binance/spot/ohlcv_1m/BTC-USDT"), key("warehouse/binance/spot/ohlcv/BTC-USDT")]
ETH = [key("binance/spot/ohlcv_1m/ETH-USDT"), key("warehouse/binance/spot/ohlcv/ETH-USDT")]


@pytest.fixture(scope="module")
def server():
    symbols = {"spot": dict.fromkeys(("BTCUSDT", "ETHUSDT"), (START, LAST))}
    with SandboxServer(SyntheticArchive(symbols, seed=11, trades_per_day=1_440)) as running:
        yield running


@pytest.fixture
def sandbox(server):
    """The exchange with all files and an empty list of requests; `.app.state.source.now` is its clock."""
    server.app.state.overrides.clear()
    server.app.state.source.now = None
    server.forget_requests()
    return server


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch) -> project.Project:
    return project.make(
        sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], START)
    )


def published_until(sandbox: SandboxServer, day: date) -> None:
    """Set the exchange's clock: the files of this day are the last that exist."""
    sandbox.app.state.source.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC) + timedelta(days=1)


def hide(sandbox: SandboxServer, name: str) -> None:
    sandbox.app.state.overrides |= {name: None, name + ".CHECKSUM": None}


def show(sandbox: SandboxServer, name: str) -> None:
    for of in (name, name + ".CHECKSUM"):
        del sandbox.app.state.overrides[of]


def asked(request: dg.RunRequest) -> tuple[list[dg.AssetKey], str, str]:
    """Return assets, first and last day of a request."""
    tags = request.tags
    days = tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]
    return sorted(request.asset_selection), *days


class Sensor:
    """The sensor of all entries, evaluated as by the daemon: the cursor is stored if the tick succeeds."""

    def __init__(self, mine: project.Project, instance: dg.DagsterInstance) -> None:
        self.mine, self.instance = mine, instance
        self.cursor: str | None = None
        self.observed: list[dg.AssetObservation] = []
        self.now = datetime(2024, 1, 9, 9, tzinfo=UTC)

    def at(self, day: int, hour: int = 9) -> Sensor:
        """Let time pass; the exchange publishes its files up to then."""
        self.now = datetime(2024, 1, day, hour, tzinfo=UTC)
        return self

    def tick(self) -> list[dg.RunRequest] | str:
        """Return the requests, or why there are none."""
        sensor = self.mine.definitions(lambda: self.now).get_repository_def().get_sensor_def("new_files")
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"postgres": PostgresResource()}
        ) as context:
            answer = sensor(context)
        if isinstance(answer, dg.SkipReason):
            self.cursor = context.cursor
            return str(answer.skip_message)
        self.cursor = answer.cursor
        self.observed = list(answer.asset_events)
        return list(answer.run_requests)


@pytest.fixture
def sensor(mine):
    with mine.instance() as instance:
        yield Sensor(mine, instance)


def tags(request: dg.RunRequest) -> tuple[str, str, str]:
    return request.tags["dagster/priority"], request.tags["exchange"], request.tags["crypto_assets/why"]


def test_new_files_are_requested_once_fresh_days_before_the_rest(sensor, sandbox):
    published_until(sandbox, date(2024, 1, 8))
    fresh, rest = sensor.tick()
    assert asked(fresh) == (sorted(BTC + ETH), "2024-01-06", "2024-01-08")
    assert asked(rest) == (sorted(BTC + ETH), "2024-01-05", "2024-01-05")
    assert tags(fresh) == ("10", "binance", "new_files binance_spot: history")
    assert tags(rest) == ("1", "binance", "new_files binance_spot: history")
    assert sensor.tick() == "nothing is due"

    hide(sandbox, BARS.format("ETH", "2024-01-09"))
    published_until(sandbox, date(2024, 1, 9))
    (second,) = sensor.at(10).tick()
    assert asked(second) == (sorted(BTC), "2024-01-09", "2024-01-09")
    assert tags(second) == ("10", "binance", "new_files binance_spot: new")
    assert len({fresh.run_key, rest.run_key, second.run_key}) == 3
    (source,) = sensor.observed
    assert source.asset_key == key("source/binance/spot/ohlcv_1m")
    assert {name: value.value for name, value in source.metadata.items()} == {
        "new or changed days": 1,
        "symbols": 1,
        "what": "new",
        "newest day": "2024-01-09",
    }
    assert sensor.tick() == "nothing is due"


def test_a_cursor_of_another_form_is_ignored(sensor, sandbox):
    published_until(sandbox, date(2024, 1, 8))
    for cursor in (
        '{"seen": {"data/": {"a": "b"}}, "begin": ""}',
        "not json",
        "[]",
        '{"requested": 1}',
        '{"requested": [1]}',
    ):
        sensor.cursor = cursor
        sensor.tick()
        assert sensor.cursor is not None
    sensor.cursor = None
    sensor.at(9, 12)
    again = sensor.tick()
    assert {asked(request)[1:] for request in again} == {("2024-01-06", "2024-01-08"), ("2024-01-05", "2024-01-05")}


def test_what_is_stored_is_requested_again_only_when_the_exchange_publishes_it_again(sensor, sandbox, mine):
    published_until(sandbox, date(2024, 1, 7))
    (request,) = sensor.at(20).tick()
    assert asked(request) == (sorted(BTC + ETH), "2024-01-05", "2024-01-07")
    result = mine.execute(request, sensor.instance)
    assert result.success
    days = days_between(START, date(2024, 1, 7))
    before = mine.records()
    found = {name: (record.state, record.rows) for name, record in before.items()}
    assert found == {
        (symbol, "ohlcv_1m", day): (State.AVAILABLE, 1440) for symbol in ("BTC/USDT", "ETH/USDT") for day in days
    }
    for asset in BTC + ETH:
        assert sensor.instance.get_materialized_partitions(asset) == {str(day) for day in days}
    assert sensor.tick() == "nothing is due"

    with psycopg.connect(mine.postgres_url) as connection:  # a lost catalog finds that everything is stored
        connection.execute("TRUNCATE collection.watched_feeds, collection.feed_marks")
    assert sensor.tick() == "the archive lists nothing new (2 looked at, 0 walked)"

    source, name = sandbox.app.state.source, BARS.format("BTC", "2024-01-06")
    # Other bytes, the same rows: a zip may end with any bytes.
    sandbox.app.state.overrides[name] = source.read(name) + b"\0"
    (again,) = sensor.at(20, 12).tick()
    assert asked(again) == (sorted(BTC), "2024-01-06", "2024-01-06")
    assert tags(again) == ("3", "binance", "new_files binance_spot: republished")
    assert sensor.at(20, 15).tick().startswith("the archive lists nothing new")


def test_a_database_that_was_restarted_is_connected_to_again(sensor, sandbox, mine):
    sensor.tick()
    with psycopg.connect(mine.postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database() AND application_name = 'crypto_assets'"
        )
    assert sensor.tick() == "nothing is due"


def test_a_host_that_is_down_is_named_and_loses_nothing(sensor, sandbox, mine):
    published_until(sandbox, date(2024, 1, 8))
    assert len(sensor.tick()) == 2
    cursor = sensor.cursor
    published_until(sandbox, date(2024, 1, 9))
    urls = mine.content["exchanges"]["binance"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    right, urls["listing_url"] = urls["listing_url"], f"http://127.0.0.1:{port}/listing"
    why = sensor.at(10).tick()
    assert why.startswith("binance_spot: ")
    assert f"127.0.0.1:{port}" in why
    assert why.endswith("; it is tried again later")
    assert f"no requests to 127.0.0.1:{port} for now" in sensor.tick()
    assert sensor.cursor == cursor
    urls["listing_url"] = right
    (request,) = sensor.tick()
    assert asked(request) == (sorted(BTC + ETH), "2024-01-09", "2024-01-09")


POINTS = [
    "AUTOMATION_EVALUATIONS_ADDED",
    "RUN_IDS_RESERVED",
    "RUN_CREATED",
    "RUN_LAUNCHED",
    "RUN_IDS_ADDED_TO_EVALUATIONS",
]
"""Points where Dagster's daemon is killed: our tick has returned and nothing is stored; the requests are stored; a run is
created; it is in the queue; all runs are in the queue and the cursor is not stored."""


def test_a_daemon_killed_anywhere_in_a_tick_makes_one_run_for_each_discovery(mine, sandbox):
    """Each day at another point: the daemon is killed there, the next one starts at once, and ticks again later."""
    published_until(sandbox, date(2024, 1, 8))
    eth, expected = " ".join(key.to_user_string() for key in sorted(ETH)), []
    for day in days_between(START, LAST):
        hide(sandbox, BARS.format("BTC", day))
    process = subprocess.Popen(
        [sys.executable, "-m", "crypto_assets_tests.defs.sensor_process"],
        env=mine.command.variables,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:

        def tick(at: datetime, point: str | None = None) -> list[list[str]]:
            process.stdin.write(json.dumps([str(at), point]) + "\n")
            process.stdin.flush()
            code, runs = json.loads(process.stdout.readline())
            assert code == (-signal.SIGKILL if point else 0), point
            return runs

        before = tick(datetime(2024, 1, 9, 9, tzinfo=UTC))
        assert [run[1:3] for run in before] == [["2024-01-05", "2024-01-05"], ["2024-01-06", "2024-01-08"]]
        for number, point in enumerate(POINTS):
            day = date(2024, 1, 9 + number)
            published_until(sandbox, day)
            at = datetime(2024, 1, 10 + number, 9, tzinfo=UTC)
            killed = tick(at, point)
            expected.append(["QUEUED", str(day), str(day), eth])
            assert [run for run in killed if run not in before] in (
                [],
                [["NOT_STARTED", *expected[-1][1:]]],
                expected[-1:],
            )
            tick(at + timedelta(seconds=5))
            before = tick(at + timedelta(minutes=2))
            assert [run for run in before if run[1] > "2024-01-08"] == expected, point
        process.stdin.close()


# ---- schedules --------------------------------------------------------------------------------------------------------


def evaluate(mine: project.Project, name: str, at: datetime) -> list[dg.RunRequest] | str:
    """Return the requests of a schedule at an instant, or why there are none."""
    with mine.instance() as instance:
        repository = mine.definitions().get_repository_def()
        schedule = repository.get_schedule_def(name)
        resources = {"lake": LakeResource(), "postgres": PostgresResource()}
        with dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at, resources=resources, repository_def=repository
        ) as context:
            answer = schedule(context)
    if isinstance(answer, dg.SkipReason):
        return str(answer.skip_message)
    return answer if isinstance(answer, list) else [answer]


def at(day: int, hour: int = 9, minute: int = 0) -> datetime:
    return datetime(2024, 1, day, hour, minute, tzinfo=UTC)


@pytest.fixture
def unwatched(sandbox, tmp_path, postgres_url, monkeypatch) -> project.Project:
    """A project whose archive listing is not watched."""
    off = entry(["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], START) | {"automation": {"new_files": False}}
    return project.make(sandbox, tmp_path, postgres_url, monkeypatch, off)


def test_each_morning_the_last_three_days_are_collected_where_the_listing_is_not_watched(unwatched):
    (request,) = evaluate(unwatched, "fill_gaps", at(15, 8, 30))
    assert asked(request) == (sorted(BTC + ETH), "2024-01-12", "2024-01-14")
    assert request.tags["dagster/priority"] == "10"
    (next_day,) = evaluate(unwatched, "fill_gaps", at(16, 8, 30))
    assert asked(next_day) == (sorted(BTC + ETH), "2024-01-13", "2024-01-15")
    assert request.run_key != next_day.run_key
    assert evaluate(unwatched, "fill_gaps", at(15, 8, 30))[0].run_key == request.run_key


def test_the_first_mornings_of_an_entry_do_not_ask_for_days_before_its_start(unwatched):
    (request,) = evaluate(unwatched, "fill_gaps", at(7, 8, 30))
    assert asked(request) == (sorted(BTC + ETH), "2024-01-05", "2024-01-06")
    assert evaluate(unwatched, "fill_gaps", at(5, 8, 30)) == "the entry has days from 2024-01-05"


def test_schedules_ask_for_nothing_after_the_end_of_an_entry(sandbox, tmp_path, postgres_url, monkeypatch):
    ended = entry(["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], START)
    ended |= {"end": date(2024, 1, 10), "automation": {"new_files": False}}
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, ended)
    (request,) = evaluate(mine, "fill_gaps", at(12, 8, 30))
    assert asked(request) == (sorted(BTC + ETH), "2024-01-09", "2024-01-10")
    assert evaluate(mine, "fill_gaps", at(14, 8, 30)) == "the entry has days from 2024-01-05 to 2024-01-10"
    (everything,) = evaluate(mine, "fill_gaps", at(20, 13))
    assert asked(everything) == (sorted(BTC + ETH), "2024-01-05", "2024-01-10")
    (month,) = evaluate(mine, "reconcile", at(31) + timedelta(days=3))
    assert month.tags["dagster/asset_partition_range_end"] == "2024-01-10"
    later = evaluate(mine, "reconcile", at(31) + timedelta(days=40))
    assert later == "the entry has days from 2024-01-05 to 2024-01-10"


def test_gaps_are_exactly_the_days_that_are_not_complete(mine, sandbox):
    name = "fill_gaps"
    (everything,) = evaluate(mine, name, at(12, 13))
    assert asked(everything) == (sorted(BTC + ETH), "2024-01-05", "2024-01-11")

    bad = BARS.format("ETH", "2024-01-08")
    sandbox.app.state.overrides[bad] = b"not a zip"
    with mine.instance() as instance:
        assert not mine.execute(everything, instance).success
        assert instance.get_materialized_partitions(ETH[0]) == {
            str(day) for day in days_between(START, date(2024, 1, 11)) if day != date(2024, 1, 8)
        }
    requests = evaluate(mine, name, at(14, 13))
    # As few runs as `fill` makes for the same gaps.
    assert sorted(map(asked, requests)) == [
        (sorted(BTC + ETH), "2024-01-12", "2024-01-13"),
        (sorted(ETH), "2024-01-08", "2024-01-08"),
    ]

    del sandbox.app.state.overrides[bad]
    with mine.instance() as instance:
        assert all(mine.execute(request, instance).success for request in requests)
    assert evaluate(mine, name, at(14, 13)) == "nothing is missing"
    assert {record.state for record in mine.records().values()} == {State.AVAILABLE}
    assert len(mine.records()) == 2 * 9
