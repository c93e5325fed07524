"""Publishing files together with Postgres: a real server, a lake in a folder and one in a bucket (moto)."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from crypto_assets.engine.publication import journal
from crypto_assets.engine.publication.journal import Journal, Replacement
from crypto_assets.errors import PostgresUnavailable, StoredDataError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.engine.publication.conftest import FOLDER, ONE, THREE, TWO

VERSION = f"versions/{FOLDER}date=2024-01-01/0123456789abcdef.parquet"


STEPS = ["noted", "staged", "verified", "kept", "loaded", "moved", "forgotten"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_of(lake: Lake) -> dict[str, bytes]:
    return {path: lake.store.get(path) or b"" for path in lake.store.paths("")}


def replacements() -> list[Replacement]:
    """A file whose former bytes are kept for good, one whose former bytes are not, and a new one."""
    new = [b"new one", b"new two", b"new three"]
    return [
        Replacement(FOLDER, ONE, new[0], sha256(new[0]), sha256(b"former one"), VERSION),
        Replacement(FOLDER, TWO, new[1], sha256(new[1]), sha256(b"former two")),
        Replacement(FOLDER, THREE, new[2], sha256(new[2])),
    ]


BEFORE = {ONE: b"former one", TWO: b"former two"}


AFTER = {ONE: b"new one", TWO: b"new two", THREE: b"new three", VERSION: b"former one"}


def publish(lake: Lake, ledger: Ledger, statement: str = "INSERT INTO written VALUES ('it')") -> None:
    """Publish the three files and write a row."""
    with ThreadPoolExecutor(2) as pool:
        mine = Journal(lake, ledger, "run")
        with mine.alone([FOLDER]) as connection, mine.publishing(connection, replacements(), pool):
            connection.execute(statement)


class Killed(BaseException):
    pass


def publish_and_die(lake: Lake, ledger: Ledger, at_step: Callable[..., None], step: str) -> None:
    """Publish in the way of a process that is killed at a step: it undoes nothing."""

    def die() -> None:
        raise Killed

    at_step(step, die)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "_undo_now", lambda *_: None)
        with pytest.raises(Killed):
            publish(lake, ledger)


def in_postgres(url: str) -> tuple[list[str], int, int]:
    """Return the written rows, and the remaining journal rows and locks."""
    with psycopg.connect(url) as connection:
        written = [what for (what,) in connection.execute("SELECT what FROM written")]
        left = connection.execute(
            "SELECT (SELECT count(*) FROM collection.journal), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ).fetchone()
    assert left is not None
    return written, left[0], left[1]


def test_files_and_rows_appear_together_and_nothing_else_is_left(lake: Lake, ledger: Ledger) -> None:
    publish(lake, ledger)
    assert files_of(lake) == AFTER
    assert in_postgres(ledger.url) == (["it"], 0, 0)


def test_files_are_noted_before_anything_is_done_with_them(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    seen: list[Any] = []

    def look() -> None:
        with psycopg.connect(ledger.url) as connection:
            query = "SELECT path, former_sha256, sha256, run_id, pid, kept FROM collection.journal ORDER BY path"
            seen.extend(connection.execute(query).fetchall())
            seen.append(files_of(folder_lake))

    at_step("noted", look)
    publish(folder_lake, ledger)
    one, two, three, files = seen
    assert one == (ONE, sha256(b"former one"), sha256(b"new one"), "run", os.getpid(), VERSION)
    assert two[5].startswith("staging/")
    assert three[1] is three[5] is None
    assert files == BEFORE


@pytest.mark.parametrize("step", STEPS)
def test_an_error_at_any_step_leaves_everything_as_it_was(
    lake: Lake, ledger: Ledger, at_step: Callable[..., None], step: str
) -> None:
    def fail() -> None:
        raise OSError(28, "no space left on device")

    at_step(step, fail)
    with pytest.raises(OSError, match="no space left"):
        publish(lake, ledger)
    assert files_of(lake) == BEFORE
    assert in_postgres(ledger.url) == ([], 0, 0)
    publish(lake, ledger)
    assert files_of(lake) == AFTER


def test_an_error_in_the_block_leaves_everything_as_it_was(lake: Lake, ledger: Ledger) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        publish(lake, ledger, "INSERT INTO collection.journal (lake) VALUES ('x')")
    assert files_of(lake) == BEFORE
    assert in_postgres(ledger.url) == ([], 0, 0)


@pytest.mark.parametrize("step", ["staged", "loaded", "moved", "forgotten"])
def test_a_connection_that_breaks_is_undone_through_another(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None], step: str
) -> None:
    def cut() -> None:
        with psycopg.connect(ledger.url) as connection:
            others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
            connection.execute(f"{others} AND pid <> pg_backend_pid()")

    at_step(step, cut)
    with pytest.raises(PostgresUnavailable):
        publish(folder_lake, ledger)
    assert files_of(folder_lake) == BEFORE
    assert in_postgres(ledger.url) == ([], 0, 0)


@pytest.mark.parametrize("step", [*STEPS, "committed"])
def test_what_a_dead_process_has_left_is_undone_or_cleared_by_the_next(
    lake: Lake, ledger: Ledger, at_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    publish_and_die(lake, ledger, at_step, step)
    assert in_postgres(ledger.url)[1] == (0 if step == "committed" else 3)
    assert Journal(lake, ledger).recover() == (0 if step == "committed" else 3)
    monkeypatch.setattr(journal, "LEFT_OVER_S", -60.0)
    Journal(lake, ledger).recover()
    assert files_of(lake) == (AFTER if step == "committed" else BEFORE)
    assert in_postgres(ledger.url) == (["it"] if step == "committed" else [], 0, 0)


def test_whoever_publishes_there_next_undoes_it_first(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    publish_and_die(folder_lake, ledger, at_step, "moved")
    assert files_of(folder_lake) != BEFORE
    with Journal(folder_lake, ledger).alone([FOLDER]):
        assert files_of(folder_lake) == BEFORE
    assert in_postgres(ledger.url) == ([], 0, 0)


def test_a_file_that_somebody_has_put_there_since_is_not_taken_for_ours(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    publish_and_die(folder_lake, ledger, at_step, "forgotten")
    folder_lake.store.put(THREE, b"somebody else's")
    Journal(folder_lake, ledger).recover()
    assert files_of(folder_lake) == BEFORE | {THREE: b"somebody else's"}


def test_what_is_being_published_now_is_left_alone(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    found: list[Any] = []

    def recover() -> None:
        with Ledger(ledger.url) as other:
            found.append(Journal(folder_lake, other).recover())
            found.append(files_of(folder_lake)[ONE])

    at_step("forgotten", recover)
    publish(folder_lake, ledger)
    assert found == [0, b"new one"]
    assert files_of(folder_lake) == AFTER


def test_two_who_publish_the_same_symbol_take_turns(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    order: list[str] = []
    began = threading.Event()

    def other() -> None:
        with Ledger(ledger.url) as mine, Journal(folder_lake, mine).alone([FOLDER]):
            order.append(f"other finds {files_of(folder_lake)[ONE]!r}")

    def slowly() -> None:
        began.set()
        time.sleep(0.3)
        order.append("first moves")

    thread = threading.Thread(target=lambda: began.wait(60) and other())
    thread.start()
    at_step("loaded", slowly)
    publish(folder_lake, ledger)
    thread.join(60)
    assert order == ["first moves", "other finds b'new one'"]


def test_other_symbols_do_not_wait(folder_lake: Lake, ledger: Ledger) -> None:
    with Journal(folder_lake, ledger).alone([FOLDER]), Ledger(ledger.url) as other:
        started = time.monotonic()
        with Journal(folder_lake, other).alone(["symbol=ETH-USDT/"]):
            assert time.monotonic() - started < 30


def test_a_version_that_was_there_already_survives_the_undo(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None]
) -> None:
    folder_lake.store.put(VERSION, b"former one")
    with psycopg.connect(ledger.url) as connection:
        connection.execute(
            "INSERT INTO collection.versions (exchange, market_type, symbol, dataset, day, number, content_sha256, path, "
            "rows, source, source_key, source_etag, source_sha256, known_from, known_to) VALUES ('binance', 'spot', "
            "'BTC/USDT', 'ohlcv_1m', '2024-01-01', 1, 'c', %s, 1, 'archive', 'k', 'e', 's', now(), now())",
            (VERSION,),
        )
    at_step("loaded", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(folder_lake, ledger)
    assert files_of(folder_lake) == BEFORE | {VERSION: b"former one"}


def test_bytes_that_did_not_arrive_as_they_were_sent_are_not_published(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None], tmp_path: Path
) -> None:
    def damage() -> None:
        # In one move each, because the threads beside this one write and read such files too.
        for path in (tmp_path / "lake" / "staging").rglob("*.staged"):
            other = path.with_suffix(".other")
            other.write_bytes(b"other")
            other.replace(path)

    at_step("staged", damage)
    with pytest.raises(StoredDataError, match="read back 5 other bytes"):
        publish(folder_lake, ledger)
    assert files_of(folder_lake) == BEFORE


def test_only_what_has_lain_in_staging_for_long_is_removed(
    lake: Lake, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("staging/a/1.parquet", "staging/.b.part", "staging/mine/1.former"):
        lake.store.put(path, b"x")
    lake.store.put("assets/mine/data.parquet", b"x")
    with psycopg.connect(ledger.url) as connection:
        connection.execute(
            "INSERT INTO collection.journal (lake, path, folder, staged, sha256, host, pid, kept) "
            "VALUES (%s, 'p', 'held', 's', 'x', 'h', 1, 'staging/mine/1.former')",
            (lake.store.url,),
        )
    mine = Journal(lake, ledger)
    with Ledger(ledger.url) as other, Journal(lake, other).alone(["elsewhere"]) as connection:
        name = f"publish {lake.store.url} held"
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
        mine.recover()
        assert lake.store.get("staging/a/1.parquet") == b"x"
        monkeypatch.setattr(journal, "LEFT_OVER_S", -60.0)
        mine.recover()
    assert files_of(lake) == BEFORE | {"assets/mine/data.parquet": b"x", "staging/mine/1.former": b"x"}


def test_a_folder_without_hard_links_keeps_copies(
    folder_lake: Lake, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(95, "operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    publish(folder_lake, ledger)
    assert files_of(folder_lake) == AFTER


def test_a_symbol_on_another_disk_is_published_too(tmp_path: Path, ledger: Ledger) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    lake, disk = Lake(str(tmp_path / "lake")), other / f"crypto_assets_tests-{uuid4().hex}"
    disk.mkdir()
    try:
        (tmp_path / "lake" / FOLDER).parent.mkdir(parents=True)
        (tmp_path / "lake" / FOLDER).symlink_to(disk)
        lake.store.put(ONE, b"former one")
        lake.store.put(TWO, b"former two")
        publish(lake, ledger)
        assert {path: lake.store.get(path) for path in AFTER} == AFTER
        assert (disk / "date=2024-01-01" / "data.parquet").read_bytes() == b"new one"
    finally:
        for path in sorted(disk.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        disk.rmdir()
