"""Publishing files together with Postgres: a real server, a lake in a folder and one in a bucket (moto)."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from crypto_assets.engine.publication import journal
from crypto_assets.engine.publication.journal import Journal, Replacement
from crypto_assets.errors import PostgresUnavailable, StoredDataError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate

FOLDER = "exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/"
ONE, TWO, THREE = (f"{FOLDER}date=2024-01-0{n}/data.parquet" for n in (1, 2, 3))
VERSION = f"versions/{FOLDER}date=2024-01-01/0123456789abcdef.parquet"
STEPS = ["noted", "staged", "verified", "kept", "loaded", "moved", "forgotten"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake with two files."""
    if request.param == "folder":
        lake = Lake(str(tmp_path / "lake"))
    else:
        s3 = boto3.client(
            "s3",
            endpoint_url=request.getfixturevalue("s3_endpoint"),
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        bucket = f"lake-{uuid4().hex[:8]}"
        s3.create_bucket(Bucket=bucket)
        lake = Lake(f"s3://{bucket}/some/prefix", lambda: s3)
    lake.store.put(ONE, b"former one")
    lake.store.put(TWO, b"former two")
    return lake


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    lake.store.put(ONE, b"former one")
    lake.store.put(TWO, b"former two")
    return lake


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    with psycopg.connect(module_postgres_url) as connection:
        connection.execute("CREATE TABLE written (what text)")
    return module_postgres_url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE written, collection.journal, collection.versions")
    with Ledger(url) as ledger:
        yield ledger


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """A function that has something happen when a step is reached for the first time."""

    def happen(step: str, what: Callable[[], Any]) -> None:
        first = threading.Lock()

        def reached(name: str) -> None:
            if name == step and first.acquire(blocking=False):
                what()

        monkeypatch.setattr(journal, "reached", reached)

    return happen


def files_of(lake: Lake) -> dict[str, bytes]:
    return {path: lake.store.get(path) or b"" for path in lake.store.paths("")}


def replacements() -> list[Replacement]:
    """A file whose former bytes are kept for good, one whose former bytes are not, and one where nothing was."""
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
    """Publish as a process does that is killed at a step: it undoes nothing."""

    def die() -> None:
        raise Killed

    at_step(step, die)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "_undo_now", lambda *_: None)
        with pytest.raises(Killed):
            publish(lake, ledger)


def in_postgres(url: str) -> tuple[list[str], int, int]:
    """Return what was written, and the rows of the journal and the locks that are left."""
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
            "INSERT INTO collection.versions VALUES ('binance', 'spot', 'BTC/USDT', 'ohlcv_1m', '2024-01-01', 1, 'c', %s, 1, "
            "'archive', 'k', 'e', 's', now(), now())",
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
        # In one move each, for the threads beside this one write and read such files too.
        for path in (tmp_path / "lake" / "staging").rglob("*.staged"):
            other = path.with_suffix(".other")
            other.write_bytes(b"other")
            other.replace(path)

    at_step("staged", damage)
    with pytest.raises(StoredDataError, match="read back 5 bytes that are others"):
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


# ---- rows that somebody else has written --------------------------------------------------------------------------------


def row(url: str, lake: Lake, **given: str | None) -> None:
    """Write a row of the journal, which says what a killed process of ours would have said where nothing else is given."""
    sane = {
        "path": THREE,
        "folder": FOLDER,
        "staged": "staging/a/0.staged",
        "kept": None,
        "former_sha256": None,
        "sha256": sha256(b"new three"),
    }
    values = {**sane, **given, "lake": lake.store.url, "host": "h", "pid": "1"}
    with psycopg.connect(url) as connection:
        names = ", ".join(values)
        places = ", ".join(f"%({name})s" for name in values)
        connection.execute(f"INSERT INTO collection.journal ({names}) VALUES ({places})", values)


