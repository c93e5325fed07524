"""Requests before a run: within the limits, cool-downs and breakers of all processes, like every request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.config.selection import Request
from crypto_assets.engine.preflight import Preflight, check
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Track
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.limits import Endpoint
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.project import entry

DAY = date(2024, 1, 1)
LISTING = Endpoint("binance", "listing", "listing")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAY, DAY, trades_per_day=2)) as server:
        yield server


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as opened:
        yield opened


def collection_at(url: str, limits: dict[str, list[str]] | None = None) -> Collection:
    urls = {"archive_url": url, "listing_url": f"{url}/listing", "limits": limits or {}}
    return parse_collection(
        {"exchanges": {"binance": urls}, "series": [entry(["ohlcv_1d"], ["BTC/USDT", "NO/USDT"], DAY)]}
    )


def looked(collection: Collection, ledger: Ledger) -> Preflight:
    (one,) = collection.series
    tracks = tuple(Track(series, symbol) for series in one.series for symbol in one.symbols)
    return check(collection, [Request(one, tracks, DAY, DAY)], ledger, date(2024, 2, 1))


def broken(ledger: Ledger, url: str, seconds: float) -> None:
    """Open the circuit of a host's listing for some seconds."""
    host = url.removeprefix("http://")
    with Guard(ledger.url, limits={}, failures=2) as guard:
        guard.failed(guard.admit(LISTING, host), "it was down")
    with psycopg.connect(ledger.url) as connection:
        changed = connection.execute(
            "UPDATE collection.breakers SET open_until = clock_timestamp() + make_interval(secs => %s), failures = 5",
            (seconds,),
        )
        assert changed.rowcount == 1


def test_what_is_asked_counts_in_the_limits_of_all_processes(sandbox: SandboxServer, ledger: Ledger) -> None:
    sandbox.forget_requests()
    found = looked(collection_at(sandbox.archive_url, {"listing": ["100 requests/min"]}), ledger)
    assert found.unreachable == {}
    assert {track.symbol for track in found.unknown} == {"NO/USDT"}
    assert [[symbol for _, symbol in request.tracks] for request in found.requests] == [["BTC/USDT"]]
    asked = [path for _, path in sandbox.requests()].count("/listing")
    with psycopg.connect(ledger.url) as connection:
        counted = connection.execute(
            "SELECT budget, sum(requests) FROM collection.grants JOIN collection.budgets b ON "
            "b.id = budget_id GROUP BY budget"
        ).fetchall()
    assert counted == [("listing", asked)]
    assert asked > 0


def test_a_host_whose_circuit_is_open_for_long_is_not_asked_and_said_once(
    sandbox: SandboxServer, ledger: Ledger
) -> None:
    broken(ledger, sandbox.archive_url, 100.0)
    sandbox.forget_requests()
    found = looked(collection_at(sandbox.archive_url), ledger)
    assert found.requests == []
    assert list(found.unreachable) == ["binance"]
    assert "the last: it was down; no requests until a probe succeeds" in found.unreachable["binance"]
    assert sandbox.requests() == []


def test_a_host_whose_circuit_is_probed_soon_is_waited_for(sandbox: SandboxServer, ledger: Ledger) -> None:
    broken(ledger, sandbox.archive_url, 0.5)
    found = looked(collection_at(sandbox.archive_url), ledger)
    assert found.unreachable == {}
    assert [[symbol for _, symbol in request.tracks] for request in found.requests] == [["BTC/USDT"]]


NOWHERE = "http://127.0.0.1:9"
BYBIT = "BTC/USDT:USDT"


def asked_for(collection: Collection, ledger: Ledger, last: date = DAY) -> Preflight:
    requests = [
        Request(one, tuple(Track(series, symbol) for series in one.series for symbol in one.symbols), DAY, last)
        for one in collection.series
    ]
    return check(collection, requests, ledger, date(2024, 2, 1))


def left_of(found: Preflight) -> list[tuple[str, str]]:
    return [(series.dataset, symbol) for request in found.requests for series, symbol in request.tracks]


@pytest.mark.parametrize("order", [("ohlcv_1h", "trades"), ("trades", "ohlcv_1h")])
@pytest.mark.parametrize(
    ("down", "left"),
    [
        (["rest_url"], ["trades"]),
        (["archive_url", "listing_url"], ["ohlcv_1h"]),
        (["rest_url", "archive_url", "listing_url"], []),
    ],
)
def test_only_what_an_unreachable_host_alone_has_is_dropped(
    ledger: Ledger, order: tuple[str, ...], down: list[str], left: list[str]
) -> None:
    with SandboxServer(SyntheticArchive({"linear": ["BTCUSDT"]}, DAY, DAY, trades_per_day=2)) as server:
        urls = {**server.urls("bybit"), **dict.fromkeys(down, NOWHERE)}
        entries = [{**entry([name], [BYBIT], DAY), "exchange": "bybit", "market_type": "linear"} for name in order]
        found = asked_for(parse_collection({"exchanges": {"bybit": urls}, "series": entries}), ledger)
    assert left_of(found) == [(name, BYBIT) for name in left]
    assert sorted(series.dataset for series, _ in found.never_asked) == sorted({*order} - {*left})
    assert list(found.unreachable) == ["bybit"]
    assert found.unknown == {}


@pytest.mark.parametrize("reachable", [True, False])
def test_a_pair_that_downloaded_files_have_is_known_and_needs_no_host(
    ledger: Ledger, tmp_path: Path, *, reachable: bool
) -> None:
    (tmp_path / "ABCUSDT_1.csv").write_text("1704067200,1,1,1,1,1,1\n")
    symbols = ["ABC/USDT", "BTC/USDT", "NO/USDT"]
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAY, DAY, trades_per_day=2)) as server:
        urls = {**server.urls("kraken"), "files": str(tmp_path)} | ({} if reachable else {"rest_url": NOWHERE})
        entries = [{**entry(["ohlcv_1m"], symbols, DAY), "exchange": "kraken"}]
        found = asked_for(parse_collection({"exchanges": {"kraken": urls}, "series": entries}), ledger)
    if reachable:
        assert left_of(found) == [("ohlcv_1m", "ABC/USDT"), ("ohlcv_1m", "BTC/USDT")]
        assert {track.symbol for track in found.unknown} == {"NO/USDT"}
        assert (found.unreachable, found.never_asked) == ({}, frozenset())
    else:
        assert left_of(found) == [("ohlcv_1m", "ABC/USDT")]
        assert sorted(symbol for _, symbol in found.never_asked) == ["BTC/USDT", "NO/USDT"]
        assert (list(found.unreachable), found.unknown) == (["kraken"], {})
