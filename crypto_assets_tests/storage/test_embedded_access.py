"""Who gets into the embedded server, and how far: attacks by other users of the machine, and by what comes in with SQL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.storage.embedded_postgres import (
    binaries,
    delete_server,
    ensure_server,
    leftovers,
    placement,
    server,
    stop_server,
    supervisor,
)
from crypto_assets.storage.migrations import migrate
from crypto_assets.text.urls import READER, with_user
from crypto_assets_tests.storage.other_user import STRANGER, as_stranger, needs_root
from crypto_assets_tests.waiting import wait_for

SECRETS = {"AWS_SECRET_ACCESS_KEY": "planted-aws", "CRYPTO_ASSETS_BINANCE_API_KEY": "planted-api"}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The home of a server that was started by a process with secrets in its environment and no umask."""
    path = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    path.chmod(0o711)
    start = "import os; os.umask(0)\nfrom pathlib import Path\n"
    start += "from crypto_assets.storage.embedded_postgres import ensure_server\n"
    start += f"ensure_server(Path({str(path)!r}), durable=False, grace_s=30)"
    subprocess.run([sys.executable, "-c", start], check=True, env={**os.environ, **SECRETS})
    ensure_server(path, durable=False)
    yield path
    delete_server(path)
    path.rmdir()


@pytest.fixture(scope="module")
def url(home: Path) -> str:
    found = ensure_server(home, durable=False)
    migrate(found)
    return found


