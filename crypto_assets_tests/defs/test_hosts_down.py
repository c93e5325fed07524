"""A run that finds a host down: the later runs skip what only that host has, whichever host of the exchange it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_assets.config.collection import parse_collection
from crypto_assets.config.selection import Request
from crypto_assets.defs.runs import Skipped, _Down, _host_down, _reachable
from crypto_assets.engine.day_outcomes import Target, refused
from crypto_assets.errors import CHECK_NETWORK, CircuitOpen, CryptoAssetsError, HostUnreachable
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Track
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.text.urls import host_of
from crypto_assets_tests.project import entry

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
BTC = "BTC/USDT:USDT"
NOWHERE = "127.0.0.1:9"
CUT = "the connection was cut"


def failure_of(host: str, kind: str) -> CryptoAssetsError:
    if kind == "open":
        return CircuitOpen(CUT, host=host, failures=5)
    return HostUnreachable(f"{CUT}; {CHECK_NETWORK}", host=host, failure=CUT)


@pytest.mark.parametrize("kind", ["down", "open"])
@pytest.mark.parametrize(("down", "kept"), [("rest_url", "trades"), ("archive_url", "ohlcv_1h"), ("", "both")])
def test_later_runs_skip_what_only_the_host_that_failed_has(
    postgres_url_with_tables: str, kind: str, down: str, kept: str
) -> None:
    day = date(2024, 1, 1)
    with (
        SandboxServer(SyntheticArchive({"linear": ["BTCUSDT"]}, day, YESTERDAY, trades_per_day=2)) as server,
        SandboxServer(SyntheticArchive({"linear": ["BTCUSDT"]}, day, YESTERDAY, trades_per_day=2)) as api,
        Ledger(postgres_url_with_tables) as ledger,
    ):
        urls = {**server.urls("bybit"), "rest_url": api.urls("bybit")["rest_url"]}
        host = host_of(urls[down]) if down else NOWHERE
        series = [
            {**entry([name], [BTC], day, "linear"), "rest": True, "exchange": "bybit"}
            for name in ("trades", "ohlcv_1h")
        ]
        collection = parse_collection({"exchanges": {"bybit": urls}, "series": series})
        first, *_ = requests = [
            Request(one, tuple(Track(*track) for track in one.tracks), YESTERDAY, YESTERDAY)
            for one in collection.series
        ]
        # `trades` have an archive; yesterday is not in it yet, and is asked for over REST.
        [(of, symbol)] = first.tracks
        ledger.record_outcomes([refused(Target(of, symbol, (YESTERDAY,)), YESTERDAY, failure_of(host, kind))], "run")
        failure, failed = _host_down(ledger.url, "run", first)
        skipped = Skipped()
        left = _reachable(ledger.url, collection, _Down(first, failure, failed), requests, skipped)

    names = {"trades", "ohlcv_1h"}
    assert {track.series.dataset for one in left for track in one.tracks} == (names if kept == "both" else {kept})
    assert {track.series.dataset for track in skipped.tracks} == (set() if kept == "both" else names - {kept})
    told = CUT if kind == "down" else failure
    assert (failed, skipped.failures) == ({host: told}, {} if kept == "both" else {"bybit": told})
    assert told.startswith(CUT)
