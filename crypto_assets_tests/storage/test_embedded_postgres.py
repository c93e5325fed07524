"""The embedded server, used from separate processes as in practice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.storage.database import Database
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server, server, stop_server, supervisor
from crypto_assets_tests.waiting import wait_for

USER = """
import sys
from pathlib import Path
from crypto_assets.storage.embedded_postgres import ensure_server
print(ensure_server(Path(sys.argv[1]), durable=False, grace_s=float(sys.argv[2])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    path.chmod(0o711)
    yield path
    delete_server(path)
    assert not supervisor.processes_of(path / "postgres" / "data")
    path.rmdir()


def start_user(home: Path, grace_s: float = 30.0) -> subprocess.Popen[str]:
    """Start a process that calls ensure_server, prints the URL, and uses the server until its stdin is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home), str(grace_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def url_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def end(user: subprocess.Popen[str]) -> None:
    user.communicate()


def data_of(home: Path) -> Path:
    state = server._state(home / "postgres")
    assert state is not None
    return Path(state["data"])


def postmaster_pid(home: Path) -> int:
    return int((data_of(home) / "postmaster.pid").read_text().split()[0])


def kill(pid: int) -> None:
    """Send SIGKILL and return when the process has ended: the signal alone is only a request."""
    os.kill(pid, signal.SIGKILL)

    def ended() -> bool:
        try:
            # "1234 (postgres) S ...": Z is dead; its parent has not read its exit code yet.
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(f"process {pid} has ended", ended)


def supervisor_pid(home: Path) -> int:
    state = server._state(home / "postgres")
    assert state is not None
    return int(state["pid"])


def test_a_server_starts_and_answers_and_a_second_process_gets_the_same_one(home: Path) -> None:
    url = ensure_server(home, durable=False)
    assert url == f"postgresql://crypto_assets@/crypto_assets?host={home}/postgres/socket"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 41 + 1 AS answer")
    second = start_user(home)
    assert url_of(second) == url
    end(second)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM t").fetchone() == (42,)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_ten_processes_at_once_start_exactly_one_server(home: Path) -> None:
    users = [start_user(home) for _ in range(10)]
    urls = {url_of(user) for user in users}
    assert len(urls) == 1
    log = (home / "postgres" / supervisor.LOG).read_text()
    assert log.count("database system is ready to accept connections") == 1
    for user in users:
        end(user)


@pytest.mark.parametrize("victims", ["supervisor", "postgres", "both"])
def test_after_kill_9_the_next_call_works_and_committed_rows_are_there(home: Path, victims: str) -> None:
    url = ensure_server(home, durable=True)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (n int)")
        connection.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    pids = {"supervisor": [supervisor_pid(home)], "postgres": [postmaster_pid(home)]}
    for pid in pids["supervisor"] + pids["postgres"] if victims == "both" else pids[victims]:
        kill(pid)
    again = ensure_server(home, durable=True)
    with psycopg.connect(again) as connection:
        assert connection.execute("SELECT count(*), sum(n) FROM t").fetchone() == (1000, 500500)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_crashed_server_comes_back_at_the_same_address_for_those_who_have_its_url(home: Path) -> None:
    url = ensure_server(home, durable=False)
    kill(postmaster_pid(home))

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for("the server answers", answers)


def test_who_changes_rows_while_the_server_crashes_does_it_once_when_it_is_back(home: Path) -> None:
    calls: list[int] = []

    def change(connection: psycopg.Connection[Any]) -> int:
        calls.append(1)
        connection.execute("INSERT INTO t VALUES (1)")
        if len(calls) == 1:
            kill(postmaster_pid(home))
        return len(calls)

    with Database(ensure_server(home, durable=False)) as database:
        with database.transaction() as connection:
            connection.execute("SET LOCAL synchronous_commit = on")  # this server is not durable
            connection.execute("CREATE TABLE t (n int)")
        database.change(change)
        with database.transaction() as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert 1 <= len(calls) <= 10


def test_it_stops_by_itself_after_its_last_user_was_killed_and_starts_again_at_the_same_address(home: Path) -> None:
    users = [start_user(home, grace_s=0.3) for _ in range(2)]
    url = url_of(users[0])
    assert url_of(users[1]) == url
    pid = postmaster_pid(home)
    users[0].kill()
    users[0].wait()
    time.sleep(1.0)
    assert postmaster_pid(home) == pid, "one user is left"
    users[1].kill()
    users[1].wait()
    wait_for("the server stops", lambda: server._state(home / "postgres") is None)
    wait_for("Postgres is gone", lambda: not Path("/proc").exists() or not Path(f"/proc/{pid}").exists())
    third = start_user(home)
    assert url_of(third) == url
    end(third)


def test_programs_that_a_user_starts_do_not_keep_the_server_alive(home: Path) -> None:
    code = USER.replace(
        "sys.stdin.read()", "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    )
    code = code.replace("Popen(['sleep', '60'])", "Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL)")
    user = subprocess.Popen([sys.executable, "-c", code, str(home), "0.3"], stdout=subprocess.PIPE, text=True)
    url_of(user)
    sleeper = int(url_of(user))
    try:
        user.wait()
        wait_for("the server stops", lambda: server._state(home / "postgres") is None)
    finally:
        os.kill(sleeper, signal.SIGKILL)


def test_arrivals_during_the_shutdown_always_get_a_server_that_answers(home: Path) -> None:
    for _ in range(8):
        user = start_user(home, grace_s=0.05)
        with psycopg.connect(url_of(user)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        end(user)
        time.sleep(0.05)


def test_stop_server_stops_it_for_everybody(home: Path) -> None:
    url = ensure_server(home, durable=False)
    assert stop_server(home)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    assert not stop_server(home)


def test_whoever_ends_with_its_container_stops_a_server_that_nobody_else_uses(home: Path) -> None:
    url = ensure_server(home, durable=False)
    other = start_user(home)
    assert url_of(other) == url
    assert not server.stop_if_unused(home, timeout_s=0.1)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    end(other)
    assert server.stop_if_unused(home)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    assert "database system is shut down" in (home / "postgres" / supervisor.LOG).read_text()


_CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]
_CONTAINER += [] if os.geteuid() == 0 else ["--user", "--map-current-user"]

PROCESS_1 = """
from crypto_assets.cli.commands.serve import _end_of_postgres
from crypto_assets.config.environment import settings
from crypto_assets.storage.embedded_postgres import ensure_server
ensure_server(settings().home, durable=False)
print(_end_of_postgres())
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*_CONTAINER, "true"], check=False, capture_output=True).returncode != 0,
    reason="no process namespaces here",
)
def test_up_in_a_container_leaves_no_server_to_the_kernel(home: Path) -> None:
    environment = {**os.environ, "CRYPTO_ASSETS_HOME": str(home), "CRYPTO_ASSETS_POSTGRES_URL": ""}
    run = [*_CONTAINER, sys.executable, "-c", PROCESS_1]
    assert subprocess.check_output(run, env=environment, text=True) == ", Postgres too\n"
    assert "database system is shut down" in (home / "postgres" / supervisor.LOG).read_text()


