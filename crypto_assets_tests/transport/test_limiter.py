"""One limit over many processes: a Limiter for each, on a real Postgres; real processes where they are killed."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from uuid import uuid4

import pytest

from crypto_assets.errors import ConfigError, Stopped
from crypto_assets.sources.limits import Limit
from crypto_assets.storage.database import Database
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport import limit_state
from crypto_assets.transport.limiter import Cooling, Grant, Limiter
from crypto_assets_tests.waiting import wait_for
from proofs.limits import Arrival, judge


class Budget:
    """One budget with its limits; `limiter` makes the Limiter of one process."""

    def __init__(self, database: Database, limits: tuple[Limit, ...], stack: ExitStack) -> None:
        self.database = database
        self.limits = limits
        self.name = uuid4().hex
        self.id = limit_state.budget_id(database, "binance", "default", self.name, limits)
        self._stack = stack

    def limiter(self) -> Limiter:
        return self._stack.enter_context(closing(Limiter(self.database, self.id, self.limits)))

    def query(self, query: str) -> list[tuple]:
        with self.database.transaction() as connection:
            cursor = connection.execute(query, {"id": self.id})
            return cursor.fetchall() if cursor.description else []

    def waiting_in_postgres(self) -> int:
        """Return the number of connections that have the lock of this budget or wait for it."""
        return self.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %(id)s")[0][0]


@pytest.fixture(scope="module")
def database(module_postgres_url: str) -> Iterator[Database]:
    migrate(module_postgres_url)
    with Database(module_postgres_url) as database:
        yield database


@pytest.fixture
def budget(database: Database) -> Iterator[Callable[..., Budget]]:
    with ExitStack() as stack:
        yield lambda *limits: Budget(database, limits, stack)


def take(limiter: Limiter, weight: int = 1) -> float:
    """Take one grant for a request that arrives at once, and return when."""
    grant = limiter.acquire(weight)
    assert isinstance(grant, Grant)
    arrived = time.monotonic()
    limiter.arrived(grant, arrived)
    return arrived


def ask_until(
    enough: Callable[[list[Arrival]], bool], limiters: list[tuple[Limiter, int]], weights: tuple[int, ...]
) -> list[Arrival]:
    """Let threads of each limiter take grants without pause until `enough`; return the arrivals with their workers."""
    stop = threading.Event()
    arrivals: list[Arrival] = []

    def ask(limiter: Limiter, worker: int, first: int) -> None:
        for number in count(first):
            weight = weights[number % len(weights)]
            try:
                grant = limiter.acquire(weight, stop)
            except Stopped:
                return
            assert isinstance(grant, Grant)
            arrived = time.monotonic()
            arrivals.append(Arrival(arrived, "", weight, worker))
            limiter.arrived(grant, arrived)

    threads = [
        threading.Thread(target=ask, args=(limiter, worker, worker + thread))
        for worker, (limiter, many) in enumerate(limiters)
        for thread in range(many)
    ]
    for thread in threads:
        thread.start()
    try:
        wait_for("enough has arrived", lambda: enough(arrivals[:]), poll_s=0.1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return arrivals


def fullest(arrivals: list[Arrival], limit: Limit) -> int:
    """Return the most that arrived in any sliding window."""
    return judge(arrivals, "", limit, workers=1, seconds=0).fullest


def quickest(arrivals: list[Arrival], many: int) -> float:
    """Return the seconds of the shortest time in which this many arrived, infinite if there are fewer."""
    at = sorted(arrival.at for arrival in arrivals)
    return min((last - first for first, last in zip(at, at[many - 1 :], strict=False)), default=math.inf)


def test_two_limits_hold_in_every_sliding_window_and_both_are_used(budget):
    requests, weights = Limit(12, 0.5, "requests"), Limit(100, 1.0)
    heavy = budget(requests, weights)

    def most_of_both_used(arrivals: list[Arrival]) -> bool:
        return len(arrivals) >= 18 and fullest(arrivals, weights) > 50

    arrivals = ask_until(most_of_both_used, [(heavy.limiter(), 2) for _ in range(4)], (2, 4, 25))
    assert fullest(arrivals, weights) <= 100
    assert fullest(arrivals, requests) <= 12
    light = budget(requests, weights)

    def all_used(arrivals: list[Arrival]) -> bool:
        return fullest(arrivals, requests) >= 12 and quickest(arrivals, 25) < 1.5  # two windows, and all but a third

    arrivals = ask_until(all_used, [(light.limiter(), 2) for _ in range(4)], (1,))
    assert fullest(arrivals, requests) == 12


def test_processes_have_equal_shares_however_many_threads_each_has(budget):
    one = budget(Limit(20, 0.4, "requests"))
    limiters = [(one.limiter(), 1), (one.limiter(), 6), (one.limiter(), 2)]
    arrivals = ask_until(lambda arrivals: len(arrivals) >= 80 and quickest(arrivals, 61) < 1.8, limiters, (1,))
    shares = Counter(arrival.worker for arrival in arrivals)
    assert min(shares[worker] for worker in range(3)) >= 0.7 * len(arrivals) / 3


def test_a_heavy_request_is_not_overtaken_for_ever_by_light_ones(budget):
    one = budget(Limit(30, 0.5))
    heavy = one.limiter()
    taken: list[float] = []
    asking = threading.Thread(target=lambda: taken.extend(take(heavy, 28) for _ in range(2)))
    asking.start()
    ask_until(lambda _: len(taken) == 2, [(one.limiter(), 3), (one.limiter(), 3)], (1,))
    asking.join()


def test_who_waits_stops_at_once_and_gives_its_turn_away(budget):
    one = budget(Limit(1, 20.0, "requests"))
    take(one.limiter())
    waiting, stop = one.limiter(), threading.Event()
    ended: list[float] = []

    def wait() -> None:
        with pytest.raises(Stopped):
            waiting.acquire(1, stop)
        ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
    began = time.monotonic()
    stop.set()
    thread.join(60)
    assert ended[0] - began < 15
    wait_for("0 wait", lambda: one.waiting_in_postgres() == 0, 15)


def test_closing_a_limiter_ends_every_wait(budget):
    one = budget(Limit(1, 20.0, "requests"))
    limiter = one.limiter()
    take(limiter)
    ended: list[float] = []

    def wait() -> None:
        with pytest.raises(Stopped):
            limiter.acquire()
        ended.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
    began = time.monotonic()
    limiter.close()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 3
    assert max(ended) - began < 15
    with pytest.raises(Stopped):
        limiter.acquire()


_HOLDER = """
import sys
from crypto_assets.storage.database import Database
from crypto_assets.transport.limiter import Limiter
from crypto_assets.sources.limits import Limit

