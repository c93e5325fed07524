"""One tick looks at all entries: none holds up another one, and what is not reached comes in the next tick."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import psycopg
import pytest

from crypto_assets.engine.watch import watch
from crypto_assets.errors import ListingError
from crypto_assets.ledger.pauses import Controls, of_exchange
from crypto_assets_tests.engine.watch.watching import HOUR, START, said
from crypto_assets_tests.workbench import entry


@pytest.fixture
def two(world):
    """One entry with BTC, one with ETH."""
    world.entries[:] = [
        entry("spot", ["ohlcv_1d"], [f"{coin}/USDT"], START) | {"name": coin} for coin in ("BTC", "ETH")
    ]
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    return world


def names(requests):
    return {symbol.partition("/")[0] for request in requests for _, symbol in request.tracks}


def test_all_entries_are_looked_at_in_one_tick_and_a_tick_with_nothing_due_is_one_query(two, monkeypatch):
    requests = two.tick().requests
    assert names(requests) == {"BTC", "ETH"}
    assert len({request.entry for request in requests}) == 2
    statements = []
    execute = psycopg.Connection.execute

    def counted(self, query, *arguments, **options):
        statements.append(query)
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    assert two.tick().reason == "nothing is due"
    assert len([one for one in statements if "collection." in one]) == 1


def test_days_of_two_entries_are_never_in_one_request(two):
    two.tick()
    two.now = datetime(2024, 1, 21, 9, tzinfo=UTC)
    assert said(two.tick().requests) == [
        ("BTC", "2024-01-20", "2024-01-20", 10, "new"),
        ("ETH", "2024-01-20", "2024-01-20", 10, "new"),
    ]


def test_a_mistake_with_one_entry_is_named_and_the_others_are_requested(two, monkeypatch):
    look = watch._Looker.run

    def broken(self, *arguments):
        if self._watch.name == "BTC":
            raise ZeroDivisionError("a mistake")
        return look(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(watch._Looker, "run", broken)
        found = two.tick()
        assert names(found.requests) == {"ETH"}
        assert {name: str(error) for name, error in found.failed.items()} == {"BTC": "a mistake"}
    assert names(two.tick().requests) == {"BTC"}


def test_an_entry_that_cannot_be_read_waits_while_its_host_answers_for_the_others(two, monkeypatch):
    read = watch.Reader.read

    def refuse(self, row, walk):
        if row.symbol == "BTC/USDT":
            raise ListingError("expected S3 XML, found '<html>'")
        return read(self, row, walk)

    with monkeypatch.context() as patched:
        patched.setattr(watch.Reader, "read", refuse)
        found = two.tick()
        assert names(found.requests) == {"ETH"}
        assert list(found.failed) == ["BTC"]
        assert two.rows("SELECT count(*) FROM collection.listing_hosts") == [(0,)]
        assert two.tick().reason == "nothing is due"
    assert names(two.tick(HOUR).requests) == {"BTC"}


def test_a_host_that_is_down_is_recorded_once_for_all_of_its_entries(two, closed_port):
    right, two.listing_url = two.listing_url, f"http://127.0.0.1:{closed_port}/listing"
    with pytest.raises(Exception, match=f"127.0.0.1:{closed_port}"):
        two.tick()
    assert two.rows("SELECT failures FROM collection.listing_hosts") == [(1,)]
    assert two.tick().reason.count(f"no requests to 127.0.0.1:{closed_port} for now") == 1
    two.listing_url = right
    assert names(two.tick(HOUR).requests) == {"BTC", "ETH"}


def test_the_first_news_ends_a_first_look_that_takes_long(two, monkeypatch):
    """ETH is known and has news; the listing of BTC, which was never read, hangs."""
    btc = two.entries.pop(0)
    two.tick()
    two.entries.append(btc)
    two.now = datetime(2024, 1, 21, 9, tzinfo=UTC)
    read, ended = watch.Reader.read, threading.Event()

    def hang(self, row, walk):
        if row.symbol == "BTC/USDT":
            assert ended.wait(30), "the tick waited for this listing"
        return read(self, row, walk)

    with monkeypatch.context() as patched:
        patched.setattr(watch.Reader, "read", hang)
        found = two.tick(budget_s=600)
        ended.set()
    assert said(found.requests) == [("ETH", "2024-01-20", "2024-01-20", 10, "new")]
    assert found.failed == {}
    assert names(two.tick().requests) == {"BTC"}


def test_entries_that_the_time_does_not_allow_come_in_later_ticks(two):
    two.entries[:] = [
        entry("spot", ["ohlcv_1d"], [f"{coin}/USDT"], START) | {"name": f"n{number}"}
        for number, coin in enumerate(("BTC", "ETH", "C1", "C2", "C3", "C4", "C5", "C6"))
    ]
    looked = []
    for _ in range(20):
        two.tick(budget_s=0.0001)
        (at,) = two.rows("SELECT count(*) FROM collection.watched_feeds WHERE looked_at IS NOT NULL")
        looked.append(at[0])
        if at == (8,):
            break
    assert looked[0] < 8, "not all at once"
    assert looked[-1] == 8


def test_a_paused_exchange_is_named_once_for_all_entries(two):
    Controls(two.catalog).pause(of_exchange("binance"), "me", "maintenance")
    assert two.tick().reason == "paused: exchange:binance by me: maintenance"
