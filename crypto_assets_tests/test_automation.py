"""What happens by itself: the listing sensor, the daily schedule, and the one that fills gaps."""

from __future__ import annotations

import json
import socket
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from crypto_assets.collection import watch
from crypto_assets.collection.http import Client
from crypto_assets.collection.ledger import Ledger
from crypto_assets.errors import HostUnreachable
from crypto_assets.model import State, days_between
from crypto_assets.resources import PostgresResource
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.project import entry, key

START, LAST = date(2024, 1, 5), date(2024, 1, 20)
BARS = "data/spot/daily/klines/{0}USDT/1m/{0}USDT-1m-{1}.zip"
BTC = [key("binance/spot/BTC-USDT/ohlcv_1m"), key("warehouse/binance/spot/BTC-USDT/ohlcv")]
ETH = [key("binance/spot/ETH-USDT/ohlcv_1m"), key("warehouse/binance/spot/ETH-USDT/ohlcv")]


@pytest.fixture(scope="module")
def server():
    symbols = {"spot": dict.fromkeys(("BTCUSDT", "ETHUSDT"), (START, LAST))}
    with SandboxServer(SyntheticArchive(symbols, seed=11, trades_per_day=1_440)) as running:
        yield running


@pytest.fixture
def sandbox(server):
    """The exchange, with nothing hidden and no request remembered; `.app.state.source.now` is its clock."""
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
    """Set the exchange's clock: this day's files are the last that are there."""
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
    """The sensor of the first entry, evaluated as the daemon does: the cursor is kept where the tick succeeds."""

    def __init__(self, mine: project.Project, instance: dg.DagsterInstance) -> None:
        self.mine, self.instance = mine, instance
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest] | str:
        """Return what is requested, or why nothing is."""
        sensor = self.mine.definitions().get_repository_def().get_sensor_def("new_files_binance_spot_0")
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"postgres": PostgresResource()}
        ) as context:
            answer = sensor(context)
        if isinstance(answer, dg.SkipReason):
            self.cursor = context.cursor
            return str(answer.skip_message)
        self.cursor = answer.cursor
        return list(answer.run_requests)


@pytest.fixture
def sensor(mine):
    with mine.instance() as instance:
        yield Sensor(mine, instance)


def test_new_files_are_requested_once_as_one_run_of_what_they_are(sensor, sandbox):
    published_until(sandbox, date(2024, 1, 8))
    (first,) = sensor.tick()
    assert asked(first) == (sorted(BTC + ETH), "2024-01-05", "2024-01-08")
    assert sensor.tick() == "the archive lists nothing new"

    hide(sandbox, BARS.format("ETH", "2024-01-09"))
    published_until(sandbox, date(2024, 1, 9))
    (second,) = sensor.tick()
    assert asked(second) == (sorted(BTC), "2024-01-09", "2024-01-09")
    assert second.run_key != first.run_key
    assert sensor.tick() == "the archive lists nothing new"


def test_a_look_with_nothing_new_costs_one_request_for_each_symbol(sensor, sandbox):
    sensor.tick()
    sandbox.forget_requests()
    assert sensor.tick() == "the archive lists nothing new"
    assert [path for _, path in sandbox.requests()] == ["/listing"] * 2


def test_a_file_that_appears_behind_newer_ones_is_found(sensor, sandbox):
    hide(sandbox, BARS.format("BTC", "2024-01-07"))
    published_until(sandbox, date(2024, 1, 9))
    requests = sensor.tick()
    assert sorted(map(asked, requests)) == [
        (sorted(BTC), "2024-01-05", "2024-01-06"),
        (sorted(BTC), "2024-01-08", "2024-01-09"),
        (sorted(ETH), "2024-01-05", "2024-01-09"),
    ]
    show(sandbox, BARS.format("BTC", "2024-01-07"))
    (late,) = sensor.tick()
    assert asked(late) == (sorted(BTC), "2024-01-07", "2024-01-07")
    assert sensor.tick() == "the archive lists nothing new"


def test_what_is_stored_is_requested_again_only_when_the_exchange_publishes_it_again(sensor, sandbox, mine):
    published_until(sandbox, date(2024, 1, 7))
    (request,) = sensor.tick()
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

    sensor.cursor = None  # a sensor that was reset looks at everything again
    assert sensor.tick() == "the archive lists nothing new"

    source, name = sandbox.app.state.source, BARS.format("BTC", "2024-01-06")
    other = (
        source.read(BARS.format("BTC", "2024-01-06")) + b"\0"
    )  # other bytes, the same rows: zips may end in anything
    sandbox.app.state.overrides[name] = other
    (again,) = sensor.tick()
    assert asked(again) == (sorted(BTC), "2024-01-06", "2024-01-06")
    assert sensor.tick() == "the archive lists nothing new"


