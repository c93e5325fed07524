"""Hosts that are down, slow, paused or give wrong answers: nothing is lost, and they are not hammered."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta

from crypto_assets.engine.watch import feed_snapshot
from crypto_assets.engine.watch.tick import Tick
from crypto_assets.errors import CircuitOpen, HostUnreachable, ListingError
from crypto_assets.ledger.pauses import Controls, of_exchange
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.engine.watch.watching import HOUR, LAST, MINUTE, said


def test_a_stale_listing_is_bypassed_by_requesting_the_file_itself(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    frozen = world.other()
    # The listing stays as it was on the 20th, the archive continues.
    with SandboxServer(
        SyntheticArchive({"spot": {"BTCUSDT": (date(2023, 12, 1), LAST)}}, seed=11, trades_per_day=2)
    ) as old:
        old.app.state.source.now = world.now
        frozen.listing_url = old.listing_url
        frozen.now = datetime(2024, 1, 21, 11, tzinfo=UTC)
        with frozen.catalog:
            assert frozen.tick().requests == []
            found = frozen.tick(timedelta(hours=2)).requests
            assert said(found) == [("BTC ETH", "2024-01-20", "2024-01-20", 10, "probed")]
            assert frozen.tick(timedelta(hours=7)).requests == []
    world.now = frozen.now
    assert world.tick(HOUR).requests == []  # now it is listed, and it is the same object


def test_a_look_that_takes_too_long_continues_where_it_stopped(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    first = world.tick(budget_s=0.0001, at_once=1)
    second = world.tick(budget_s=0.0001, at_once=1)
    assert {track.symbol for request in first.requests for track in request.tracks} == {"BTC/USDT"}
    assert {track.symbol for request in second.requests for track in request.tracks} == {"ETH/USDT"}
    assert world.tick().reason == "nothing is due"


def test_a_host_that_is_down_is_named_and_requested_less_and_less_often(world, closed_port):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    right, world.listing_url = world.listing_url, f"http://127.0.0.1:{closed_port}/listing"
    asked_at = []
    begun = world.now
    while world.now < begun + timedelta(minutes=8):
        # Of the entries that ask at once, one finds the host down, and the breaker may stop the others.
        with contextlib.suppress(HostUnreachable, CircuitOpen):
            assert world.tick().reason.startswith(f"no requests to 127.0.0.1:{closed_port} for now: ")
            world.now += timedelta(seconds=15)
            continue
        asked_at.append((world.now - begun).total_seconds())
        world.now += timedelta(seconds=15)
    assert asked_at == [0, 15, 45, 105, 225, 465]
    world.listing_url = right
    assert len(world.tick().requests) == 3


def test_one_listing_that_is_not_xml_does_not_stop_the_others(world, monkeypatch):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    read = feed_snapshot.Reader.read

    def refuse(self, row, walk):
        if row.symbol == "BTC/USDT":
            raise ListingError("expected S3 XML, found '<html>'")
        return read(self, row, walk)

    with monkeypatch.context() as patched:
        patched.setattr(feed_snapshot.Reader, "read", refuse)
        assert {track.symbol for request in world.tick().requests for track in request.tracks} == {"ETH/USDT"}
    assert world.rows("SELECT symbol, problem FROM collection.watched_feeds ORDER BY symbol") == [
        ("BTC/USDT", "expected S3 XML, found '<html>'"),
        ("ETH/USDT", None),
    ]
    assert world.tick() == Tick([], "nothing is due")
    assert {track.symbol for request in world.tick(MINUTE).requests for track in request.tracks} == {"BTC/USDT"}


def test_an_exchange_that_is_paused_is_not_asked_and_nothing_is_requested(world):
    controls = Controls(world.catalog)
    controls.pause(of_exchange("binance"), "me", "maintenance")
    assert world.tick() == Tick([], "paused: exchange:binance by me: maintenance")
    assert world.asked() == 0
    controls.resume(of_exchange("binance"))
    assert len(world.tick().requests) == 2
