"""Circuit breakers in Postgres: closed, open, half-open, and one prober at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from crypto_assets.storage.database import Database
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport.breaker import Breaker, Breakers, Key

KEY = Key("binance", "archive", "data.example.com")
LONG_S = 2.0
"""A failure that took this long spans enough time by itself."""


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    return module_postgres_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE collection.breakers")
    with Database(url, connections=4) as database:
        yield database


def breakers(database: Database, **settings: float) -> Breakers:
    return Breakers(database, "default", **{"failures": 3, "first_open_s": 60.0} | settings)  # type: ignore[arg-type]


def fail(breakers: Breakers, times: int = 1, *, key: Key = KEY, probe: bool = False) -> Breaker:
    return [breakers.failed(key, f"failure {n + 1}", LONG_S, probe=probe) for n in range(times)][-1]


def test_a_host_that_never_failed_has_no_breaker(database):
    assert breakers(database).read() == []


def test_a_breaker_opens_with_the_failure_that_makes_them_enough(database):
    made = breakers(database)
    states = [fail(made).state for _ in range(3)]
    assert states == ["closed", "closed", "open"]
    (found,) = made.read()
    assert (found.failures, found.openings, found.last_error) == (3, 1, "failure 1")
    assert (found.exchange, found.egress, found.kind, found.host) == ("binance", "default", "archive", KEY.host)
    assert 20 <= found.probed_in_s <= 75  # a random quarter more or less
    assert timedelta(seconds=15) < found.open_until - datetime.now(UTC) < timedelta(seconds=76)


def test_requests_cut_at_one_moment_are_one_event_and_open_nothing(database):
    made = breakers(database)
    for _ in range(8):
        assert made.failed(KEY, "reset", 0.01, probe=False).state == "closed"
    time.sleep(1.0)
    assert made.failed(KEY, "reset", 0.01, probe=False).state == "open"


def test_an_answer_forgets_the_failures_before_it(database):
    made = breakers(database)
    fail(made, 2)
    made.succeeded(KEY)
    assert made.read() == []
    assert fail(made, 2).state == "closed"
    assert fail(made).state == "open"


def test_failures_of_others_on_our_address_count_and_those_of_another_address_do_not(database):
    ours, others = breakers(database), breakers(database)
    elsewhere = Breakers(database, "office", failures=3)
    fail(ours)
    fail(others)
    fail(elsewhere, 2)
    assert fail(ours).state == "open"
    assert [found.state for found in others.read()] == ["open"]
    assert [found.state for found in elsewhere.read()] == ["closed"]


@pytest.mark.parametrize(
    "other",
    [
        Key("okx", "archive", KEY.host),
        Key("binance", "listing", KEY.host),
        Key("binance", "archive", "mirror.example.com"),
    ],
)
def test_each_exchange_kind_and_host_has_a_breaker_of_its_own(database, other):
    made = breakers(database)
    fail(made, 3)
    fail(made, key=other)
    states = {Key(found.exchange, found.kind, found.host): found.state for found in made.read()}
    assert states == {KEY: "open", other: "closed"}


def test_nobody_probes_while_it_is_open_and_one_alone_once_the_time_is_up(database):
    made = breakers(database, first_open_s=2.0)
    fail(made, 3)
    assert not made.claim(KEY)
    time.sleep(2.6)  # a random quarter more
    assert [found.state for found in made.read()] == ["half-open"]
    claims: list[bool] = []
    start = threading.Barrier(8)

    def claim() -> None:
        start.wait()
        claims.append(made.claim(KEY))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == [False] * 7 + [True]


def test_a_probe_that_is_not_made_is_given_to_another(database):
    made = breakers(database, first_open_s=0.0)
    fail(made, 3)
    assert made.claim(KEY)
    assert not made.claim(KEY)
    made.release(KEY)
    assert made.claim(KEY)


def test_a_probe_that_fails_opens_it_for_twice_as_long_and_another_failure_does_not(database):
    made = breakers(database, first_open_s=60.0)
    fail(made, 3)
    late = fail(made)  # a request that was in flight when it opened
    assert (late.failures, late.openings) == (4, 1)
    assert 15 < late.probed_in_s <= 75
    again = fail(made, probe=True)
    assert (again.failures, again.openings) == (5, 2)
    assert 76 <= again.probed_in_s <= 150


def test_it_never_stays_open_for_much_more_than_five_minutes(database):
    made = breakers(database)
    fail(made, 3)
    assert fail(made, 30, probe=True).probed_in_s <= 375


def test_an_answer_to_the_probe_closes_it_and_the_next_opening_is_short_again(database):
    made = breakers(database, first_open_s=10.0)
    fail(made, 3)
    fail(made, 3, probe=True)
    made.succeeded(KEY)
    assert made.read() == []
    assert fail(made, 3).probed_in_s <= 12.5


def test_the_lease_of_a_prober_that_is_killed_ends(database, url):
    made = breakers(database, first_open_s=0.0, probe_s=3.0)
    fail(made, 3)
    code = f"""
import time
from crypto_assets.transport.breaker import Breakers, Key
from crypto_assets.storage.database import Database
claimed = Breakers(Database({url!r}), "default", probe_s=3.0).claim(Key(*{(KEY.exchange, KEY.kind, KEY.host)!r}))
print(claimed, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as prober:
        assert prober.stdout.readline() == "True\n"
        assert not made.claim(KEY)
        os.kill(prober.pid, signal.SIGKILL)
    begun = time.monotonic()
    while not made.claim(KEY):
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    assert not made.claim(KEY)


def test_an_error_of_any_length_is_kept_up_to_a_thousand_characters(database):
    text = uuid4().hex * 100
    assert breakers(database).failed(KEY, text, 0.0, probe=False).last_error == text[:1000]
