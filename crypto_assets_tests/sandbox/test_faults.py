"""Every fault, seen from the outside: a plain socket for what goes wrong on the wire, an HTTP client for the rest."""

from __future__ import annotations

import hashlib
import io
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pytest

from crypto_assets.sandbox.archive import FolderArchive, SyntheticArchive
from crypto_assets.sandbox.faults import CATALOGUE, FaultError, make_fault, parse_fault
from crypto_assets.sandbox.server import SandboxProcess, SandboxServer

FOLDER = "data/spot/daily/klines/BTCUSDT/1m/"
KEY = f"{FOLDER}BTCUSDT-1m-2024-01-02.zip"
OTHER = f"{FOLDER}BTCUSDT-1m-2024-01-03.zip"
TRADES = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip"


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 1, 3), trades_per_day=2_000)


@pytest.fixture(scope="module")
def running(archive: SyntheticArchive) -> Iterator[SandboxServer]:
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    running.app.state.faults.off()
    yield running
    running.app.state.faults.off()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


class Raw:
    """A connection of its own that sends one GET and sees what comes over the wire, byte for byte."""

    def __init__(self, server: SandboxServer, path: str, timeout: float = 5.0) -> None:
        parts = urlsplit(server.archive_url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.socket.sendall(f"GET /{path} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
        self.received = b""

    def close(self) -> None:
        self.socket.close()

    def read(self, wanted: int | None = None) -> str:
        """Read until the end or until `wanted` bytes are there; return how it ended."""
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


# ---- what exists -----------------------------------------------------------------------------------------------------


def test_a_late_file_is_neither_listed_nor_served_until_it_has_been_asked_for(server, client, archive):
    server.app.state.faults.on("late", pattern="*-2024-01-0[23].zip", times=2)
    for _ in range(2):
        assert sorted(listed(client, server)) == [
            f"{FOLDER}BTCUSDT-1m-2024-01-01.zip{end}" for end in ("", ".CHECKSUM")
        ]
        assert client.get(f"{server.archive_url}/{KEY}").status_code == 404
        assert client.get(f"{server.archive_url}/{KEY}.CHECKSUM").status_code == 404
    assert len(listed(client, server)) == 6
    assert client.get(f"{server.archive_url}/{KEY}").content == archive.read(KEY)
    assert checksum(client, server) == hashlib.sha256(archive.read(KEY)).hexdigest()


def test_a_late_file_can_appear_after_some_time(server, client):
    server.app.state.faults.on("late", seconds=3.0)
    assert listed(client, server) == {}
    assert client.get(f"{server.archive_url}/{KEY}").status_code == 404
    time.sleep(3.05)
    assert client.get(f"{server.archive_url}/{KEY}").status_code == 200


def test_a_stale_listing_stands_still_while_later_objects_are_served(server, client, archive):
    server.app.state.faults.on("stale-listing", at="2024-01-03T12")
    assert f"{FOLDER}BTCUSDT-1m-2024-01-03.zip" not in listed(client, server)
    assert KEY in listed(client, server)
    assert client.get(f"{server.archive_url}/{OTHER}").content == archive.read(OTHER)
    server.app.state.faults.on("republished")
    assert listed(client, server)[KEY][0] == f'"{archive.info(KEY).etag}"'
    assert client.get(f"{server.archive_url}/{KEY}").headers["etag"] != f'"{archive.info(KEY).etag}"'


def test_an_outage_is_the_same_silence_in_bars_and_trades(client):
    source = SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 1, 3), trades_per_day=2_000)
    with SandboxServer(source) as server:

        def day(key: str) -> list[list[str]]:
            return rows(client.get(f"{server.archive_url}/{key}").content)

        usual = {key: day(key) for key in (KEY, OTHER, TRADES)}
        server.app.state.faults.on("outage", start="2024-01-02T08", end="2024-01-02T10")
        begin, end = (int(datetime(2024, 1, 2, hour, tzinfo=UTC).timestamp()) * 1000 for hour in (8, 10))
        bars, trades = day(KEY), day(TRADES)
        silent = [cells for cells in bars if begin <= int(cells[0]) < end]
        assert len(silent) == 120
        (last,) = (cells[4] for cells in bars if int(cells[0]) == begin - 60_000)
        assert {tuple(cells[1:6]) for cells in silent} == {(last, last, last, last, "0.00000000")}
        assert {cells[8] for cells in silent} == {"0"}
        assert [cells for cells in trades if begin <= int(cells[4]) < end] == []
        # Ids run on, so that nothing was lost; and each other minute has the trades that its bar says.
        assert [int(cells[0]) for cells in trades] == [int(cells[0]) for cells in usual[TRADES]]
        times = [int(cells[4]) for cells in trades]
        assert times == sorted(times)
        assert times[-1] < int(datetime(2024, 1, 3, tzinfo=UTC).timestamp()) * 1000
        for cells in bars:
            start = int(cells[0])
            inside = [float(trade[2]) for trade in trades if start <= int(trade[4]) < start + 60_000]
            assert len(inside) == int(cells[8])
            assert sum(inside) == pytest.approx(float(cells[5]))
        assert day(OTHER) == usual[OTHER]
        server.app.state.faults.off("outage")
        assert {key: day(key) for key in usual} == usual


