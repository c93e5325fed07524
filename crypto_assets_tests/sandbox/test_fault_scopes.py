"""Which files and requests a fault of the sandbox hits, how often and for how long, and how it is switched."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import httpx
import pytest

from crypto_assets.sandbox.archive import FolderArchive, SyntheticArchive
from crypto_assets.sandbox.faults import CATALOGUE, FaultError, make_fault, parse_fault
from crypto_assets.sandbox.server import SandboxProcess, SandboxServer
from crypto_assets_tests.sandbox.test_faults import FOLDER, KEY, OTHER, TRADES, checksum, listed, rows

# ---- existence of objects --------------------------------------------------------------------------------------------


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
        # Ids continue, so nothing was lost; and every other minute has the trades of its bar.
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
    assert "covers a whole UTC day" in refusal(server, start="2024-01-01T20", end="2024-01-03T01")
    with SandboxServer(FolderArchive(tmp_path)) as folder:
        assert "expected the synthetic market" in refusal(folder, start="2024-01-02T08", end="2024-01-02T09")


# ---- number of requests, time, scope ---------------------------------------------------------------------------------


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
