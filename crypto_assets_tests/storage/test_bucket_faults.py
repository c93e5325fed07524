"""A bucket or a disk that fails while days are collected: it is waited for, or the run ends with one line."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from crypto_assets.engine.publication import journal
from crypto_assets.errors import LakeUnavailable
from crypto_assets.model import State
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage import patience
from crypto_assets.storage.bucket import BucketStore
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Command, no_traceback
from crypto_assets_tests.storage.conftest import BTC, ENTRY, FIRST, LAST
from crypto_assets_tests.storage.test_store_faults import BARS, all_there
from crypto_assets_tests.workbench import Result, Workbench
from proofs.bucket import Bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        yield server


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
    """Return the reason of the refused day, after checking the others."""
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
    """Mount a small file system; yield the function that makes it larger."""
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
