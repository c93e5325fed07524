"""The schedules over several entries, and what Dagster's daemon makes of their requests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from crypto_assets.defs import schedules
from crypto_assets.defs.assets import COMPARE_TAG
from crypto_assets.defs.requests import Part, is_unfinished, unfinished
from crypto_assets.errors import CryptoAssetsError, StoredDataError
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.defs.test_automation import asked, at, evaluate
from crypto_assets_tests.project import entry, key

START = date(2024, 1, 5)
BTC = [key("binance/spot/ohlcv_1m/BTC-USDT"), key("warehouse/binance/spot/ohlcv/BTC-USDT")]
ETH = [key("binance/spot/ohlcv_1m/ETH-USDT"), key("warehouse/binance/spot/ohlcv/ETH-USDT")]


class Nowhere:
    """The addresses of an exchange that is never asked."""

    archive_url = "http://127.0.0.1:1"
    listing_url = "http://127.0.0.1:1/listing"


def make(tmp_path: Any, postgres_url: str, monkeypatch: Any, **btc: Any) -> project.Project:
    """Return a project with two entries, which start on different days and use REST."""
    rest = {"rest": True}
    entries = [
        entry(["ohlcv_1m"], ["BTC/USDT"], START) | rest | {"name": "btc"} | btc,
        entry(["ohlcv_1m"], ["ETH/USDT"], START + timedelta(days=2)) | rest | {"name": "eth"},
    ]
    mine = project.make(Nowhere(), tmp_path, postgres_url, monkeypatch, *entries)  # type: ignore[arg-type]
    migrate(postgres_url)
    return mine


@pytest.fixture
def mine(tmp_path, postgres_url, monkeypatch) -> project.Project:
    return make(tmp_path, postgres_url, monkeypatch)


def test_each_entry_is_requested_alone_and_for_its_own_days(mine):
    found = sorted(map(asked, evaluate(mine, "fill_gaps", at(10, 13))))
    assert found == [(sorted(BTC), "2024-01-05", "2024-01-09"), (sorted(ETH), "2024-01-07", "2024-01-09")]
    assert sorted(map(asked, evaluate(mine, "today", at(10, 12, 1)))) == [
        (sorted(BTC), "2024-01-10", "2024-01-10"),
        (sorted(ETH), "2024-01-10", "2024-01-10"),
    ]
    compared = evaluate(mine, "reconcile", datetime(2024, 2, 12, 5, tzinfo=UTC))
    assert [(r.tags[COMPARE_TAG], r.tags["dagster/asset_partition_range_start"]) for r in compared] == [
        ("monthly", "2024-01-05"),
        ("rest", "2024-02-05"),
        ("monthly", "2024-01-07"),
        ("rest", "2024-02-05"),
    ]
    assert [{check.asset_key for check in request.asset_check_keys} for request in compared] == [
        set(BTC),
        set(BTC),
        set(ETH),
        set(ETH),
    ]


def test_an_entry_that_fails_is_named_and_the_other_one_is_filled(mine, monkeypatch):
    gaps = schedules.gaps

    def broken(collection, ledger, today, entries, **options):
        if entries[0].name == "btc":
            raise StoredDataError("its record is damaged")
        return gaps(collection, ledger, today, entries, **options)

    monkeypatch.setattr(schedules, "gaps", broken)
    assert list(map(asked, evaluate(mine, "fill_gaps", at(10, 13)))) == [(sorted(ETH), "2024-01-07", "2024-01-09")]
    with pytest.raises(CryptoAssetsError, match="btc: its record is damaged"):
        evaluate(mine, "fill_gaps", at(6, 13))


def test_an_entry_that_fails_does_not_stop_today_late_days_and_comparing_of_the_others(
    tmp_path, postgres_url, monkeypatch
):
    mine = make(tmp_path, postgres_url, monkeypatch)
    for one in mine.content["series"]:
        one["automation"] = {"new_files": False}  # so its last days are requested in the morning

    def breaking(requests):
        def broken(*arguments):
            if any(isinstance(one, Part) and one.name == "btc" for one in arguments):
                raise StoredDataError("its record is damaged")
            return requests(*arguments)

        return broken

    for name in ("_of_today", "_late_days", "_to_compare"):
        monkeypatch.setattr(schedules, name, breaking(getattr(schedules, name)))
    assert [asked(one)[0] for one in evaluate(mine, "today", at(10, 12, 1))] == [sorted(ETH)]
    assert [asked(one)[0] for one in evaluate(mine, "fill_gaps", at(10, 8, 30))] == [sorted(ETH)]
    compared = evaluate(mine, "reconcile", datetime(2024, 2, 12, 5, tzinfo=UTC))
    assert [{check.asset_key for check in request.asset_check_keys} for request in compared] == [set(ETH), set(ETH)]


def test_an_entry_says_how_often_today_is_collected(tmp_path, postgres_url, monkeypatch):
    mine = make(tmp_path, postgres_url, monkeypatch, automation={"today": "15m"})
    schedule = mine.definitions().get_repository_def().get_schedule_def("today")
    assert schedule.cron_schedule == "1-59/15 * * * *"
    assert [asked(one)[0] for one in evaluate(mine, "today", at(10, 12, 16))] == [sorted(BTC)]
    assert [asked(one)[0] for one in evaluate(mine, "today", at(10, 12, 1))] == [sorted(BTC), sorted(ETH)]


def test_an_entry_where_all_is_off_is_in_no_switch(tmp_path, postgres_url, monkeypatch):
    mine = make(tmp_path, postgres_url, monkeypatch, automation=False)
    assert [asked(one)[0] for one in evaluate(mine, "today", at(10, 12, 1))] == [sorted(ETH)]
    assert [asked(one)[0] for one in evaluate(mine, "fill_gaps", at(10, 13))] == [sorted(ETH)]
    sensor = mine.definitions().get_repository_def().get_sensor_def("new_files")
    assert sensor.asset_selection == dg.AssetSelection.assets(*sorted(ETH))


@pytest.mark.parametrize(("under_up", "on"), [("true", True), ("false", False)])
def test_a_switch_is_on_from_the_start_where_the_file_and_the_environment_say_so(
    tmp_path, postgres_url, monkeypatch, under_up, on
):
    mine = make(tmp_path, postgres_url, monkeypatch)
    mine.content["automation"] = {"reconcile": False}
    monkeypatch.setenv("CRYPTO_ASSETS_AUTOMATION", under_up)
    repository = mine.definitions().get_repository_def()
    running = {s.name for s in repository.schedule_defs if s.default_status is dg.DefaultScheduleStatus.RUNNING}
    running |= {s.name for s in repository.sensor_defs if s.default_status is dg.DefaultSensorStatus.RUNNING}
    assert running & {"new_files", "today", "fill_gaps", "reconcile"} == (
        {"new_files", "today", "fill_gaps"} if on else set()
    )


# ---- by Dagster's daemon ----------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(mine) -> Iterator[Any]:
    """Dagster's scheduler over the project's own instance: `tick(name, at)` returns the runs that it has queued."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name="crypto_assets_tests.defs.sensor_definitions", executable_path=sys.executable)
    )
    sys.modules.pop("crypto_assets_tests.defs.sensor_definitions", None)
    logger = logging.getLogger("scheduler")
    with (
        mine.instance() as instance,
        create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget([origin]), instance) as context,
    ):
        (location,) = context.create_request_context().get_code_location_entries().values()
        assert location.code_location, location.load_error
        (repository,) = location.code_location.get_repositories().values()

        def tick(name: str, at: datetime) -> list[dg.DagsterRun]:
            before = {run.run_id for run in instance.get_runs()}
            with freeze_time(at - timedelta(seconds=30)):
                schedule = repository.get_schedule(name)
                instance.start_schedule(schedule)
            with freeze_time(at + timedelta(seconds=1)):
                list(launch_scheduled_runs(context, logger, at + timedelta(seconds=1), {}))
            instance.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)
            return [run for run in instance.get_runs() if run.run_id not in before]

        yield tick, instance


