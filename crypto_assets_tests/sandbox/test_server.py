"""The sandbox over HTTP, as a collector uses it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from crypto_assets.sandbox import app as sandbox_app
from crypto_assets.sandbox.archive import FolderArchive, SyntheticArchive
from crypto_assets.sandbox.server import SandboxProcess, SandboxServer

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
FOLDER = "data/spot/daily/klines/BTCUSDT/1h/"
KEY = f"{FOLDER}BTCUSDT-1h-2024-01-01.zip"


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 2, 9))


@pytest.fixture(scope="module")
def running(archive: SyntheticArchive) -> Iterator[SandboxServer]:
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    yield running
    running.app.state.overrides.clear()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def text(page: ET.Element, name: str) -> str | None:
    return page.findtext(NAMESPACE + name)


def listing(client: httpx.Client, server: SandboxServer, **query: str | int) -> ET.Element:
    answer = client.get(server.listing_url, params={name.replace("_", "-"): value for name, value in query.items()})
    assert answer.status_code == 200
    page = ET.fromstring(answer.text)
    assert page.tag == f"{NAMESPACE}ListBucketResult"
    return page


def entries(page: ET.Element) -> list[str]:
    keys = [item.findtext(f"{NAMESPACE}Key") or "" for item in page.iter(f"{NAMESPACE}Contents")]
    return sorted(
        [*keys, *(item.findtext(f"{NAMESPACE}Prefix") or "" for item in page.iter(f"{NAMESPACE}CommonPrefixes"))]
    )


def pages(client: httpx.Client, server: SandboxServer, version: int, **query: str | int) -> list[list[str]]:
    """Follow a listing to its end as S3 documents it, and return the entries of every page."""
    found: list[list[str]] = []
    following: dict[str, str] = {}
    while True:
        version_2 = {"list_type": 2} if version == 2 else {}
        page = listing(client, server, **query, **version_2, **following)
        found.append(entries(page))
        if text(page, "IsTruncated") == "false":
            return found
        if version == 2:
            following = {"continuation_token": text(page, "NextContinuationToken") or ""}
        else:
            following = {"marker": text(page, "NextMarker") or found[-1][-1]}


@pytest.mark.parametrize("size", [1, 7, 80, 1_000])
@pytest.mark.parametrize("version", [1, 2])
def test_pages_hold_every_key_once_and_in_order(client, server, archive, version, size):
    found = pages(client, server, version, prefix=FOLDER, max_keys=size)
    assert [key for page in found for key in page] == list(archive.keys(FOLDER))
    assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
    assert sum(map(len, found)) == 80


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "prefix", ["", "data/", "data/spot/daily/", "data/spot/daily/klines/BTCUSDT/", "data/spot/daily/k"]
)
def test_pages_hold_every_common_prefix_once_and_in_order(client, server, archive, prefix, version, size):
    expected = sorted({key[: key.index("/", len(prefix)) + 1] for key in archive.keys(prefix)})
    found = pages(client, server, version, prefix=prefix, delimiter="/", max_keys=size)
    assert [entry for page in found for entry in page] == expected
    assert all(len(page) == size for page in found[:-1])


def test_keys_and_common_prefixes_share_the_page(client, tmp_path: Path):
    for key in ("a", "b/1", "b/2", "c", "d/1", "e"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_text(key)
    with SandboxServer(FolderArchive(tmp_path)) as server:
        for version in (1, 2):
            found = pages(client, server, version, delimiter="/", max_keys=2)
            assert found == [["a", "b/"], ["c", "d/"], ["e"]]
        assert "x-synthetic" not in client.get(f"{server.archive_url}/a").headers


def test_the_next_marker_is_told_only_where_a_delimiter_was_sent(client, server):
    plain = listing(client, server, prefix=FOLDER, max_keys=3)
    assert (text(plain, "IsTruncated"), text(plain, "NextMarker"), text(plain, "Delimiter")) == ("true", None, None)
    divided = listing(client, server, prefix=FOLDER, max_keys=3, delimiter="/")
    assert text(divided, "NextMarker") == entries(divided)[-1]
    level = listing(client, server, prefix="data/spot/daily/", max_keys=1, delimiter="/")
    assert text(level, "NextMarker") == "data/spot/daily/aggTrades/"


def test_a_page_has_a_thousand_entries_however_many_are_asked(client, tmp_path: Path):
    for number in range(1_003):
        (tmp_path / f"{number:04d}").touch()
    with SandboxServer(FolderArchive(tmp_path)) as server:
        page = listing(client, server, max_keys=5_000)
        assert (text(page, "MaxKeys"), text(page, "IsTruncated")) == ("5000", "true")
        assert entries(page) == [f"{number:04d}" for number in range(1_000)]
        page = listing(client, server, list_type=2, start_after="0999")
        assert entries(page) == ["1000", "1001", "1002"]
        assert (text(page, "KeyCount"), text(page, "StartAfter"), text(page, "Marker")) == ("3", "0999", None)


def test_a_listing_that_takes_long_ends_its_page_early_and_loses_nothing(client, server, archive, monkeypatch):
    monkeypatch.setattr(sandbox_app, "LISTING_SECONDS", 0.0)
    found = pages(client, server, 1, prefix=FOLDER)
    assert [len(page) for page in found] == [1] * 80
    assert [key for page in found for key in page] == list(archive.keys(FOLDER))


def test_a_listing_tells_what_a_download_gives(client, server):
    page = listing(client, server, prefix=FOLDER)
    assert text(page, "Prefix") == FOLDER
    assert text(page, "Name") == "synthetic-data.binance.vision"
    contents = list(page.iter(f"{NAMESPACE}Contents"))
    assert len(contents) == 80
    for item in contents[:4]:
        answer = client.get(f"{server.archive_url}/{text(item, 'Key')}")
        assert text(item, "ETag") == answer.headers["etag"] == f'"{hashlib.md5(answer.content).hexdigest()}"'
        assert text(item, "Size") == answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["x-synthetic"] == "true"
    assert text(contents[0], "LastModified") == "2024-01-02T08:00:00.000Z"
    assert client.get(f"{server.archive_url}/{KEY}").headers["last-modified"] == "Tue, 02 Jan 2024 08:00:00 GMT"


def test_a_prefix_without_objects_gives_an_empty_page(client, server):
    page = listing(client, server, prefix="data/option/", delimiter="/")
    assert (entries(page), text(page, "IsTruncated"), text(page, "Prefix")) == ([], "false", "data/option/")


@pytest.mark.parametrize(
    "query", [{"max-keys": "many"}, {"max-keys": "-1"}, {"list-type": "2", "continuation-token": "é"}]
)
def test_a_query_that_makes_no_sense_is_answered_400(client, server, query):
    answer = client.get(server.listing_url, params=query)
    assert answer.status_code == 400
    assert "InvalidArgument" in answer.text


def test_a_key_that_is_not_there_is_answered_as_s3_does(client, server):
    answer = client.get(f"{server.archive_url}/{FOLDER}BTCUSDT-1h-2023-12-31.zip")
    assert answer.status_code == 404
    assert ET.fromstring(answer.text).findtext("Code") == "NoSuchKey"
    assert client.head(f"{server.archive_url}/nothing").status_code == 404


def test_the_listing_host_serves_the_object_too(client, server, archive):
    assert client.get(f"{server.listing_url}/{KEY}").content == archive.read(KEY)


def test_head_tells_about_the_object_without_its_bytes(client, server, archive):
    answer = client.head(f"{server.archive_url}/{KEY}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(archive.read(KEY)))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-20", -20, None), ("bytes=5-999999999", 5, None)],
)
def test_a_range_gives_that_part(client, server, archive, asked, start, stop):
    whole = archive.read(KEY)
    answer = client.get(f"{server.archive_url}/{KEY}", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[start:stop]
    first = start % len(whole)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(whole)}"


def test_a_range_behind_the_end_is_refused_and_one_of_an_older_version_gives_the_whole(client, server, archive):
    url, whole = f"{server.archive_url}/{KEY}", archive.read(KEY)
    refused = client.get(url, headers={"Range": f"bytes={len(whole)}-"})
    assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    older = client.get(url, headers={"Range": "bytes=5-", "If-Range": '"older"'})
    assert (older.status_code, older.content) == (200, whole)


def test_an_object_that_did_not_change_is_not_sent_again(client, server, archive):
    etag = f'"{archive.info(KEY).etag}"'
    same = client.get(f"{server.archive_url}/{KEY}", headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert client.get(f"{server.archive_url}/{KEY}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_overrides_replace_remove_and_add_objects_in_downloads_and_listings(client, server, archive):
    gone, added = f"{FOLDER}BTCUSDT-1h-2024-01-02.zip", f"{FOLDER}BTCUSDT-1h-2023-12-31.zip"
    server.app.state.overrides |= {KEY: b"wrong bytes", gone: None, added: b"early"}
    assert client.get(f"{server.archive_url}/{KEY}").content == b"wrong bytes"
    assert client.get(f"{server.archive_url}/{gone}").status_code == 404
    assert client.get(f"{server.archive_url}/{added}").content == b"early"
    # The checksum is a separate key: it is still that of the original.
    checksum = client.get(f"{server.archive_url}/{KEY}.CHECKSUM").text
    assert checksum.startswith(hashlib.sha256(archive.read(KEY)).hexdigest())

    page = listing(client, server, prefix=FOLDER)
    assert entries(page) == sorted({*archive.keys(FOLDER), added} - {gone})
    told = {text(item, "Key"): item for item in page.iter(f"{NAMESPACE}Contents")}
    assert text(told[KEY], "ETag") == f'"{hashlib.md5(b"wrong bytes").hexdigest()}"'
    assert text(told[KEY], "Size") == "11"
    assert text(told[KEY], "LastModified") > "2024-01-02T08:00:00.000Z"

    server.app.state.overrides.clear()
    server.app.state.overrides[f"{KEY}.CHECKSUM"] = b"0" * 64
    assert client.get(f"{server.archive_url}/{KEY}").content == archive.read(KEY)
    assert client.get(f"{server.archive_url}/{KEY}.CHECKSUM").content == b"0" * 64


def test_requests_are_recorded_in_order_and_counted_by_class(client, server):
    client.get(f"{server.archive_url}/{KEY}")
    client.head(f"{server.archive_url}/{KEY}.CHECKSUM")
    listing(client, server, prefix=FOLDER, max_keys=1)
    assert server.requests() == [("GET", f"/{KEY}"), ("HEAD", f"/{KEY}.CHECKSUM"), ("GET", "/listing")]
    told = client.get(f"{server.archive_url}/_sandbox/requests").json()
    assert told["counts"] == {"object": 1, "checksum": 1, "listing": 1}
    assert "max-keys=1" in told["requests"][2]["query"]
    client.delete(f"{server.archive_url}/_sandbox/requests")
    assert server.requests() == []


def test_a_server_that_has_stopped_does_not_answer(client, archive):
    with SandboxServer(archive) as server:
        assert client.get(f"{server.archive_url}/{KEY}").status_code == 200
    with pytest.raises(httpx.ConnectError):
        client.get(f"{server.archive_url}/{KEY}")


ARGUMENTS = ("--symbols", "BTCUSDT", "--market-types", "spot", "--from", "2024-01-01", "--to", "2024-01-02")


def test_another_process_publishes_the_same_bytes(client, archive):
    with SandboxProcess(*ARGUMENTS) as process:
        assert client.get(f"{process.archive_url}/{KEY}").content == archive.read(KEY)
        page = ET.fromstring(client.get(process.listing_url, params={"prefix": FOLDER}).text)
        assert entries(page) == list(archive.keys(FOLDER))[:4]
        assert process.requests() == [("GET", f"/{KEY}"), ("GET", "/listing")]
    with pytest.raises(httpx.ConnectError):
        client.get(process.archive_url)


def test_a_sandbox_process_ends_when_its_parent_is_killed(client):
    program = (
        "from crypto_assets.sandbox.server import SandboxProcess\n"
        f"with SandboxProcess(*{ARGUMENTS!r}) as process:\n"
        "    print(process.archive_url, flush=True)\n"
        "    input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = parent.stdout.readline().strip()
    assert client.head(f"{url}/{KEY}").status_code == 200
    parent.kill()
    parent.communicate()

    def answers() -> bool:
        try:
            return client.head(f"{url}/{KEY}").status_code == 200
        except httpx.TransportError:
            return False

    deadline = time.monotonic() + 60
    while answers():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_process_that_cannot_start_says_so():
    with pytest.raises(RuntimeError, match="did not start"), SandboxProcess("--market-types", "um"):
        pass