FORGED: dict[str, dict[str, str | None]] = {
    "an absolute path": {"path": "{tmp}/written"},
    "a path that leads up": {"path": "../written"},
    "a path that leads up from a day": {"path": f"{FOLDER}../../../../../written"},
    "a path of no day": {"path": "_lake.json"},
    "a path in quarantine": {"path": "quarantine/x"},
    "a path of another folder": {"path": THREE.replace("BTC", "ETH")},
    "an absolute kept": {"kept": "{tmp}/payload"},
    "a kept that leads up": {"kept": "../payload"},
    "a kept day": {"kept": ONE},
    "a kept identity": {"kept": "_lake.json"},
    "a kept version of another day": {"kept": VERSION.replace("BTC", "ETH")},
    "an absolute staged": {"staged": "{tmp}/victim"},
    "a staged that leads up": {"staged": "../victim"},
    "a staged that leads up from staging": {"staged": "staging/../../victim"},
    "a staged day": {"staged": ONE},
    "a staged version": {"staged": VERSION},
    "a staged identity": {"staged": "_lake.json"},
    "a terminal code": {"staged": "staging/\x1b]0;title\x07/0.staged"},
    "a line end": {"staged": "staging/a\nerror: forged/0.staged"},
    "a megabyte": {"staged": "staging/" + "a" * 1_000_000 + "/0.staged"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_row_that_the_journal_cannot_have_written_touches_no_file(
    folder_lake: Lake, ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str], forged: dict[str, str | None]
) -> None:
    folder_lake.store.put("_lake.json", b"{}")
    folder_lake.store.put(VERSION, b"a former one")
    for name in ("payload", "victim"):
        (tmp_path / name).write_bytes(b"theirs")
    before = files_of(folder_lake)
    given = {name: value and value.format(tmp=tmp_path) for name, value in forged.items()}
    restores = {"former_sha256": sha256(b"theirs")} if "kept" in given or "path" in given else {}
    row(ledger.url, folder_lake, **{"kept": f"{tmp_path}/payload" if "path" in given else None, **restores, **given})

    assert Journal(folder_lake, ledger).recover() == 0
    assert files_of(folder_lake) == before
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "payload", "victim"}
    assert (tmp_path / "payload").read_bytes() == (tmp_path / "victim").read_bytes() == b"theirs"
    said = capfd.readouterr().err
    assert said.startswith("a row of collection.journal is not believed (path ")
    assert said.count("\n") == 1
    assert len(said) < 2_000
    assert said[:-1].isprintable()
    assert in_postgres(ledger.url)[1:] == (0, 0), "the row is gone, so it is said once"


def test_a_forged_row_stops_nothing_else(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    publish_and_die(folder_lake, ledger, at_step, "moved")
    (tmp_path / "victim").write_bytes(b"theirs")
    row(ledger.url, folder_lake, path="/etc/cron.d/x", staged=f"{tmp_path}/victim")
    row(ledger.url, folder_lake, path="/etc/cron.d/y", staged="../victim", folder="another/")
    assert Journal(folder_lake, ledger).recover() == 3
    assert files_of(folder_lake) == BEFORE
    assert (tmp_path / "victim").exists()
    assert capfd.readouterr().err.count("is not believed") == 2
    publish(folder_lake, ledger)
    assert files_of(folder_lake) == AFTER


def test_a_forged_row_does_not_stop_who_publishes_there(folder_lake: Lake, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"theirs")
    row(ledger.url, folder_lake, path=ONE, staged=f"{tmp_path}/victim")
    publish(folder_lake, ledger)
    assert files_of(folder_lake) == AFTER
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize("what", ["staging/a", "versions/exchange=binance"])
def test_a_row_leads_nowhere_through_a_link(
    folder_lake: Lake, ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    kept = VERSION.replace("01-01", "01-03")
    victim = elsewhere / ("0.staged" if what == "staging/a" else kept.partition("binance/")[2])
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"theirs")
    (tmp_path / "lake" / what).parent.mkdir(exist_ok=True)
    (tmp_path / "lake" / what).symlink_to(elsewhere)
    row(ledger.url, folder_lake, kept=None if what == "staging/a" else kept, former_sha256=sha256(b"theirs"))
    assert Journal(folder_lake, ledger).recover() == 0
    assert victim.read_bytes() == b"theirs"
    assert files_of(folder_lake) == BEFORE
    assert "found a link" in capfd.readouterr().err
