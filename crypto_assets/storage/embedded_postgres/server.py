"""Find, start and stop the embedded PostgreSQL of a home folder; any number of processes may call at once."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.placement import Placement, place
from crypto_assets.storage.sessions import SAY_AFTER_S, SAY_AGAIN_S, is_own, process_name, say

DATABASE = "crypto_assets"
START_TIMEOUT_S = 60.0
_LOG_LIMIT_BYTES = 10_000_000

# One descriptor of users.lock per folder, kept open for the life of this process: the lock is the use.
_uses: dict[Path, int] = {}
_uses_guard = threading.Lock()


def ensure_server(
    home: Path, *, durable: bool = True, grace_s: float = 30.0, timeout_s: float = START_TIMEOUT_S
) -> str:
    """Return the URL of the PostgreSQL server under `home`, started if need be, with its database `crypto_assets`.

    The server runs at least as long as this process; forked children keep it alive too. Anybody who can open a socket
    on this machine can connect (`trust` on 127.0.0.1).

    Args:
        home: the folder for everything local; the server uses `home/postgres`.
        durable: False turns fsync off: many times faster commits, lost data or a broken database when the machine
            (not merely a process) goes down. A caller who wants it durable turns it on for everybody.
        grace_s: seconds without any user after which a server started by this call stops.
        timeout_s: seconds to wait, for other processes that start or stop it included.

    Raises:
        PostgresUnavailable: it cannot be started, or did not answer in time; with the last lines of its log.
    """
    folder = Path(home).absolute() / "postgres"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_s
        with _start_lock(folder, deadline):
            _use(folder)
            url = _find_or_start(folder, durable, grace_s, deadline)
            is_own(url)
            return url
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresUnavailable(_explain(folder, f"{type(error).__name__}: {error}")) from error


def is_made(home: Path) -> bool:
    """Return whether the server under `home` was ever started."""
    return (Path(home).absolute() / "postgres" / supervisor.START_LOCK).exists()


def stop_server(home: Path, *, timeout_s: float = START_TIMEOUT_S) -> bool:
    """Stop the server under `home`, whoever uses it; return whether one was running.

    The next `ensure_server` starts it again. Nothing is deleted.
    """
    folder = Path(home).absolute() / "postgres"
    if not folder.is_dir():
        return False
    deadline = time.monotonic() + timeout_s
    with _start_lock(folder, deadline):
        running = False
        while _supervised(folder):
            running = True
            state = _state(folder)
            if state is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(state["pid"], signal.SIGTERM)
            if time.monotonic() > deadline:
                raise PostgresUnavailable(_explain(folder, f"it did not stop within {timeout_s:.0f} s"))
            time.sleep(0.02)
        data = place(folder).data
        if supervisor.processes_of(data):  # its supervisor was killed
            supervisor.stop_leftovers(data)
            running = True
        return running


def delete_server(home: Path) -> None:
    """Stop the server under `home` and delete its databases, wherever they are kept."""
    folder = Path(home).absolute() / "postgres"
    stop_server(home)
    if folder.is_dir():
        data = place(folder).data
        shutil.rmtree(data if data.parent == folder else data.parent, ignore_errors=True)
        shutil.rmtree(folder)


@contextlib.contextmanager
def _start_lock(folder: Path, deadline: float) -> Iterator[None]:
    """Hold the lock under which the server is started and stopped."""
    fd = supervisor.open_lock(folder / supervisor.START_LOCK)
    say_at = time.monotonic() + SAY_AFTER_S
    try:
        while not supervisor.try_lock(fd):
            if time.monotonic() > deadline:
                raise PostgresUnavailable(
                    _explain(folder, f"it has been started or stopped all the time by {_holder(fd)}")
                )
            if time.monotonic() > say_at:
                say(f"waiting for {folder / supervisor.START_LOCK}: held by {_holder(fd)}")
                say_at += SAY_AGAIN_S
            time.sleep(0.01)
        os.truncate(fd, 0)
        os.pwrite(fd, f"{process_name()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode(), 0)
        yield
        # Explicitly, because a child forked meanwhile shares the descriptor and would keep the lock.
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _holder(fd: int) -> str:
    """Return who holds start.lock, as it has written there itself."""
    return os.pread(fd, 500, 0).decode(errors="replace") or "another process"


def _use(folder: Path) -> None:
    """Hold the shared lock that says "in use" for the rest of this process's life."""
    path = folder / supervisor.USERS_LOCK
    with _uses_guard:
        held = _uses.get(folder)
        if held is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(held), path.stat()):
                    return
            os.close(held)  # the folder was deleted and made again
        fd = supervisor.open_lock(path)
        # Under start.lock the supervisor holds this lock for microseconds at most.
        fcntl.flock(fd, fcntl.LOCK_SH)
        _uses[folder] = fd