def socket_of(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def state_of(home: Path) -> dict[str, str]:
    found = server._state(home / "postgres")
    assert found is not None
    return found


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
    """The folder is one wall, `peer` another: it holds where the folder has been opened by mistake."""
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
    # libpq says it of a library that is not in its own folder.
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


# ---- what others put in the way -------------------------------------------------------------------------------------


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
    """Its title is seen by everybody: whoever copies it could keep the server from ever starting."""
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


# ---- homes ----------------------------------------------------------------------------------------------------------


def test_a_home_with_a_long_path_has_its_socket_in_a_short_folder_of_its_own() -> None:
    top = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    top.chmod(0o711)
    deep = top / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    try:
        url = ensure_server(deep, durable=False)
        folder = socket_of(url)
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("crypto_assets",)
    finally:
        delete_server(deep)
    assert not folder.exists()


@needs_root
def test_the_next_start_removes_what_a_deleted_home_has_left_and_keeps_that_of_an_unmounted_one(tmp_path: Path) -> None:
    base = tmp_path / "lib"
    base.mkdir()
    homes = {
        name: tmp_path / name / "home" / "postgres" for name in ("deleted", "there", "unmounted", "foreign", "odd")
    }
    for name, folder in homes.items():
        folder.mkdir(parents=True)
        own = base / f"{leftovers.OWN_PREFIX}{name}"
        (own / "data").mkdir(parents=True)
        leftovers.remember_home(own, folder)
    for name in ("deleted", "unmounted", "foreign", "odd"):
        homes[name].rmdir()
        homes[name].parent.rmdir()
    # The folder in which the home was is another one now, as a mount point is without its disk.
    (tmp_path / "unmounted").rmdir()
    (tmp_path / "keeps the inode").mkdir()
    (tmp_path / "unmounted").mkdir()
    os.chown(base / f"{leftovers.OWN_PREFIX}foreign", STRANGER, STRANGER)
    (base / f"{leftovers.OWN_PREFIX}odd" / "home.json").write_text('{"folder": 7, "above": []}')
    removed = leftovers.remove_leftovers((base,))
    assert [path.name for path in removed] == ["crypto_assets-deleted"]
    kept = {path.name.removeprefix(leftovers.OWN_PREFIX) for path in base.iterdir()}
    assert kept == {"there", "unmounted", "foreign", "odd"}


@needs_root
def test_a_home_that_was_deleted_while_its_server_was_down_leaves_nothing_after_the_next_start(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    ensure_server(closed, durable=False)
    own = Path(state_of(closed)["data"]).parent
    assert json.loads((own / "home.json").read_text())["folder"] == str(closed / "postgres")
    stop_server(closed)
    subprocess.run(["rm", "-rf", closed], check=True)
    assert own.exists()
    stop_server(home)
    ensure_server(home, durable=False)
    assert not own.exists()


@needs_root
def test_a_home_that_is_deleted_and_made_again_at_once_has_databases_of_its_own(home: Path) -> None:
    """The supervisor of the first is still at work in /var/lib then, and removes what the first has left."""
    closed = home / "again"
    closed.mkdir(mode=0o700)
    with psycopg.connect(ensure_server(closed, durable=False)) as connection:
        connection.execute("CREATE TABLE of_the_first (n int)")
    first = Path(state_of(closed)["data"])
    subprocess.run(["rm", "-rf", closed], check=True)
    closed.mkdir(mode=0o700)
    url = ensure_server(closed, durable=False)
    second = Path(state_of(closed)["data"])
    assert second != first
    wait_for("what the first has left is removed", lambda: not first.parent.exists())
    assert json.loads((second.parent / "home.json").read_text())["folder"] == str(closed / "postgres")
    assert state_of(closed)["data"] == str(second), "the first has not removed the state of the second"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('of_the_first')").fetchone() == (None,)
    delete_server(closed)
    assert not second.parent.exists()
    closed.rmdir()


@needs_root
def test_a_folder_outside_the_home_has_its_record_before_its_data_and_gets_it_back(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir(mode=0o700)
    found = placement.place(folder)
    own = found.data.parent
    try:
        assert own != folder, "pytest's folders are for their owner alone"
        assert {path.name for path in own.iterdir()} == {"home.json"}
        assert placement.place(folder) == found
        (own / "home.json").unlink()
        assert placement.place(folder) == found
        assert json.loads((own / "home.json").read_text())["folder"] == str(folder)
        moved = folder.rename(tmp_path / "moved")
        assert placement.place(moved).data == found.data
        assert json.loads((own / "home.json").read_text())["folder"] == str(moved)
    finally:
        shutil.rmtree(own)


@needs_root
@pytest.mark.parametrize("what", ["made again", "the same", "being made", "not whole", "on another disk"])
def test_databases_of_a_home_that_was_made_again_are_removed_and_no_others(tmp_path: Path, what: str) -> None:
    base, folder = tmp_path / "lib", tmp_path / "home" / "postgres"
    folder.mkdir(parents=True)
    old, new = (base / f"{leftovers.OWN_PREFIX}{name}" for name in ("old", "new"))
    for own in (old, new):
        (own / "data").mkdir(parents=True)
        (own / "data" / "PG_VERSION").write_text("18\n")
        leftovers.remember_home(own, folder)
    if what == "the same":
        new = old
    if what != "being made":
        (folder / "location.json").write_text(json.dumps({"data": str(new / "data")}))
    if what == "not whole":
        (new / "data" / "PG_VERSION").unlink()
    if what == "on another disk":
        record = json.loads((old / "home.json").read_text())
        record["above"][str(folder.parent)][0] += 1
        (old / "home.json").write_text(json.dumps(record))
    removed = [path for path in leftovers.remove_leftovers((base,)) if path == old]
    assert removed == ([old] if what == "made again" else [])
    assert old.exists() == (what != "made again")


@needs_root
def test_copies_of_the_binaries_are_shared_and_go_with_the_last_home_that_uses_them(tmp_path: Path) -> None:
    package = tmp_path / "site" / "embedded_postgres"
    (package / "pginstall" / "bin").mkdir(parents=True)
    program = package / "pginstall" / "bin" / "postgres"
    shutil.copy("/bin/sleep", program)
    (package / "__init__.py").touch()
    base = tmp_path / "lib"
    one, two = (base / f"{leftovers.OWN_PREFIX}{name}" for name in ("one", "two"))
    for own in (one, two):
        own.mkdir(parents=True)
    copy = binaries.shared_binaries(package, one)
    assert binaries.shared_binaries(package, two) == copy, "35 MB are there once"
    assert (copy / "postgres").read_bytes() == program.read_bytes()
    assert [path.name for path in copy.parents[1].iterdir()] == ["pginstall"]
    assert stat.S_IMODE((copy / "postgres").stat().st_mode) & 0o022 == 0
    shutil.copy("/bin/cat", program)  # another version: it is not the first one's any more
    newer = binaries.shared_binaries(package, two)
    assert newer != copy
    assert binaries.remove_unused(base) == []
    running = subprocess.Popen([copy / "postgres", "60"])
    one.rmdir()
    assert binaries.remove_unused(base) == [], "a program of it runs"
    running.kill()
    running.wait()
    assert binaries.remove_unused(base) == [copy.parents[2]]
    assert newer.exists()
    two.rmdir()
    assert leftovers.remove_leftovers((base,)) == [newer.parents[2]]
    assert [path.name for path in (base / binaries.FOLDER).iterdir()] == ["lock"]


@needs_root
def test_a_copy_that_was_cut_short_is_made_again_and_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    package, base = tmp_path / "embedded_postgres", tmp_path / "lib"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "postgres").write_text("program")
    own = base / f"{leftovers.OWN_PREFIX}one"
    own.mkdir(parents=True)
    copy = binaries.shared_binaries(package, own)
    copy.parents[2].rename(copy.parents[2].with_name(f"{copy.parents[2].name}.tmp"))
    assert (binaries.shared_binaries(package, own) / "postgres").read_text() == "program"
    shutil.rmtree(base / binaries.FOLDER)
    (tmp_path / "elsewhere").mkdir()
    (base / binaries.FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="found a link"):
        binaries.shared_binaries(package, own)
    assert binaries.remove_unused(base) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


@needs_root
def test_a_home_that_cannot_be_looked_at_is_not_deleted() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        closed, own = Path(name) / "closed", Path(name) / "lib" / f"{leftovers.OWN_PREFIX}one"
        folder = closed / "home" / "postgres"
        for path in (folder, own):
            path.mkdir(parents=True)
        leftovers.remember_home(own, folder)
        for path in (Path(name), own.parent, own, own / "home.json"):
            os.chown(path, STRANGER, STRANGER)
        closed.chmod(0o700)
        os.seteuid(STRANGER)
        try:
            assert leftovers.remove_leftovers((own.parent,)) == []
            assert leftovers.kept_without_home((own.parent,)) == []
        finally:
            os.seteuid(0)
        assert own.exists()


@needs_root
def test_what_is_kept_of_a_home_that_is_missing_is_said_in_a_line(tmp_path: Path) -> None:
    folder, base = tmp_path / "mount" / "home" / "postgres", tmp_path / "lib"
    folder.mkdir(parents=True)
    own = base / f"{leftovers.OWN_PREFIX}one"
    own.mkdir(parents=True)
    leftovers.remember_home(own, folder)
    assert leftovers.kept_without_home((base,)) == []
    shutil.move(tmp_path / "mount", tmp_path / "disk")
    (tmp_path / "mount").mkdir()
    assert leftovers.remove_leftovers((base,)) == []
    [line] = leftovers.kept_without_home((base,))
    assert line.startswith(f"kept {own}: its home {folder.parent} is missing, and so may be the disk")
