"""The guard before each request, shared by instances as by processes: breakers, cool-downs, and their cost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import psycopg
import pytest
from starlette.responses import PlainTextResponse

from crypto_assets.errors import CircuitOpen, HostRefused, HostUnreachable, NotPublished, PermanentError, Stopped
from crypto_assets.sources.limits import Endpoint, Limit
from crypto_assets.storage.database import Database
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.transport.answers import ARCHIVE, statuses
from crypto_assets_tests.waiting import wait_for

LISTING = Endpoint("binance", "listing", "listing")
SPOT = Endpoint("binance", "spot", "klines", weight=2)
HOST = "data.example.com"

MakeGuard = Callable[..., Guard]


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    return module_postgres_url


@pytest.fixture
def make_guard(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeGuard]:
    """Make guards that share only Postgres, as those of two processes do."""
    monkeypatch.setattr("crypto_assets.transport.breaker._SPAN_S", 0.0)
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE collection.breakers, collection.budgets, collection.grants")
    made: list[Guard] = []

    def make(**options) -> Guard:
        made.append(Guard(url, **{"limits": {}, "failures": 3, "first_open_s": 60.0} | options))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


def fail(guard: Guard, times: int, endpoint: Endpoint = ARCHIVE) -> None:
    for _ in range(times):
        guard.failed(guard.admit(endpoint, HOST), f"{HOST}: connection refused")


def cool_down(guard: Guard, seconds: float | None, status: int = 429, endpoint: Endpoint = ARCHIVE) -> None:
    permit = guard.admit(endpoint, HOST)
    guard.answered(permit, status, {}, at=time.monotonic(), retry_after_s=seconds)


def is_open(guard: Guard, endpoint: Endpoint = ARCHIVE) -> bool:
    try:
        guard.admit(endpoint, HOST)
    except CircuitOpen:
        return True
    return False


def is_refused(guard: Guard, endpoint: Endpoint = ARCHIVE) -> bool:
    try:
        guard.admit(endpoint, HOST)
    except HostRefused:
        return True
    return False


def test_a_host_that_is_down_is_asked_until_the_breaker_opens_and_then_not_at_all(make_guard, closed_port, no_waits):
    address = f"http://127.0.0.1:{closed_port}/a"
    with Client(make_guard(failures=6)) as client:
        view = client.at(ARCHIVE)
        with pytest.raises(HostUnreachable, match="refuses connections"):
            view.get(address)  # four attempts
        with pytest.raises(HostUnreachable, match="refuses connections"):  # not CircuitOpen: its own failure
            view.get(address)  # two more
        begun = time.monotonic()
        with pytest.raises(CircuitOpen) as caught:
            view.get(address)
        assert time.monotonic() - begun < 2
    message = str(caught.value)
    assert message.startswith(f"127.0.0.1:{closed_port} has failed 6 times in a row, the last: ")
    assert "refuses connections" in message
    assert "no requests until a probe succeeds, the next at 20" in message
    assert message.endswith("; then `crypto-assets fill`")
    evidence = caught.value.evidence
    assert (evidence["host"], evidence["failures"]) == (f"127.0.0.1:{closed_port}", 6)
    left = datetime.fromisoformat(evidence["retry_at"]) - datetime.now(UTC)
    assert timedelta(seconds=40) < left < timedelta(seconds=76)


def test_an_error_of_the_server_counts_once_it_has_stood_all_attempts(make_guard, serve, no_waits):
    server = serve(statuses(503))
    guard = make_guard(failures=3)
    with Client(guard) as client:
        for _ in range(3):
            with pytest.raises(HostRefused, match="found 503"):
                client.at(ARCHIVE).get(f"{server.url}/a")
        assert len(server.requests) == 12
        with pytest.raises(CircuitOpen, match="has failed 3 times in a row"):
            client.at(ARCHIVE).get(f"{server.url}/a")
    assert len(server.requests) == 12
    assert [(found.failures, found.state) for found in guard.snapshot().breakers] == [(3, "open")]


@pytest.mark.parametrize(("status", "error"), [(404, NotPublished), (403, HostRefused), (410, HostRefused)])
def test_a_file_that_is_not_there_or_refused_says_nothing_against_the_host(make_guard, serve, status, error):
    server = serve(statuses(status))
    guard = make_guard(failures=1)
    with Client(guard) as client:
        for _ in range(8):
            with pytest.raises(error):
                client.at(ARCHIVE).get(f"{server.url}/a")
    assert len(server.requests) == 8
    assert guard.snapshot().breakers == []


def test_failures_between_good_answers_never_open_it(make_guard, serve, no_waits):
    server = serve(statuses(*[500, 500, 200] * 8))
    guard = make_guard(failures=3)
    with Client(guard) as client:
        assert [client.at(ARCHIVE).get(f"{server.url}/a").text for _ in range(8)] == ["body"] * 8
    assert guard.snapshot().breakers == []


def test_an_open_breaker_is_known_to_another_process_at_once(make_guard, url):
    ours = make_guard()
    ours.abandoned(ours.admit(ARCHIVE, HOST))
    code = f"""