def _supervised(folder: Path) -> bool:
    """Whether a supervisor lives. Call under start.lock only: two callers would take each other for it."""
    fd = supervisor.open_lock(folder / supervisor.SUPERVISOR_LOCK)
    try:
        return not supervisor.try_lock(fd)
    finally:
        os.close(fd)


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((folder / supervisor.STATE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state


def _find_or_start(folder: Path, durable: bool, grace_s: float, deadline: float) -> str:
    spawned = False
    problem = "it is still starting (recovering after a crash can take minutes; trying again continues the wait)"
    while True:
        if _supervised(folder):
            state = _state(folder)
            if state is not None:
                url = f"postgresql://postgres@127.0.0.1:{state['port']}/{DATABASE}"
                try:
                    _prepare(url, Path(state["data"]), durable)
                except psycopg.OperationalError as error:
                    problem = f"it does not accept connections: {error}"
                else:
                    return url
        elif spawned:
            raise PostgresUnavailable(_explain(folder, "PostgreSQL ended while it was starting"))
        else:
            _spawn(folder, durable, grace_s)
            spawned = True
        if time.monotonic() > deadline:
            raise PostgresUnavailable(_explain(folder, problem))
        time.sleep(0.02)


def _prepare(url: str, data: Path, durable: bool) -> None:
    """Connect, create the database if it is absent, turn durability on if it is wanted and off."""
    with psycopg.connect(url.removesuffix(DATABASE) + "postgres", connect_timeout=5, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")
        if durable and connection.execute("SHOW fsync").fetchone() == ("off",):
            _write_configuration(data, durable=True)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CHECKPOINT")
            os.sync()  # what was written while fsync was off


def _spawn(folder: Path, durable: bool, grace_s: float) -> None:
    """Make the cluster if there is none and start its supervisor; returns when the supervisor has detached."""
    placement = place(folder)
    log_path = folder / supervisor.LOG
    if log_path.exists() and log_path.stat().st_size > _LOG_LIMIT_BYTES:
        log_path.replace(log_path.with_suffix(".log.old"))
    (folder / supervisor.STATE).unlink(missing_ok=True)
    with log_path.open("ab") as log:
        if not (placement.data / "PG_VERSION").exists():
            _make_cluster(placement, durable, log)
        _write_configuration(placement.data, durable)
        remembered = folder / "port"
        # Isolated and without site: quick to start, small, and nothing of this project's environment in it.
        command: list[Any] = [sys.executable, "-I", "-S", supervisor.__file__, folder, "--data", placement.data]
        command += ["--binaries", placement.binaries, "--grace-s", str(grace_s)]
        if remembered.exists():
            command += ["--port", remembered.read_text().strip() or "0"]
        if placement.user is not None:
            command += ["--user", str(placement.user), "--group", str(placement.group)]
        subprocess.run(
            command, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _make_cluster(placement: Placement, durable: bool, log: Any) -> None:
    """Run initdb beside the final place and rename, so that a cluster that is there is whole."""
    temporary = placement.data.with_name("data.tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(mode=0o700)
    if placement.user is not None:
        os.chown(temporary, placement.user, placement.group if placement.group is not None else -1)
    # The builtin locale is the same on every platform and sorts text by code point, which is what keys need.
    command = [placement.binaries / "initdb", "-D", temporary, "--username=postgres", "--auth=trust", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    subprocess.run(
        [*command, *([] if durable else ["--no-sync"])],
        check=True,
        cwd=temporary,
        env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC", "HOME": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        **placement.run_as(),  # type: ignore[call-overload]
    )
    temporary.replace(placement.data)


def _write_configuration(data: Path, durable: bool) -> None:
    """Write postgresql.conf: bulk loads on a small machine, one user, loopback."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # their paths may not exceed 107 bytes; TCP has no such trap
        "max_connections": "200",
        "shared_buffers": "256MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "4GB",  # a backfill writes gigabytes; checkpoints every few seconds would double that
        "checkpoint_timeout": "15min",
        # No replicas and no archive: COPY into a table emptied in the same transaction skips the WAL altogether.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "wal_compression": "off",  # the wheel's build has neither lz4 nor zstd, and pglz costs more CPU than it saves
        "max_locks_per_transaction": "256",  # a lock for each table partition that a transaction touches
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        **dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on" if durable else "off"),
    }
    text = "# Written by crypto_assets at every start; your own settings belong in postgresql.local.conf.\n"
    text += "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    text += "include = 'postgresql.local.conf'\n"
    with (data / "postgresql.local.conf").open("a"):
        pass
    # In place: the file belongs to the account that PostgreSQL runs as, and it only reads it at start and reload.
    (data / "postgresql.conf").write_text(text)


def _explain(folder: Path, found: str) -> str:
    """Return a message with what was found, what to do, and the last lines of the log."""
    try:
        tail = (folder / supervisor.LOG).read_text(errors="replace").splitlines()[-15:]
    except OSError:
        tail = []
    lines = [
        f"expected an embedded PostgreSQL under {folder}, but {found}",
        f"what to do: read {folder / supervisor.LOG}; or name a server of your own in CRYPTO_ASSETS_POSTGRES_URL",
        *(f"  | {line}" for line in tail),
    ]
    return "\n".join(lines)
