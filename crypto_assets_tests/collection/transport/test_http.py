"""Asking a host: what is tried again, what is not, and when a host is left alone."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from crypto_assets.collection.transport.body import Pace
from crypto_assets.collection.transport.concurrency import Slots
from crypto_assets.collection.transport.http import Client
from crypto_assets.errors import (
    BadContainer,
    HostRefused,
    HostUnreachable,
    NotPublished,
    PermanentError,
    Stopped,
    TransientError,
)
from crypto_assets.version import __version__


def statuses(*codes: int, headers: dict[str, str] | None = None):
    """Answer with these statuses one after the other, and with the last one for ever."""
    left = list(codes)

    async def answer(request):
        code = left.pop(0) if len(left) > 1 else left[0]
        return Response("body" if code == 200 else "no", code, headers if code != 200 else None)

    return answer


@contextmanager
def raw_server(answer: bytes) -> Iterator[tuple[str, list[int]]]:
    """A port that takes connections, writes some bytes after each request and hangs up; counts the connections."""
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


def test_an_answer_comes_whole_with_our_name_and_without_compression(serve, client):
    async def answer(request):
        return PlainTextResponse("x" * 100_000)

    server = serve(answer)
    response = client.get(f"{server.url}/a", {"prefix": "data/spot/"})
    assert response.text == "x" * 100_000
    (request,) = server.requests
    assert request.query_params["prefix"] == "data/spot/"
    assert request.headers["user-agent"] == f"crypto-assets/{__version__}"
    assert request.headers["accept-encoding"] == "identity"


def test_404_is_not_published_and_asked_once(serve, client):
    server = serve(statuses(404))
    with pytest.raises(NotPublished, match=r"/gone\.zip: 404, not published; it may appear later"):
        client.get(f"{server.url}/gone.zip")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 410, 418, 451])
def test_a_refusal_that_does_not_pass_is_told_at_once_with_its_status(serve, client, status):
    server = serve(statuses(status))
    with pytest.raises(HostRefused, match=rf"/a: expected 200, found {status} ") as caught:
        client.get(f"{server.url}/a")
    assert (caught.value.status, caught.value.evidence["status"]) == (status, status)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_refusal_that_may_pass_is_tried_four_times(serve, client, no_waits, status):
    server = serve(statuses(status))
    with pytest.raises(HostRefused) as caught:
        client.get(f"{server.url}/a")
    assert caught.value.status == status
    assert caught.value.retry_after_s is None
    assert len(server.requests) == 4


@pytest.mark.parametrize("refusals", [[503], [500, 502, 429]])
def test_an_answer_after_refusals_is_the_answer(serve, client, no_waits, refusals):
    server = serve(statuses(*refusals, 200))
    assert client.get(f"{server.url}/a").text == "body"
    assert len(server.requests) == len(refusals) + 1


def test_retries_wait_a_little_longer_each_time(serve, client, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    server = serve(statuses(503, 503, 200))
    begun = time.monotonic()
    assert client.get(f"{server.url}/a").text == "body"
    assert 1.2 <= time.monotonic() - begun < 15  # 0.4 and 0.8 s at most


def test_the_wait_that_the_host_asks_for_in_seconds_is_kept(serve, client):
    server = serve(statuses(429, 200, headers={"retry-after": "1"}))
    begun = time.monotonic()
    assert client.get(f"{server.url}/a").text == "body"
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
    assert client.get(f"{server.url}/a").text == "body"
    assert 1.0 <= time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("", None),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", None),
        ("Mon, 31 Dec 2029 00:00:00 GMT", 0.0),
        ("Tue, 99 Jan 2030", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_ignored_when_it_is_neither(
    serve, client, no_waits, header, seconds
):
    headers = {"retry-after": header, "date": "Tue, 01 Jan 2030 00:00:00 GMT"}
    server = serve(statuses(403, headers=headers))
    with pytest.raises(HostRefused) as caught:
        client.get(f"{server.url}/a")
    assert caught.value.retry_after_s == seconds


def test_a_date_of_a_host_without_a_clock_is_read_by_ours(serve, client, no_waits):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    with pytest.raises(HostRefused) as caught:
        client.get(f"{serve(statuses(403, headers={'retry-after': soon})).url}/a")
    assert caught.value.retry_after_s == pytest.approx(100, abs=30)


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(serve, client):
    server = serve(statuses(429, headers={"retry-after": "61"}))
    begun = time.monotonic()
    with pytest.raises(HostRefused) as caught:
        client.get(f"{server.url}/a")
    assert caught.value.retry_after_s == 61.0
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
    assert client.get(f"{server.url}/a").text == "whole"
    assert len(server.requests) == 3


def test_an_answer_that_is_always_cut_ends_as_unreachable(client, no_waits):
    with raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort") as (url, connections):
        with pytest.raises(HostUnreachable, match="expected an answer, found peer closed connection") as caught:
            client.get(f"{url}/a")
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
            client.get(f"{server.url}/cut{number}")
    assert client.get(f"{server.url}/good").text == "whole"
    assert server.paths == {f"/cut{number}": 4 for number in range(5)} | {"/good": 1}


@pytest.mark.parametrize("answer", [b"", b"220 smtp.example.com ESMTP\r\n", b"HTTP/1.1 xyz\r\n\r\n"])
def test_a_host_that_does_not_speak_http_is_unreachable(client, no_waits, answer):
    with raw_server(answer) as (url, connections):
        with pytest.raises(HostUnreachable, match="expected an answer, found "):
            client.get(f"{url}/a")
        assert len(connections) == 4


def test_a_host_that_never_answers_is_unreachable(no_waits):
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(timeout_s=0.1) as client:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(HostUnreachable, match="expected an answer, found timed out"):
            client.get(url)


def test_after_three_requests_that_reached_no_host_the_next_fails_at_once_with_the_same_message(closed_port, client):
    url = f"http://127.0.0.1:{closed_port}/a"
    messages: list[str] = []
    durations: list[float] = []
    for _ in range(4):
        begun = time.monotonic()
        with pytest.raises(HostUnreachable) as caught:
            client.get(url)
        durations.append(time.monotonic() - begun)
        messages.append(str(caught.value))
    assert messages[0].startswith(f"127.0.0.1:{closed_port}: expected an answer, found ")
    assert "check the network and the URLs in collection.yaml" in messages[0]
    assert messages[3] == messages[2]
    assert durations[3] < min(durations[:2])


def test_a_host_that_is_left_alone_is_not_asked_even_when_it_is_back(closed_port, serve, client, no_waits):
    for _ in range(3):
        with pytest.raises(HostUnreachable):
            client.get(f"http://127.0.0.1:{closed_port}/a")
    with raw_server_at(closed_port) as connections:
        with pytest.raises(HostUnreachable):
            client.get(f"http://127.0.0.1:{closed_port}/a")
        assert connections == []
    other = serve(statuses(200))
    assert client.get(f"{other.url}/a").text == "body"  # another host is another matter


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


def test_any_answer_in_between_starts_the_count_anew(serve, client, no_waits):
    server = serve(statuses(404))
    host = server.url.removeprefix("http://")
    client._unreachable[host] = (2, "down")
    with pytest.raises(NotPublished):
        client.get(f"{server.url}/a")
    assert client._unreachable == {}


def test_redirects_without_end_are_a_failure_of_the_host(serve, client, no_waits):
    async def answer(request):
        return RedirectResponse("/again")

    server = serve(answer)
    with pytest.raises(TransientError, match="expected an answer, found Exceeded maximum allowed redirects"):
        client.get(f"{server.url}/a")


def test_a_redirect_is_followed(serve, client):
    async def answer(request):
        return RedirectResponse("/b") if request.url.path == "/a" else PlainTextResponse("here")

    assert client.get(f"{serve(answer).url}/a").text == "here"


def test_a_body_that_is_not_what_its_encoding_says_is_a_failure_of_the_host(serve, client, no_waits):
    async def answer(request):
        return PlainTextResponse("not gzip", headers={"content-encoding": "gzip"})

    with pytest.raises(TransientError, match="expected an answer, found "):
        client.get(f"{serve(answer).url}/a")


def test_what_is_not_a_url_is_a_mistake_in_the_configuration(client, no_waits):
    with pytest.raises(PermanentError, match=r"^http://\[x/a: not a URL \(.*\); check collection.yaml"):
        client.get("http://[x/a")


def test_many_threads_share_a_client(serve):
    async def answer(request):
        return PlainTextResponse(request.url.path)

    server = serve(answer)
    found: dict[int, str] = {}
    with Client(connections=4) as client:
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: client.get(f"{server.url}/{n}").text}))
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: f"/{n}" for n in range(40)}


CONTENT = random.Random(0).randbytes(300_000)
CHANGED = random.Random(1).randbytes(200_000)


def file(content: bytes = CONTENT, etag: str = '"v1"', **headers: str) -> Response:
    return Response(content, headers={"etag": etag} | headers)


def part_of(content: bytes, start: int, etag: str = '"v1"') -> Response:
    about = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Response(content[start:], 206, headers={"etag": etag, "content-range": about})


def cut(content: bytes = CONTENT, etag: str | None = '"v1"') -> Response:
    """The first 100,000 bytes of a file, and then the end of the connection."""

    async def begin():
        yield content[:100_000]
        await asyncio.sleep(0.05)
        raise ConnectionError

    headers = {"content-length": str(len(content))}
    return StreamingResponse(begin(), headers=headers if etag is None else headers | {"etag": etag})


def in_turn(*answers):
    """Give each answer, made of the request, once."""
    left = list(answers)

    async def answer(request):
        return left.pop(0)(request)

    return answer


def begin_of(request) -> int:
    return int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))


def test_a_body_that_was_cut_is_continued_where_it_ended(serve, client, no_waits):
    server = serve(
        in_turn(
            lambda _: cut(),
            lambda request: part_of(CONTENT, begin_of(request)),
        )
    )
    response = client.get(f"{server.url}/a")
    assert (response.status_code, response.content == CONTENT) == (200, True)
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=100000-", '"v1"')


def test_a_file_that_changed_in_between_comes_whole_from_the_start(serve, client, no_waits):
    server = serve(in_turn(lambda _: cut(), lambda _: file(CHANGED, '"v2"')))
    response = client.get(f"{server.url}/a")
    assert response.content == CHANGED
    assert response.headers["etag"] == '"v2"'
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: part_of(CONTENT[::-1], 100_000, '"v2"'),  # a host that does not know If-Range
        lambda _: part_of(CONTENT[:250_000], 100_000),  # another length
        lambda _: part_of(CONTENT, 99_999),  # another place
        lambda _: Response(CONTENT[100_000:], 206, headers={"etag": '"v1"'}),  # no place at all
        lambda _: Response(status_code=416, headers={"content-range": "bytes */50"}),
    ],
    ids=["version", "length", "place", "no place", "shorter"],
)
def test_a_rest_that_does_not_fit_is_dropped_and_the_whole_is_asked_for_anew(serve, client, no_waits, wrong):
    server = serve(in_turn(lambda _: cut(), wrong, lambda _: file()))
    assert client.get(f"{server.url}/a").content == CONTENT
    assert ["range" in request.headers for request in server.requests] == [False, True, False]


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_an_exact_version_nothing_is_continued(serve, client, no_waits, etag):
    server = serve(in_turn(lambda _: cut(etag=etag), lambda _: file()))
    assert client.get(f"{server.url}/a").content == CONTENT
    assert ["range" in request.headers for request in server.requests] == [False, False]


def test_a_rest_that_nobody_asked_for_is_no_file(serve, client):
    server = serve(in_turn(lambda _: part_of(CONTENT, 0)))
    with pytest.raises(HostRefused, match="expected 200, found 206"):
        client.get(f"{server.url}/a")


def drops(bytes_each: int, pause_s: float):
    async def answer(request):
        async def drip():
            for _ in range(400):
                yield b"x" * bytes_each
                await asyncio.sleep(pause_s)

        return StreamingResponse(drip())

    return answer


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        (Pace(bytes_per_s=1_000, span_s=0.3), "expected at least 1000 bytes/s"),
        (Pace(bytes_per_s=1, span_s=60, deadline_s=0.3), "an end within 0.3 s"),
    ],
)
def test_a_body_in_drops_is_given_up(serve, no_waits, pace, expected):
    server = serve(drops(10, 0.02))
    begun = time.monotonic()
    with Client(attempts=2, pace=pace) as client, pytest.raises(HostUnreachable, match=expected):
        client.get(f"{server.url}/a")
    assert 0.6 <= time.monotonic() - begun < 12, "8 s each to its end"
    assert len(server.requests) == 2


def test_a_slow_body_that_keeps_pace_is_taken(serve):
    server = serve(drops(1_000, 0.005))
    with Client(attempts=1, pace=Pace(bytes_per_s=10, span_s=1.0)) as client:
        assert client.get(f"{server.url}/a").content == b"x" * 400_000


def test_a_head_in_drops_is_given_up_after_the_timeout(no_waits):
    """A timeout of the socket alone would start anew with each byte."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as bound, Client(timeout_s=0.4, attempts=1) as client:

        def drip() -> None:
            connection, _ = bound.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(400):
                    if ended.wait(0.05):
                        return
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(HostUnreachable, match="found timed out"):
            client.get(f"http://127.0.0.1:{bound.getsockname()[1]}/a")
        assert 0.3 < time.monotonic() - begun < 15
        ended.set()
        thread.join(30)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_larger_than_can_be_is_not_read_any_further(serve, client, told):
    sent: list[int] = []

    async def answer(request):
        async def much():
            for _ in range(1_000):
                sent.append(100_000)
                yield b"x" * 100_000
                await asyncio.sleep(0)

        return StreamingResponse(much(), headers={"content-length": "100000000"} if told else {})

    server = serve(answer)
    with pytest.raises(BadContainer, match=r"/a: expected at most 50000 bytes, found \d+ or more") as caught:
        client.get(f"{server.url}/a", most_bytes=50_000)
    assert caught.value.evidence == {"url": f"{server.url}/a", "most_bytes": 50_000}
    assert len(server.requests) == 1
    assert sum(sent) < 100_000_000


