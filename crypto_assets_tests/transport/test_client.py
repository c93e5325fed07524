"""Requests to a host: which failures are tried again, which are not, and when a host is left alone."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse

from crypto_assets.errors import (
    CircuitOpen,
    HostRefused,
    HostUnreachable,
    NotPublished,
    PermanentError,
    Stopped,
    TransientError,
)
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets.version import __version__
from crypto_assets_tests.transport.answers import ARCHIVE, statuses


@contextmanager
def raw_server(answer: bytes) -> Iterator[tuple[str, list[int]]]:
    """A port that accepts connections, writes some bytes after each request and hangs up; counts the connections."""
    connections: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as bound:
        bound.settimeout(0.05)
        ended = threading.Event()

        def run() -> None:
            while not ended.is_set():
                try:
                    connection, _ = bound.accept()
                except TimeoutError:
                    continue
                with connection:
                    connections.append(1)
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", connections
        ended.set()
        thread.join(5)


@pytest.fixture
def short_cool_downs(monkeypatch):
    """A host that answers 429 without a time is left alone for a moment."""
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.05)
    monkeypatch.setattr("crypto_assets.transport.limit_state._JITTER_S", 0.0)


def test_an_answer_comes_whole_with_our_name_and_without_compression(serve, client):
    async def answer(request):
        return PlainTextResponse("x" * 100_000)

    server = serve(answer)
    response = client.at(ARCHIVE).get(f"{server.url}/a", {"prefix": "data/spot/"})
    assert response.text == "x" * 100_000
    (request,) = server.requests
    assert request.query_params["prefix"] == "data/spot/"
    assert request.headers["user-agent"] == f"crypto-assets/{__version__}"
    assert request.headers["accept-encoding"] == "identity"


def test_404_is_not_published_and_asked_once(serve, client):
    server = serve(statuses(404))
    with pytest.raises(NotPublished, match=r"/gone\.zip: 404, not published; it may appear later"):
        client.at(ARCHIVE).get(f"{server.url}/gone.zip")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 410, 451])
def test_a_permanent_refusal_is_raised_at_once_with_its_status(serve, client, status):
    server = serve(statuses(status))
    with pytest.raises(HostRefused, match=rf"/a: expected 200, found {status} ") as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert (caught.value.status, caught.value.evidence["status"]) == (status, status)
    assert len(server.requests) == 1


def test_a_ban_is_raised_at_once_with_its_status(serve, client):
    server = serve(statuses(418))
    with pytest.raises(
        HostRefused, match=r"^127\.0\.0\.1:\d+: .* answered 418; all of binance archive waits"
    ) as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert (caught.value.status, caught.value.evidence["status"]) == (418, 418)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_refusal_that_may_pass_is_tried_four_times(serve, client, no_waits, short_cool_downs, status):
    server = serve(statuses(status))
    with pytest.raises(HostRefused) as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert caught.value.status == status
    assert caught.value.retry_after_s is None
    assert len(server.requests) == 4


@pytest.mark.parametrize("refusals", [[503], [500, 502, 429]])
def test_an_answer_after_refusals_is_the_answer(serve, client, no_waits, short_cool_downs, refusals):
    server = serve(statuses(*refusals, 200))
    assert client.at(ARCHIVE).get(f"{server.url}/a").text == "body"
    assert len(server.requests) == len(refusals) + 1


def test_retries_wait_a_little_longer_each_time(serve, client, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    server = serve(statuses(503, 503, 200))
    begun = time.monotonic()
    assert client.at(ARCHIVE).get(f"{server.url}/a").text == "body"
    assert 1.2 <= time.monotonic() - begun < 15  # 0.4 and 0.8 s at most


def test_the_wait_that_the_host_asks_for_in_seconds_is_kept(serve, client):
    server = serve(statuses(429, 200, headers={"retry-after": "1"}))
    begun = time.monotonic()
    assert client.at(ARCHIVE).get(f"{server.url}/a").text == "body"
    assert 1.0 <= time.monotonic() - begun < 15
    assert len(server.requests) == 2


def test_the_wait_that_the_host_asks_for_as_a_date_is_kept_by_its_own_clock(serve, client):
    now = datetime(2030, 1, 1, tzinfo=UTC)  # a host whose clock is years ahead
    headers = {
        "date": format_datetime(now, usegmt=True),
        "retry-after": format_datetime(now + timedelta(seconds=1), usegmt=True),
    }
    server = serve(statuses(429, 200, headers=headers))
    begun = time.monotonic()
    assert client.at(ARCHIVE).get(f"{server.url}/a").text == "body"
    assert 1.0 <= time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", None),
        ("Mon, 31 Dec 2029 00:00:00 GMT", None),  # over: it does not say how long
        ("0", None),
        ("Tue, 99 Jan 2030", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_ignored_when_it_is_neither(
    serve, client, no_waits, header, seconds
):
    headers = {"retry-after": header, "date": "Tue, 01 Jan 2030 00:00:00 GMT"}
    server = serve(statuses(403, headers=headers))
    with pytest.raises(HostRefused) as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert caught.value.retry_after_s == seconds


def test_a_date_of_a_host_without_a_clock_is_read_by_ours(serve, client, no_waits):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    with pytest.raises(HostRefused) as caught:
        client.at(ARCHIVE).get(f"{serve(statuses(403, headers={'retry-after': soon})).url}/a")
    assert caught.value.retry_after_s == pytest.approx(100, abs=30)


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(serve, client):
    server = serve(statuses(429, headers={"retry-after": "61"}))
    begun = time.monotonic()
    with pytest.raises(HostRefused) as caught:
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert caught.value.retry_after_s == pytest.approx(61.0, abs=15)
    assert len(server.requests) == 1
    assert time.monotonic() - begun < 30


def test_an_answer_that_is_cut_is_tried_again(serve, client, no_waits):
    cut = [True, True]

    async def answer(request):
        async def part():
            yield b"x" * 10
            raise ConnectionError

        if cut:
            cut.pop()
            return StreamingResponse(part(), headers={"content-length": "1000"})
        return PlainTextResponse("whole")

    server = serve(answer)
    assert client.at(ARCHIVE).get(f"{server.url}/a").text == "whole"
    assert len(server.requests) == 3


def test_an_answer_that_is_always_cut_ends_as_unreachable(client, no_waits):
    with raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort") as (url, connections):
        with pytest.raises(HostUnreachable, match=r"was cut before the end of the answer \(peer closed") as caught:
            client.at(ARCHIVE).get(f"{url}/a")
        assert len(connections) == 4
        assert caught.value.evidence["host"] == url.removeprefix("http://")


def test_files_that_are_always_cut_do_not_close_the_host_for_the_others(serve, client, no_waits):
    async def answer(request):
        async def part():
            yield b"x"
            raise ConnectionError

        if request.url.path.startswith("/cut"):
            return StreamingResponse(part(), headers={"content-length": "1000"})
        return PlainTextResponse("whole")

    server = serve(answer)
    for number in range(5):
        with pytest.raises(HostUnreachable):
            client.at(ARCHIVE).get(f"{server.url}/cut{number}")
    assert client.at(ARCHIVE).get(f"{server.url}/good").text == "whole"
    assert server.paths == {f"/cut{number}": 4 for number in range(5)} | {"/good": 1}


@pytest.mark.parametrize("answer", [b"", b"220 smtp.example.com ESMTP\r\n", b"HTTP/1.1 xyz\r\n\r\n"])
def test_a_host_that_does_not_speak_http_is_unreachable(client, no_waits, answer):
    with raw_server(answer) as (url, connections):
        with pytest.raises(HostUnreachable, match="the connection was cut before the end of the answer "):
            client.at(ARCHIVE).get(f"{url}/a")
        assert len(connections) == 4


def test_a_host_that_never_answers_is_unreachable(no_waits, guard):
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(guard, timeout_s=0.1) as client:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(HostUnreachable, match=r"no answer within 0\.1 s"):
            client.at(ARCHIVE).get(url)


@pytest.fixture
def strict(guard_url, monkeypatch) -> Iterator[Guard]:
    """A guard that stops requests to a host after three failures, however fast they come."""
    monkeypatch.setattr("crypto_assets.transport.breaker._SPAN_S", 0.0)
    with Guard(guard_url, egress=uuid4().hex, limits={}, failures=3) as guard:
        yield guard


def test_after_three_requests_that_reached_no_host_the_next_fails_at_once_and_says_why(closed_port, strict):
    url = f"http://127.0.0.1:{closed_port}/a"
    messages: list[str] = []
    with Client(strict, attempts=1) as client:
        for _ in range(3):
            with pytest.raises(HostUnreachable) as caught:
                client.at(ARCHIVE).get(url)
            messages.append(str(caught.value))
        begun = time.monotonic()
        with pytest.raises(CircuitOpen, match=r"has failed 3 times in a row, the last: .* refuses connections"):
            client.at(ARCHIVE).get(url)
        assert time.monotonic() - begun < 2
    assert messages == messages[:1] * 3
    assert messages[0].startswith(f"127.0.0.1:{closed_port} refuses connections (nothing listens on that port); ")
    assert "check the network and the URLs in collection.yaml" in messages[0]


def test_a_host_that_is_left_alone_is_not_asked_even_when_it_is_back(closed_port, serve, strict):
    with Client(strict, attempts=1) as client:
        for _ in range(3):
            with pytest.raises(HostUnreachable):
                client.at(ARCHIVE).get(f"http://127.0.0.1:{closed_port}/a")
        with raw_server_at(closed_port) as connections:
            with pytest.raises(CircuitOpen):
                client.at(ARCHIVE).get(f"http://127.0.0.1:{closed_port}/a")
            assert connections == []
        other = serve(statuses(200))
        assert client.at(ARCHIVE).get(f"{other.url}/a").text == "body"  # another host is not affected


@contextmanager
def raw_server_at(port: int) -> Iterator[list[socket.socket]]:
    with socket.create_server(("127.0.0.1", port)) as bound:
        bound.setblocking(False)
        connections: list[socket.socket] = []
        yield connections
        try:
            connections.append(bound.accept()[0])
        except BlockingIOError:
            return


def test_any_answer_in_between_starts_the_count_anew(serve, strict):
    server = serve(statuses(404))
    host = server.url.removeprefix("http://")
    with Client(strict) as client:
        for _ in range(3):
            for _ in range(2):
                strict.failed(strict.admit(ARCHIVE, host), "down")
            with pytest.raises(NotPublished):
                client.at(ARCHIVE).get(f"{server.url}/a")
    assert len(server.requests) == 3


def test_redirects_without_end_are_a_failure_of_the_host(serve, client, no_waits):
    async def answer(request):
        return RedirectResponse("/again")

    server = serve(answer)
    with pytest.raises(TransientError, match="it redirects without end"):
        client.at(ARCHIVE).get(f"{server.url}/a")


def test_a_redirect_is_followed(serve, client):
    async def answer(request):
        return RedirectResponse("/b") if request.url.path == "/a" else PlainTextResponse("here")

    assert client.at(ARCHIVE).get(f"{serve(answer).url}/a").text == "here"


def test_a_body_that_is_not_what_its_encoding_says_is_a_failure_of_the_host(serve, client, no_waits):
    async def answer(request):
        return PlainTextResponse("not gzip", headers={"content-encoding": "gzip"})

    with pytest.raises(TransientError, match="the answer is not what its content-encoding says"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers={"accept-encoding": "gzip"})


def test_what_is_not_a_url_is_a_mistake_in_the_configuration(client, no_waits):
    with pytest.raises(PermanentError, match=r"^http://\[x/a: not a URL \(.*\); check collection.yaml"):
        client.at(ARCHIVE).get("http://[x/a")


def test_many_threads_share_a_client(serve, guard):
    async def answer(request):
        return PlainTextResponse(request.url.path)

    server = serve(answer)
    found: dict[int, str] = {}
    with Client(guard, connections=4) as client:
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: client.at(ARCHIVE).get(f"{server.url}/{n}").text}))
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: f"/{n}" for n in range(40)}


async def never(request):
    await asyncio.sleep(10)
    return PlainTextResponse("late")


async def begun_only(request):
    async def begin():
        yield b"x"
        await asyncio.sleep(10)

    return StreamingResponse(begin(), headers={"content-length": "1000"})


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (never, 2),
        (begun_only, 2),
        (statuses(429, headers={"retry-after": "30"}), 2),
        (never, 1),  # one waits for its answer, the other for its turn
    ],
    ids=["for the head", "for the body", "between attempts", "for a slot"],
)
def test_a_stop_ends_every_request_within_half_a_second(serve, answer, connections, guard):
    server = serve(answer)
    stop = threading.Event()
    ended: list[tuple[type, float]] = []

    def ask() -> None:
        try:
            client.at(ARCHIVE).get(f"{server.url}/a")
        except Exception as error:
            ended.append((type(error), time.monotonic()))

    with Client(guard, connections=connections, stop=stop) as client:
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert ended == []
        stopped = time.monotonic()
        stop.set()
        for thread in threads:
            thread.join(30)
        assert [kind for kind, _ in ended] == [Stopped, Stopped]
        assert max(at for _, at in ended) - stopped < 8
        asked = len(server.requests)
        with pytest.raises(Stopped, match="not requested, because the run stops"):
            client.at(ARCHIVE).get(f"{server.url}/a")
        assert len(server.requests) == asked
