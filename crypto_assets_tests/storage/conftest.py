"""A collection for the tests of failing stores, and a home whose server others try to get at."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.embedded_postgres import (
    delete_server,
    ensure_server,
)
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)
BTC = "BTC/USDT"
ENTRY = entry("spot", ["ohlcv_1m"], [BTC], FIRST)


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, LAST, trades_per_day=200)) as server:
        yield server


@pytest.fixture
def sandbox(exchange: SandboxServer) -> Iterator[SandboxServer]:
    yield exchange
    exchange.app.state.overrides.clear()


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", ENTRY)


SECRETS = {"AWS_SECRET_ACCESS_KEY": "planted-aws", "CRYPTO_ASSETS_BINANCE_API_KEY": "planted-api"}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The home of a server started by a process with secrets in its environment and no umask."""
    path = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    path.chmod(0o711)
    start = "import os; os.umask(0)\nfrom pathlib import Path\n"
    start += "from crypto_assets.storage.embedded_postgres import ensure_server\n"
    start += f"ensure_server(Path({str(path)!r}), durable=False, grace_s=30)"
    subprocess.run([sys.executable, "-c", start], check=True, env={**os.environ, **SECRETS})
    ensure_server(path, durable=False)
    yield path
    delete_server(path)
    path.rmdir()


@pytest.fixture(scope="module")
def url(home: Path) -> str:
    found = ensure_server(home, durable=False)
    migrate(found)
    return found