def test_a_body_as_large_as_can_be_is_taken(serve, client):
    server = serve(in_turn(lambda _: file()))
    assert client.get(f"{server.url}/a", most_bytes=300_000).content == CONTENT


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
def test_a_stop_ends_every_request_within_half_a_second(serve, answer, connections):
    server = serve(answer)
    stop = threading.Event()
    ended: list[tuple[type, float]] = []

    def ask() -> None:
        try:
            client.get(f"{server.url}/a")
        except Exception as error:
            ended.append((type(error), time.monotonic()))

    with Client(connections=connections, stop=stop) as client:
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
        with pytest.raises(Stopped, match="not asked, for the run stops"):
            client.get(f"{server.url}/a")
        assert len(server.requests) == asked


def test_a_host_that_hangs_does_not_take_the_place_of_another(serve):
    other = serve(statuses(200))
    stop = threading.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(connections=2, timeout_s=60, attempts=1, stop=stop) as client,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"

        def hang() -> None:
            with pytest.raises(Stopped):
                client.get(url)

        threads = [threading.Thread(target=hang) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        begun = time.monotonic()
        assert [client.get(f"{other.url}/{n}").text for n in range(5)] == ["body"] * 5
        assert time.monotonic() - begun < 30
        stop.set()
        for thread in threads:
            thread.join()


def test_fewer_requests_are_in_flight_after_errors_and_more_again_after_answers(serve):
    in_flight: list[int] = [0]
    seen: list[int] = []
    failing = [True]
    pause_s = [0.0]

    async def answer(request):
        in_flight[0] += 1
        seen.append(in_flight[0])
        await asyncio.sleep(pause_s[0])
        in_flight[0] -= 1
        return Response("body", 503 if failing else 200)

    server = serve(answer)

    def at_once(times: int, answered_after_s: float = 0.1) -> int:
        """Ask from eight threads, and return how many requests were in flight at most."""
        pause_s[0] = answered_after_s
        seen.clear()

        def ask() -> None:
            for _ in range(times):
                try:
                    client.get(f"{server.url}/a")
                except HostRefused:
                    continue

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(seen)

    with Client(connections=8, attempts=1) as client:
        assert at_once(1, 2.0) == 8  # so long that eight threads overlap on a busy machine
        at_once(2)
        failing.clear()
        assert at_once(1, 0.5) <= 4
        at_once(12)
        assert at_once(1, 2.0) == 8


def test_errors_of_one_moment_halve_the_slots_once_and_never_to_nothing():
    slots = Slots(8)
    entered = [slots.enter() for _ in range(8)]
    for began in entered:
        slots.leave(began, good=False)
    assert slots.limit == 4
    limits = []
    for _ in range(4):
        slots.leave(slots.enter(), good=False)
        limits.append(slots.limit)
    assert limits == [2, 1, 1, 1]
    slots.leave(slots.enter(), good=None)  # a file that is not there says nothing
    assert slots.limit == 1
    for _ in range(40):
        slots.leave(slots.enter(), good=True, answered_s=0.1)
    assert slots.limit == 8


def test_answers_that_become_much_slower_count_as_errors():
    slots = Slots(8)
    for answered_s in (0.1, 0.1, 0.1, 1.9):
        slots.leave(slots.enter(), good=True, answered_s=answered_s)
    assert slots.limit == 8  # less than two seconds is never slow
    slots.leave(slots.enter(), good=True, answered_s=2.5)
    assert slots.limit == 4
