"""The health of an exchange in the UI: observed when a breaker opens and when it closes, not in between."""

from __future__ import annotations

from datetime import date

import pytest

from crypto_assets.defs.observed import observed_key
from crypto_assets.defs.observed.health import HEALTH
from crypto_assets.errors import TransientError
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import parse_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport import breaker
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests import project
from crypto_assets_tests.defs.observed.ticks import Ticks
from crypto_assets_tests.project import entry


def test_a_breaker_that_opens_is_observed_once_and_its_end_too(tmp_path, postgres_url, monkeypatch):
    monkeypatch.setattr(breaker, "_SPAN_S", 0.0)  # else failures of one moment do not count as a row
    day = date(2024, 1, 1)
    source = SyntheticArchive({"spot": ["BTCUSDT"]}, day, day, trades_per_day=1_440)
    with SandboxServer(source) as server:
        mine = project.make(server, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], day))
        tick = Ticks(HEALTH, mine.collection, str(tmp_path / "lake"), postgres_url)
        assert tick.spec.key == observed_key("health", "binance")
        (first,) = tick()
        assert first.metadata["state"].value == "healthy"
        assert tick() == []
        server.app.state.faults.on(parse_fault("http-503"))
        with Guard(postgres_url) as guard, Client(guard, attempts=1) as client:
            asked = client.at(Endpoint("binance", "archive", "archive"))
            for _ in range(8):
                with pytest.raises(TransientError):
                    asked.get(f"{server.archive_url}/data/nothing.zip")
        (opened,) = tick()
        assert opened.metadata["state"].value == "unhealthy"
        assert "archive at 127.0.0.1" in opened.metadata["problems"].value
        assert tick() == []
