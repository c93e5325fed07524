"""Watching an archive's listings: news is found once, and listings are not read needlessly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg

from crypto_assets.engine.watch import feed_snapshot
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.engine.watch.tick import Tick
from crypto_assets.ledger.catalog import unpack
from crypto_assets_tests.engine.watch.watching import BARS, DAY, HOUR, MINUTE, START, said


def test_the_first_look_finds_all_history_and_asks_for_the_last_days_before_the_rest(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-05", "2024-01-16", 1, "history"),
        ("BTC ETH", "2024-01-17", "2024-01-19", 10, "history"),
        ("ETH", "2024-01-10", "2024-01-16", 1, "history"),
    ]
    assert world.tick() == Tick([], "nothing is due")
    found = world.rows("SELECT symbol, since, first_day, last_day, objects FROM collection.watched_feeds ORDER BY 1")
    assert found == [
        ("BTC/USDT", START, date(2023, 12, 1), date(2024, 1, 19), 15),
        ("ETH/USDT", START, date(2024, 1, 10), date(2024, 1, 19), 10),
    ]


def test_a_new_day_is_requested_when_it_can_exist_and_not_before(world):
    world.tick()
    assert world.tick(45 * MINUTE) == Tick([], "nothing is due")
    assert world.asked() == 0
    assert world.rows("SELECT DISTINCT delay_s FROM collection.watched_feeds WHERE symbol = 'BTC/USDT'") == [
        (8 * 3600,)
    ]
    # The ends are read hourly in any case; on each earlier day the new file appeared at 08:00.
    world.now = datetime(2024, 1, 10, 7, 30, tzinfo=UTC)
    assert world.tick().reason.startswith("the archive lists nothing new (")
    assert world.tick(29 * MINUTE) == Tick([], "nothing is due")
    (request,) = world.tick(1 * MINUTE).requests
    assert said([request]) == [("BTC", "2024-01-09", "2024-01-09", 10, "new")]
    # ETH is listed from the next day on.
    assert said(world.tick(DAY).requests) == [("BTC ETH", "2024-01-10", "2024-01-10", 10, "new")]


def test_a_late_file_is_requested_again_at_growing_intervals(world):
    world.tick()
    late = date(2024, 1, 9)
    world.override("BTC", late, None)
    world.now = datetime(2024, 1, 10, 8, tzinfo=UTC)
    begun = world.now
    looks = []
    while world.now < begun + timedelta(hours=3):
        if world.tick().reason != "nothing is due" and world.asked():
            looks += [(world.now - begun) // MINUTE] if "BTC" in str(world.sandbox.app.state.requests) else []
        world.now += MINUTE
    assert looks == [0, 1, 3, 8, 18, 48, 108, 168]
    world.show("BTC", late)
    assert said(world.tick(HOUR).requests) == [("BTC", "2024-01-09", "2024-01-09", 10, "new")]


def test_a_file_behind_newer_ones_and_one_published_again_are_found_at_the_end_within_an_hour(world):
    late, again = date(2024, 1, 11), date(2024, 1, 14)
    world.override("BTC", late, None)
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    assert ("BTC", "2024-01-12", "2024-01-16", 1, "history") in said(world.tick().requests)
    world.show("BTC", late)
    world.override("ETH", again, b"other bytes")
    assert said(world.tick(HOUR).requests) == [
        ("BTC", "2024-01-11", "2024-01-11", 5, "late"),
        ("ETH", "2024-01-14", "2024-01-14", 3, "republished"),
    ]
    assert world.tick(HOUR).requests == []


def test_a_file_published_again_far_back_is_found_by_the_patrol_within_its_days(world):
    world.now = datetime(2024, 3, 1, 9, tzinfo=UTC)
    world.tick()
    world.override("BTC", date(2024, 1, 20), b"other bytes")
    world.override("ETH", date(2024, 1, 10), None)
    requests: list[Request] = []
    for _ in range(15):
        requests += [r for r in world.tick(timedelta(hours=12)).requests if r.kinds == ("republished",)]
    assert said(requests) == [("BTC", "2024-01-20", "2024-01-20", 3, "republished")]
    (walked,) = world.rows("SELECT count(*) FROM collection.watched_feeds WHERE walked_at > '2024-03-02'")
    assert walked == (2,)


def test_where_a_listing_shows_no_version_the_patrol_asks_for_the_stored_files_by_name(world, bare_listings):
    world.now = datetime(2024, 3, 1, 9, tzinfo=UTC)
    world.tick()
    for day in (date(2024, 1, 19), date(2024, 1, 20)):
        world.store("BTC", day)
    world.override("BTC", date(2024, 1, 20), b"other bytes")
    world.override("ETH", date(2024, 1, 20), b"other bytes")  # not stored: nobody has the former bytes
    requests: list[Request] = []
    for _ in range(16):
        requests += [r for r in world.tick(timedelta(hours=12)).requests if r.kinds == ("republished",)]
    assert said(requests) == [("BTC", "2024-01-20", "2024-01-20", 3, "republished")]


def test_the_same_bytes_with_another_time_are_published_again_and_a_file_that_vanished_is_not(world):
    world.tick()
    name = BARS.format("BTC", "2024-01-08")
    world.override("BTC", date(2024, 1, 7), None)
    assert world.tick(HOUR).requests == []
    world.show("BTC", date(2024, 1, 7))
    assert world.tick(HOUR).requests == []
    content = world.sandbox.app.state.source.read(name)
    world.sandbox.app.state.overrides[name] = content  # as new as the server
    (request,) = world.tick(HOUR).requests
    assert said([request]) == [("BTC", "2024-01-08", "2024-01-08", 3, "republished")]


def test_a_file_that_becomes_what_it_was_is_another_request_each_time(world):
    world.tick()
    keys = []
    for content in (b"one", b"two", b"one", b"two"):
        world.override("BTC", date(2024, 1, 8), content)
        (request,) = world.tick(HOUR).requests
        assert said([request]) == [("BTC", "2024-01-08", "2024-01-08", 3, "republished")]
        keys.append(request.run_key)
    assert len(set(keys)) == 4


def test_requests_that_dagster_never_got_are_made_again_under_the_same_keys(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    first = world.tick(keep=False)
    assert len(first.requests) == 3
    # Another tick may be running: not at once.
    assert world.tick(timedelta(seconds=30)).requests == []
    world.sandbox.app.state.overrides[BARS.format("BTC", "2024-01-18")] = b"other bytes"
    second = world.tick(timedelta(hours=1), keep=False)
    again = [request for request in second.requests if request.kinds != ("republished",)]
    assert again == first.requests
    assert len(second.requests) == 4
    third = world.tick(timedelta(minutes=2))
    assert {request.run_key: request for request in third.requests} == {
        request.run_key: request for request in second.requests
    }
    assert world.tick(timedelta(minutes=2)).requests == []
    assert world.rows("SELECT count(*) FROM collection.discoveries WHERE delivered_at IS NULL") == [(0,)]


def test_two_daemons_at_once_discover_and_request_everything_once(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    other = world.other()
    with other.catalog:
        requests = world.tick().requests + other.tick().requests
        world.now = other.now = datetime(2024, 1, 21, 9, tzinfo=UTC)
        requests += other.tick().requests + world.tick().requests
    assert said(requests) == [
        ("BTC", "2024-01-05", "2024-01-16", 1, "history"),
        ("BTC ETH", "2024-01-17", "2024-01-19", 10, "history"),
        ("BTC ETH", "2024-01-20", "2024-01-20", 10, "new"),
        ("ETH", "2024-01-10", "2024-01-16", 1, "history"),
    ]


def test_a_reading_that_another_daemon_has_overtaken_is_dropped(world, monkeypatch):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    overtaken = {}
    read = feed_snapshot.Reader.read

    def slow(self, row, walk):
        # While this listing is under way, the other daemon reads and commits a newer one.
        answer = read(self, row, walk)
        if row.symbol == "BTC/USDT" and not overtaken:
            overtaken["by"] = True
            world.override("BTC", date(2024, 1, 18), b"newer")
            other = world.other()
            with other.catalog:
                overtaken["requests"] = other.tick().requests
        return answer

    monkeypatch.setattr(feed_snapshot.Reader, "read", slow)
    requests = world.tick(HOUR).requests
    assert said([*requests, *overtaken["requests"]]) == [("BTC", "2024-01-18", "2024-01-18", 3, "republished")]
    assert world.tick(HOUR).requests == []


def test_what_is_stored_from_this_very_object_is_not_requested(world):
    world.now = datetime(2024, 1, 9, 9, tzinfo=UTC)
    info = world.sandbox.app.state.source.info(BARS.format("BTC", "2024-01-06"))
    with psycopg.connect(world.url) as connection:
        connection.execute(
            "INSERT INTO collection.partitions (exchange, market_type, symbol, dataset, day, state, source_etag, "
            "source_size_bytes, source_last_modified) VALUES ('binance', 'spot', 'BTC/USDT', 'ohlcv_1d', '2024-01-06', "
            "'available', %s, %s, %s)",
            (info.etag, info.size, info.last_modified),
        )
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-05", "2024-01-05", 1, "history"),
        ("BTC", "2024-01-07", "2024-01-08", 10, "history"),
    ]


def test_a_file_that_appears_late_is_requested_for_a_day_that_was_taken_for_no_data(world):
    late = date(2024, 1, 11)
    world.override("BTC", late, None)
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    with psycopg.connect(world.url) as connection:
        connection.execute(
            "INSERT INTO collection.partitions (exchange, market_type, symbol, dataset, day, state, evidence) VALUES "
            "('binance', 'spot', 'BTC/USDT', 'ohlcv_1d', %s, 'no_data', %s)",
            (late, '{"life": "between", "inferred": true}'),
        )
    assert world.tick(HOUR).requests == []
    world.show("BTC", late)
    assert said(world.tick(HOUR).requests) == [("BTC", "2024-01-11", "2024-01-11", 5, "late")]


def test_marks_hold_every_object_in_eight_bytes(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    ((marks,),) = world.rows("SELECT marks FROM collection.feed_marks WHERE path LIKE '%BTC/USDT%'")
    assert len(marks) == 15 * 8
    days = [date.fromordinal(day) for day in unpack(marks)]
    assert days == [START + n * DAY for n in range(15)]
    assert len(set(unpack(marks).values())) == 15


def test_an_idle_tick_is_one_query_and_no_request(world, monkeypatch):
    world.tick()
    world.tick()
    queries = []
    execute = psycopg.Cursor.execute

    def counted(self, query, *arguments, **options):
        queries.append(query)
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert world.tick() == Tick([], "nothing is due")
    assert len(queries) == 1
    assert world.asked() == 0
