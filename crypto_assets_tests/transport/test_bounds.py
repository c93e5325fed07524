"""Bounds by kind of request, and encodings: what a hostile host sends is neither unpacked nor kept."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest
from starlette.responses import Response, StreamingResponse

from crypto_assets.engine.rest.ccxt_client import read_json
from crypto_assets.errors import BadContainer, BadContent, HostRefused, HostUnreachable, NotPublished
from crypto_assets.transport.body import Body, Pace, Unpacking
from crypto_assets.transport.bounds import CHECKSUM, JSON, LISTING, REST, Bound, file_bound
from crypto_assets.transport.client import Client
from crypto_assets_tests.transport.answers import ARCHIVE, endless

GZIP = {"accept-encoding": "gzip"}
MB = 1 << 20


def test_a_file_may_have_twice_the_size_that_is_listed_and_a_megabyte():
    assert [bound.most_bytes for bound in (CHECKSUM, LISTING, REST, JSON)] == [4 << 10, 8 * MB, 8 * MB, 64 * MB]
    assert file_bound(0).most_bytes == file_bound(-5).most_bytes == MB
    assert file_bound(30 * MB).most_bytes == 61 * MB
    assert file_bound(10**18).most_bytes == 4 << 30
    assert file_bound(0).most_s < file_bound(10**9).most_s < 24 * 3600


def bomb(size: int = 300 * MB) -> bytes:
    """Zeros packed by gzip, to a thousandth of their size."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(MB)) for _ in range(size // MB)), packer.flush()])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown", "x" * 300])
def test_an_encoding_that_was_not_requested_is_not_read(serve, client, coding):
    body = bomb(50 * MB)

    async def answer(request):
        return Response(body, headers={"content-encoding": coding})

    server = serve(answer)
    with pytest.raises(HostRefused, match=r"found Content-Encoding '.*', which was not requested; not read") as caught:
        client.at(ARCHIVE).get(f"{server.url}/a.zip")
    assert caught.value.status == 200
    assert len(str(caught.value)) < 300
    assert len(server.requests) == 1


def test_identity_is_no_coding(serve, client):
    async def answer(request):
        return Response(b"as it is", headers={"content-encoding": "identity"})

    assert client.at(ARCHIVE).get(f"{serve(answer).url}/a").text == "as it is"


def test_requested_gzip_is_unpacked(serve, client):
    body = gzip.compress(b"[1, 2]" * 100_000)

    async def answer(request):
        return Response(body, headers={"content-encoding": "gzip"})

    assert client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP).content == b"[1, 2]" * 100_000


@pytest.mark.parametrize("codings", ["gzip, gzip", "br"])
def test_only_one_gzip_is_unpacked(serve, client, codings):
    async def answer(request):
        return Response(gzip.compress(gzip.compress(b"[]")), headers={"content-encoding": codings})

    with pytest.raises(HostRefused, match="was not requested"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP)


def test_a_bomb_is_unpacked_up_to_its_bound(serve, client):
    body = bomb()
    assert len(body) < MB

    async def answer(request):
        return Response(body, headers={"content-encoding": "gzip"})

    with pytest.raises(BadContainer, match=f"expected at most {8 * MB} bytes, found"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP, bound=LISTING)


def test_gzip_is_unpacked_in_pieces_of_a_megabyte():
    assert max(map(len, Unpacking().pieces(bomb(20 * MB)))) == MB


def test_endless_gzip_that_unpacks_to_nothing_is_bounded(serve, client):
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b"x") + packer.flush(zlib.Z_FULL_FLUSH)

    async def answer(request):
        empty_blocks = b"\x00\x00\x00\xff\xff" * 10_000
        return StreamingResponse(endless(empty_blocks, start), headers={"content-encoding": "gzip"})

    with pytest.raises(BadContainer, match="expected at most 1000000 bytes"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP, bound=Bound(1_000_000, 60.0))


def test_gzip_without_its_end_is_a_failure_of_the_host(serve, client, no_waits):
    async def answer(request):
        return Response(gzip.compress(b"[1, 2]" * 1_000)[:-20], headers={"content-encoding": "gzip"})

    with pytest.raises(HostUnreachable, match="the end of the gzip is missing"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP)


def test_a_body_in_single_bytes_takes_no_more_memory_than_its_size():
    body = Body("url", Pace(), JSON)
    body.begin(httpx.Response(200))
    for _ in range(300_000):
        body.add(b"ab")
    for _ in range(3):
        body.add(b"x" * 10_000)
    body.add(b"c")
    assert len(body.chunks) == 5
    assert body.whole() == b"ab" * 300_000 + b"x" * 30_000 + b"c"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3_000_000,
        "[],",
        '{"a":' * 100_000,
        "[" + "[]," * 300_000 + "1]",
        "[" + "1," * 2_000_000 + "1]",
        '"\\ud800',
        "1" * 10_000,
    ],
)
def test_json_that_takes_far_more_than_its_size_is_refused(text):
    with pytest.raises(BadContent, match=r"https://api\.example\.com: expected"):
        read_json("https://api.example.com", text)


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_no_answer_without_end_is_read_to_its_end(serve, no_waits, status, guard):
    async def answer(request):
        return StreamingResponse(endless(b"x" * 100_000), status)

    with Client(guard, attempts=1) as client, pytest.raises((BadContainer, HostRefused, NotPublished)):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", bound=CHECKSUM)


def test_a_refusal_is_not_unpacked_either(serve, client):
    body = bomb(100 * MB)

    async def answer(request):
        return Response(body, 403, headers={"content-encoding": "gzip"})

    with pytest.raises(HostRefused, match="expected 200, found 403") as caught:
        client.at(ARCHIVE).get(f"{serve(answer).url}/a", headers=GZIP)
    assert len(caught.value.evidence["body"]) <= 2_000


def test_the_bound_of_a_request_is_over_all_of_its_attempts(serve, no_waits, guard):
    async def answer(request):
        return StreamingResponse(endless(b"x" * 1_000), headers={"content-length": "100000000"})

    server = serve(answer)
    with Client(guard, attempts=4, pace=Pace()) as client, pytest.raises(HostUnreachable, match="an end within 0 s"):
        client.at(ARCHIVE).get(f"{server.url}/a", bound=Bound(10**9, 0.0))
    assert len(server.requests) == 1
