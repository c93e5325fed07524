"""The watch follows the entry of the collection: its first and last day, its symbols, monthly files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from crypto_assets.engine.watch.tick import Tick
from crypto_assets.ledger.discoveries import hand_back
from crypto_assets.ledger.pauses import Controls
from crypto_assets.sandbox import s3_listing
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.engine.watch.watching import HOUR, START, World, said
from crypto_assets_tests.workbench import entry


def test_an_entry_that_starts_earlier_or_has_another_symbol_is_read_for_what_is_new_only(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    world.entries[0] |= {"start": date(2024, 1, 2)}
    assert said(world.tick().requests) == [("BTC", "2024-01-02", "2024-01-04", 1, "history")]
    world.entries[0] |= {"symbols": ["ETH/USDT"]}
    assert world.tick() == Tick([], "nothing is due")
    world.now += HOUR
    world.tick()
    assert world.asked() == 1


def test_an_entry_that_ends_is_read_and_asked_for_up_to_there(world):
    world.entries[0] |= {"end": date(2024, 1, 12)}
    world.now = datetime(2024, 3, 20, 9, tzinfo=UTC)
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-05", "2024-01-12", 1, "history"),
        ("ETH", "2024-01-10", "2024-01-12", 1, "history"),
    ]
    assert world.rows("SELECT DISTINCT last_day FROM collection.watched_feeds") == [(date(2024, 1, 12),)]
    # Nothing more is expected: four looks a day at its last objects, which may be republished.
    looks = [world.tick(HOUR) for _ in range(12)]
    assert sum(look.reason != "nothing is due" for look in looks) == 2
    assert not any(look.requests for look in looks)
    world.override("BTC", date(2024, 1, 11), b"another")
    world.override("BTC", date(2024, 1, 13), b"another")
    assert said(world.tick(6 * HOUR).requests) == [("BTC", "2024-01-11", "2024-01-11", 3, "republished")]
    world.show("BTC", date(2024, 1, 11))
    world.show("BTC", date(2024, 1, 13))

    world.entries[0] |= {"end": date(2024, 1, 14)}
    # Looked at at once: the file shown again, and what the entry has added.
    assert ("BTC ETH", "2024-01-13", "2024-01-14", 5, "new") in said(world.tick().requests)


def test_what_waits_for_its_run_is_cut_to_the_days_that_the_entry_has_by_then(world):
    world.entries[0] |= {"symbols": ["BTC/USDT"]}
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    assert said(world.tick(most=1).requests) == [("BTC", "2024-01-17", "2024-01-19", 10, "history")]
    world.entries[0] |= {"start": date(2024, 1, 8), "end": date(2024, 1, 12)}
    assert said(world.tick(most=1).requests) == [("BTC", "2024-01-08", "2024-01-12", 1, "history")]
    assert world.tick(most=1).requests == []


def test_what_waits_for_days_that_the_entry_has_no_more_waits_until_it_has_them_again(world):
    world.entries[0] |= {"symbols": ["BTC/USDT"]}
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick(most=1)
    world.entries[0] |= {"start": date(2024, 1, 17)}
    assert world.tick(most=1).requests == []
    world.entries[0] |= {"start": START}
    again = said(world.tick(most=1).requests)
    assert again == [("BTC", "2024-01-05", "2024-01-16", 1, "history")]


def test_the_pages_of_a_listing_after_the_end_of_an_entry_are_not_read(world, monkeypatch):
    monkeypatch.setattr(s3_listing, "MOST_ENTRIES", 40)  # 20 days and their checksums
    world.now = datetime(2024, 3, 20, 9, tzinfo=UTC)
    world.entries[0] |= {"symbols": ["BTC/USDT"], "end": date(2024, 1, 12)}
    world.tick()
    assert world.asked() == 2  # from the first key on, and from the start on: up to 24 January
    world.entries[0] |= {"end": None}
    for _ in range(7):
        world.tick(HOUR)
        if world.asked():
            break
    assert world.asked() == 4


def test_a_symbol_that_is_not_listed_yet_is_found_when_it_is(world):
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-05", "2024-01-05", 1, "history"),
        ("BTC", "2024-01-06", "2024-01-08", 10, "history"),
    ]
    world.now = datetime(2024, 1, 11, 9, tzinfo=UTC)
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-09", "2024-01-10", 10, "new"),
        ("ETH", "2024-01-10", "2024-01-10", 10, "new"),
    ]


def test_files_of_months_are_watched_by_the_month(postgres_url):
    migrate(postgres_url)
    symbols = {"linear": {"BTCUSDT": (date(2023, 12, 1), date(2024, 4, 30))}}
    with SandboxServer(SyntheticArchive(symbols, trades_per_day=2)) as sandbox:
        world = World(sandbox, postgres_url, [entry("linear", ["funding_rates"], ["BTC/USDT:USDT"], START)])
        world.now = datetime(2024, 2, 20, 9, tzinfo=UTC)
        with world.catalog:
            assert said(world.tick().requests) == [("BTC", "2024-01-05", "2024-01-31", 1, "history")]
            assert world.rows("SELECT first_day, last_day FROM collection.watched_feeds") == [
                (date(2023, 12, 1), date(2024, 1, 31))
            ]
            assert world.tick(timedelta(days=8)).requests == []
            found = []
            while world.now < datetime(2024, 3, 5, tzinfo=UTC):
                found += world.tick(6 * HOUR).requests
            assert said(found) == [
                ("BTC", "2024-02-01", "2024-02-28", 5, "new"),
                ("BTC", "2024-02-29", "2024-02-29", 10, "new"),
            ]


def test_what_a_stopped_run_hands_back_is_requested_once_more_also_by_a_changed_entry(world):
    world.entries[0] |= {"symbols": ["BTC/USDT"]}
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    fresh, history = world.tick().requests
    days = said([history])
    assert days == [("BTC", "2024-01-05", "2024-01-16", 1, "history")]
    assert world.tick() == Tick([], "nothing is due")

    assert hand_back(world.url, history.run_key, "run") == 1
    assert hand_back(world.url, history.run_key, "run") == 0, "it has another run key by now"
    (again,) = world.tick().requests
    assert (said([again]), again.run_key in (fresh.run_key, history.run_key)) == (days, False)
    assert world.tick() == Tick([], "nothing is due")

    # The file is changed, and `up` is restarted because of that.
    assert hand_back(world.url, again.run_key, "another run") == 1
    world.entries[0] |= {"symbols": ["BTC/USDT", "ETH/USDT"]}
    (third,) = [request for request in world.tick().requests if said([request]) == days]
    assert third.run_key not in (history.run_key, again.run_key)
    Controls(world.catalog).cancel("a run that a person cancelled", "me")
    assert hand_back(world.url, third.run_key, "a run that a person cancelled") == 0