def test_a_host_that_is_down_fails_the_tick_by_name_and_loses_nothing(sensor, sandbox, mine):
    published_until(sandbox, date(2024, 1, 6))
    assert len(sensor.tick()) == 1
    cursor = sensor.cursor
    published_until(sandbox, date(2024, 1, 8))
    urls = mine.content["exchanges"]["binance"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    right, urls["listing_url"] = urls["listing_url"], f"http://127.0.0.1:{port}/listing"
    with pytest.raises(HostUnreachable, match=f"127.0.0.1:{port}"):
        sensor.tick()
    assert sensor.cursor == cursor
    urls["listing_url"] = right
    (request,) = sensor.tick()
    assert asked(request) == (sorted(BTC + ETH), "2024-01-07", "2024-01-08")


def test_a_look_that_takes_too_long_goes_on_where_it_stopped(sandbox, mine, monkeypatch):
    monkeypatch.setattr(watch, "LISTINGS", 1)
    collection = mine.collection
    part = collection.series[0]
    PostgresResource().resolved_url()
    with Client() as client, Ledger(mine.postgres_url) as ledger:

        def look(seen: watch.Seen, begin: str) -> watch.News:
            return watch.look(client, collection, part, ledger, seen, date(2024, 1, 21), begin, budget_s=0)

        first = look({}, "")
        second = look(first.seen, first.begin)
        third = look(second.seen, second.begin)
    (bars,) = part.series
    days = days_between(START, LAST)
    assert first.days == {(bars, "BTC/USDT"): days}
    assert first.begin == "data/spot/daily/klines/ETHUSDT/1m/"
    assert second.days == {(bars, "ETH/USDT"): days}
    assert second.begin == "data/spot/daily/klines/BTCUSDT/1m/"
    assert third.days == {}


def test_the_cursor_stays_small(sensor, sandbox):
    sensor.tick()
    seen = json.loads(sensor.cursor)["seen"]
    assert {prefix: len(recent) for prefix, recent in seen.items()} == {
        f"data/spot/daily/klines/{name}/1m/": watch.RECENT for name in ("BTCUSDT", "ETHUSDT")
    }
    assert max(seen["data/spot/daily/klines/BTCUSDT/1m/"]) == f"BTCUSDT-1m-{LAST}.zip"


# ---- schedules --------------------------------------------------------------------------------------------------------


def evaluate(mine: project.Project, name: str, at: datetime) -> list[dg.RunRequest] | str:
    """Return what a schedule requests at an instant, or why nothing is."""
    with mine.instance() as instance:
        schedule = mine.definitions().get_repository_def().get_schedule_def(name)
        with dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at, resources={"postgres": PostgresResource()}
        ) as context:
            answer = schedule(context)
    if isinstance(answer, dg.SkipReason):
        return str(answer.skip_message)
    return answer if isinstance(answer, list) else [answer]


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def test_each_morning_the_last_three_days_of_everything_are_collected(mine):
    (request,) = evaluate(mine, "daily_binance_spot_0", at(15))
    assert asked(request) == (sorted(BTC + ETH), "2024-01-12", "2024-01-14")
    (next_day,) = evaluate(mine, "daily_binance_spot_0", at(16))
    assert asked(next_day) == (sorted(BTC + ETH), "2024-01-13", "2024-01-15")
    assert request.run_key != next_day.run_key
    assert evaluate(mine, "daily_binance_spot_0", at(15))[0].run_key == request.run_key


def test_the_first_mornings_of_an_entry_do_not_ask_for_days_before_its_start(mine):
    (request,) = evaluate(mine, "daily_binance_spot_0", at(7))
    assert asked(request) == (sorted(BTC + ETH), "2024-01-05", "2024-01-06")
    assert evaluate(mine, "daily_binance_spot_0", at(5)) == "the entry starts on 2024-01-05"


def test_gaps_are_exactly_the_days_that_are_not_complete(mine, sandbox):
    name = "fill_gaps_binance_spot_0"
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
    assert sorted(map(asked, requests)) == [
        (sorted(BTC), "2024-01-12", "2024-01-13"),
        (sorted(ETH), "2024-01-08", "2024-01-08"),
        (sorted(ETH), "2024-01-12", "2024-01-13"),
    ]

    del sandbox.app.state.overrides[bad]
    with mine.instance() as instance:
        assert all(mine.execute(request, instance).success for request in requests)
    assert evaluate(mine, name, at(14, 13)) == "nothing is missing"
    assert {record.state for record in mine.records().values()} == {State.AVAILABLE}
    assert len(mine.records()) == 2 * 9
