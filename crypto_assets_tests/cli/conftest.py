"""What tests of commands share; a test's database has the project's tables and Dagster's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.conftest import postgres_url_with_all_tables as postgres_url
from crypto_assets_tests.workbench import Workbench, entry

__all__ = ["postgres_url"]


START = date(2024, 1, 1)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, START, date(2024, 2, 29), trades_per_day=300)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.app.state.overrides.clear()


BTC = "BTC/USDT"


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], START))