from crypto_assets.transport import breaker
breaker._SPAN_S = 0.0
from crypto_assets.transport.guard import Guard
from crypto_assets.sources.limits import Endpoint
with Guard({url!r}, limits={{}}, failures=3, first_open_s=60.0) as guard:
    for _ in range(3):
        guard.failed(guard.admit(Endpoint("binance", "archive", "archive"), {HOST!r}), "down")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    wait_for("the other process's breaker is known", lambda: is_open(ours), 15)
    assert not is_open(ours, LISTING)
    assert not is_open(ours, Endpoint("okx", "archive", "archive"))


def test_one_request_of_all_instances_probes_and_its_answer_lets_everybody_in(make_guard, serve):
    guards = [make_guard(first_open_s=0.2) for _ in range(2)]
    gate = threading.Event()

    async def answer(request):
        while not gate.is_set():
            await asyncio.sleep(0.01)
        return PlainTextResponse("body")

    server = serve(answer)
    for _ in range(3):
        guards[0].failed(guards[0].admit(ARCHIVE, server.url.removeprefix("http://")), "down")
    time.sleep(0.6)
    found: list[str] = []

    def ask(client: Client) -> None:
        try:
            found.append(client.at(ARCHIVE).get(f"{server.url}/a").text)
        except CircuitOpen as error:
            found.append("now by another request" if "the next now by another request" in str(error) else str(error))

    with Client(guards[0]) as one, Client(guards[1]) as two:
        threads = [threading.Thread(target=ask, args=(client,)) for client in (one, two) * 4]
        for thread in threads:
            thread.start()
        wait_for("seven are told", lambda: len(found) == 7)
        assert found == ["now by another request"] * 7
        assert len(server.requests) == 1
        gate.set()
        for thread in threads:
            thread.join()
        assert found[7:] == ["body"]
        time.sleep(0.6)
        assert two.at(ARCHIVE).get(f"{server.url}/a").text == "body"
        assert guards[1].snapshot().breakers == []


def test_a_probe_is_one_attempt_and_its_failure_opens_the_breaker_again(make_guard, serve, no_waits):
    server = serve(statuses(503))
    guard = make_guard(first_open_s=0.2)
    for _ in range(3):
        guard.failed(guard.admit(ARCHIVE, server.url.removeprefix("http://")), "down")
    time.sleep(0.3)
    with Client(guard) as client:
        with pytest.raises(HostRefused, match="found 503"):
            client.at(ARCHIVE).get(f"{server.url}/a")
        with pytest.raises(CircuitOpen):
            client.at(ARCHIVE).get(f"{server.url}/a")
    assert len(server.requests) == 1
    assert [(found.failures, found.openings) for found in guard.snapshot().breakers] == [(4, 2)]


def test_a_probe_that_was_never_made_is_left_to_another(make_guard):
    guard = make_guard(first_open_s=0.0)
    fail(guard, 3)
    with Client(guard) as client, pytest.raises(PermanentError, match="not a URL"):
        client.at(ARCHIVE).get(f"http://{HOST}/\x00")
    permit = guard.admit(ARCHIVE, HOST)
    assert permit.probe
    guard.abandoned(permit)
    assert guard.admit(ARCHIVE, HOST).probe


