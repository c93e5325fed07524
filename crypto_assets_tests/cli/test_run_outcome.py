"""What the result of a collection says of days without a record."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.cli.run_outcome import Asked, report
from crypto_assets.config.collection import load_collection
from crypto_assets.config.selection import Request
from crypto_assets.model import Track
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project

DAY = date(2024, 1, 1)
DOWN, UNKNOWN = "data.example.com refuses connections", "the exchange does not know NO/USDT"


def test_only_a_day_that_was_never_asked_for_gets_the_failure_of_the_host(
    postgres_url_with_tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "NO/USDT"]
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAY, DAY, trades_per_day=2)) as server:
        made = project.make(
            server, tmp_path, postgres_url_with_tables, monkeypatch, project.entry(["ohlcv_1m"], symbols, DAY)
        )
        [one] = load_collection(made.home / "collection.yaml").series
    tracks = {track.symbol: track for track in (Track(*track) for track in one.tracks)}
    asked = Asked(
        [Request(one, tuple(tracks.values()), DAY, DAY)],
        unreachable={"binance": DOWN},
        unknown={tracks["NO/USDT"]: UNKNOWN},
        never_asked=frozenset({tracks["ETH/USDT"]}),
    )
    assert report(asked, as_json=True) == 1
    said = capfd.readouterr()
    assert {one["symbol"]: one["reason"] for one in json.loads(said.out)["problems"]} == {
        "BTC/USDT": "",
        "ETH/USDT": DOWN,
        "NO/USDT": UNKNOWN,
    }
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [
        f"error: {DOWN}; what only this host has is not asked again in this run",
        "error: 1 day without a record; the run was stopped. Run the command again",
    ]
