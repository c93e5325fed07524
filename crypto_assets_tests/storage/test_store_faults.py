"""Our own stores fail while days are collected: what passes is outlasted, what does not ends with one line."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
from botocore.config import Config
from psycopg.conninfo import conninfo_to_dict

from crypto_assets.engine.publication import journal
from crypto_assets.errors import LakeUnavailable, PostgresUnavailable, Stopped
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage import patience
from crypto_assets.storage.bucket import BucketStore
from crypto_assets.storage.database import Database
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.patience import outlast
from crypto_assets_tests.command import Command, no_traceback
from crypto_assets_tests.published import days
from crypto_assets_tests.storage.cut_connections import LosesAnAnswer, end_connections
from crypto_assets_tests.workbench import Result, Workbench, entry
from proofs.bucket import Bucket

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
ENTRY = entry("spot", ["ohlcv_1m"], [BTC], FIRST)


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, LAST, trades_per_day=200)) as server:
        yield server


@pytest.fixture
def sandbox(exchange: SandboxServer) -> Iterator[SandboxServer]:
    yield exchange
    exchange.app.state.overrides.clear()


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", ENTRY)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        yield server


def all_there(work: Workbench, result: Result, url: str) -> None:
    """Every day is stored once, in lake, warehouse and ledger, with the values that were published."""
    assert result.tally.states == {State.AVAILABLE: 3}
    assert result.tally.problems == []
    for day in days(FIRST, 3):
        expected = work.published(BARS, BTC, day)
        assert len(expected) == 1440
        assert work.in_lake(BARS, BTC, day) == expected
        assert work.in_warehouse("ohlcv", BTC, day, "timeframe = '1m'") == expected
    with psycopg.connect(url) as connection:

        def counted(table: str) -> int:
            row = connection.execute(f"SELECT count(*) FROM collection.{table}").fetchone()
            assert row is not None
            return int(row[0])

        assert counted("partitions") == 3
        assert counted("journal") == 0, "nothing is left to be undone"
        assert counted("corrections") == 0, "nothing took the place of anything"
    assert [path for path in (work.folder / "staging").rglob("*") if path.is_file()] == []


# ---- Postgres -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["noted", "kept", "loaded", "moved", "forgotten"])
def test_a_batch_whose_connection_is_ended_is_undone_and_stored_over_a_new_one(
    work: Workbench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    work.collect(FIRST, FIRST)
    with psycopg.connect(work.url, autocommit=True) as admin:  # so that the former file is kept on the way
        admin.execute("UPDATE collection.partitions SET content_sha256 = 'other', source_etag = 'other'")
        admin.execute("TRUNCATE collection.partitions, collection.warehouse_loads, market.ohlcv")
    (work.folder / work.lake.path(BARS, Partition(BTC, FIRST))).write_bytes(b"damaged")
    ended: list[str] = []

    def end_once(reached: str) -> None:
        if reached == step and not ended:
            ended.append(reached)
            end_connections(work.url)

    monkeypatch.setattr(journal, "reached", end_once)
    result = work.collect(FIRST, LAST)
    assert ended == [step], "the fault has happened"
    all_there(work, result, work.url)


def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    sandbox: SandboxServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = LosesAnAnswer(postgres_url)
    try:
        work = Workbench(sandbox, way.url, tmp_path / "lake", ENTRY)

        def arm(reached: str) -> None:
            if reached == "forgotten" and not way.lost:
                way.lose()

        monkeypatch.setattr(journal, "reached", arm)
        result = work.collect(FIRST, LAST)
        assert way.lost == 1, "the fault has happened"
        staged = work.folder / "staging"  # what is left there the journal does not know, and `recover` removes it
        for path in [path for path in staged.rglob("*") if path.is_file()]:
            path.unlink()
        all_there(work, result, postgres_url)
    finally:
        way.close()


def test_connections_that_are_ended_while_they_are_idle_are_not_noticed(postgres_url: str) -> None:
    with Database(postgres_url) as database:
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(database.transaction())
        for _ in range(3):
            end_connections(postgres_url)
            with database.transaction() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_that_is_cut_says_that_it_may_be_repeated_and_outlast_repeats_it(postgres_url: str) -> None:
    calls = []
    with Database(postgres_url) as database:

        def count() -> int:
            calls.append(1)
            with database.transaction() as connection:
                if len(calls) == 1:
                    end_connections(postgres_url)
                row = connection.execute("SELECT 7").fetchone()
                assert row is not None
                return int(row[0])

        with pytest.raises(PostgresUnavailable, match="the connection was cut") as caught:
            count()
        assert caught.value.passing
        calls.clear()
        assert outlast(count) == 7
        assert len(calls) == 2


def test_a_server_without_a_free_connection_is_waited_for(postgres_url: str) -> None:
    name = conninfo_to_dict(postgres_url)["dbname"]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 1")  # this one
        freed = threading.Timer(1.5, lambda: admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1"))
        freed.start()
        started = time.monotonic()
        with Database(postgres_url) as database, database.transaction() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - started > 1, "there was none before"
        freed.join()


def test_a_wait_says_what_is_waited_for_and_ends_when_the_run_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "SAY_AFTER_S", 0.0)
    stop = threading.Event()
    found: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as server:  # it takes connections and says nothing
        url = f"postgresql://user:secret@127.0.0.1:{server.getsockname()[1]}/db"
    patience.patience_with(url, "Postgres at the test").answered()

    def ask() -> None:
        patience.STOP.set(stop)
        try:
            with Database(url) as database, database.transaction():
                pass
        except Stopped as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    said = ""
    deadline = time.monotonic() + 20
    while "waiting for Postgres at the test" not in said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert [type(error) for error in found] == [Stopped]
    line = said.splitlines()[0]
    assert "nothing answers there (Connection refused)" in line
    assert "s more at most" in line
    assert "secret" not in said


def test_a_server_that_never_answered_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with (
        pytest.raises(PostgresUnavailable, match="check CRYPTO_ASSETS_POSTGRES_URL") as caught,
        Database("postgresql://user:secret@127.0.0.1:9/db") as database,
        database.transaction(),
    ):
        pass
    assert time.monotonic() - started < 5
    assert not caught.value.passing
    assert "secret" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_a_span_that_is_over_is_one_line_without_sql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "0.5")
    calls = []
    with Database(postgres_url) as database:

        def cut() -> None:
            calls.append(1)
            with database.transaction() as connection:
                end_connections(postgres_url)
                connection.execute("SELECT %s", ("a row of ours",))

        with pytest.raises(PostgresUnavailable) as caught:
            outlast(cut)
    assert len(calls) > 3, "it was tried again"
    assert not caught.value.passing
    text = str(caught.value)
    assert "\n" not in text
    assert "SELECT" not in text
    assert "a row of ours" not in text
    assert "what was stored stays; run this again" in text


# ---- the bucket ---------------------------------------------------------------------------------------------------------


def lake_in(bucket: Bucket, name: str, read_timeout_s: float = 30.0) -> Lake:
    def client() -> Any:
        own = Config(read_timeout=read_timeout_s, retries={"total_max_attempts": 1})
        return boto3.client(
            "s3",
            endpoint_url=bucket.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="eu-central-1",
            config=own,
        )

    return Lake(f"s3://{bucket.name}/{name}", client)


@pytest.mark.parametrize("how", ["InternalError", "SlowDown", "cut"])
def test_days_are_collected_through_a_bucket_that_fails_for_a_moment(
    bucket: Bucket, work: Workbench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    work.lake = lake_in(bucket, f"burst-{how}")
    failed: list[int] = []

    def fail_once(reached: str) -> None:
        if reached == "loaded" and not failed:
            failed.append(1)
            bucket.fail(how, times=4)

    monkeypatch.setattr(journal, "reached", fail_once)
    refused = bucket.refused
    result = work.collect(FIRST, LAST)
    assert bucket.refused == refused + 4, "the fault has happened"
    all_there(work, result, work.url)


def test_a_bucket_that_fails_for_ever_ends_with_one_line(
    bucket: Bucket, work: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
    work.lake = lake_in(bucket, "for-ever")
    monkeypatch.setattr(journal, "reached", lambda step: bucket.fail("InternalError") if step == "loaded" else None)
    try:
        with pytest.raises(LakeUnavailable) as caught:
            work.collect(FIRST, LAST)
    finally:
        bucket.heal()
    text = str(caught.value)
    assert f"s3://{bucket.name}/for-ever" in text
    assert f"127.0.0.1:{urlsplit(bucket.url).port}" in text
    assert "S3 says InternalError" in text
    assert "what was stored stays" in text
    assert "\n" not in text
    monkeypatch.setattr(journal, "reached", lambda _: None)
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "60")
    all_there(work, work.collect(FIRST, LAST), work.url)


def test_a_bucket_that_hangs_says_a_line_and_is_outlasted(
    bucket: Bucket, work: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "SAY_AFTER_S", 0.3)
    work.lake = lake_in(bucket, "hangs", read_timeout_s=2.0)
    hung: list[int] = []

    def hang_once(reached: str) -> None:
        if reached == "loaded" and not hung:
            hung.append(1)
            bucket.fail("hang", times=1)

    monkeypatch.setattr(journal, "reached", hang_once)
    result = work.collect(FIRST, LAST)
    bucket.heal()
    said = capsys.readouterr().err
    assert f"waiting for the lake s3://{bucket.name}/hangs: " in said
    all_there(work, result, work.url)


def test_a_bucket_that_hangs_for_ever_is_given_up_and_the_undo_does_not_wait_for_each_file(
    bucket: Bucket, work: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
    monkeypatch.setattr("crypto_assets.storage.bucket.SAY_AFTER_S", 1.0)
    work.lake = lake_in(bucket, "hangs-for-ever", read_timeout_s=2.0)
    monkeypatch.setattr(journal, "reached", lambda step: bucket.fail("hang") if step == "loaded" else None)
    started = time.monotonic()
    try:
        with pytest.raises(LakeUnavailable, match=r"Read timeout.*what was stored stays"):
            work.collect(FIRST, LAST)
    finally:
        bucket.heal()
    assert time.monotonic() - started < 20, "the attempts of the span, and not two seconds for each file that is undone"
    monkeypatch.setattr(journal, "reached", lambda _: None)
    monkeypatch.setattr(patience, "REST_S", 0.0)
    all_there(work, work.collect(FIRST, LAST), work.url)


def test_an_object_that_is_replaced_while_it_is_copied_is_read_as_it_is_then(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other, plain = lake_in(bucket, "replaced"), lake_in(bucket, "replaced"), BucketStore._call
    lake.store.put("day", b"1" * 100)
    contents = [b"2" * 100]

    def call(self: BucketStore, method: str, path: str | None, **arguments: Any) -> Any:
        answer = plain(self, method, path, **arguments)
        if method == "head_object" and contents:  # another process publishes the day now
            plain(other.store, "put_object", path, Body=contents.pop())  # type: ignore[arg-type]
        return answer

    monkeypatch.setattr(BucketStore, "_call", call)
    with lake.store.open("day") as file:  # type: ignore[union-attr]
        assert file.read() == b"2" * 100
    contents[:] = [b"%d" % number for number in range(100)]
    with pytest.raises(LakeUnavailable, match="found another one 5 times"):
        lake.store.open("day")


def test_an_object_that_alone_fails_is_given_up_however_often_others_are_answered(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
    lake = lake_in(bucket, "one-alone")
    plain, calls = BucketStore._ask, []

    def ask(self: BucketStore, method: str, path: str | None, arguments: dict[str, Any]) -> Any:
        if path != "bad":
            return plain(self, method, path, arguments)
        calls.append(1)
        lake.store.put("good", b"1")  # meanwhile
        assert len(calls) < 100, "it is asked for ever"
        raise LakeUnavailable("it fails", passing=True, found="on purpose")

    monkeypatch.setattr(BucketStore, "_ask", ask)
    monkeypatch.setattr(patience, "backoff_s", lambda _: 0.05)
    with pytest.raises(LakeUnavailable, match="it fails"):
        lake.store.put("bad", b"1")
    assert len(calls) > 5


def test_what_a_bucket_refuses_for_good_is_not_asked_again(bucket: Bucket) -> None:
    lake = lake_in(bucket, "denied")
    assert lake.store.get("nothing") is None
    bucket.denied = "/denied/"
    try:
        started = time.monotonic()
        with pytest.raises(Exception, match="S3 says AccessDenied") as caught:
            lake.store.put("one", b"1")
        assert type(caught.value).__name__ == "ConfigError"
        assert time.monotonic() - started < 2
    finally:
        bucket.denied = ""


# ---- quarantine and disks -----------------------------------------------------------------------------------------------


def not_kept(work: Workbench, result: Result) -> str:
    """Return the reason of the refused day, after looking at the others."""
    assert result.of(FIRST).state is State.AVAILABLE
    assert result.of(LAST).state is State.AVAILABLE
    refused = result.of(date(2024, 1, 2))
    assert refused.state is State.MISSING
    record = work.records()[BTC, "ohlcv_1m", date(2024, 1, 2)]
    assert record.reason == refused.reason
    assert "quarantine" not in record.evidence
    return refused.reason


def test_a_quarantine_that_may_not_be_written_stops_no_good_day(bucket: Bucket, work: Workbench) -> None:
    work.lake = lake_in(bucket, "no-quarantine")
    work.publish(work.key(BARS, BTC, date(2024, 1, 2)), b"no zip")
    bucket.denied = "/quarantine/"
    try:
        result = work.collect(FIRST, LAST)
    finally:
        bucket.denied = ""
    reason = not_kept(work, result)
    assert "expected a whole zip" in reason
    assert f"its bytes could not be kept in quarantine/ of s3://{bucket.name}/no-quarantine: " in reason
    assert "AccessDenied" in reason


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[], None]]:
    """Mount a small file system; yields what makes it larger."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("a file system of its own for this test cannot be mounted here (it needs root)")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True) and None
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_of_the_quarantine_stops_no_good_day(work: Workbench) -> None:
    key = work.key(BARS, BTC, date(2024, 1, 2))
    work.publish(key, os.urandom(200_000))
    with small_disk(work.folder / "quarantine", "64k") as enlarge:
        reason = not_kept(work, work.collect(FIRST, LAST))
        assert f"quarantine/ of {work.folder}: No space left on device" in reason
        left = [path for path in (work.folder / "quarantine").rglob("*") if path.is_file()]
        assert left == [], "no part of it takes up room"
        enlarge()
        result = work.collect(FIRST, LAST)
        assert "quarantine" in result.of(date(2024, 1, 2)).evidence
        assert len(work.quarantined()) == 1


def test_a_full_disk_of_the_lake_is_one_line_that_names_it(
    sandbox: SandboxServer, postgres_url: str, tmp_path: Path
) -> None:
    command = Command.at(tmp_path / "home", postgres_url)
    urls = {"archive_url": sandbox.archive_url, "listing_url": sandbox.listing_url}
    command.configure({"exchanges": {"binance": urls}, "series": [ENTRY]})
    lake = tmp_path / "home" / "lake"
    with small_disk(lake, "48k") as enlarge:
        answer = command("collect", "--from", str(FIRST), "--to", str(LAST))
        assert answer.code == 1
        assert no_traceback(answer), answer
        lines = answer.err.splitlines()
        assert len(lines) == 1, answer.err
        assert lines[0].startswith(f"error: there is no room left on the disk ({lake}/")
        assert "No space left on device" in lines[0]
        assert "make room on the disk, then run this again" in lines[0]
        log = tmp_path / "home" / "errors.log"
        assert f"its traceback is in {log}" in lines[0]
        assert log.stat().st_mode & 0o777 == 0o600
        assert "OSError: [Errno 28]" in log.read_text()
        enlarge()
        again = command("collect", "--from", str(FIRST), "--to", str(LAST))
        assert again.code == 0, again
