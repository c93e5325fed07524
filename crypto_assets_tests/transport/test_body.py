"""Bodies are resumed after a cut, given up if they are too slow, and never larger than their bound."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time

import pytest
from starlette.responses import Response, StreamingResponse

from crypto_assets.errors import BadContainer, HostRefused, HostUnreachable
from crypto_assets.transport.body import Pace
from crypto_assets.transport.bounds import Bound
from crypto_assets.transport.client import Client
from crypto_assets_tests.transport.answers import ARCHIVE, in_turn

CONTENT = random.Random(0).randbytes(300_000)
CHANGED = random.Random(1).randbytes(200_000)


def file(content: bytes = CONTENT, etag: str = '"v1"', **headers: str) -> Response:
    return Response(content, headers={"etag": etag} | headers)


def part_of(content: bytes, start: int, etag: str = '"v1"') -> Response:
    about = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Response(content[start:], 206, headers={"etag": etag, "content-range": about})


def cut(content: bytes = CONTENT, etag: str | None = '"v1"') -> Response:
    """The first 100,000 bytes of a file, then the connection ends."""

    async def begin():
        yield content[:100_000]
        await asyncio.sleep(0.05)
        raise ConnectionError

    headers = {"content-length": str(len(content))}
    return StreamingResponse(begin(), headers=headers if etag is None else headers | {"etag": etag})


def begin_of(request) -> int:
    return int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))


def test_a_body_that_was_cut_is_continued_where_it_ended(serve, client, no_waits):
    server = serve(
        in_turn(
            lambda _: cut(),
            lambda request: part_of(CONTENT, begin_of(request)),
        )
    )
    response = client.at(ARCHIVE).get(f"{server.url}/a")
    assert (response.status_code, response.content == CONTENT) == (200, True)
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=100000-", '"v1"')


def test_a_file_that_changed_in_between_comes_whole_from_the_start(serve, client, no_waits):
    server = serve(in_turn(lambda _: cut(), lambda _: file(CHANGED, '"v2"')))
    response = client.at(ARCHIVE).get(f"{server.url}/a")
    assert response.content == CHANGED
    assert response.headers["etag"] == '"v2"'
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: part_of(CONTENT[::-1], 100_000, '"v2"'),  # a host that does not know If-Range
        lambda _: part_of(CONTENT[:250_000], 100_000),  # another length
        lambda _: part_of(CONTENT, 99_999),  # another place
        lambda _: Response(CONTENT[100_000:], 206, headers={"etag": '"v1"'}),  # no content-range
        lambda _: Response(status_code=416, headers={"content-range": "bytes */50"}),
    ],
    ids=["version", "length", "place", "no place", "shorter"],
)
def test_a_rest_that_does_not_fit_is_dropped_and_the_whole_is_asked_for_anew(serve, client, no_waits, wrong):
    server = serve(in_turn(lambda _: cut(), wrong, lambda _: file()))
    assert client.at(ARCHIVE).get(f"{server.url}/a").content == CONTENT
    assert ["range" in request.headers for request in server.requests] == [False, True, False]


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_an_exact_version_nothing_is_continued(serve, client, no_waits, etag):
    server = serve(in_turn(lambda _: cut(etag=etag), lambda _: file()))
    assert client.at(ARCHIVE).get(f"{server.url}/a").content == CONTENT
    assert ["range" in request.headers for request in server.requests] == [False, False]


def test_a_rest_that_nobody_asked_for_is_no_file(serve, client):
    server = serve(in_turn(lambda _: part_of(CONTENT, 0)))
    with pytest.raises(HostRefused, match="expected 200, found 206"):
        client.at(ARCHIVE).get(f"{server.url}/a")


def drops(bytes_each: int, pause_s: float):
    async def answer(request):
        async def drip():
            for _ in range(400):
                yield b"x" * bytes_each
                await asyncio.sleep(pause_s)

        return StreamingResponse(drip())

    return answer


@pytest.mark.parametrize(
    ("pace", "expected", "attempts"),
    [
        (Pace(bytes_per_s=1_000, span_s=0.3), "expected at least 1000 bytes/s", 2),
        (Pace(bytes_per_s=1, span_s=60, deadline_s=0.3), "an end within 0.3 s", 1),  # the deadline covers all attempts
    ],
)
def test_a_body_in_drops_is_given_up(serve, no_waits, pace, expected, attempts, guard):
    server = serve(drops(10, 0.02))
    begun = time.monotonic()
    with Client(guard, attempts=2, pace=pace) as client, pytest.raises(HostUnreachable, match=expected):
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert 0.3 * attempts <= time.monotonic() - begun < 6 * attempts, "8 s each to its end"
    assert len(server.requests) == attempts


def test_a_slow_body_that_keeps_pace_is_taken(serve, guard):
    server = serve(drops(1_000, 0.005))
    with Client(guard, attempts=1, pace=Pace(bytes_per_s=10, span_s=1.0)) as client:
        assert client.at(ARCHIVE).get(f"{server.url}/a").content == b"x" * 400_000


def test_a_head_in_drops_is_given_up_after_the_timeout(no_waits, guard):
    """A socket timeout alone would start anew with each byte."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as bound, Client(guard, timeout_s=0.4, attempts=1) as client:

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
        with pytest.raises(HostUnreachable, match=r"no answer within 0\.4 s"):
            client.at(ARCHIVE).get(f"http://127.0.0.1:{bound.getsockname()[1]}/a")
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
        client.at(ARCHIVE).get(f"{server.url}/a", bound=Bound(50_000, 60.0))
    assert caught.value.evidence == {"url": f"{server.url}/a", "most_bytes": 50_000}
    assert len(server.requests) == 1
    assert sum(sent) < 100_000_000


def test_a_body_as_large_as_can_be_is_taken(serve, client):
    server = serve(in_turn(lambda _: file()))
    assert client.at(ARCHIVE).get(f"{server.url}/a", bound=Bound(300_000, 60.0)).content == CONTENT
