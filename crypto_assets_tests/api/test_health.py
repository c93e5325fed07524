"""Dagster's health of an asset with incomplete days: never green, and every red day gives the reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from crypto_assets.defs.asset_checks import Summary
from crypto_assets.defs.recovery import report_unreported
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests import project
from crypto_assets_tests.defs.ui import Ui, looking_at
from crypto_assets_tests.project import Project, entry, key
from crypto_assets_tests.published import checksum_of, text_of, zip_of

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 8)
LAKE, TABLE = "binance/spot/ohlcv_1m/BTC-USDT", "warehouse/binance/spot/ohlcv/BTC-USDT"
PARTIAL, LOST = date(2024, 1, 3), date(2024, 1, 5)


def key_of(day: Any, frequency: str = "daily") -> str:
    return f"data/spot/{frequency}/klines/BTCUSDT/1m/BTCUSDT-1m-{day}.zip"


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}}, seed=3, trades_per_day=6_000)) as server:
        yield server


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch) -> Project:
    return project.make(
        sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], FIRST) | {"end": LAST}
    )


def publish(sandbox: SandboxServer, day: date, content: bytes | None) -> None:
    """Make the archive serve other bytes of a day, or (None) neither its file nor that of its month."""
    overrides = sandbox.app.state.overrides
    if content is None:
        overrides |= {
            f"{key_of(d, f)}{e}": None for d, f in ((day, "daily"), ("2024-01", "monthly")) for e in ("", ".CHECKSUM")
        }
    else:
        overrides |= {key_of(day): content, f"{key_of(day)}.CHECKSUM": checksum_of(key_of(day), content)}


def without_minutes(sandbox: SandboxServer, day: date, first: int, count: int) -> bytes:
    lines = text_of(sandbox.app.state.source.read(key_of(day))).splitlines(keepends=True)
    return zip_of(key_of(day), "".join(lines[:first] + lines[first + count :]))


def collect(mine: Project, first: date, last: date, *, complete: bool = True) -> str:
    """Collect some days as one run, as the command line does, but in this process; return why it failed."""
    tags = {"crypto_assets/why": "command line"}  # a command at a terminal reports an unreachable host at once
    tags |= (
        {"dagster/partition": str(first)}
        if first == last
        else {
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last),
        }
    )
    with mine.instance() as instance:
        result = mine.execute(dg.RunRequest(asset_selection=[key(LAKE), key(TABLE)], tags=tags), instance)
    assert result.success is complete
    return "" if complete else result.get_step_failure_events()[0].step_failure_data.error.message


def health(ui: Ui, asset: str) -> tuple[str, str, str]:
    found = ui.health(asset)
    return found["assetHealth"], found["materializationStatus"], found["assetChecksStatus"]


def test_an_asset_is_degraded_as_long_as_a_day_is_and_healthy_when_it_is_mended(mine, sandbox):
    publish(sandbox, PARTIAL, without_minutes(sandbox, PARTIAL, 600, 25))
    collect(mine, FIRST, date(2024, 1, 4), complete=False)
    with looking_at(mine) as ui:
        assert mine.records()["BTC/USDT", "ohlcv_1m", PARTIAL].state is State.DEGRADED
        for asset in (LAKE, TABLE):
            assert health(ui, asset) == ("DEGRADED", "HEALTHY", "DEGRADED"), asset
            assert ui.counts(asset) == (4, 0, 0)
        checks = ui.checks(LAKE)
        assert checks["complete"]["status"] == "FAILED"
        assert checks["complete"]["evaluation"]["severity"] == "ERROR"
        assert str(PARTIAL) in checks["complete"]["evaluation"]["description"]
        assert (
            "Incomplete: 5 of 8 days: partial 2024-01-03; 4 days not collected yet"
            in checks["all_days_complete"]["evaluation"]["description"]
        )
        assert checks["contract"]["status"] == "SUCCEEDED"

        # Good days collected later, many or one, hide nothing.
        for first, last in ((date(2024, 1, 5), date(2024, 1, 6)), (date(2024, 1, 7), date(2024, 1, 7))):
            collect(mine, first, last)
            for asset in (LAKE, TABLE):
                assert health(ui, asset) == ("DEGRADED", "HEALTHY", "DEGRADED"), (asset, first)

        publish(sandbox, PARTIAL, sandbox.app.state.source.read(key_of(PARTIAL)))
        answer = mine.command("fill")
        assert answer.code == 0, answer.err
        for asset in (LAKE, TABLE):
            overall, days, _ = health(ui, asset)
            assert (overall, days) == ("HEALTHY", "HEALTHY"), asset
        assert health(ui, TABLE)[2] == "HEALTHY"
        assert ui.checks(LAKE)["all_days_complete"]["evaluation"]["description"].startswith("All 8 days")


def test_a_day_that_cannot_be_had_is_red_and_says_why(mine, sandbox):
    collect(mine, FIRST, FIRST)
    publish(sandbox, LOST, None)
    said = collect(mine, FIRST, LAST, complete=False)
    assert str(LOST) in said
    with looking_at(mine) as ui:
        for asset in (LAKE, TABLE):
            assert ui.counts(asset) == (7, 1, 0), asset
            assert health(ui, asset) == ("DEGRADED", "DEGRADED", "DEGRADED"), asset
            (seen,) = ui.observed(asset, LOST)
            record = mine.records()["BTC/USDT", "ohlcv_1m", LOST]
            assert (seen["state"], seen["reason"]) == (record.state.value, record.reason) == ("missing", record.reason)
            assert seen["cause"] == "upstream_absent_file"
            assert "crypto-assets" in seen["what to do"]
            assert seen[""] == f"Missing: {record.reason}"
            assert ui.observed(asset, FIRST) == []
        sandbox.app.state.overrides.clear()
        collect(mine, LOST, LOST)
        for asset in (LAKE, TABLE):
            assert ui.counts(asset) == (8, 0, 0), asset
            assert health(ui, asset)[:2] == ("HEALTHY", "HEALTHY"), asset


def test_days_that_were_never_collected_and_today_count_as_gaps_counts_them(mine, sandbox):
    publish(sandbox, PARTIAL, without_minutes(sandbox, PARTIAL, 600, 25))
    collect(mine, FIRST, PARTIAL, complete=False)
    bars = Series.named("binance", "spot", "ohlcv_1m")

    def judged(today: date) -> list[tuple[bool | None, str, Any]]:
        with Ledger(mine.postgres_url) as ledger, mine.instance() as instance:
            found = list(Summary(mine.collection, ledger, instance, today).of_tracks([(bars, "BTC/USDT")]))
        return [(one.passed, one.description, one.severity) for one in found if one.check_name == "all_days_complete"]

    why = ". `crypto-assets gaps` says why."
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    # Nothing is expected of an unfinished day, although its stored part has missing rows.
    assert judged(PARTIAL) == [(True, "All 2 days are complete.", warn)] * 2
    partial = f"Incomplete: 1 of 3 days: partial {PARTIAL}{why}"
    assert judged(PARTIAL + timedelta(days=1)) == [(False, partial, error)] * 2
    both = f"Incomplete: 2 of 4 days: partial {PARTIAL}; 1 day not collected yet{why}"
    assert judged(PARTIAL + timedelta(days=2)) == [(False, both, error)] * 2
    publish(sandbox, PARTIAL, sandbox.app.state.source.read(key_of(PARTIAL)))
    collect(mine, PARTIAL, PARTIAL)
    file = mine.home / "lake" / Lake(str(mine.home / "lake")).path(bars, Partition("BTC/USDT", FIRST))
    away = file.rename(file.with_suffix(".away"))
    lost = f"Incomplete: 1 of 3 days: missing {FIRST}{why}"
    assert judged(PARTIAL + timedelta(days=1)) == [(False, lost, error)] * 2
    away.rename(file)
    fresh = f"Incomplete: 5 of 8 days: 5 days not collected yet{why}"
    assert judged(date(2025, 1, 1)) == [(False, fresh, warn)] * 2


def test_fill_and_collect_and_gaps_agree_on_settled_and_acknowledged_days(mine, sandbox):
    publish(sandbox, PARTIAL, without_minutes(sandbox, PARTIAL, 600, 25))
    publish(sandbox, LOST, b"not a zip")
    collect(mine, FIRST, LAST, complete=False)
    publish(sandbox, LOST, sandbox.app.state.source.read(key_of(LOST)))
    which = ["--symbol", "BTC/USDT", "--dataset", "ohlcv_1m", "--from", str(PARTIAL), "--to", str(PARTIAL)]
    # One day is collected, another cannot be completed now: first together, then alone.
    for states in ({"available": 1}, {}):
        answer = mine.command("fill", "--json")
        assert answer.code == 1, "a gap is open"
        assert "1 partial day: the archive has no file other than" in answer.err
        assert answer.json["states"] == states
        assert [(one["day"], one["state"]) for one in answer.json["problems"]] == [(str(PARTIAL), "degraded")]
    assert mine.command("collect", *which).code == 1
    assert mine.command("gaps", "acknowledge", *which, "--reason", "the exchange says so").code == 0
    answer = mine.command("collect", *which, "--json")
    assert (answer.code, answer.json["problems"], answer.json["acknowledged"]) == (0, [], 1)
    assert "1 day is as acknowledged" in answer.err
    with mine.instance() as instance:
        (last,) = instance.get_runs(limit=1)
        assert last.is_success
    assert mine.command("validate", *which).code == 0
    assert mine.command("gaps").code == 0


def test_a_partial_day_that_somebody_accepts_is_counted_apart(mine, sandbox):
    publish(sandbox, PARTIAL, without_minutes(sandbox, PARTIAL, 600, 25))
    collect(mine, FIRST, LAST, complete=False)
    with looking_at(mine) as ui, mine.instance() as instance, Ledger(mine.postgres_url) as ledger:
        known = {asset: len(instance.fetch_materializations(key(asset), limit=100).records) for asset in (LAKE, TABLE)}
        checks = [dg.AssetCheckKey(key(LAKE), name) for name in ("contract", "complete")]
        assert instance.event_log_storage.failing_checks(checks) == checks[1:]
        assert instance.event_log_storage.failing_checks([]) == []
        for options, expected in ((["--reason", "the exchange confirmed it"], "HEALTHY"), (["--withdraw"], "DEGRADED")):
            which = ["--symbol", "BTC/USDT", "--dataset", "ohlcv_1m", "--from", str(PARTIAL), "--to", str(PARTIAL)]
            answer = mine.command("gaps", "acknowledge", *which, *options)
            assert answer.code == 0, answer.err
            assert report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) == 1
            for asset in (LAKE, TABLE):
                assert health(ui, asset)[0] == expected, (asset, options)
                assert ui.observed(asset, PARTIAL)[0][""].startswith("Acknowledged by ")
                assert len(instance.fetch_materializations(key(asset), limit=100).records) == known[asset], (
                    "the day is as it was: nothing that follows from it may start"
                )
            assert report_unreported(instance, mine.collection, ledger, settled=timedelta(0)) == 0
            found = ui.checks(LAKE)["all_days_complete"]["evaluation"]
            assert found["success"] is (expected == "HEALTHY")
            assert ("acknowledged (1)" in found["description"]) is (expected == "HEALTHY")


def test_a_file_that_is_gone_from_the_lake_makes_its_asset_degraded_though_no_check_of_rows_fails(mine, sandbox):
    collect(mine, FIRST, LAST)
    record = mine.records()["BTC/USDT", "ohlcv_1m", PARTIAL]
    (mine.home / "lake" / record.path).unlink()
    assert mine.command("validate").code == 1
    with looking_at(mine) as ui:
        assert mine.records()["BTC/USDT", "ohlcv_1m", PARTIAL].state is State.MISSING
        assert health(ui, LAKE)[0] == "DEGRADED"
        assert f"missing {PARTIAL}" in ui.checks(LAKE)["all_days_complete"]["evaluation"]["description"]


def test_a_stored_day_whose_new_version_is_refused_is_red_and_says_that_the_old_one_stays(mine, sandbox):
    collect(mine, FIRST, LAST)
    publish(sandbox, LOST, b"not a zip")
    collect(mine, LOST, LOST, complete=False)
    with looking_at(mine) as ui:
        for asset in (LAKE, TABLE):
            assert ui.counts(asset) == (7, 1, 0)
            assert health(ui, asset)[0] == "DEGRADED"
            (seen,) = ui.observed(asset, LOST)
            assert (seen["state"], seen["cause"]) == ("corrected", "upstream_bad_file")
            assert seen["earlier version"] == "stays in the lake and in the warehouse"
        # A good day later does not hide it.
        collect(mine, LAST, LAST)
        assert health(ui, LAKE)[2] == "DEGRADED"


def test_days_that_were_not_tried_say_which_host_did_not_answer(tmp_path, postgres_url, monkeypatch):
    source = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}}, seed=3, trades_per_day=6_000)
    with SandboxServer(source) as server:
        mine = project.make(server, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], FIRST))
        collect(mine, FIRST, FIRST)
    said = collect(mine, FIRST, date(2024, 1, 4), complete=False)
    assert said.count("\n") <= 3, "one sentence for all days"
    with looking_at(mine) as ui:
        days = days_between(FIRST, date(2024, 1, 4))
        found = [ui.observed(LAKE, day) for day in days]
        assert [len(one) for one in found] == [1] * 4
        assert {one[0]["cause"] for one in found} == {"our_failure"}
        assert all("crypto-assets fill" in one[0]["what to do"] for one in found)
        assert found[0][0]["state"] == "available"
        assert found[0][0][""].startswith("Available, but not collected again: ")
        assert {one[0]["state"] for one in found[1:]} == {"missing"}
        assert "127.0.0.1" in found[1][0]["reason"]


def test_a_check_without_anything_to_judge_has_no_result_and_makes_no_asset_red(mine, sandbox):
    collect(mine, FIRST, date(2024, 1, 2))
    with looking_at(mine) as ui:
        checks = ui.checks(LAKE)
        never = {"agrees_with_monthly", "agrees_with_rest", "outliers"}
        assert {name for name, execution in checks.items() if execution is None} >= never
        assert checks["price_step"]["status"] == "SUCCEEDED"
        # The other days were never collected: a reason to look, not a fault.
        assert health(ui, LAKE) == ("WARNING", "HEALTHY", "WARNING")
        # A failed run does not report them as failed.
        publish(sandbox, LOST, None)
        collect(mine, LOST, LOST, complete=False)
        assert {name for name, execution in ui.checks(LAKE).items() if execution is None} >= never
        assert ui.health(LAKE)["assetChecksStatusMetadata"]["numFailedChecks"] == 1


def test_a_table_that_somebody_emptied_fails_until_it_is_loaded_again(mine, sandbox):
    collect(mine, FIRST, LAST)

    def judged() -> tuple[str, str]:
        found = ui.checks(TABLE)["rows_match_lake"]
        return found["status"], found["evaluation"]["severity"]

    def check_alone() -> None:
        check = dg.AssetCheckKey(key(TABLE), "rows_match_lake")
        job = mine.definitions().get_repository_def().get_implicit_job_def_for_assets([check.asset_key])
        alone = job.get_subset(asset_selection=set(), asset_check_selection={check})
        with mine.instance() as instance:
            assert alone.execute_in_process(instance=instance, raise_on_error=False).success

    with looking_at(mine) as ui:
        assert judged()[0] == "SUCCEEDED"
        with psycopg.connect(mine.postgres_url) as connection:
            connection.execute("DELETE FROM market.ohlcv WHERE open_time < '2024-01-01 00:03Z' AND timeframe = '1m'")
        check_alone()
        assert judged() == ("FAILED", "ERROR")
        assert health(ui, TABLE)[0] == "DEGRADED"
        assert str(FIRST) in ui.checks(TABLE)["rows_match_lake"]["evaluation"]["description"]
        collect(mine, LAST, LAST)
        assert judged()[0] == "FAILED", "a good day later does not hide it"
        answer = mine.command("fill")
        assert answer.code == 0, answer.err
        assert judged()[0] == "SUCCEEDED"
        assert health(ui, TABLE)[0] == "HEALTHY"
        with psycopg.connect(mine.postgres_url) as connection:
            connection.execute("TRUNCATE market.ohlcv")
        check_alone()
        assert "Failed on 8 of 8 days" in ui.checks(TABLE)["rows_match_lake"]["evaluation"]["description"]
        collect(mine, FIRST, LAST)
        assert judged()[0] == "SUCCEEDED"
        with psycopg.connect(mine.postgres_url) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM market.ohlcv WHERE timeframe = '1m'").fetchone() or (0,)
        assert rows == 8 * 1440