def test_the_daemon_queues_a_run_for_each_entry_and_days_in_the_queue_are_not_requested_again(mine, daemon):
    tick, instance = daemon
    found = tick("fill_gaps", at(10, 13))
    assert [run.status for run in found] == [dg.DagsterRunStatus.QUEUED] * 2
    assert sorted(sorted(run.asset_selection or ()) for run in found) == sorted([sorted(BTC), sorted(ETH)])
    parts = [Part(mine.collection, entry) for entry in mine.collection.series]
    requested = unfinished(instance, parts)
    (btc,), (eth,) = (part.tracks for part in parts)
    assert is_unfinished(requested, btc, START)
    assert not is_unfinished(requested, btc, date(2024, 1, 10))
    assert not is_unfinished(requested, eth, START)

    later = tick("fill_gaps", at(12, 13))
    assert sorted(run.tags["dagster/asset_partition_range_start"] for run in later) == ["2024-01-10", "2024-01-10"]
    for run in [*found, *later]:
        instance.report_run_canceled(run)
    assert {run.tags["dagster/asset_partition_range_start"] for run in tick("fill_gaps", at(13, 13))} == {
        "2024-01-05",
        "2024-01-07",
    }


def test_the_daemon_queues_one_run_of_today_until_it_has_ended_and_checks_alone_on_mondays(mine, daemon):
    tick, instance = daemon
    today = datetime.now(UTC).replace(hour=12, minute=1, second=0, microsecond=0)
    first = tick("today", today)
    assert len(first) == 2
    assert tick("today", today + timedelta(hours=1)) == []
    for run in first:
        instance.report_run_canceled(run)
    assert len(tick("today", today + timedelta(hours=2))) == 2

    compared = tick("reconcile", datetime(2024, 2, 12, 5, tzinfo=UTC))
    assert len(compared) == 4
    assert {run.asset_selection for run in compared} == {frozenset()}
    assert all(run.asset_check_selection for run in compared)
