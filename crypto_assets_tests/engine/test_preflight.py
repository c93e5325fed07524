"""Requests before a run: within the limits, cool-downs and breakers of all processes, like every request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

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
    assert list(found.unknown) == [("binance", "spot", "NO/USDT")]
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
