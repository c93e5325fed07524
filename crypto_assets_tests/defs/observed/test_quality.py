"""The quality of an exchange in the UI: pictures and numbers, observed when something has changed."""

from __future__ import annotations

import base64
import io
import re
from datetime import date, timedelta

import psycopg
import pytest
import time_machine
from matplotlib.image import imread

from crypto_assets.config.environment import DEMO_MARK
from crypto_assets.defs.observed import observed_key
from crypto_assets.defs.observed.quality import PICTURES_BYTES, QUALITY
from crypto_assets.model import Partition, Series
from crypto_assets.quality.report.charts import LIGHT
from crypto_assets.quality.report.charts.strip import INLINE
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.defs.observed.ticks import Ticks
from crypto_assets_tests.quality import ledger_rows

EVENT_BYTES = 150_000


@pytest.fixture
def ticks(postgres_url, tmp_path):
    ledger_rows.fill(postgres_url)
    ledger_rows.put_files(postgres_url, tmp_path)
    with time_machine.travel(ledger_rows.NOW, tick=False):
        yield Ticks(QUALITY, ledger_rows.collection(), str(tmp_path), postgres_url)


def test_the_pictures_and_numbers_of_an_exchange_are_those_of_the_ledger_and_small(ticks):
    assert ticks.spec.key == observed_key("quality", "binance")
    (event,) = ticks()
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert metadata["verdict"] == "Incomplete: 7 of 60 days are missing or partial"
    assert (metadata["days"], metadata["days incomplete"], metadata["days missing"], metadata["days available"]) == (
        60,
        7,
        2,
        49,
    )
    assert metadata["share complete or no data"] == pytest.approx(53 / 60)
    assert (metadata["score"], metadata["days below the threshold"]) == (pytest.approx(0.9979), 1)
    assert len(metadata["overview"]) < INLINE
    svg = base64.b64decode(re.search(r"base64,([^)]+)", metadata["overview"])[1]).decode()
    assert f"<path stroke='{LIGHT.states['missing']}' d='M8 1H10'/>" in svg, "the 9th and 10th of 30 days"
    pictures = {name: metadata[name] for name in ("Coverage", "Gaps", "Quality", "Publication delay")}
    for text in pictures.values():
        (data,) = re.findall(r"^!\[[^\]]{30,}\]\(data:image/png;base64,([^)]+)\)$", text)
        assert imread(io.BytesIO(base64.b64decode(data))).shape[1] == 960
    assert sum(map(len, pictures.values())) <= PICTURES_BYTES
    assert sum(len(str(value)) for value in metadata.values()) < EVENT_BYTES


def test_the_exchange_of_a_demo_says_that_its_data_is_synthetic(ticks, tmp_path, monkeypatch):
    (real,) = ticks()
    assert "synthetic data" not in real.metadata
    home = tmp_path / "demo"
    home.mkdir()
    (home / DEMO_MARK).touch()
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(home))
    ticks.cursor = None
    (demo,) = ticks()
    assert "sandbox exchange" in demo.metadata["synthetic data"].value


def test_a_tick_observes_again_only_when_something_changed(ticks, postgres_url):
    assert len(ticks()) == 1
    assert ticks() == []
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "UPDATE collection.partitions SET state = 'available', updated_at = %s WHERE state = 'missing'",
            (ledger_rows.NOW + timedelta(minutes=1),),
        )
    (event,) = ticks()
    assert event.metadata["verdict"].value == "Incomplete: 5 of 60 days are missing or partial"
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE collection.partitions SET updated_at = %s", (ledger_rows.NOW + timedelta(hours=1),))
    assert ticks() == [], "looked at, but the shown content is the same"


def test_a_file_that_somebody_deletes_is_a_missing_day_within_the_hour(ticks, tmp_path):
    (before,) = ticks()
    bars = Series("binance", "spot", "ohlcv", "1m")
    (tmp_path / Lake(str(tmp_path)).path(bars, Partition("ETH/USDT", date(2024, 1, 25)))).unlink()
    with time_machine.travel(ledger_rows.NOW + timedelta(hours=1), tick=False):
        (event,) = ticks()
    assert event.metadata["verdict"].value == "Incomplete: 8 of 60 days are missing or partial"
    assert event.metadata["days missing"].value == before.metadata["days missing"].value + 1
    assert event.metadata["rows"].value == before.metadata["rows"].value - ledger_rows.BARS_A_DAY
    assert event.metadata["score"].value < before.metadata["score"].value


def test_nothing_collected_yet_is_shown_as_that(postgres_url, tmp_path):
    with time_machine.travel(ledger_rows.NOW, tick=False):
        (event,) = Ticks(QUALITY, ledger_rows.collection(), str(tmp_path), postgres_url)()
    assert event.metadata["verdict"].value == "Incomplete: 60 of 60 days are missing or partial"
    assert event.metadata["days not collected yet"].value == 60
    assert "score" not in event.metadata
