"""Looking at an archive's listings: what is found, once, and what is not asked again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from crypto_assets.collection.archive import reading, watch
from crypto_assets.collection.archive.catalog import Catalog, unpack
from crypto_assets.collection.archive.outbox import Request
from crypto_assets.collection.archive.reading import Watch
from crypto_assets.collection.archive.watch import Tick, tick
from crypto_assets.collection.records.control import Controls, of_exchange
from crypto_assets.collection.transport.http import Client
from crypto_assets.config import Collection, parse_collection
from crypto_assets.errors import HostUnreachable, ListingError
from crypto_assets.sandbox import listing
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.workbench import entry

START, LAST = date(2024, 1, 5), date(2024, 3, 20)
BARS = "data/spot/daily/klines/{0}USDT/1d/{0}USDT-1d-{1}.zip"
COINS = ("BTC", "ETH")


@pytest.fixture(scope="module")
def running():
    symbols = {"spot": {"BTCUSDT": (date(2023, 12, 1), LAST), "ETHUSDT": (date(2024, 1, 10), LAST)}}
    with SandboxServer(SyntheticArchive(symbols, seed=11, trades_per_day=2)) as server:
        yield server


class World:
    """One entry, its watch, and the time; `tick` is what the sensor does, with the cursor it would have."""

    def __init__(self, sandbox: SandboxServer, url: str, entries: Sequence[dict[str, object]]) -> None:
        self.sandbox, self.url = sandbox, url
        self.entries = list(entries)
        self.listing_url = sandbox.listing_url
        self.now = datetime(2024, 1, 9, 9, tzinfo=UTC)
        self.cursor: dict[str, list[str]] = {"delivered": []}
        self.catalog = Catalog(url)

    @property
    def collection(self) -> Collection:
        urls = {"archive_url": self.sandbox.archive_url, "listing_url": self.listing_url}
        return parse_collection({"exchanges": {"binance": urls}, "series": self.entries})

    def tick(self, after: timedelta = timedelta(), keep: bool = True, **options: float) -> Tick:
        """Look some time later; `keep` false: Dagster dies before it has the requests."""
        self.now += after
        self.sandbox.app.state.source.now = self.now
        self.sandbox.forget_requests()
        collection = self.collection
        found = tick(
            lambda: Client(timeout_s=5, attempts=1),
            Watch(collection, collection.series[0]),
            self.catalog,
            self.cursor["delivered"],
            self.now,
            **options,
        )
        if keep and found.requests:
            self.cursor["delivered"] = [request.run_key for request in found.requests]
        return found

    def other(self) -> World:
        """Return another daemon of the same Dagster: its sensor has the same cursor."""
        other = World(self.sandbox, self.url, self.entries)
        other.now, other.cursor = self.now, self.cursor
        return other

    def asked(self) -> int:
        """Return the listing requests of the last tick."""
        return [path for _, path in self.sandbox.requests()].count("/listing")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()

    def override(self, coin: str, day: date, content: bytes | None) -> None:
        name = BARS.format(coin, day)
        if content is None:
            self.sandbox.app.state.overrides |= {name: None, name + ".CHECKSUM": None}
        else:
            self.sandbox.app.state.overrides[name] = content

    def show(self, coin: str, day: date) -> None:
        for name in (BARS.format(coin, day), BARS.format(coin, day) + ".CHECKSUM"):
            self.sandbox.app.state.overrides.pop(name, None)


@pytest.fixture
def world(running, postgres_url) -> Iterator[World]:
    running.app.state.overrides.clear()
    migrate(postgres_url)
    bars = entry("spot", ["ohlcv_1d"], [f"{coin}/USDT" for coin in COINS], START)
    made = World(running, postgres_url, [bars])
    with made.catalog:
        yield made


def said(requests: Sequence[Request]) -> list[tuple[str, str, str, int, str]]:
    """Return symbols, first and last day, priority and kind of each request."""
    return sorted(
        (
            " ".join(sorted(symbol.partition("/")[0] for _, symbol in request.pairs)),
            str(request.first_day),
            str(request.last_day),
            request.priority,
            " ".join(request.kinds),
        )
        for request in requests
    )


DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def test_the_first_look_finds_all_history_and_asks_for_the_last_days_before_the_rest(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    assert said(world.tick().requests) == [
        ("BTC", "2024-01-05", "2024-01-16", 1, "history"),
        ("BTC ETH", "2024-01-17", "2024-01-19", 10, "history"),
        ("ETH", "2024-01-10", "2024-01-16", 1, "history"),
    ]
    assert world.tick() == Tick([], "nothing is due")
    found = world.rows("SELECT symbol, since, first_day, last_day, objects FROM collection.prefixes ORDER BY 1")
    assert found == [
        ("BTC/USDT", START, date(2023, 12, 1), date(2024, 1, 19), 15),
        ("ETH/USDT", START, date(2024, 1, 10), date(2024, 1, 19), 10),
    ]


def test_a_new_day_is_asked_for_when_it_can_be_there_and_not_before(world):
    world.tick()
    assert world.tick(45 * MINUTE) == Tick([], "nothing is due")
    assert world.asked() == 0
    assert world.rows("SELECT DISTINCT delay_s FROM collection.prefixes WHERE symbol = 'BTC/USDT'") == [(8 * 3600,)]
    # The ends are read hourly in any case; the new day appeared at 08:00 on each day before.
    world.now = datetime(2024, 1, 10, 7, 30, tzinfo=UTC)
    assert world.tick().reason.startswith("the archive lists nothing new (")
    assert world.tick(29 * MINUTE) == Tick([], "nothing is due")
    (request,) = world.tick(1 * MINUTE).requests
    assert said([request]) == [("BTC", "2024-01-09", "2024-01-09", 10, "new")]
    # ETH is listed from the day after on.
    assert said(world.tick(DAY).requests) == [("BTC ETH", "2024-01-10", "2024-01-10", 10, "new")]


def test_what_is_late_is_asked_for_again_and_again_ever_less_often(world):
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
    (walked,) = world.rows("SELECT count(*) FROM collection.prefixes WHERE walked_at > '2024-03-02'")
    assert walked == (2,)


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
    # Another tick may be under way: not at once.
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
    read = reading.Reader.read

    def slow(self, row, walk):
        # While this listing is on its way the other daemon reads and commits a newer one.
        answer = read(self, row, walk)
        if row.symbol == "BTC/USDT" and not overtaken:
            overtaken["by"] = True
            world.override("BTC", date(2024, 1, 18), b"newer")
            other = world.other()
            with other.catalog:
                overtaken["requests"] = other.tick().requests
        return answer

    monkeypatch.setattr(reading.Reader, "read", slow)
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


def test_marks_hold_every_object_in_eight_bytes(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    ((marks,),) = world.rows("SELECT marks FROM collection.prefix_marks WHERE prefix LIKE '%BTCUSDT%'")
    assert len(marks) == 15 * 8
    days = [date.fromordinal(day) for day in unpack(marks)]
    assert days == [START + n * DAY for n in range(15)]
    assert len(set(unpack(marks).values())) == 15


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
    assert world.rows("SELECT DISTINCT last_day FROM collection.prefixes") == [(date(2024, 1, 12),)]
    # Nothing more is expected: four looks a day at its last objects, which may be published again.
    looks = [world.tick(HOUR) for _ in range(12)]
    assert sum(look.reason != "nothing is due" for look in looks) == 2
    assert not any(look.requests for look in looks)
    world.override("BTC", date(2024, 1, 11), b"another")
    world.override("BTC", date(2024, 1, 13), b"another")
    assert said(world.tick(6 * HOUR).requests) == [("BTC", "2024-01-11", "2024-01-11", 3, "republished")]
    world.show("BTC", date(2024, 1, 11))
    world.show("BTC", date(2024, 1, 13))

    world.entries[0] |= {"end": date(2024, 1, 14)}
    found = [request for _ in range(7) for request in said(world.tick(HOUR).requests)]
    assert ("BTC ETH", "2024-01-13", "2024-01-14", 5, "new") in found


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
    monkeypatch.setattr(listing, "MOST_ENTRIES", 40)  # 20 days and their checksums
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


def test_a_listing_that_stands_still_is_gone_round_by_asking_for_the_file_itself(world):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    world.tick()
    frozen = world.other()
    # The listing shows what was there on the 20th, the archive goes on.
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


def test_a_look_that_takes_too_long_goes_on_where_it_stopped(world, monkeypatch):
    monkeypatch.setattr(watch, "LISTINGS", 1)
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    first = world.tick(budget_s=0.0001)
    second = world.tick(budget_s=0.0001)
    assert {pair[1] for request in first.requests for pair in request.pairs} == {"BTC/USDT"}
    assert {pair[1] for request in second.requests for pair in request.pairs} == {"ETH/USDT"}
    assert world.tick().reason == "nothing is due"


def test_a_host_that_is_down_is_said_by_name_and_asked_less_and_less_often(world, closed_port):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    right, world.listing_url = world.listing_url, f"http://127.0.0.1:{closed_port}/listing"
    asked_at = []
    begun = world.now
    while world.now < begun + timedelta(minutes=8):
        with contextlib.suppress(HostUnreachable):
            assert world.tick().reason.startswith(f"127.0.0.1:{closed_port} is not asked for now: ")
            world.now += timedelta(seconds=15)
            continue
        asked_at.append((world.now - begun).total_seconds())
        world.now += timedelta(seconds=15)
    assert asked_at == [0, 15, 45, 105, 225, 465]
    world.listing_url = right
    assert len(world.tick().requests) == 3


def test_one_listing_that_is_no_xml_does_not_hold_up_the_others(world, monkeypatch):
    world.now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    read = reading.Reader.read

    def refuse(self, row, walk):
        if row.symbol == "BTC/USDT":
            raise ListingError("expected S3 XML, found '<html>'")
        return read(self, row, walk)

    with monkeypatch.context() as patched:
        patched.setattr(reading.Reader, "read", refuse)
        assert {pair[1] for request in world.tick().requests for pair in request.pairs} == {"ETH/USDT"}
    assert world.rows("SELECT symbol, problem FROM collection.prefixes ORDER BY symbol") == [
        ("BTC/USDT", "expected S3 XML, found '<html>'"),
        ("ETH/USDT", None),
    ]
    assert world.tick() == Tick([], "nothing is due")
    assert {pair[1] for request in world.tick(MINUTE).requests for pair in request.pairs} == {"BTC/USDT"}


def test_files_of_months_are_watched_by_the_month(postgres_url):
    migrate(postgres_url)
    symbols = {"linear": {"BTCUSDT": (date(2023, 12, 1), date(2024, 4, 30))}}
    with SandboxServer(SyntheticArchive(symbols, trades_per_day=2)) as sandbox:
        world = World(sandbox, postgres_url, [entry("linear", ["funding_rates"], ["BTC/USDT:USDT"], START)])
        world.now = datetime(2024, 2, 20, 9, tzinfo=UTC)
        with world.catalog:
            assert said(world.tick().requests) == [("BTC", "2024-01-05", "2024-01-31", 1, "history")]
            assert world.rows("SELECT first_day, last_day FROM collection.prefixes") == [
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


def test_an_exchange_that_is_paused_is_not_asked_and_nothing_is_requested(world):
    controls = Controls(world.catalog)
    controls.pause(of_exchange("binance"), "me", "maintenance")
    assert world.tick() == Tick([], "paused: exchange:binance by me: maintenance")
    assert world.asked() == 0
    controls.resume(of_exchange("binance"))
    assert len(world.tick().requests) == 2


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
