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
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from crypto_assets.errors import CryptoAssetsError, OutOfResources, PostgresUnavailable
from crypto_assets.machine.missing import is_missing
from crypto_assets.machine.private_folder import (
    private_folder,
    private_folders,
    private_opener,
    remove_socket_folders,
    socket_folder,
)
from crypto_assets.machine.shortage import said_in, shortage
from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.cluster import (
    APPLICATION,
    DATABASE,
    make_cluster,
    make_durable,
    make_roles,
    write_configuration,
)
from crypto_assets.storage.embedded_postgres.last_words import last_words, tail
from crypto_assets.storage.embedded_postgres.leftovers import kept_without_home, remove_leftovers
from crypto_assets.storage.embedded_postgres.placement import REACHABLE_BASES, Placement, place
from crypto_assets.storage.own_servers import is_own
from crypto_assets.storage.sessions import SAY_AFTER_S, SAY_AGAIN_S, process_name, say

START_TIMEOUT_S = 60.0
_LOG_LIMIT_BYTES = 10_000_000
_USUAL_PORT, _LONGEST_SOCKET = 5432, ".s.PGSQL.65535"

# An interpreter may need these to find its own shared library; PostgreSQL does not get them.
_OF_PYTHON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# One descriptor of users.lock per folder, open for the life of this process: holding the lock means using the server.
_uses: dict[Path, int] = {}
_uses_guard = threading.Lock()


