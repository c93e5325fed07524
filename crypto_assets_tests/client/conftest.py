"""What the tests of this folder read: two symbols over four days, one of them listed a day later, with one half day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import days, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC, ETH = "BTC/USDT", "ETH/USDT"
DAYS = days(date(2024, 1, 1), 4)
HALF = DAYS[2]
"""A day of which the archive has the bars of BTC/USDT but for five minutes after noon."""


@pytest.fixture(scope="package")
def stored(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Bars and trades, collected from an exchange that can be asked since when it lists a symbol."""
    home = tmp_path_factory.mktemp("project") / ".crypto_assets"
    listed = {"BTCUSDT": (DAYS[0], DAYS[-1]), "ETHUSDT": (DAYS[1], DAYS[-1])}
    part = entry("spot", ["ohlcv_1m", "trades"], [BTC, ETH], DAYS[0], end=DAYS[-1], rest=True)
    archive = SyntheticArchive({"spot": listed}, trades_per_day=1_440)
    with SandboxServer(archive) as server, new_database(postgres_server_url) as url:
        work = Workbench(server, url, home / "lake", part)
        key = work.key(BARS, BTC, HALF)
        lines = text_of(work.bytes_at(key)).splitlines(keepends=True)
        work.publish(key, zip_of(key, "".join([*lines[: 12 * 60], *lines[12 * 60 + 5 :]])))
        work.collect(DAYS[0], DAYS[-1])
        content = {"exchanges": work.collection.model_dump(mode="json")["exchanges"], "series": [part]}
        (home.parent / "collection.yaml").write_text(yaml.safe_dump(content))
        yield work


@pytest.fixture
def here(stored: Workbench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder: the home is found in it, the database is named."""
    for name in ("CRYPTO_ASSETS_HOME", "CRYPTO_ASSETS_LAKE_URL", "CRYPTO_ASSETS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", stored.url)
    project = stored.folder.parent.parent
    monkeypatch.chdir(project)
    return project
