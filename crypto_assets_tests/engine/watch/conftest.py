"""A sandbox exchange to watch, and an entry that watches it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.engine.watch.watching import COINS, LAST, START, World
from crypto_assets_tests.workbench import entry


@pytest.fixture(scope="module")
def running():
    symbols = {"spot": {"BTCUSDT": (date(2023, 12, 1), LAST), "ETHUSDT": (date(2024, 1, 10), LAST)}}
    with SandboxServer(SyntheticArchive(symbols, seed=11, trades_per_day=2)) as server:
        yield server


@pytest.fixture
def world(running, postgres_url) -> Iterator[World]:
    running.app.state.overrides.clear()
    migrate(postgres_url)
    bars = entry("spot", ["ohlcv_1d"], [f"{coin}/USDT" for coin in COINS], START)
    made = World(running, postgres_url, [bars])
    with made.catalog:
        yield made
