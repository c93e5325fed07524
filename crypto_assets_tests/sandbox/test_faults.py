"""Every fault, seen from outside: through a plain socket for faults on the wire, through an HTTP client for the rest."""

from __future__ import annotations

import hashlib
import io
import socket
import time
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pytest

from crypto_assets.sandbox.server import SandboxServer

FOLDER = "data/spot/daily/klines/BTCUSDT/1m/"


KEY = f"{FOLDER}BTCUSDT-1m-2024-01-02.zip"


OTHER = f"{FOLDER}BTCUSDT-1m-2024-01-03.zip"


TRADES = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip"


class Raw:
    """A raw connection that sends one GET and records the answer byte for byte."""

    def __init__(self, server: SandboxServer, path: str, timeout: float = 5.0) -> None:
        parts = urlsplit(server.archive_url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.socket.sendall(f"GET /{path} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
        self.received = b""

    def close(self) -> None:
        self.socket.close()

    def read(self, wanted: int | None = None) -> str:
        """Read until the end or until `wanted` bytes have arrived; return how it ended."""
        while wanted is None or len(self.received) < wanted:
            try:
                some = self.socket.recv(65536)
            except ConnectionResetError:
                return "reset"
            except TimeoutError:
                return "silent"
            if not some:
                return "closed"
            self.received += some
        return "enough"

    @property
    def head(self) -> dict[str, str]:
        lines = self.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return {"status": lines[0], **{k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}}

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


def ask(server: SandboxServer, path: str = KEY, timeout: float = 5.0) -> tuple[str, Raw]:
    with closing(Raw(server, path, timeout)) as raw:
        return raw.read(), raw


def rows(content: bytes) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        (member,) = found.infolist()
        return [line.split(",") for line in found.read(member).decode().splitlines()]


def checksum(client: httpx.Client, server: SandboxServer, key: str = KEY) -> str:
    return client.get(f"{server.archive_url}/{key}.CHECKSUM").text.split()[0]


def listed(client: httpx.Client, server: SandboxServer, prefix: str = FOLDER) -> dict[str, tuple[str, int, str]]:
    """Return ETag, size and time of each key."""
    root = ElementTree.fromstring(client.get(server.listing_url, params={"prefix": prefix}).text)
    space = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
    return {
        entry.findtext("s3:Key", "", space): (
            entry.findtext("s3:ETag", "", space),
            int(entry.findtext("s3:Size", "", space)),
            entry.findtext("s3:LastModified", "", space),
        )
        for entry in root.iterfind("s3:Contents", space)
    }


# ---- on the wire -----------------------------------------------------------------------------------------------------


def test_without_a_fault_the_whole_object_comes(server, archive):
    with closing(Raw(server, KEY)) as raw:
        whole = archive.read(KEY)
        raw.read(len(whole))
        raw.socket.settimeout(0.2)
        assert raw.read() == "silent", "the connection stays open"
        assert raw.body == whole


def test_a_truncated_body_is_shorter_than_its_content_length_and_ends_in_order(server, archive):
    server.app.state.faults.on("truncated")
    how, raw = ask(server)
    whole = archive.read(KEY)
    assert how == "closed"
    assert raw.head["status"] == "HTTP/1.1 200 OK"
    assert int(raw.head["content-length"]) == len(whole)
    assert raw.body == whole[: len(whole) // 2]


def test_a_body_truncated_silently_has_a_content_length_that_agrees(server, client, archive):
    server.app.state.faults.on("truncated-silently")
    answer = client.get(f"{server.archive_url}/{KEY}")
    whole = archive.read(KEY)
    assert answer.content == whole[: len(whole) // 2]
    assert int(answer.headers["content-length"]) == len(whole) // 2


def test_a_cut_connection_is_reset_in_the_middle_of_the_body(server, archive):
    server.app.state.faults.on("cut")
    how, raw = ask(server)
    whole = archive.read(KEY)
    assert how == "reset"
    assert int(raw.head["content-length"]) == len(whole)
    assert raw.body == whole[: len(whole) // 2]


@pytest.mark.parametrize("path", [KEY, f"{KEY}.CHECKSUM", f"listing?prefix={FOLDER}"])
def test_a_reset_comes_before_the_first_byte(server, path):
    server.app.state.faults.on("reset")
    how, raw = ask(server, path)
    assert (how, raw.received) == ("reset", b"")


def test_drops_come_slowly_and_the_rest_at_once_when_the_fault_is_lifted(server, archive):
    server.app.state.faults.on("drip", chunk_bytes=10, pause_s=0.1)
    started = time.monotonic()
    with closing(Raw(server, KEY)) as raw:
        raw.read(200)
        before = len(raw.body)
        raw.socket.settimeout(0.05)
        for _ in range(20):
            raw.read(len(raw.received) + 1)
        assert before < len(raw.body) <= 10 * ((time.monotonic() - started) / 0.1 + 1)
        server.app.state.faults.off()
        raw.socket.settimeout(30)
        whole = archive.read(KEY)
        raw.read(len(raw.received) - len(raw.body) + len(whole))
        assert raw.body == whole


def test_a_connection_that_hangs_is_accepted_and_never_answered_until_the_fault_is_lifted(server):
    server.app.state.faults.on("hang")
    with closing(Raw(server, KEY, timeout=0.5)) as raw:
        assert raw.read() == "silent"
        assert raw.received == b""
        server.app.state.faults.off()
        raw.socket.settimeout(30)
        assert raw.read() in ("closed", "reset")
        assert raw.received == b""
    assert ask(server, f"{KEY}.CHECKSUM", 10)[1].head["status"] == "HTTP/1.1 200 OK"


def test_a_server_ends_although_a_connection_hangs(archive):
    started = time.monotonic()
    with SandboxServer(archive) as server:
        server.app.state.faults.on("hang")
        raw = Raw(server, KEY)
    raw.close()
    assert time.monotonic() - started < 20


def test_nothing_of_a_fault_on_the_wire_is_logged_as_an_error_of_the_server(server, caplog):
    for name in ("truncated", "cut", "reset"):
        server.app.state.faults.on(name, times=1)
        ask(server)
        server.app.state.faults.off()
    server.app.state.faults.on("hang")
    ask(server, timeout=0.2)
    server.app.state.faults.on("drip")
    ask(server, OTHER, timeout=0.2)
    assert caplog.records == []


# ---- statuses and pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 418, 429, 500, 503])
@pytest.mark.parametrize("path", [KEY, f"{KEY}.CHECKSUM", f"listing?prefix={FOLDER}", "api/v3/klines?symbol=BTCUSDT"])
def test_a_status_is_answered_to_every_kind_of_request(server, client, status, path):
    server.app.state.faults.on(f"http-{status}", retry_after_s=7)
    answer = client.get(f"{server.archive_url}/{path}")
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("7" if status in (418, 429) else None)


def test_a_retry_after_can_be_a_date(server, client):
    server.app.state.faults.on("http-429-date", retry_after_s=60)
    answer = client.get(f"{server.archive_url}/{KEY}")
    assert answer.status_code == 429
    wait = parsedate_to_datetime(answer.headers["retry-after"]) - datetime.now(UTC)
    assert 55 < wait.total_seconds() <= 60


def test_a_listing_can_be_html_or_cut_in_the_middle_of_its_xml(server, client):
    server.app.state.faults.on("html")
    page = client.get(server.listing_url, params={"prefix": FOLDER})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.startswith("<!DOCTYPE html>")
    assert client.get(f"{server.archive_url}/{KEY}").headers["content-type"] == "application/zip"
    server.app.state.faults.off()
    whole = client.get(server.listing_url, params={"prefix": FOLDER}).text
    server.app.state.faults.on("cut-xml")
    cut = client.get(server.listing_url, params={"prefix": FOLDER}).text
    assert cut == whole[: len(whole) // 2]
    with pytest.raises(ElementTree.ParseError):
        ElementTree.fromstring(cut)


# ---- objects ---------------------------------------------------------------------------------------------------------


def test_wrong_bytes_are_a_valid_zip_that_everything_else_disagrees_with(server, client, archive):
    server.app.state.faults.on("wrong-bytes")
    answer = client.get(f"{server.archive_url}/{KEY}")
    true = archive.read(KEY)
    found, expected = rows(answer.content), rows(true)
    assert sum(a != b for a, b in zip(found, expected, strict=True)) == 1
    assert checksum(client, server) == hashlib.sha256(true).hexdigest() != hashlib.sha256(answer.content).hexdigest()
    assert listed(client, server)[KEY][:2] == (f'"{archive.info(KEY).etag}"', len(true))


def test_a_wrong_checksum_leaves_the_file_as_it_is(server, client, archive):
    server.app.state.faults.on("wrong-checksum")
    assert client.get(f"{server.archive_url}/{KEY}").content == archive.read(KEY)
    assert len(checksum(client, server)) == 64
    assert checksum(client, server) != hashlib.sha256(archive.read(KEY)).hexdigest()


def test_a_republished_file_agrees_with_listing_etag_and_checksum(server, client, archive):
    before = listed(client, server)
    server.app.state.faults.on("republished", pattern="*-2024-01-02.zip")
    answer = client.get(f"{server.archive_url}/{KEY}")
    assert answer.content != archive.read(KEY)
    assert checksum(client, server) == hashlib.sha256(answer.content).hexdigest()
    etag = f'"{hashlib.md5(answer.content).hexdigest()}"'
    assert answer.headers["etag"] == etag
    after = listed(client, server)
    assert after[KEY][:2] == (etag, len(answer.content))
    assert after[KEY][2] > "2024-06"
    assert before[KEY][2] == "2024-01-03T08:00:00.000Z"
    assert {key for key in after if after[key] != before[key]} == {KEY, f"{KEY}.CHECKSUM"}
    changed = [(a, b) for a, b in zip(rows(archive.read(KEY)), rows(answer.content), strict=True) if a != b]
    assert len(changed) in (1, 2)
    for _, cells in changed:
        assert float(cells[3]) <= min(float(cells[1]), float(cells[4])) <= float(cells[2])


def test_a_republished_file_can_have_its_former_checksum(server, client, archive):
    server.app.state.faults.on("republished-stale-checksum")
    answer = client.get(f"{server.archive_url}/{KEY}")
    assert listed(client, server)[KEY][0] == answer.headers["etag"] != f'"{archive.info(KEY).etag}"'
    assert checksum(client, server) == hashlib.sha256(archive.read(KEY)).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "empty",
        "zip-bomb",
        "path-traversal",
        "missing-minutes",
        "duplicate-rows",
        "descending-rows",
        "inconsistent-values",
    ],
)
@pytest.mark.parametrize("key", [KEY, TRADES])
def test_a_damaged_file_has_the_checksum_and_etag_of_its_bytes(server, client, archive, name, key):
    server.app.state.faults.on(name)
    answer = client.get(f"{server.archive_url}/{key}")
    assert answer.content != archive.read(key)
    assert checksum(client, server, key) == hashlib.sha256(answer.content).hexdigest()
    told = listed(client, server, key.rpartition("/")[0] + "/")[key]
    assert told[:2] == (f'"{hashlib.md5(answer.content).hexdigest()}"', len(answer.content))
    part = client.get(f"{server.archive_url}/{key}", headers={"Range": "bytes=-9"})
    assert part.status_code == (206 if answer.content else 416)
    assert not answer.content or part.content == answer.content[-9:]


def test_each_damage_is_what_its_name_says(server, client, archive):
    def damaged(name: str, key: str = KEY) -> bytes:
        server.app.state.faults.off()
        server.app.state.faults.on(name)
        return client.get(f"{server.archive_url}/{key}").content

    true = rows(archive.read(KEY))
    assert damaged("empty") == b""
    with zipfile.ZipFile(io.BytesIO(damaged("zip-bomb"))) as bomb:
        assert bomb.infolist()[0].file_size > 500 * len(damaged("zip-bomb"))
    with zipfile.ZipFile(io.BytesIO(damaged("path-traversal"))) as found:
        assert found.namelist() == ["../../../BTCUSDT-1m-2024-01-02.csv"]
    assert rows(damaged("missing-minutes")) == true[:480] + true[483:]
    assert rows(damaged("duplicate-rows")) == [*true[:720], true[720], *true[720:]]
    assert rows(damaged("descending-rows")) == true[::-1]
    assert sum(float(cells[2]) < float(cells[3]) for cells in rows(damaged("inconsistent-values"))) == 1
    assert sum(float(cells[1]) < 0 for cells in rows(damaged("inconsistent-values", TRADES))) == 1