def test_a_cool_down_is_kept_by_another_instance_within_half_a_second(make_guard, serve):
    server = serve(statuses(429, 200, headers={"retry-after": "2"}))
    ours, others = make_guard(), make_guard()
    others.abandoned(others.admit(ARCHIVE, HOST))
    with Client(ours) as client:
        begun = time.monotonic()
        told: list[float] = []

        def other() -> None:
            wait_for("the host is asked", lambda: len(server.requests) == 1)
            time.sleep(0.7)
            others.admit(ARCHIVE, HOST)
            told.append(time.monotonic() - begun)

        thread = threading.Thread(target=other)
        thread.start()
        assert client.at(ARCHIVE).get(f"{server.url}/a").text == "body"
        assert 2.0 <= time.monotonic() - begun < 20
        thread.join()
    assert 1.9 <= told[0] < 20
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [429, 418, 503])
def test_a_wait_longer_than_our_patience_is_raised_at_once_everywhere(make_guard, serve, status, monkeypatch):
    server = serve(statuses(status, headers={"retry-after": "1000"}))
    ours, others = make_guard(), make_guard()
    admit, admissions = ours.admit, []
    monkeypatch.setattr(ours, "admit", lambda *asked: admissions.append(asked) or admit(*asked))
    others.abandoned(others.admit(ARCHIVE, HOST))
    with Client(ours) as client:
        begun = time.monotonic()
        with pytest.raises(HostRefused) as caught:
            client.at(ARCHIVE).get(f"{server.url}/a")
        assert time.monotonic() - begun < 30
    assert (len(server.requests), len(admissions)) == (1, 2)
    assert caught.value.status == status
    assert caught.value.retry_after_s == pytest.approx(1000, abs=30)
    message = str(caught.value)
    assert f"answered {status} and asked to wait 1000 s; all of binance archive waits until 20" in message
    wait_for("others are refused", lambda: is_refused(others), 15)
    assert not is_refused(others, LISTING)
    (found,) = ours.snapshot().cool_downs
    assert (found.exchange, found.budget, found.egress, found.status) == ("binance", "archive", "default", status)
    assert timedelta(seconds=960) < found.until - datetime.now(UTC) < timedelta(seconds=1001)


def test_a_wait_until_a_date_is_kept_by_the_clock_of_the_host(make_guard, serve):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(now, usegmt=True),
        "retry-after": format_datetime(now + timedelta(seconds=300), usegmt=True),
    }
    server = serve(statuses(418, headers=headers))
    guard = make_guard()
    with Client(guard) as client, pytest.raises(HostRefused) as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert caught.value.retry_after_s == pytest.approx(300, abs=30)


@pytest.mark.parametrize(("status", "endpoint"), [(418, ARCHIVE), (418, SPOT), (403, SPOT)])
def test_a_ban_without_a_time_lasts_two_minutes_or_a_little_more(make_guard, status, endpoint):
    guard = make_guard()
    cool_down(guard, None, status, endpoint)
    (found,) = guard.snapshot().cool_downs
    assert found.budget == endpoint.budget
    assert timedelta(seconds=90) < found.until - datetime.now(UTC) < timedelta(seconds=151)


def test_a_ban_holds_for_every_budget_of_the_host_and_for_no_other(make_guard, url):
    candles, trades, listing = (Endpoint("okx", budget, budget) for budget in ("candles", "trades", "listing"))
    one, other = make_guard(), make_guard()
    cool_down(one, None, 403, candles)
    for guard in (one, other):
        for endpoint in (candles, trades, listing):
            with pytest.raises(HostRefused, match=f"all of okx {endpoint.budget} waits until 20"):
                guard.admit(endpoint, HOST)
        guard.admit(Endpoint("okx", "archive", "archive"), HOST)
    cool_down(one, None, 403, SPOT)
    other.admit(Endpoint("binance", "linear", "klines"), HOST)
    with psycopg.connect(
        url
    ) as connection:  # it has just ended; the next one counts twice, in whatever budget it begins
        connection.execute("UPDATE collection.budgets SET cool_until = clock_timestamp()")
    again = make_guard()
    cool_down(again, None, 403, trades)
    left = {round((found.until - datetime.now(UTC)).total_seconds()) for found in again.snapshot().cool_downs}
    assert 230 < min(left) <= max(left) < 301


