"""Stored days checked again by a person, a job and a schedule: the command, Dagster's events, and the other sources."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from crypto_assets.defs.assets import COMPARE_TAG
from crypto_assets.defs.requests import range_request
from crypto_assets.model import STORED_FILE, Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests import project
from crypto_assets_tests.command import no_traceback
from crypto_assets_tests.project import Project, entry, key
from crypto_assets_tests.published import checksum_of, text_of, zip_of

FIRST, DAY, LAST, END = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 31)
BTC, BARS = "BTC/USDT", Series("binance", "spot", "ohlcv", "1m")
ASSETS = [key("binance/spot/ohlcv_1m/BTC-USDT"), key("binance/spot/trades/BTC-USDT")]
MONTH = "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, END)}}, seed=4, trades_per_day=2_000)) as server:
        yield server


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch):
    yield project.make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m", "trades"], ["BTC/USDT"], FIRST))
    sandbox.app.state.overrides.clear()


def test_the_command_tells_what_it_found_and_fails_for_damage(mine: Project) -> None:
    collect, clean = mine.command.sequence(f"collect --from {FIRST} --to {LAST}", f"validate --to {LAST} --json")
    assert (collect.code, clean.code) == (0, 0), clean.err
    assert clean.json["days"] == 6
    assert clean.json["failed"] == []
    assert clean.json["checks"]["agrees_with_bars"] == {"passed": 3, "failed": 0, "not judged": 0}
    assert clean.json["checks"]["complete"] == {"passed": 6, "failed": 0, "not judged": 0}

    lake = Lake(str(mine.home / "lake"))
    lake.delete(BARS, Partition(BTC, DAY))
    damaged, status, filled, again = mine.command.sequence(
        f"validate --to {LAST}", f"gaps --to {LAST}", f"fill --to {LAST}", f"validate --to {LAST} --strict"
    )
    assert damaged.code == 1
    assert f"binance spot {BTC} ohlcv_1m {DAY}: {STORED_FILE}: " in damaged.out
    assert "data.parquet: expected a file, found none" in damaged.out
    assert "expected a file, found none" in damaged.out
    assert status.code == 1
    assert f"{DAY}" in status.out
    assert (filled.code, again.code) == (0, 0), again.out
    assert all(no_traceback(answer) for answer in (damaged, status, filled, again))
    assert {record.state for record in mine.records().values()} == {State.AVAILABLE}


def test_a_warning_is_shown_and_is_an_error_where_that_is_wanted(mine: Project, sandbox: SandboxServer) -> None:
    lines = [line.split(",") for line in text_of(sandbox.app.state.source.read(MONTH)).splitlines()]
    lines[1_440 + 5][8] = "999"  # trades of a minute of the second day
    sandbox.app.state.overrides[MONTH] = content = zip_of(MONTH, "".join(",".join(cells) + "\n" for cells in lines))
    sandbox.app.state.overrides[f"{MONTH}.CHECKSUM"] = checksum_of(MONTH, content)
    _, shown, strict = mine.command.sequence(
        f"collect --from {FIRST} --to {LAST} --dataset ohlcv_1m",
        f"validate --to {LAST} --dataset ohlcv_1m --monthly",
        f"validate --to {LAST} --dataset ohlcv_1m --strict",
    )
    assert (shown.code, strict.code) == (0, 1)
    line = f"binance spot {BTC} ohlcv_1m {DAY}: agrees_with_monthly:"
    assert line in shown.out
    assert "trade_count" in shown.out
    assert line in strict.out  # an earlier finding stays without a new request
    assert shown.out.count("agrees_with_monthly:") == 1


def test_wrong_words_are_told_so(mine: Project) -> None:
    unknown, symbol = mine.command.sequence("validate --dataset nothing", "validate --symbol BTC/USDR")
    assert (unknown.code, symbol.code) == (2, 2)
    assert "did you mean BTC/USDT" in symbol.message


def test_the_job_of_an_entry_checks_what_is_stored_and_dagster_shows_the_differing_rows(
    mine: Project, sandbox: SandboxServer
) -> None:
    of = f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{DAY}.zip"
    lines = [line.split(",") for line in text_of(sandbox.app.state.source.read(of)).splitlines()]
    lines[77][8] = "999"
    sandbox.app.state.overrides[of] = content = zip_of(of, "".join(",".join(cells) + "\n" for cells in lines))
    sandbox.app.state.overrides[f"{of}.CHECKSUM"] = checksum_of(of, content)
    check = dg.AssetCheckKey(ASSETS[1], "agrees_with_bars")
    with mine.instance() as instance:
        assert mine.execute(range_request(ASSETS, FIRST, LAST, "a test"), instance).success
        job = mine.definitions().get_repository_def().get_job("validate_binance_spot")
        assert job.execute_in_process(instance=instance).success
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=20)
        found = [record.event.dagster_event.event_specific_data for record in history if record.event]
    days = {one.partition: one for one in found}  # the first run's events are last
    assert {day: one.passed for day, one in days.items() if day} == {str(FIRST): True, str(DAY): False, str(LAST): True}
    assert len(found) == 8  # two runs of three days, and a summary of each
    wrong = days[str(DAY)]
    assert wrong.severity is dg.AssetCheckSeverity.WARN
    (row,) = wrong.metadata["differences"].records
    assert row.data["open_time"].startswith(f"{DAY}")
    assert (row.data["column"], row.data["bars"]) == ("trade_count", "999")
    summary = days[None]  # shows the day that a person would open next
    assert (summary.metadata["days_failed"].value, summary.metadata["shown_day"].value) == (1, str(DAY))
    assert summary.metadata["differences"] == wrong.metadata["differences"]


def test_once_a_week_the_month_before_is_compared_with_its_file(mine: Project) -> None:
    with mine.instance() as instance:
        repository = mine.definitions().get_repository_def()
        schedule = repository.get_schedule_def("reconcile")
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2024, 2, 12, 5, tzinfo=UTC),
            repository_def=repository,
        ) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.tags[COMPARE_TAG] == "monthly"
    assert request.tags["dagster/asset_partition_range_start"] == str(FIRST)
    assert request.tags["dagster/asset_partition_range_end"] == str(END)
    assert request.asset_selection == []
    with mine.instance() as instance:
        assert mine.execute(range_request(ASSETS, FIRST, FIRST + timedelta(days=1), "a test"), instance).success
        assert mine.execute(request, instance).success
    found = mine.records()[BTC, "ohlcv_1m", DAY].findings["agrees_with_monthly"]
    assert (found["passed"], found["compared"]) == (True, 1_440)