limiter = Limiter(Database(sys.argv[1]), int(sys.argv[2]), [Limit(1, 5.0, "requests")])
limiter.acquire()
print("first", flush=True)
limiter.acquire()
print("second", flush=True)
"""


def test_a_process_that_is_killed_while_it_is_first_in_line_blocks_nobody(budget):
    one = budget(Limit(1, 5.0, "requests"))
    command = [sys.executable, "-c", _HOLDER, one.database.url, str(one.id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "first\n"
        first = time.monotonic()
        wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
        taken: list[float] = []
        limiter = one.limiter()
        thread = threading.Thread(target=lambda: taken.append(take(limiter)))
        thread.start()
        wait_for("2 wait", lambda: one.waiting_in_postgres() == 2)
        holder.kill()
        wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
        thread.join(60)
        assert holder.stdout.read() == ""
    assert 4.9 < taken[0] - first < 9.9, "the killed process has used nothing"


def test_budgets_do_not_wait_for_each_other(budget):
    used_up, free = budget(Limit(1, 20.0, "requests")), budget(Limit(1, 20.0, "requests"))
    waiting, stop = used_up.limiter(), threading.Event()
    take(waiting)

    def wait() -> None:
        with pytest.raises(Stopped):
            waiting.acquire(1, stop)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for("1 wait", lambda: used_up.waiting_in_postgres() == 1)
    began = time.monotonic()
    take(free.limiter())
    assert time.monotonic() - began < 15
    stop.set()
    thread.join(60)


def test_a_cool_down_holds_for_every_process_and_then_ends(budget):
    one = budget(Limit(10, 0.5, "requests"))
    limiters = [one.limiter(), one.limiter()]
    for limiter in limiters:
        take(limiter)
    told = time.monotonic()
    left, *said = limit_state.cool_down(one.database, one.id, 4.0, 429, "api.binance.com answered 429")
    assert said == [429, "api.binance.com answered 429"]
    assert 3.9 < left <= 4.0
    for limiter in limiters:
        found = limiter.acquire()
        assert isinstance(found, Cooling)
        assert (found.status, found.reason) == (429, "api.binance.com answered 429")
        assert 0.0 < found.seconds <= left
    time.sleep(max(0.0, told + 4.2 - time.monotonic()))
    for limiter in limiters:
        take(limiter)


def test_a_cool_down_that_begins_meanwhile_holds_for_who_waits(budget):
    one = budget(Limit(1, 0.6, "requests"))
    limiter = one.limiter()
    take(limiter)
    found: list[Grant | Cooling] = []
    thread = threading.Thread(target=lambda: found.append(limiter.acquire()))
    thread.start()
    wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
    limit_state.cool_down(one.database, one.id, 30.0, 418, "banned", first_ban_s=120.0)
    thread.join(25)
    assert isinstance(found[0], Cooling)
    assert found[0].status == 418


def test_refusals_without_a_time_double_the_cool_down_but_those_of_one_moment_are_one(budget):
    one = budget(Limit(1, 1.0, "requests"))
    first = limit_state.cool_down(one.database, one.id, None, 429, "")[0]
    assert 4.9 < first <= 6.25
    again = limit_state.cool_down(one.database, one.id, None, 429, "")[0]
    assert again <= first
    one.query("UPDATE collection.budgets SET cool_until = clock_timestamp() - interval '1 s' WHERE id = %(id)s")
    assert 9.9 < limit_state.cool_down(one.database, one.id, None, 429, "")[0] <= 12.5


def test_what_others_on_our_address_use_counts_and_what_we_use_is_not_taken_for_theirs(budget):
    one = budget(Limit(100, 4.0))
    limiter = one.limiter()
    if time.time() % 60 > 50:
        time.sleep(60.1 - time.time() % 60)  # so that the whole count falls into one minute
    limit_state.learn_clock(one.database, one.id, -0.01, 0.01)
    sent = time.monotonic()
    first = take(limiter, 10)
    limiter.counted(10, 60.0, sent, time.monotonic())
    take(limiter, 1)
    foreign = "SELECT weight FROM collection.grants WHERE budget_id = %(id)s AND is_foreign"
    assert one.query(foreign) == []
    limiter.counted(70, 60.0, sent, time.monotonic())
    told = time.monotonic()
    second = take(limiter, 1)
    assert one.query(foreign) == [(59,)]
    assert second - first < 3.9
    assert take(limiter, 90) - told > 4.0  # 10 + 1 + 59 + 1 are counted, so it waits for all of them


def test_a_limit_of_calendar_windows_begins_anew_with_each(budget):
    one = budget(Limit(5, 4.0, "requests", aligned=True))
    limiter = one.limiter()
    limit_state.learn_clock(one.database, one.id, -0.01, 0.01)
    time.sleep((1.5 - time.time()) % 4)  # inside a window, and not at its beginning
    taken = [take(limiter) for _ in range(6)]
    assert taken[5] - taken[0] < 3.9  # at the next window, not four seconds after the first grant
    windows = one.query(
        "SELECT count(*) FROM collection.grants WHERE budget_id = %(id)s AND requests > 0 "
        "GROUP BY floor(extract(epoch FROM granted_at) / 4) ORDER BY min(id)"
    )
    assert windows == [(5,), (1,)]


def test_a_limit_of_calendar_windows_slides_while_the_clock_of_the_exchange_is_unknown(budget):
    limiter = budget(Limit(2, 0.8, "requests", aligned=True)).limiter()
    taken = [take(limiter) for _ in range(3)]
    assert taken[2] - taken[0] > 0.8


def test_a_request_that_arrived_late_counts_from_when_it_arrived(budget):
    one = budget(Limit(1, 0.5, "requests"))
    slow, other = one.limiter(), one.limiter()
    grant = slow.acquire()
    time.sleep(0.3)
    arrived = time.monotonic()
    slow.arrived(grant, arrived)
    assert take(other) - arrived > 0.5


def test_a_log_that_was_lost_counts_as_all_used(budget):
    one = budget(Limit(3, 2.0, "requests"), Limit(50, 2.0))
    limiter = one.limiter()
    began = take(limiter)
    one.query("DELETE FROM collection.grants WHERE budget_id = %(id)s")  # as after a crash of the server
    lost = time.monotonic()
    assert take(limiter) - lost > 2.0
    assert lost - began < 2.0, "the test was delayed: the deleted grants had no effect any more"


def test_a_log_that_was_lost_stays_used_up_where_the_first_who_asks_gives_up(budget):
    one = budget(Limit(3, 4.0, "requests"))
    take(one.limiter())
    one.query("DELETE FROM collection.grants WHERE budget_id = %(id)s")
    lost, stop = time.monotonic(), threading.Event()

    def give_up() -> None:
        with contextlib.suppress(Stopped):
            one.limiter().acquire(1, stop)

    thread = threading.Thread(target=give_up)
    thread.start()
    wait_for("what counts as used", lambda: one.query("SELECT 1 FROM collection.grants WHERE budget_id = %(id)s"))
    time.sleep(1.5)  # had it been rolled back with the wait, the next one would wait 4 s from here
    stop.set()
    thread.join(20)
    assert 4.0 < take(one.limiter()) - lost < 5.4


def test_a_long_wait_says_what_it_waits_for(budget, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("crypto_assets.transport.limiter.SAY_AFTER_S", 0.2)
    monkeypatch.setattr("crypto_assets.transport.limiter.say", said.append)
    limiter = budget(Limit(1, 1.0, "requests")).limiter()
    take(limiter)
    assert said == []
    for _ in range(2):
        take(limiter)
    assert said == ["waiting for the limits of the exchange (1 requests/s); at most 1 s for a request"], "once a minute"


def test_a_clock_of_the_server_that_was_put_back_blocks_nobody_for_long(budget):
    one = budget(Limit(1, 0.4, "requests"))
    limiter = one.limiter()
    take(limiter)
    one.query("UPDATE collection.grants SET granted_at = granted_at + interval '1 hour' WHERE budget_id = %(id)s")
    began = time.monotonic()
    assert 0.4 < take(limiter) - began < 60


def test_a_broken_connection_is_made_again(budget):
    one = budget(Limit(1, 0.5, "requests"))
    limiter = one.limiter()
    first = take(limiter)
    taken: list[float] = []
    thread = threading.Thread(target=lambda: taken.append(take(limiter)))
    thread.start()
    wait_for("1 wait", lambda: one.waiting_in_postgres() == 1)
    one.query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %(id)s AND granted"
    )
    thread.join(60)
    assert 0.5 < taken[0] - first < 60


def test_old_grants_are_deleted_and_the_sums_go_on(budget):
    one = budget(Limit(1_000, 0.1, "requests"))
    limiter = one.limiter()
    for _ in range(20):
        take(limiter)
    one.query("UPDATE collection.grants SET granted_at = granted_at - interval '10 min' WHERE budget_id = %(id)s")
    for _ in range(35):
        take(limiter)
    rows = one.query("SELECT id, requests_before FROM collection.grants WHERE budget_id = %(id)s ORDER BY id")
    assert len(rows) == 35  # without the very first, which has no meaning, and the 20
    assert [before for _, before in rows] == list(range(20, 55))


def test_a_request_that_never_fits_is_a_mistake_of_the_configuration(budget):
    with pytest.raises(ConfigError, match=r"weight 25 never fits into the limit 20 weight/min; check limits"):
        budget(Limit(20, 60)).limiter().acquire(25)


def test_people_see_how_much_of_each_limit_is_used(budget):
    one = budget(Limit(20, 1, "requests"), Limit(6_000, 60))
    limiter = one.limiter()
    for weight in (2, 25):
        take(limiter, weight)
    limit_state.cool_down(one.database, one.id, 30.0, 429, "asked to wait")
    found = limit_state.snapshot(one.database)
    assert [(use.limit, use.used, use.amount) for use in found.limits if use.budget == one.name] == [
        ("20 requests/s", 2, 20),
        ("6000 weight/min", 27, 6_000),
    ]
    assert [(cool.status, cool.reason) for cool in found.cool_downs if cool.budget == one.name] == [
        (429, "asked to wait")
    ]