def test_an_outage_needs_a_market_and_must_leave_some_of_each_day(server, client, tmp_path):
    def refusal(at: SandboxServer, **options: str) -> str:
        answer = client.post(f"{at.archive_url}/_sandbox/faults", json={"fault": "outage", **options})
        assert answer.status_code == 400
        assert at.app.state.faults.active() == []
        return str(answer.json()["error"])

    assert "needs `start` and a later `end`" in refusal(server)
    assert "holds a whole UTC day" in refusal(server, start="2024-01-01T20", end="2024-01-03T01")
    with SandboxServer(FolderArchive(tmp_path)) as folder:
        assert "expected the synthetic market" in refusal(folder, start="2024-01-02T08", end="2024-01-02T09")


# ---- how often, for how long, which ones -----------------------------------------------------------------------------


def statuses(client: httpx.Client, server: SandboxServer, path: str, count: int) -> list[int]:
    return [client.get(f"{server.archive_url}/{path}").status_code for _ in range(count)]


def test_a_fault_has_so_many_requests_of_each_kind(server, client):
    server.app.state.faults.on("http-503", times=2)
    assert statuses(client, server, KEY, 3) == [503, 503, 200]
    assert statuses(client, server, OTHER, 1) == [200]
    assert statuses(client, server, f"{KEY}.CHECKSUM", 3) == [503, 503, 200]
    assert statuses(client, server, "listing?prefix=none", 3) == [503, 503, 200]


def test_with_each_it_has_so_many_of_each_key(server, client):
    server.app.state.faults.on("http-503", times=1, each=True)
    assert statuses(client, server, KEY, 2) == [503, 200]
    assert statuses(client, server, OTHER, 2) == [503, 200]


def test_a_file_that_was_wrong_once_is_right_afterwards(server, client, archive):
    server.app.state.faults.on("republished", times=1, pattern=KEY)
    wrong = client.get(f"{server.archive_url}/{KEY}").content
    assert checksum(client, server) == hashlib.sha256(wrong).hexdigest()
    assert client.get(f"{server.archive_url}/{KEY}").content == archive.read(KEY)
    assert checksum(client, server) == hashlib.sha256(archive.read(KEY)).hexdigest()


def test_a_pattern_and_kinds_choose_the_requests(server, client):
    server.app.state.faults.on("http-500", pattern="*-2024-01-02.zip", kinds=("checksum",))
    assert statuses(client, server, KEY, 1) == [200]
    assert statuses(client, server, f"{KEY}.CHECKSUM", 1) == [500]
    assert statuses(client, server, f"{OTHER}.CHECKSUM", 1) == [200]
    server.app.state.faults.on("http-403", pattern="/api/v3/klines*symbol=ETHUSDT*")
    assert statuses(client, server, "api/v3/klines?symbol=ETHUSDT&limit=2", 1) == [403]
    assert statuses(client, server, "api/v3/klines?symbol=BTCUSDT", 1) != [403]


def test_a_fault_ends_after_its_seconds(server, client):
    server.app.state.faults.on("http-503", seconds=2.0)
    assert statuses(client, server, KEY, 1) == [503]
    time.sleep(2.05)
    assert statuses(client, server, KEY, 1) == [200]
    assert server.app.state.faults.active() == []