def test_a_durable_caller_turns_durability_on_for_everybody(home: Path) -> None:
    url = ensure_server(home, durable=False)
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
    assert ensure_server(home, durable=True) == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW full_page_writes").fetchone() == ("on",)


def test_a_server_that_cannot_start_says_why_with_its_log(home: Path) -> None:
    ensure_server(home, durable=False)
    data = data_of(home)
    stop_server(home)
    (data / "postgresql.local.conf").write_text("shared_buffers = 'nonsense'\n")
    with pytest.raises(
        PostgresUnavailable, match=r'(?s)ended while it was starting.*invalid value for parameter "shared_buff'
    ):
        ensure_server(home, durable=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_as_root_a_home_that_its_server_cannot_reach_keeps_its_permissions(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    before = closed.stat()
    url = ensure_server(closed, durable=False)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    data = data_of(closed)
    assert not data.is_relative_to(home)
    assert str(data) in (closed / "postgres" / "location.json").read_text()
    after = closed.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert data.stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeyError):
        data.owner()  # a separate id without an account
    delete_server(closed)
    assert not data.parent.exists()
    closed.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_deleting_a_home_takes_the_data_that_had_to_live_elsewhere_with_it(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    user = start_user(closed, grace_s=1)
    assert url_of(user)
    data = data_of(closed)
    subprocess.run(["rm", "-rf", closed], check=True)
    wait_for("the data is deleted", lambda: not data.parent.exists())
    end(user)
