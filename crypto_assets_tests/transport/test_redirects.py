"""Redirects: followed on the same host, or between the hosts that an exchange names, over https, and never with a key."""

from __future__ import annotations

import time

import httpx
import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from crypto_assets import sources
from crypto_assets.errors import HostRefused, HostUnreachable, NotPublished
from crypto_assets.transport.redirects import has_key, refusal
from crypto_assets_tests.odd_server import OddServer, running
from crypto_assets_tests.transport.answers import ARCHIVE, endless

NAMED = sources.get("binance").hosts
OURS, BUCKET = "https://data.binance.vision/a.zip", "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision/a.zip"


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        (OURS, "https://data.binance.vision/b.zip"),
        (OURS, "https://data.binance.vision:443/b.zip"),
        (OURS, BUCKET),
        (BUCKET, OURS),
        ("http://127.0.0.1:9000/a", "http://127.0.0.1:9000/b"),
        ("http://mirror.example/a", "http://mirror.example/b"),
        ("http://mirror.example/a", "https://mirror.example/a"),
        ("http://mirror.example:80/a", "http://MIRROR.example/a"),
    ],
)
def test_a_redirect_that_is_followed(asked, target):
    assert refusal(httpx.URL(asked), httpx.URL(target), named=NAMED, keyed=False) == ""
    assert "API key" in refusal(httpx.URL(asked), httpx.URL(target), named=NAMED, keyed=True)


@pytest.mark.parametrize(
    ("asked", "target", "why"),
    [
        (OURS, "https://elsewhere.example/a.zip", "does not name"),
        (OURS, "https://data.binance.vision.elsewhere.example/a.zip", "does not name"),
        (OURS, "https://data.binance.vision:8443/a.zip", "another port"),
        (OURS, "http://data.binance.vision/a.zip", "without the same port or https"),
        (OURS, "http://s3-ap-northeast-1.amazonaws.com/a.zip", "another host without https"),
        (OURS, "https://s3-ap-northeast-1.amazonaws.com:9200/a.zip", "does not name"),
        (OURS, "http://169.254.169.254/latest/meta-data/", "another host without https"),
        (OURS, "http://127.0.0.1:9409/metrics", "another host without https"),
        (OURS, "https://127.0.0.1/", "does not name"),
        (OURS, "https://[::1]/", "does not name"),
        (OURS, "https://me:pw@data.binance.vision/a.zip", "a user or password"),
        (OURS, "https://data.binance.vision@elsewhere.example/a.zip", "a user or password"),
        (OURS, "file:///etc/passwd", "neither http nor https"),
        (OURS, "ftp://data.binance.vision/a", "neither http nor https"),
        ("http://127.0.0.1:9000/a", "http://127.0.0.1:9001/a", "without the same port"),
        ("http://127.0.0.1:9000/a", "https://127.0.0.1:9000/a", "another port"),
        ("http://127.0.0.1:9000/a", "http://localhost:9000/a", "another host without https"),
        ("http://127.0.0.1:9000/a", OURS, "does not name"),  # rows of a mirror and of the exchange must not be mixed
        ("https://mirror.example/a", OURS, "does not name"),
        ("http://data.binance.vision/a", BUCKET, "it was asked without https"),
    ],
)
def test_a_redirect_that_is_not_followed(asked, target, why):
    assert why in refusal(httpx.URL(asked), httpx.URL(target), named=NAMED, keyed=False)


def test_every_host_of_an_exchange_is_one_that_it_names():
    for name in sources.names():
        exchange = sources.get(name)
        for url in (exchange.archive_url, exchange.listing_url, exchange.rest_url):
            assert not url or httpx.URL(url).host in exchange.hosts


def test_every_header_of_an_exchange_may_be_a_key():
    assert has_key({"X-MBX-APIKEY": "secret"})
    assert has_key({"accept-encoding": "gzip", "OK-ACCESS-KEY": "secret"})
    assert not has_key({"Accept-Encoding": "gzip", "Range": "bytes=5-"})
    assert not has_key(None)


def test_a_foreign_host_is_not_asked_and_the_one_that_was_asked_is_named(serve, client):
    with running(OddServer()) as other:

        async def away(request):
            return RedirectResponse(f"{other.url}/inside?token=secret", 302)

        server = serve(away)
        begun = time.monotonic()
        with pytest.raises(HostRefused) as caught:
            client.at(ARCHIVE).get(f"{server.url}/a.zip")
        assert str(caught.value) == (
            f"{server.url}/a.zip: expected an answer, found a redirect to {other.url}, without the same port or https; "
            "not followed; check the URLs in collection.yaml"
        )
        assert caught.value.status == 302
        assert other.requests == []
        assert len(server.requests) == 1, "another attempt gives the same"
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_key_is_sent_after_a_redirect_not_even_to_the_same_host(serve, client, status):
    async def answer(request):
        return RedirectResponse("/b", status)

    server = serve(answer)
    with pytest.raises(HostRefused, match="and the request has an API key; not followed"):
        client.at(ARCHIVE).get(f"{server.url}/a", headers={"accept-encoding": "gzip", "X-MBX-APIKEY": "secret"})
    assert [request.url.path for request in server.requests] == ["/a"]


def test_the_body_of_a_redirect_is_not_read(serve, client):
    async def answer(request):
        if request.url.path == "/b":
            return PlainTextResponse("here")
        return StreamingResponse(endless(b"x" * 1_000_000), 302, headers={"location": "/b"})

    assert client.at(ARCHIVE).get(f"{serve(answer).url}/a").text == "here"


@pytest.mark.parametrize("location", ["http://[::1/", "http://h:port/", "//", "http://" + "x" * 300 + ".example/"])
def test_a_location_that_is_no_url_is_a_failure_of_the_host(serve, client, no_waits, location):
    async def answer(request):
        return Response(status_code=302, headers={"location": location})

    with pytest.raises((HostRefused, HostUnreachable)):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a")


def test_404_after_a_redirect_is_not_published(serve, client):
    async def answer(request):
        return RedirectResponse("/gone") if request.url.path == "/a" else Response(status_code=404)

    with pytest.raises(NotPublished, match="/a: 404, not published"):
        client.at(ARCHIVE).get(f"{serve(answer).url}/a")


def test_no_cookie_of_a_host_is_kept(serve, client):
    async def answer(request):
        return PlainTextResponse("ok", headers={"set-cookie": "a=b; Path=/"})

    server = serve(answer)
    for _ in range(2):
        client.at(ARCHIVE).get(f"{server.url}/a")
    assert ["cookie" in request.headers for request in server.requests] == [False, False]