_MEANT_FOR_ANOTHER_SERVER = (
    *("PGPORT", "PGHOSTADDR", "PGSERVICE", "PGREQUIREPEER", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGGSSENCMODE"),
    *("PGTARGETSESSIONATTRS", "PGSSLNEGOTIATION", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGCONNECT_TIMEOUT"),
    *("PGOPTIONS", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ"),
)
"""Variables with which libpq fills what an address leaves out. Ours leaves these out: `PGPORT=6432` for somebody's own server
would lead every connection to a socket that does not exist. (PostgreSQL 18, libpq, "Environment Variables".)"""


def ensure_server(
    home: Path, *, durable: bool = True, grace_s: float = 30.0, timeout_s: float = START_TIMEOUT_S
) -> str:
    """Return the URL of the PostgreSQL server under `home`, started if needed, with its database `crypto_assets`.

    The server runs at least as long as this process and its forked children. It listens on a unix socket and admits only the
    account that runs this process. Variables of libpq that are meant for another server are removed from this process.

    Args:
        home: the folder for everything local; the server uses `home/postgres`.
        durable: False turns fsync off: commits are many times faster, but a crash of the machine (not of a process) can lose
            data or break the database. A caller that passes True turns it on for everybody.
        grace_s: seconds without any user after which a server started by this call stops.
        timeout_s: seconds to wait, including for other processes that start or stop the server.
    Raises:
        PostgresUnavailable: it cannot be started, or did not answer in time; the message repeats its log.
    """
    folder = Path(home).absolute() / "postgres"
    began = _size_of_log(folder)
    for name in _MEANT_FOR_ANOTHER_SERVER:
        os.environ.pop(name, None)
    try:
        private_folders(folder.parent)
        _own(folder)
        deadline = time.monotonic() + timeout_s
        with _start_lock(folder, deadline):
            _use(folder)
            url = _find_or_start(folder, durable, grace_s, deadline, began)
            is_own(url, lambda: last_words(folder))
            return url
    except (OSError, subprocess.SubprocessError) as error:
        # The log has the message of our program; a traceback adds nothing.
        cause = None if isinstance(error, subprocess.SubprocessError) else error
        raise _failure(folder, error, began) from cause


def is_made(home: Path) -> bool:
    """Return whether the server under `home` was ever started."""
    return not is_missing(Path(home).absolute() / "postgres" / supervisor.START_LOCK)


def stop_server(home: Path, *, timeout_s: float = START_TIMEOUT_S) -> bool:
    """Stop the server under `home`, even if it is in use; return whether it was running.

    The next `ensure_server` starts it again. Nothing is deleted.
    """
    folder = Path(home).absolute() / "postgres"
    if not folder.is_dir():
        return False
    _own(folder)
    deadline = time.monotonic() + timeout_s
    with _start_lock(folder, deadline):
        return _stop(folder, deadline)


def stop_if_unused(home: Path, *, timeout_s: float = 5.0) -> bool:
    """Stop the server under `home` as soon as no other process uses it; return whether it is stopped.

    For a process whose end is that of its container: the supervisor would be killed before it stops the server. This process
    must not use the server any more.

    Args:
        timeout_s: seconds to wait for other users.
    """
    folder = Path(home).absolute() / "postgres"
    deadline = time.monotonic() + timeout_s
    with _start_lock(folder, deadline):
        with _uses_guard:
            if (held := _uses.pop(folder, None)) is not None:
                os.close(held)
        users = supervisor.open_lock(folder / supervisor.USERS_LOCK)
        try:
            while not supervisor.try_lock(users):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
        finally:
            os.close(users)
        _stop(folder, time.monotonic() + START_TIMEOUT_S)
        return True


def _stop(folder: Path, deadline: float) -> bool:
    """Stop the server of a folder; return whether it was running. Call under start.lock only."""
    running = False
    while _supervised(folder):
        running = True
        state = _state(folder)
        if state is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state["pid"], signal.SIGTERM)
        if time.monotonic() > deadline:
            raise PostgresUnavailable(_explain(folder, "it did not stop in time"))
        time.sleep(0.02)
    data = place(folder).data
    if supervisor.processes_of(data):  # its supervisor was killed
        supervisor.stop_leftovers(data)
        running = True
    return running


def delete_server(home: Path) -> None:
    """Stop the server under `home` and delete its databases, in any place."""
    folder = Path(home).absolute() / "postgres"
    stop_server(home)
    if folder.is_dir():
        placement = place(folder)
        remove_socket_folders(placement.data.with_name("socket"), user=placement.user)
        supervisor.remove_data(placement.data)
        shutil.rmtree(folder)
        if placement.user is not None:
            remove_leftovers(REACHABLE_BASES)


def _own(folder: Path) -> None:
    """Make the server's folder private; root's server must still be able to walk through it.

    Raises:
        PostgresUnavailable: the folder belongs to another account, which could put anything there.
    """
    try:
        private_folder(folder, mode=0o711 if os.geteuid() == 0 else 0o700)
    except PermissionError as error:
        raise PostgresUnavailable(str(error)) from None


@contextlib.contextmanager
def _start_lock(folder: Path, deadline: float) -> Iterator[None]:
    """Hold the lock for starting and stopping the server."""
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
    """Return the holder of start.lock, as recorded in the file."""
    return os.pread(fd, 500, 0).decode(errors="replace") or "another process"


def _use(folder: Path) -> None:
    """Hold the shared "in use" lock for the rest of this process's life."""
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
    """Whether a supervisor lives. Call under start.lock only: two callers would mistake each other for it."""
    fd = supervisor.open_lock(folder / supervisor.SUPERVISOR_LOCK)
    try:
        return not supervisor.try_lock(fd)
    finally:
        os.close(fd)


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((folder / supervisor.STATE).read_text())
        return {**state, "pid": int(state["pid"]), "port": int(state["port"]), "socket": str(state["socket"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):  # being written, or damaged
        return None


def _find_or_start(folder: Path, durable: bool, grace_s: float, deadline: float, began: int) -> str:
    spawned = False
    problem = "it is still starting (recovering after a crash can take minutes; trying again continues the wait)"
    while True:
        if _supervised(folder):
            state = _state(folder)
            if state is not None:
                url = _url(state)
                try:
                    _prepare(folder, url, state, durable, fresh=spawned)
                except psycopg.OperationalError as error:
                    problem = f"it does not accept connections: {error}"
                else:
                    return url
        elif spawned:
            found = "PostgreSQL ended while it was starting"
            raise _shortage_said(folder, found, began) or PostgresUnavailable(_explain(folder, found))
        else:
            _spawn(folder, durable, grace_s)
            spawned = True
        if time.monotonic() > deadline:
            raise PostgresUnavailable(_explain(folder, problem))
        time.sleep(0.02)


def _url(state: Mapping[str, Any]) -> str:
    """Return the address for the application's role: `postgresql://crypto_assets@/crypto_assets?host=/…/socket`."""
    port = "" if state["port"] == _USUAL_PORT else f"&port={state['port']}"
    return f"postgresql://{APPLICATION}@/{DATABASE}?host={quote(state['socket'])}{port}"


def _prepare(folder: Path, url: str, state: Mapping[str, Any], durable: bool, fresh: bool) -> None:
    """Connect; create missing roles and database; turn durability on if it is wanted and off."""
    socket, port = Path(state["socket"]), int(state["port"])
    if fresh:
        make_roles(socket, port)
    try:
        connection = psycopg.connect(url, connect_timeout=5, autocommit=True)
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise
        make_roles(socket, port)  # the process that started the server was killed before this
        connection = psycopg.connect(url, connect_timeout=5, autocommit=True)
    with connection:
        if durable and connection.execute("SHOW fsync").fetchone() == ("off",):
            make_durable(place(folder), socket, port)


def _spawn(folder: Path, durable: bool, grace_s: float) -> None:
    """Make the cluster if there is none and start its supervisor; return when the supervisor has detached."""
    if os.geteuid() == 0:
        remove_leftovers(REACHABLE_BASES)
    placement = place(folder)
    log_path = folder / supervisor.LOG
    if log_path.exists() and log_path.stat().st_size > _LOG_LIMIT_BYTES:
        log_path.replace(log_path.with_suffix(".log.old"))
    (folder / supervisor.STATE).unlink(missing_ok=True)
    with open(log_path, "ab", opener=private_opener) as log:
        for line in kept_without_home(REACHABLE_BASES) if os.geteuid() == 0 else ():
            log.write(f"{line}\n".encode())
        log.flush()
        if is_missing(placement.data / "PG_VERSION"):
            make_cluster(placement, durable, log)
        socket = _socket_folder(placement)
        write_configuration(placement, socket, durable)
        # Isolated, without site, and without our environment, which contains keys.
        command: list[Any] = [sys.executable, "-I", "-S", supervisor.__file__, folder, "--data", placement.data]
        command += ["--binaries", placement.binaries, "--socket", socket, "--grace-s", str(grace_s)]
        if placement.user is not None:
            command += ["--user", str(placement.user), "--group", str(placement.group)]
        subprocess.run(
            command,
            check=True,
            cwd="/",
            env={name: os.environ[name] for name in _OF_PYTHON if name in os.environ} | {"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _socket_folder(placement: Placement) -> Path:
    return socket_folder(
        placement.data.with_name("socket"), _LONGEST_SOCKET, user=placement.user, group=placement.group
    )


def _size_of_log(folder: Path) -> int:
    try:
        return (folder / supervisor.LOG).stat().st_size
    except OSError:
        return 0


def _failure(folder: Path, error: OSError | subprocess.SubprocessError, began: int) -> CryptoAssetsError:
    """Return the error of a failed start: the shortage, if there was one, else the message of the failed program."""
    if isinstance(error, subprocess.CalledProcessError):
        program = Path(os.fsdecode(error.cmd[0])).name
        found = f"{program} ended with code {error.returncode}"
        if error.returncode < 0:
            found = f"{program} was ended by {signal.Signals(-error.returncode).name}"
        if error.stderr:
            found += f": {error.stderr.decode(errors='replace').strip().splitlines()[-1][:300]}"
    else:
        found = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else f"{error}"
        if (ours := shortage(error, f"starting the embedded PostgreSQL under {folder}")) is not None:
            return ours
    return _shortage_said(folder, found, began) or PostgresUnavailable(_explain(folder, found, began))


def _shortage_said(folder: Path, found: str, began: int) -> OutOfResources | None:
    """Return the shortage reported by the programs of this start."""
    at = f"starting the embedded PostgreSQL under {folder}"
    last = "".join(tail(folder / supervisor.LOG, began)[-1:])  # if Python itself failed: the line of its error
    return said_in(f"{found}: {last_words(folder, began)}", at) or said_in(last, at)


def _explain(folder: Path, found: str, began: int = 0) -> list[str]:
    """Return a message, in lines: what was found, why (if the log says it), and what to do."""
    log = folder / supervisor.LOG
    advice = f"read {log}; or name a server of your own in CRYPTO_ASSETS_POSTGRES_URL"
    if why := last_words(folder, began):
        return [f"expected an embedded PostgreSQL under {folder}, but {found}: {why}; what to do: {advice}"]
    return [
        f"expected an embedded PostgreSQL under {folder}, but {found}",
        f"what to do: {advice}",
        *(f"  | {line}" for line in tail(log, began)[-15:]),
    ]