def test_a_probability_is_a_share_of_requests_and_of_objects(server, client, archive):
    server.app.state.faults.on("http-503", probability=0.5)
    met = statuses(client, server, KEY, 60).count(503)
    assert 15 < met < 45
    server.app.state.faults.off()
    server.app.state.faults.on("empty", probability=0.5)
    keys = [key for key in archive.keys("data/spot/daily/klines/BTCUSDT/") if key.endswith(".zip")]
    sizes = [client.get(f"{server.archive_url}/{key}").headers["content-length"] == "0" for key in keys]
    assert 0.2 * len(keys) < sum(sizes) < 0.8 * len(keys)
    assert sizes == [client.get(f"{server.archive_url}/{key}").content == b"" for key in keys], "always the same ones"


# ---- switching on and off --------------------------------------------------------------------------------------------


def test_faults_are_switched_on_shown_and_lifted_over_http(server, client):
    url = f"{server.archive_url}/_sandbox/faults"
    made = client.post(
        url, json=[{"fault": "http-503", "pattern": "*BTC*", "times": 5}, {"fault": "hang", "kinds": ["rest"]}]
    )
    assert made.status_code == 201
    first, second = made.json()["on"]
    assert statuses(client, server, KEY, 1) == [503]
    told = client.get(url).json()
    assert [(item["id"], item["fault"], item["kinds"]) for item in told["active"]] == [
        (first, "http-503", ["object", "checksum", "listing", "rest"]),
        (second, "hang", ["rest"]),
    ]
    assert (told["active"][0]["pattern"], told["active"][0]["times"]) == ("*BTC*", 5)
    assert told["active"][0]["hits"] == {"object": 1}
    assert set(told["known"]) == set(CATALOGUE)
    assert client.delete(f"{url}/{first}").json() == {"lifted": 1}
    assert client.delete(f"{url}/{first}").status_code == 404
    assert statuses(client, server, KEY, 1) == [200]
    assert client.delete(url, params={"fault": "hang"}).json() == {"lifted": 1}
    client.post(url, json={"fault": "empty"})
    assert client.delete(url).json() == {"lifted": 1}
    assert client.get(url).json()["active"] == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"fault": "http-502"}, "did you mean 'http-50"),
        ({"fault": "empty", "patern": "*"}, "patern: Extra inputs"),
        ({"fault": "empty", "times": 0}, "times: "),
        ({"fault": "empty", "kinds": ["zip"]}, "kinds.0: "),
        ({"fault": "stale-listing", "at": "soon"}, "at: expected a time such as 2024-01-02T08, found 'soon'"),
        ([{"fault": "empty"}, {"fault": "nothing"}], "unknown"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_its_reason(server, client, asked, says):
    answer = client.post(f"{server.archive_url}/_sandbox/faults", json=asked)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert server.app.state.faults.active() == []


def test_a_fault_is_written_in_one_word():
    assert parse_fault("empty") == make_fault(fault="empty")
    assert parse_fault("http-503:*BTC*:3") == make_fault(fault="http-503", pattern="*BTC*", times=3)
    assert parse_fault("http-429::2:retry_after_s=9") == make_fault(fault="http-429", times=2, retry_after_s=9)
    assert parse_fault("drip:pause_s=0.5:kinds=object+listing").concerns == ("object", "listing")
    assert parse_fault("outage:start=2024-01-02T08:end=2024-01-02T10").end == datetime(2024, 1, 2, 10, tzinfo=UTC)
    assert parse_fault("http-503:/api/v3/klines?symbol=BTC*").pattern == "/api/v3/klines?symbol=BTC*"
    with pytest.raises(FaultError, match="unknown"):
        parse_fault("nothing")


def test_the_command_line_switches_faults_on_and_lists_them(client):
    arguments = ("--symbols", "BTCUSDT", "--market-types", "spot", "--from", "2024-01-01", "--to", "2024-01-03")
    with SandboxProcess(
        *arguments, "--fault", "http-503:*-01-02.zip:1", "--fault", "html", "--limit", "listing:3/m"
    ) as process:
        assert client.get(f"{process.archive_url}/{KEY}").status_code == 503
        assert client.get(f"{process.archive_url}/{KEY}").status_code == 200
        assert client.get(process.listing_url).text.startswith("<!DOCTYPE html>")
        assert [client.get(process.listing_url).status_code for _ in range(3)] == [200, 200, 429]
    command = [sys.executable, "-m", "crypto_assets.sandbox"]
    told = subprocess.run([*command, "--fault", "help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in told.stdout for name in CATALOGUE)
    refused = subprocess.run([*command, "--fault", "nothing"], capture_output=True, text=True, check=False)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "fault 'nothing' is unknown" in refused.stderr
