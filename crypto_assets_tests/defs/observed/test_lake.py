"""A stored file is deleted without Dagster: the asset of the lake reports it, and its check fails."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from crypto_assets.defs.observed import build_observed
from crypto_assets.defs.observed.lake import LAKE
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.defs.observed.ticks import Ticks
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9))) as server:
        yield server


@pytest.fixture
def work(sandbox, postgres_url, tmp_path):
    made = Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1h"], ["BTC/USDT"], FIRST))
    assert not made.collect(FIRST, LAST).tally.problems
    return made


def test_a_deleted_file_is_observed_with_its_day_and_fails_the_check_until_it_is_collected_again(work):
    ticks = Ticks(LAKE, work.collection, str(work.folder), work.url)
    observed, check = ticks()
    assert (observed.metadata["stored days lost"].value, check.passed) == (0, True)
    assert [one.passed for one in ticks()] == [True], "the check runs at every tick, and nothing is observed again"
    (path,) = (one for one in work.folder.rglob("*.parquet") if "2024-01-02" in str(one))
    path.unlink()
    observed, check = ticks()
    assert observed.metadata["stored days lost"].value == 1
    assert (
        "|binance spot ohlcv_1h BTC/USDT|2024-01-02|its file is missing in the lake"
        in observed.metadata["lost days"].value
    )
    assert check.asset_check_key == dg.AssetCheckKey(dg.AssetKey(["binance", "lake"]), "files_are_there")
    assert not check.passed
    assert check.description == "1 stored day is lost or damaged; `crypto-assets fill` collects it again"
    work.collect(FIRST, LAST)
    observed, check = ticks()
    assert (observed.metadata["stored days lost"].value, check.passed) == (0, True)


def test_the_check_can_be_run_at_any_time(work):
    (check,) = build_observed(LAKE, work.collection).checks
    resources = {"lake": LakeResource(url=str(work.folder)), "postgres": PostgresResource(url=work.url)}
    job = dg.Definitions(asset_checks=[check], resources=resources).get_implicit_global_asset_job_def()
    assert [one.passed for one in job.execute_in_process().get_asset_check_evaluations()] == [True]
    (path,) = (one for one in work.folder.rglob("*.parquet") if "2024-01-02" in str(one))
    path.unlink()
    assert [one.passed for one in job.execute_in_process().get_asset_check_evaluations()] == [False]


def test_the_check_run_by_hand_shows_what_it_found_and_the_sensor_what_is_so_later(work):
    ticks = Ticks(LAKE, work.collection, str(work.folder), work.url)
    (check,) = build_observed(LAKE, work.collection).checks
    resources = {"lake": LakeResource(url=str(work.folder)), "postgres": PostgresResource(url=work.url)}
    job = dg.Definitions(asset_checks=[check], resources=resources).get_implicit_global_asset_job_def()

    def lost_in_the_ui() -> int:
        (latest,) = ticks.instance.fetch_observations(ticks.spec.key, limit=1).records
        return latest.asset_observation.metadata["stored days lost"].value

    ticks()
    assert lost_in_the_ui() == 0
    (path,) = (one for one in work.folder.rglob("*.parquet") if "2024-01-02" in str(one))
    content = path.read_bytes()
    path.unlink()
    assert job.execute_in_process(instance=ticks.instance).success
    assert lost_in_the_ui() == 1
    path.write_bytes(content)
    assert len(ticks()) == 2, "the last tick saw the same, but the UI shows something else"
    assert lost_in_the_ui() == 0


@pytest.mark.parametrize(("url", "seconds"), [("s3://bucket/lake", 3600), ("/data/lake", 300)])
def test_a_lake_is_looked_at_as_often_as_listings_cost(work, monkeypatch, url, seconds):
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", url)
    assert build_observed(LAKE, work.collection).sensor.minimum_interval_seconds == seconds


def test_what_a_check_by_hand_found_is_not_the_last_word(work):
    """The sensor checks at every tick, whatever it saw before: a loss that was repaired and happened again is red."""
    ticks = Ticks(LAKE, work.collection, str(work.folder), work.url)
    ticks()
    (path,) = (one for one in work.folder.rglob("*.parquet") if "2024-01-02" in str(one))
    content = path.read_bytes()
    path.unlink()
    assert ticks()[-1].passed is False
    path.write_bytes(content)  # repaired, and checked by hand in between
    path.unlink()
    assert [one.passed for one in ticks()] == [False]


def test_a_day_that_a_run_publishes_while_the_lake_is_listed_is_not_lost(work, monkeypatch):
    sizes = Lake.sizes
    published = []

    def slow(self: Lake, series: Series, symbol: str, first: date, last: date) -> dict[str, int]:
        found = sizes(self, series, symbol, first, last)
        if not published:  # another version replaces it between the two looks
            published.append(True)
            found = {day: size + (day == "2024-01-02") for day, size in found.items()}
        return found

    monkeypatch.setattr(Lake, "sizes", slow)
    with Ledger(work.url) as ledger:
        assert lost_days(ledger, Lake(str(work.folder))).reasons == {}
    assert published
