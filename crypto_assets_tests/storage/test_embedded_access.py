"""Access to the embedded server and its limits: attacks by other users of the machine, and through SQL."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.storage.embedded_postgres import (
    ensure_server,
    server,
    stop_server,
    supervisor,
)
from crypto_assets.text.urls import READER, with_user
from crypto_assets_tests.storage.other_user import STRANGER, as_stranger, needs_root
from crypto_assets_tests.waiting import wait_for


def socket_of(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def state_of(home: Path) -> dict[str, str]:
    found = server._state(home / "postgres")
    assert found is not None
    return found


def test_variables_of_libpq_for_another_server_do_not_lead_connections_astray(url: str, home: Path) -> None:
    wrong = {
        "PGPORT": "1234",
        "PGHOSTADDR": "127.0.0.1",
        "PGSERVICE": "nosuch",
        "PGREQUIREPEER": "nobody",
        "PGCHANNELBINDING": "require",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGTARGETSESSIONATTRS": "read-only",
        "PGGSSENCMODE": "require",
        "PGSSLNEGOTIATION": "direct",
        "PGMINPROTOCOLVERSION": "9.9",
        "PGOPTIONS": "-c no=1",
        "PGMAXPROTOCOLVERSION": "x",
        "PGCONNECT_TIMEOUT": "x",
        "PGCLIENTENCODING": "LATIN1",
        "PGDATESTYLE": "german",
        "PGTZ": "Asia/Tokyo",
        "PGHOST": "192.0.2.1",
        "PGUSER": "ann",
        "PGDATABASE": "other",
        "PGPASSWORD": "x",
    }
    code = (
        "import sys, psycopg, psycopg2\n"
        "from pathlib import Path\n"
        "from crypto_assets.storage.embedded_postgres import ensure_server\n"
        "url = ensure_server(Path(sys.argv[1]))\n"
        "row = psycopg.connect(url).execute(\"SELECT current_user, '币', timestamp '2024-03-01'::text\").fetchone()\n"
        "assert row == ('crypto_assets', '币', '2024-03-01 00:00:00'), row\n"
        "cursor = psycopg2.connect(url).cursor()\n"
        "cursor.execute('SELECT 1')\n"
        "print(cursor.fetchone())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], env=os.environ | wrong, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "(1,)\n", done.stderr


# ---- other users ----------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("role", ["crypto_assets", READER, "postgres"])
def test_another_user_of_the_machine_cannot_connect_as_anybody(url: str, role: str) -> None:
    tried = as_stranger(
        f"try:\n psycopg.connect({with_user(url, role)!r})\nexcept psycopg.OperationalError as e: print(e)\nelse: print('IN')"
    )
    assert "Permission denied" in tried.stdout, tried


@needs_root
def test_another_user_who_gets_at_the_socket_itself_is_told_apart_by_the_kernel(url: str) -> None:
    """The folder is one barrier, `peer` another: `peer` still works if the folder was opened by mistake."""
    folder = socket_of(url)
    entry = next(folder.glob(".s.PGSQL.????"))
    folder.chmod(0o755)
    entry.chmod(0o777)
    try:
        for role in ("crypto_assets", READER, "postgres"):
            tried = as_stranger(
                f"try:\n psycopg.connect({with_user(url, role)!r})\n"
                "except psycopg.OperationalError as e: print(e)\nelse: print('IN')"
            )
            assert "IN" not in tried.stdout
            assert "authentication failed" in tried.stdout or "could not look up" in tried.stdout, tried
    finally:
        folder.chmod(0o700)
        entry.chmod(0o700)


@needs_root
def test_the_server_has_a_user_id_that_nothing_else_has(home: Path, url: str) -> None:
    postmaster = supervisor.processes_of(Path(state_of(home)["data"]))[0]
    status = Path(f"/proc/{postmaster}/status").read_text()
    ids = {line.split(":")[0]: set(line.split()[1:]) for line in status.splitlines() if line[:3] in ("Uid", "Gid")}
    (user,) = {int(number) for number in ids["Uid"]}
    assert {user} == {int(number) for number in ids["Gid"]}
    assert user not in (0, 65534)
    passwd = Path("/etc/passwd").read_text()
    assert f":{user}:" not in passwd


def test_it_listens_on_no_port(home: Path, url: str) -> None:
    inodes = set()
    for pid in supervisor.processes_of(Path(state_of(home)["data"])):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    listening = [
        line
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in inodes
    ]
    assert inodes
    assert listening == []


def test_files_are_for_their_owner_alone_whatever_the_umask(home: Path, url: str) -> None:
    folder = home / "postgres"
    assert stat.S_IMODE(folder.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE(socket_of(url).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(state_of(home)["data"]).stat().st_mode) == 0o700
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"server.json", "server.log", "users.lock"} <= names
    assert {oct(stat.S_IMODE((folder / name).stat().st_mode)) for name in names} == {"0o600"}


def test_nothing_of_our_environment_is_in_the_servers(home: Path, url: str) -> None:
    state = state_of(home)
    pids = [int(state["pid"]), *supervisor.processes_of(Path(state["data"]))]
    assert len(pids) > 2
    found = [Path(f"/proc/{pid}/environ").read_bytes().decode() for pid in pids]
    assert "PATH=" in found[0]
    assert not [text for text in found if "planted" in text or "AWS" in text or "CRYPTO_ASSETS" in text]


# ---- roles ----------------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE TEMP TABLE o (t text); COPY o FROM PROGRAM 'id'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO '/tmp/crypto_assets_written'",
    "ALTER SYSTEM SET archive_command = 'id'",
    "ALTER ROLE crypto_assets SUPERUSER",
    "ALTER ROLE crypto_assets_reader SUPERUSER",
    "CREATE ROLE eve SUPERUSER LOGIN",
    "GRANT pg_execute_server_program TO crypto_assets",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "CREATE EXTENSION file_fdw",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'getpid'",
    "LOAD '/tmp/evil.so'",
]


@pytest.mark.parametrize("role", ["crypto_assets", READER])
@pytest.mark.parametrize("statement", FORBIDDEN)
def test_no_statement_reaches_files_or_programs_or_other_rights(url: str, role: str, statement: str) -> None:
    with psycopg.connect(with_user(url, role), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile)) as caught:
            connection.execute(statement)
    # libpq prints this about a library that is not in its own folder.
    assert isinstance(caught.value, psycopg.errors.InsufficientPrivilege) or statement.startswith(
        ("CREATE EXT", "LOAD")
    )


def test_the_reader_sees_the_market_and_the_views_and_changes_nothing(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS market.made_later (n int)")
        connection.execute("INSERT INTO market.made_later VALUES (7)")
    with psycopg.connect(with_user(url, READER), autocommit=True) as reader:
        assert reader.execute("SELECT n FROM market.made_later").fetchone() == (7,)
        assert reader.execute("SELECT count(*) FROM market.ohlcv").fetchone() == (0,)
        assert reader.execute("SELECT count(*) FROM collection.quality_now").fetchone() == (0,)
        assert reader.execute("SELECT count(*) FROM collection.acknowledgements_now").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("DELETE FROM market.made_later")
        reader.execute("SET default_transaction_read_only = off")
        for statement in (
            "DELETE FROM market.made_later",
            "TRUNCATE market.ohlcv",
            "SELECT * FROM collection.partitions",
            "INSERT INTO collection.journal DEFAULT VALUES",
            "CREATE TABLE public.mine (n int)",
            "CREATE TABLE market.mine (n int)",
            "CREATE TEMP TABLE mine (n int)",
            "CREATE SCHEMA mine",
            "CREATE DATABASE mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


def test_tcp_is_there_when_its_owner_asks_for_it_and_then_for_the_reader_with_a_password(url: str, home: Path) -> None:
    data = Path(state_of(home)["data"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = data / "postgresql.local.conf"
    own.write_text(f"listen_addresses = '127.0.0.1'\nport = {port}\n")
    own.chmod(0o644)
    stop_server(home)
    try:
        again = ensure_server(home, durable=False)
        assert again == f"{url}&port={port}"
        with psycopg.connect(with_user(again, "postgres"), autocommit=True) as owner:
            owner.execute(f"ALTER ROLE {READER} PASSWORD 'chosen'")
        tcp = f"postgresql://{{}}@127.0.0.1:{port}/crypto_assets"
        with psycopg.connect(tcp.format(f"{READER}:chosen")) as reader:
            assert reader.execute("SELECT count(*) FROM market.ohlcv").fetchone() == (0,)
        for who in (READER, f"{READER}:guessed", "crypto_assets", "postgres", "crypto_assets:chosen"):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(tcp.format(who))
    finally:
        own.unlink()
        stop_server(home)
        assert ensure_server(home, durable=False) == url


# ---- objects of others in the way -----------------------------------------------------------------------------------


@needs_root
def test_links_in_the_data_folder_do_not_make_root_write_where_they_lead(url: str, home: Path, tmp_path: Path) -> None:
    data = Path(state_of(home)["data"])
    stop_server(home)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    made = tmp_path / "made"
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.conf.new"):
        (data / name).unlink(missing_ok=True)
        (data / name).symlink_to(victim if name != "pg_ident.conf" else made)
    (data / "postmaster.pid").symlink_to(victim)
    try:
        with pytest.raises(PostgresUnavailable):
            ensure_server(home, durable=False)
    finally:
        for name in ("postgresql.conf.new", "postmaster.pid"):
            (data / name).unlink(missing_ok=True)
    assert victim.read_text() == "precious"
    assert not made.exists()
    assert ensure_server(home, durable=False) == url
    assert not (data / "postgresql.conf").is_symlink()
    assert victim.read_text() == "precious"


@needs_root
@pytest.mark.parametrize("trap", ["folder", "link"])
def test_a_folder_that_another_user_has_prepared_is_refused(tmp_path: Path, trap: str) -> None:
    mine = tmp_path / "home"
    mine.mkdir()
    target = mine / "postgres"
    if trap == "folder":
        target.mkdir()
        os.chown(target, STRANGER, STRANGER)
    else:
        target.symlink_to(tmp_path)
    with pytest.raises(PostgresUnavailable, match="expected a folder"):
        ensure_server(mine, durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@needs_root
def test_a_process_that_looks_like_the_server_is_left_alone(url: str, home: Path) -> None:
    """Everybody can see its title: a user who copies it could keep the server from ever starting."""
    data = Path(state_of(home)["data"])
    title = supervisor.cluster_name(data)
    actor = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60; :", title], user=STRANGER, group=STRANGER, extra_groups=[], cwd="/"
    )
    try:
        wait_for("it runs", lambda: title in Path(f"/proc/{actor.pid}/cmdline").read_text())
        assert actor.pid not in supervisor.processes_of(data)
        stop_server(home)
        assert ensure_server(home, durable=False) == url
        assert actor.poll() is None
    finally:
        actor.kill()
        actor.wait()


def test_a_socket_folder_that_was_deleted_is_made_again(url: str, home: Path) -> None:
    folder = socket_of(url)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for("the server answers", answers)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
