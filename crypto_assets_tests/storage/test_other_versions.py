"""Stores made by another version of the program: both versions are named, nothing is changed, one line each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crypto_assets.config.error_log import last_line
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.errors import OtherVersion
from crypto_assets.instance.storage import InstanceStorage, knows_revision
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.machine.ports import free_port
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets.storage.lake import IDENTITY, Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.revisions import HEAD, LOCK, require_head, revision
from crypto_assets.version import __version__
from crypto_assets_tests.command import Answer, no_traceback
from crypto_assets_tests.project import Project, entry, make
from crypto_assets_tests.waiting import wait_for

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 2)
COLLECT = f"collect --from {FIRST} --to {LAST}"
COMMANDS = (
    COLLECT,
    f"fill --from {FIRST} --to {LAST}",
    "status",
    "gaps",
    "runs",
    "pause --exchange binance",
    "validate",
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}})) as server:
        yield server


@pytest.fixture
def project(sandbox: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    return make(sandbox, tmp_path / "home", postgres_url, monkeypatch, entry(["ohlcv_1h"], ["BTC/USDT"], FIRST))


def _change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _rows(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM collection.partitions ORDER BY day").fetchall()


def _said(answers: list[Answer], *words: str) -> None:
    for answer in answers:
        assert answer.code == 2, (answer.out, answer.err)
        assert no_traceback(answer)
        lines = [line for line in answer.err.splitlines() if line != "waiting for Postgres"]  # the first line of `up`
        assert len(lines) == 1, answer.err
        for word in words:
            assert word in answer.message, answer.err


def test_every_command_refuses_the_tables_of_a_newer_version_and_names_both(project: Project) -> None:
    url = project.postgres_url
    assert project.command(*COLLECT.split()).code == 0
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT revision, program FROM collection.migrated").fetchall() == [
            (HEAD, __version__)
        ]
    before = _rows(url)
    _change(
        url,
        "UPDATE collection.migrations SET version_num = '0099'",
        "INSERT INTO collection.migrated (revision, program) VALUES ('0099', '7.3.1')",
        "ALTER TABLE collection.partitions RENAME COLUMN reason TO because",  # as a newer version may do
    )
    newer = f"of a newer version: revision 0099, made by crypto_assets 7.3.1; this is crypto_assets {__version__}"
    _said(project.command.sequence(*COMMANDS), newer, f"up to {HEAD}", "Update this installation", "the only way back")
    assert _rows(url) == before
    for served in ("api", "up"):
        _said([project.command(served, "--port", str(free_port()))], newer)


@pytest.mark.parametrize(
    ("statement", "words"),
    {
        "no revision": (
            "DELETE FROM collection.migrations",
            "expected one revision in collection.migrations, found none",
        ),
        "two revisions": ("INSERT INTO collection.migrations VALUES ('0099')", "collection.migrations, found 2 ("),
        "another's revision": ("UPDATE collection.migrations SET version_num = 'a1b2c3'", "of revision 'a1b2c3'"),
        "no table of revisions": (
            "DROP TABLE collection.migrations",
            "the table with their version, collection.migrations, is missing",
        ),
    }.values(),
)
def test_tables_of_which_nobody_can_say_the_version_are_refused(project: Project, statement: str, words: str) -> None:
    migrate(project.postgres_url)
    _change(project.postgres_url, statement)
    _said(project.command.sequence(COLLECT, "status"), words, "restore it from a backup")


@pytest.mark.parametrize(
    ("statement", "words"),
    {
        "a column": ("ALTER TABLE collection.partitions DROP COLUMN reason CASCADE", "reason"),
        "a table": ("DROP TABLE collection.partitions CASCADE", 'relation "collection.partitions" does not exist'),
        "a schema": ("DROP SCHEMA market CASCADE", "market"),
    }.values(),
)
def test_a_missing_column_or_table_is_one_line(project: Project, statement: str, words: str) -> None:
    migrate(project.postgres_url)
    _change(project.postgres_url, statement)
    for answer in project.command.sequence(COLLECT, "gaps", "status"):
        assert no_traceback(answer), answer.err
        assert (answer.code == 2) == ("error" in answer.err), "`status` and `gaps` need no table of rows"
        if answer.code == 2:
            assert f"expected the tables of crypto_assets {__version__} (revision {HEAD}), found: " in answer.err
            assert words in answer.err, answer.err
            assert "restore it from a backup" in answer.err
    assert project.command(*COLLECT.split()).code == 2


def test_a_lake_of_a_newer_version_is_refused_by_who_writes_and_by_who_reads(project: Project) -> None:
    from crypto_assets import read

    assert project.command(*COLLECT.split()).code == 0
    file = project.home / "lake" / IDENTITY
    found = json.loads(file.read_text())
    assert (found["format"], found["program"]) == (1, __version__)
    for form, shown in ((2, "2"), ("two", "'two'"), (0, "0")):
        file.write_text(json.dumps({**found, "format": form, "program": "7.3.1"}))
        words = f"its format is {str(form)!r}, of crypto_assets 7.3.1; this is crypto_assets {__version__}"
        _said(project.command.sequence(COLLECT, "status", "validate", "quarantine"), words, "Update this installation")
        with pytest.raises(OtherVersion, match=f"its format is .*{shown.strip(chr(39))}"):
            read("binance", "BTC/USDT", "ohlcv_1h", str(FIRST), str(LAST))
        assert json.loads(file.read_text())["format"] == form
    file.write_text(json.dumps({key: value for key, value in found.items() if key not in ("format", "program")}))
    assert Lake(str(project.home / "lake")).identity() == found["id"]


def test_tables_of_a_newer_dagster_are_refused_and_both_are_named(project: Project) -> None:
    assert project.command(*COLLECT.split()).code == 0
    with psycopg.connect(project.postgres_url) as connection:
        [(revision_of_dagster,)] = connection.execute("SELECT version_num FROM dagster.alembic_version").fetchall()
    assert knows_revision(revision_of_dagster)
    assert not knows_revision("")
    _change(project.postgres_url, "UPDATE dagster.alembic_version SET version_num = 'feedc0ffee00'")
    words = f"their revision is 'feedc0ffee00', which dagster {dg.__version__} does not know"
    with pytest.raises(OtherVersion, match=words):
        InstanceStorage(project.postgres_url)
    _said([project.command(*COLLECT.split())], words, "Update this installation")


def test_an_older_version_that_runs_while_a_newer_one_migrates_publishes_nothing_more(
    project: Project, postgres_url: str
) -> None:
    """A run begins, another host migrates, the run publishes: the transaction that publishes is refused."""
    migrate(postgres_url)
    sandbox = project.collection.exchanges["binance"].archive_url
    assert sandbox
    with Ledger(postgres_url) as ledger, ledger.transaction() as connection:
        require_head(connection, postgres_url)
        with psycopg.connect(postgres_url, autocommit=True) as other:
            held = other.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            assert held == (False,), "who migrates waits for who publishes"
    _change(
        postgres_url,
        "UPDATE collection.migrations SET version_num = '0099'",
        "INSERT INTO collection.migrated (revision, program) VALUES ('0099', '7.3.1')",
    )
    lake = Lake(str(project.home / "lake"))
    with Ledger(postgres_url) as ledger:
        journal = Journal(lake, ledger)
        with (
            pytest.raises(OtherVersion, match=r"revision 0099, made by crypto_assets 7\.3\.1"),
            journal.alone([]) as connection,
            journal.publishing(connection, [], DaemonPool(1, "none")),
        ):
            raise AssertionError("nothing may be published")


def test_who_publishes_waits_for_who_migrates_and_then_sees_it(postgres_url: str) -> None:
    migrate(postgres_url)
    told: list[BaseException] = []

    def publish() -> None:
        try:
            with Ledger(postgres_url) as ledger, ledger.transaction() as connection:
                require_head(connection, postgres_url)
        except OtherVersion as error:
            told.append(error)

    with psycopg.connect(postgres_url) as newer:
        newer.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        newer.execute("UPDATE collection.migrations SET version_num = '0099'")
        older = threading.Thread(target=publish)
        older.start()
        with psycopg.connect(postgres_url, autocommit=True) as looking:
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_for("the older one to wait", lambda: looking.execute(waits).fetchone() == (1,))
        newer.commit()
    older.join(20)
    assert [type(error) for error in told] == [OtherVersion]


def test_an_empty_database_is_new_and_a_table_of_somebody_else_is_no_table_of_ours(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE migrations (version_num text)")
        assert revision(connection, postgres_url) is None
        migrate(postgres_url)
        assert revision(connection, postgres_url) == HEAD


def test_a_statement_of_ours_that_is_wrong_is_not_blamed_on_tables_without_keeping_its_traceback(
    project: Project, postgres_url: str
) -> None:
    migrate(postgres_url)
    with (
        pytest.raises(OtherVersion, match="it is a mistake of crypto_assets: please report it") as caught,
        Database(postgres_url) as database,
        database.transaction() as connection,
    ):
        connection.execute("SELECT 1 FROM collection.partitions WHERE day = 'x'::text")
    line = last_line(caught.value)
    log = project.home / "errors.log"
    assert line.endswith(f"; its traceback is in {log}")
    assert "operator does not exist" in log.read_text()
