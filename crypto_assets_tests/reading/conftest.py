"""Four days that are collected; a test's database has the project's tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.conftest import postgres_url_with_tables as postgres_url
from crypto_assets_tests.published import days, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

__all__ = ["postgres_url"]


FIRST = date(2024, 1, 1)
DAYS = days(FIRST, 4)
HALF = DAYS[2]
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, FIRST, date(2024, 2, 9), trades_per_day=1_440)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture(scope="module")
def collected(sandbox: SandboxServer, module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Four days of bars, of the third without its last two hours, and of trades."""
    folder = tmp_path_factory.mktemp("collected") / "lake"
    parts = [entry("spot", ["ohlcv_1m", "trades"], [BTC], FIRST)]
    work = Workbench(sandbox, module_postgres_url, folder, *parts)
    key = work.key(BARS, BTC, HALF)
    lines = text_of(work.bytes_at(key)).splitlines(keepends=True)
    work.publish(key, zip_of(key, "".join(lines[: 22 * 60])))
    assert {(one.series.dataset, one.partition.day) for one in work.collect(DAYS[0], DAYS[-1]).tally.problems} <= {
        ("ohlcv_1m", HALF)
    }
    return work


@pytest.fixture
def work(
    collected: Workbench, postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workbench]:
    """A copy of what was collected, of this test's own, which `read` finds."""
    folder = shutil.copytree(collected.folder, tmp_path / "lake")
    with new_database(postgres_server_url, collected.url) as url:
        monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", url)
        monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(folder))
        monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))
        yield Workbench(collected.sandbox, url, folder, *collected.entries)