def test_refusals_without_a_time_wait_twice_as_long_each_time_but_those_of_one_moment_count_once(make_guard, url):
    guard = make_guard(patience_s=0.0)
    permits = [guard.admit(ARCHIVE, HOST) for _ in range(4)]
    lengths = []
    for _ in range(3):
        for permit in permits:
            guard.answered(permit, 429, {}, at=time.monotonic())
        (found,) = guard.snapshot().cool_downs
        lengths.append((found.until - datetime.now(UTC)).total_seconds())
        with psycopg.connect(url) as connection:  # it has just ended
            connection.execute("UPDATE collection.budgets SET cool_until = clock_timestamp()")
    assert 2.0 < lengths[0] < 6.3 < lengths[1] < 12.6 < lengths[2] < 25.1


def test_a_shorter_wait_does_not_end_a_longer_one(make_guard):
    guard = make_guard()
    permits = [guard.admit(ARCHIVE, HOST) for _ in range(2)]
    guard.answered(permits[0], 429, {}, at=time.monotonic(), retry_after_s=500.0)
    guard.answered(permits[1], 429, {}, at=time.monotonic(), retry_after_s=1.0)
    (found,) = guard.snapshot().cool_downs
    assert found.until - datetime.now(UTC) > timedelta(seconds=460)
    assert is_refused(guard)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_who_waits_for_a_cool_down_is_woken_within_half_a_second(make_guard, how):
    guard = make_guard()
    cool_down(guard, 30.0)
    stop = threading.Event()
    ended: list[tuple[type, float]] = []

    def wait() -> None:
        try:
            guard.admit(ARCHIVE, HOST, stop)
        except Exception as error:
            ended.append((type(error), time.monotonic()))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    assert ended == []
    begun = time.monotonic()
    stop.set() if how == "stop" else guard.close()
    thread.join(30)
    ((kind, at),) = ended
    assert kind is Stopped
    assert at - begun < 15, "the cool-down ends after 30 s"


def test_requests_cost_no_query_each_when_all_is_well(make_guard, serve, monkeypatch):
    server = serve(statuses(200))
    calls: list[float] = []
    transaction = Database.transaction

    def counted(self: Database):
        calls.append(time.monotonic())
        return transaction(self)

    monkeypatch.setattr(Database, "transaction", counted)
    with Client(make_guard()) as client:
        begun = time.monotonic()
        for _ in range(200):
            client.at(ARCHIVE).get(f"{server.url}/a")
        took_s = time.monotonic() - begun
    assert len(server.requests) == 200
    assert 1 <= len(calls) <= 1 + 2 * (1 + took_s / 0.5)  # the budget once; breakers and cool-downs twice a second


def test_a_snapshot_says_how_much_of_each_limit_is_used_and_what_is_paused(make_guard):
    limits = {"binance": {"spot": (Limit(100, 60.0), Limit(50, 10.0, "requests"))}}
    guard = make_guard(limits=limits)
    for _ in range(3):
        guard.answered(guard.admit(SPOT, HOST), 200, {}, at=time.monotonic())
    fail(guard, 3, LISTING)
    cool_down(guard, 40.0)
    found = guard.snapshot()
    assert [(use.exchange, use.egress, use.budget, use.limit, use.used, use.amount) for use in found.limits] == [
        ("binance", "default", "spot", "100 weight/min", 6, 100),
        ("binance", "default", "spot", "50 requests/10 s", 3, 50),
    ]
    assert [(cool.budget, cool.status, cool.reason) for cool in found.cool_downs] == [
        ("archive", 429, f"{HOST} answered 429 and asked to wait 40 s")
    ]
    assert [(breaker.kind, breaker.host, breaker.state, breaker.last_error) for breaker in found.breakers] == [
        ("listing", HOST, "open", f"{HOST}: connection refused")
    ]


def test_the_limits_of_the_exchange_hold_where_nothing_else_is_said(url):
    with Guard(url) as guard:
        assert guard.limits("binance", "spot")
        assert guard.limits("binance", "no such budget") == ()
