"""Bytes are returned only if they match the published SHA-256."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

import pytest
from starlette.responses import Response

from crypto_assets import sources
from crypto_assets.engine.archive.download import download, withheld
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import (
    ChecksumMismatch,
    CircuitOpen,
    HostRefused,
    HostUnreachable,
    NotPublished,
    PermanentError,
    Stopped,
)
from crypto_assets.model import ArchiveObject, Series, SourceFile
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.binance.archive import BinanceFiles
from crypto_assets.sources.feeds import Digest
from crypto_assets.transport.client import Client
from crypto_assets_tests.engine.archive.test_listing import list_objects

BINANCE = sources.get("binance")
FOLDER = "data/spot/daily/klines/BTCUSDT/1h/"
KEY = f"{FOLDER}BTCUSDT-1h-2024-01-01.zip"


FEED = sources.archives(Series.named("binance", "spot", "ohlcv_1h"))[0]


def receive(client: Client, archive_url: str, obj: ArchiveObject) -> tuple[bytes, SourceFile]:
    return download(ArchiveSite(client, BINANCE, "", archive_url), FEED, obj)


@pytest.fixture(scope="module")
def running():
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 1, 3))) as server:
        yield server


@pytest.fixture
def sandbox(running):
    running.forget_requests()
    yield running
    running.app.state.overrides.clear()


@pytest.fixture
def obj(sandbox, client) -> ArchiveObject:
    found = next(iter(list_objects(client, sandbox.listing_url, FOLDER)))
    assert found.key == KEY
    sandbox.forget_requests()
    return found


def test_the_bytes_come_with_where_they_are_from(sandbox, client, obj):
    content, source = receive(client, sandbox.archive_url, obj)
    published = sandbox.app.state.source.read(KEY)
    assert content == published
    sha256 = hashlib.sha256(published).hexdigest()
    assert source == SourceFile(
        KEY, len(published), obj.etag, sha256, f"sha256:{sha256}", datetime(2024, 1, 2, 8, tzinfo=UTC), "archive"
    )
    assert sandbox.requests() == [("GET", f"/{KEY}"), ("GET", f"/{KEY}.CHECKSUM")]


def refused(sandbox, client, obj) -> ChecksumMismatch:
    with pytest.raises(ChecksumMismatch) as caught:
        receive(client, sandbox.archive_url, obj)
    return caught.value


def test_bytes_that_differ_from_their_checksum_are_refused_and_kept_in_the_error(sandbox, client, obj):
    published = hashlib.sha256(sandbox.app.state.source.read(KEY)).hexdigest()
    sandbox.app.state.overrides[KEY] = b"other bytes"
    error = refused(sandbox, client, obj)
    downloaded = hashlib.sha256(b"other bytes").hexdigest()
    assert error.content == b"other bytes"
    assert error.evidence == {"published": f"sha256:{published}", "downloaded": f"sha256:{downloaded}"}
    assert str(error) == (
        f"{KEY}: published sha256 {published}, downloaded {downloaded} (11 bytes); will be tried again"
    )


@pytest.mark.parametrize(
    "checksum",
    [
        b"",
        b"<html>Not here</html>",
        b"\xff\xfe\x00",
        b"d41d8cd98f00b204e9800998ecf8427e  BTCUSDT-1h-2024-01-01.zip\n",
        b"0" * 63,
        b"0" * 65,
    ],
)
def test_an_invalid_checksum_proves_nothing(sandbox, client, obj, checksum):
    sandbox.app.state.overrides[f"{KEY}.CHECKSUM"] = checksum
    error = refused(sandbox, client, obj)
    assert error.evidence["published"] is None
    assert f"{KEY}: published sha256 unreadable, downloaded " in str(error)
    assert error.content == sandbox.app.state.source.read(KEY)


@pytest.mark.parametrize("form", ["{sha256}", "{sha256}\n", " {sha256} *BTCUSDT-1h-2024-01-01.zip\r\n", "{upper}  x"])
def test_a_checksum_is_read_however_it_is_written(sandbox, client, obj, form):
    sha256 = hashlib.sha256(sandbox.app.state.source.read(KEY)).hexdigest()
    sandbox.app.state.overrides[f"{KEY}.CHECKSUM"] = form.format(sha256=sha256, upper=sha256.upper()).encode()
    _, source = receive(client, sandbox.archive_url, obj)
    assert source.published_digest == f"sha256:{sha256}"


def test_a_file_without_its_checksum_is_not_published_yet(sandbox, client, obj):
    sandbox.app.state.overrides[f"{KEY}.CHECKSUM"] = None
    with pytest.raises(NotPublished, match=rf"^{KEY}.CHECKSUM: expected a checksum beside the file, found none"):
        receive(client, sandbox.archive_url, obj)


def test_a_file_removed_since_it_was_listed_counts_as_not_published(sandbox, client, obj):
    sandbox.app.state.overrides[KEY] = None
    with pytest.raises(NotPublished, match=rf"{KEY}: listed, but the host answers 404; "):
        receive(client, sandbox.archive_url, obj)
    assert sandbox.requests() == [("GET", f"/{KEY}")]


def test_a_file_replaced_together_with_its_checksum_is_recognised_by_its_etag(sandbox, client, obj):
    new = b"new bytes"
    sandbox.app.state.overrides[KEY] = new
    sandbox.app.state.overrides[f"{KEY}.CHECKSUM"] = hashlib.sha256(new).hexdigest().encode()
    content, source = receive(client, sandbox.archive_url, obj)
    assert content == new
    assert source.etag == hashlib.md5(new, usedforsecurity=False).hexdigest() != obj.etag
    assert source.size_bytes == len(new)


def test_an_empty_file_with_the_checksum_of_nothing_is_returned_for_the_parser_to_judge(sandbox, client, obj):
    sandbox.app.state.overrides[KEY] = b""
    sandbox.app.state.overrides[f"{KEY}.CHECKSUM"] = hashlib.sha256(b"").hexdigest().encode()
    content, source = receive(client, sandbox.archive_url, obj)
    assert (content, source.size_bytes) == (b"", 0)


def test_a_refusal_of_the_host_is_no_mismatch(serve, client):
    async def answer(request):
        return Response("denied", 403)

    with pytest.raises(HostRefused):
        receive(client, serve(answer).url, ArchiveObject(KEY, 1, "e"))


def test_an_exchange_without_checksums_says_so(sandbox, client, obj):
    class Plain(BinanceFiles):
        def digest(self, key):
            return None

    site = ArchiveSite(client, BINANCE, "", sandbox.archive_url)
    _, source = download(site, Plain(FEED.series, "daily"), obj)
    assert source.published_digest is None
    assert source.sha256 == hashlib.sha256(sandbox.app.state.source.read(KEY)).hexdigest()


class Tagged(BinanceFiles):
    """An archive whose only digest is the ETag, as Bybit's and OKX's are."""

    def digest(self, key):
        return Digest("md5", None)


def test_an_etag_that_is_the_md5_is_compared_with_the_bytes(sandbox, client, obj):
    site, feed = ArchiveSite(client, BINANCE, "", sandbox.archive_url), Tagged(FEED.series, "daily")
    content, source = download(site, feed, obj)
    assert source.published_digest == "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert sandbox.requests() == [("GET", f"/{KEY}")]


@pytest.mark.parametrize(
    ("etag", "published"),
    [
        ("{md5}", "md5:{md5}"),
        ("{upper}", "md5:{md5}"),
        ("{md5}-3", None),  # of an upload in parts
        ("0x8DC1", None),
        (None, None),
    ],
)
def test_an_etag_of_another_form_proves_nothing(serve, client, etag, published):
    md5 = hashlib.md5(b"bytes", usedforsecurity=False).hexdigest()
    names = {"md5": md5, "upper": md5.upper()}

    async def answer(request):
        return Response(b"bytes", headers={"etag": f'"{etag.format(**names)}"'} if etag else None)

    site = ArchiveSite(client, BINANCE, "", serve(answer).url)
    _, source = download(site, Tagged(FEED.series, "daily"), ArchiveObject(KEY, 5, ""))
    assert source.published_digest == (published and published.format(**names))


def test_bytes_that_differ_from_an_md5_etag_are_refused(serve, client):
    async def answer(request):
        return Response(b"other bytes", headers={"etag": f'"{"0" * 32}"'})

    site = ArchiveSite(client, BINANCE, "", serve(answer).url)
    with pytest.raises(ChecksumMismatch, match=f"published md5 {'0' * 32}, downloaded "):
        download(site, Tagged(FEED.series, "daily"), ArchiveObject(KEY, 5, ""))


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 410, 451])
def test_a_host_that_answers_and_does_not_give_a_file_withholds_it(status):
    assert withheld(HostRefused("no", status=status), BINANCE)
    assert withheld(NotPublished("no"), BINANCE)


@pytest.mark.parametrize(
    "error",
    [
        *(HostRefused("not now", status=status) for status in (407, 408, 418, 425, 429, 500, 502, 503, 504)),
        HostUnreachable("no answer"),
        CircuitOpen("closed"),
        Stopped("stopped"),
        PermanentError("not a URL"),
    ],
    ids=str,
)
def test_no_answer_and_an_answer_that_can_pass_say_nothing_about_a_file(error):
    assert not withheld(error, BINANCE)
