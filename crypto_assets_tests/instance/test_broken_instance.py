"""An unusable dagster.yaml, or an unusable file of ours next to it: one line each."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.errors import ConfigError, OtherVersion, PostgresUnavailable
from crypto_assets.instance.dagster_instance import opened_instance
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.embedded_postgres import placement
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.command import PROJECT, Command, no_traceback
from crypto_assets_tests.project import Project, entry, make
from crypto_assets_tests.storage.other_user import needs_root

DAY = date(2024, 1, 1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (DAY, DAY)}})) as server:
        yield server


@pytest.fixture
def project(sandbox: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    return make(sandbox, tmp_path / "home", postgres_url, monkeypatch, entry(["ohlcv_1h"], ["BTC/USDT"], DAY))


def _open() -> None:
    use_dagster_home()
    with opened_instance():
        pass


BROKEN = {
    "nested without end": ("[" * 100_000, "nested lists and mappings"),
    "cut": ("storage: [", "expected YAML, found: "),
    "a billion values": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "each as often as aliases",
    ),
    "no text": (b"\xff\xfe\x00", "expected readable text"),
    "a list": ("- storage", "expected names with values, found list"),
    "an unknown name": ("storrage: {}", "storrage"),
    "a module that is not there": ("storage: {custom: {module: nope, class: Nope, config: {}}}", "nope"),
    "a class that is not there": (
        "storage: {custom: {module: crypto_assets.instance.storage, class: Nope, config: {}}}",
        "Nope",
    ),
    "a wrong kind of value": ("run_monitoring: {enabled: [1]}", "run_monitoring"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_dagster_yaml_that_cannot_be_used_is_one_line(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, words: str
) -> None:
    file = tmp_path / "dagster.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(ConfigError) as told:
        _open()
    assert str(told.value).startswith(f"{file}: expected ")
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_the_command_says_it_in_one_line(project: Project, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storrage: {}")
    command = Command(project.home, {**project.command.environment, "DAGSTER_HOME": str(tmp_path)})
    answer = command("collect", "--from", str(DAY), "--to", str(DAY))
    assert (answer.code, no_traceback(answer)) == (2, True)
    assert answer.message.startswith(
        f"error: {tmp_path}/dagster.yaml: expected an instance that dagster {dg.__version__} "
    )


def test_sqlite_tables_of_a_newer_dagster_are_one_line(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `storage` in dagster.yaml, Dagster uses its own SQLite files."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with opened_instance() as instance:
        assert instance.get_runs() == []
    with sqlite3.connect(tmp_path / "history" / "runs.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    with pytest.raises(OtherVersion, match=f"dagster {re.escape(dg.__version__)} does not know their version"):
        _open()


def test_tables_that_cannot_be_made_are_one_line_without_sql(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA collection CREATE TABLE archive_objects (a int)")
    with pytest.raises(OtherVersion) as told:
        migrate(postgres_url)
    assert 'relation "archive_objects" already exists' in str(told.value)
    assert "CREATE TABLE" not in str(told.value)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert connection.execute("SELECT to_regclass('collection.partitions')").fetchone() == (None,)


@needs_root
def test_a_damaged_file_of_the_embedded_server_is_one_line_or_made_again(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    for content in ("{", "[]", '{"date": 1}', "[" * 100_000):
        (tmp_path / "postgres" / "location.json").write_text(content)
        with pytest.raises(PostgresUnavailable, match=r"location\.json: expected the folder of the databases"):
            placement.place(tmp_path / "postgres")


def test_a_damaged_state_of_the_embedded_server_is_not_believed(tmp_path: Path) -> None:
    from crypto_assets.storage.embedded_postgres import server, supervisor

    for content in ("{", "[]", '{"pid": "x", "port": 1, "socket": ""}', '{"pid": 1}', "[" * 100_000):
        (tmp_path / supervisor.STATE).write_text(content)
        assert server._state(tmp_path) is None


def test_the_projects_own_file_is_good(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert use_dagster_home() == tmp_path
    with opened_instance() as instance:
        assert instance.get_runs() == []
