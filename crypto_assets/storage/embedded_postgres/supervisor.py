"""The supervisor of one embedded PostgreSQL server: starts it, restarts it when it crashes, stops it when unused.

Run as a script (`python -I -S supervisor.py FOLDER OPTIONS`) by `server.py`, which holds `start.lock` meanwhile. It
detaches, so it outlives its starter, and imports only the standard library: it needs 12 MB.

Life: take `supervisor.lock` → detach → stop left-over servers of this folder → start PostgreSQL → write `server.json`
→ watch. It stops PostgreSQL and ends when `users.lock` has had no holder for `grace_s` seconds, when the folder is
deleted, on SIGTERM or SIGINT, or when PostgreSQL cannot be kept running. If the supervisor is killed with SIGKILL, PostgreSQL
gets a fast shutdown from the kernel (Linux) or from the next supervisor (other systems).
"""

import argparse
import ctypes
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

START_LOCK = "start.lock"
USERS_LOCK = "users.lock"
SUPERVISOR_LOCK = "supervisor.lock"
STATE = "server.json"
LOG = "server.log"

OWN_PREFIX = "crypto_assets-"
"""Prefix of our folders outside a home, for data that cannot lie in the home."""

# Seconds between attempts to start: backends of a killed postmaster need a moment to release its memory.
_START_DELAYS_S = (0.1, 0.2, 0.4, 0.8)
# After more crashes than this within the window the server is not restarted; its log stays.
_MAX_CRASHES, _CRASH_WINDOW_S = 5, 60.0
_PR_SET_PDEATHSIG = 1


def open_lock(path: Path) -> int:
    """Return a file descriptor to lock; not inherited by other programs (O_CLOEXEC), shared with forked children."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and found.st_mode & 0o777 != 0o600:  # a umask may have removed even our own rights
        os.fchmod(fd, 0o600)
    return fd


def try_lock(fd: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Take the lock if it is free now."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cluster_name(data: Path) -> str:
    """Return the mark in the title of every process of this server, used to find them."""
    return "crypto_assets_" + hashlib.sha256(os.fsencode(data)).hexdigest()[:12]


def processes_of(data: Path) -> list[int]:
    """Return the ids of the running processes (postmaster and backends) of the server on this data folder.

    Only those of the data's owner: anybody can give a process a similar title.
    """
    mark = cluster_name(data).encode()
    try:
        owner = data.lstat().st_uid
    except FileNotFoundError:  # the server outlives its data for a moment
        owner = None
    if not Path("/proc/self/cmdline").exists():
        table = subprocess.run(["ps", "-axww", "-o", "pid=,uid=,command="], capture_output=True, check=True)  # noqa: S607
        lines = [line.split(None, 2) for line in table.stdout.splitlines() if mark in line]
        return [int(pid) for pid, user, _ in lines if int(user) == owner or owner is None]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "cmdline").read_bytes() and owner in (None, entry.stat().st_uid):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended while we looked
    return found


def stop_leftovers(data: Path) -> None:
    """Stop the server that a killed supervisor left behind, gently first; remove a stale postmaster.pid."""
    for signum, patience_s in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience_s
        for pid in processes_of(data):
            try:
                os.kill(pid, signum)
            except (ProcessLookupError, PermissionError):
                continue
        while processes_of(data) and time.monotonic() < deadline:
            time.sleep(0.05)
    # PostgreSQL refuses to start if the id in a stale file now belongs to another process of the same user.
    if not processes_of(data):
        (data / "postmaster.pid").unlink(missing_ok=True)


def remove_data(data: Path) -> None:
    """Delete the databases of a stopped server, and our folder outside the home, if there is one."""
    elsewhere = data.parent.name.startswith(OWN_PREFIX)
    shutil.rmtree(data.parent if elsewhere else data, ignore_errors=True)


def _die_with(parent: int) -> None:
    """In the new process, after its change of user (which clears the setting): fast shutdown when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)


class Supervisor:
    """One PostgreSQL server and its folder with the locks and files that show its users."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder: Path = options.folder
        self.data: Path = options.data
        self.socket: Path = options.socket
        self.options = options
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.start_fd = open_lock(self.folder / START_LOCK)
        self.users_fd = open_lock(self.folder / USERS_LOCK)

    def run(self) -> None:
        """Keep the server running while it is needed; always leave it stopped."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        crashes: list[float] = []
        try:
            stop_leftovers(self.data)
            while self._start() and self._watch():
                crashes = [at for at in crashes if at > time.monotonic() - _CRASH_WINDOW_S] + [time.monotonic()]
                self._say("PostgreSQL ended unexpectedly; starting it again")
                if len(crashes) > _MAX_CRASHES:
                    self._say(f"{len(crashes)} crashes in {_CRASH_WINDOW_S:.0f} s: giving up")
                    return
        finally:
            self._stop()

    def _on_signal(self, _signum: int, _frame: object) -> None:
        self.stopping = True

    def _start(self) -> bool:
        """Start PostgreSQL and return whether it accepts connections (False: asked to stop, or it would not start)."""
        for delay_s in (*_START_DELAYS_S, None):
            self._make_socket_folder()
            self.process = self._launch()
            while self.process.poll() is None and not self.stopping and not self._abandoned():
                if self._is_ready():
                    self._write_state()
                    return True
                time.sleep(0.01)
            if self.process.poll() is None or delay_s is None:
                return False
            stop_leftovers(self.data)
            time.sleep(delay_s)
        return False

    def _launch(self) -> "subprocess.Popen[bytes]":
        user: dict[str, object] = {}
        if self.options.user is not None:
            user = {"user": self.options.user, "group": self.options.group, "extra_groups": []}
        return subprocess.Popen(  # type: ignore[call-overload]
            [self.options.binaries / "postgres", "-D", self.data, "-c", f"cluster_name={cluster_name(self.data)}"],
            cwd=self.data,
            env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=functools.partial(_die_with, os.getpid()),  # safe: this process has one thread
            **user,
        )

    def _make_socket_folder(self) -> None:
        """Make the socket's folder again if it was deleted; it was checked when this server was started.

        Raises:
            PermissionError: it belongs to another user now.
        """
        user = os.geteuid() if self.options.user is None else self.options.user
        try:
            self.socket.mkdir(mode=0o700)
            os.chown(self.socket, user, -1 if self.options.group is None else self.options.group)
        except FileExistsError:
            pass
        found = self.socket.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
            raise PermissionError(f"{self.socket}: expected a folder that only the user {user} may enter; remove it")

    def _is_ready(self) -> bool:
        """Whether the postmaster of this start has written `ready` into its own status file (line 8; 4 is its port)."""
        try:
            # No link and no pipe: the folder is the server's, and this process may be root.
            fd = os.open(self.data / "postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
                lines = file.read(4096).splitlines()
        except OSError:
            return False
        assert self.process is not None  # noqa: S101
        if len(lines) < 8 or lines[0] != str(self.process.pid) or lines[7].strip() != "ready":
            return False
        self.port = int(lines[3])
        return True

    def _watch(self) -> bool:
        """Return True when PostgreSQL ended by itself, False when it is time to stop it."""
        assert self.process is not None  # noqa: S101
        grace_s = self.options.grace_s
        idle_since: float | None = None
        while not self.stopping and not self._abandoned():
            try:
                self.process.wait(timeout=min(1.0, max(grace_s / 4, 0.02)))
            except subprocess.TimeoutExpired:
                pass
            else:
                return not self.stopping
            if not self.socket.is_dir():
                # Nobody can reach it any more, and PostgreSQL does not recreate its socket.
                self._say(f"{self.socket} was deleted; PostgreSQL is started again")
                self._stop_postgres()
                return not self.stopping
            if not try_lock(self.users_fd):
                idle_since = None
                continue
            fcntl.flock(self.users_fd, fcntl.LOCK_UN)
            idle_since = idle_since or time.monotonic()
            # Users take start.lock before users.lock: with both held here nobody can start using the server unseen; new
            # users wait for start.lock, which is held until this process has ended.
            if time.monotonic() - idle_since >= grace_s and try_lock(self.start_fd):
                if try_lock(self.users_fd):
                    self._say(f"not used for {grace_s:g} s: stopping")
                    return False
                fcntl.flock(self.start_fd, fcntl.LOCK_UN)
        return False

    def _abandoned(self) -> bool:
        """Whether the folder was deleted or replaced: nobody can find this server any more."""
        try:
            return not os.path.samestat((self.folder / USERS_LOCK).stat(), os.fstat(self.users_fd))
        except OSError:
            return True

    def _stop(self) -> None:
        self._stop_postgres()
        if not self._abandoned():
            (self.folder / STATE).unlink(missing_ok=True)
        elif os.fstat(self.users_fd).st_nlink == 0:
            # Deleted, not unmounted or renamed: data outside the home would be litter. A home made again at the same place
            # has a folder of another name there; the data inside the home belongs to the new home.
            elsewhere = self.data.parent.name.startswith(OWN_PREFIX)
            if elsewhere:
                remove_data(self.data)
            if elsewhere or not self.folder.is_dir():
                shutil.rmtree(self.socket, ignore_errors=True)

    def _stop_postgres(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        # Fast shutdown (sessions are ended, a checkpoint is written), then immediate, then SIGKILL.
        for signum, patience_s in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            self.process.send_signal(signum)
            try:
                self.process.wait(patience_s)
                return
            except subprocess.TimeoutExpired:
                self._say(f"PostgreSQL did not end within {patience_s:.0f} s of signal {signum}")

    def _write_state(self) -> None:
        temporary = self.folder / (STATE + ".tmp")
        found = {"socket": str(self.socket), "port": self.port, "pid": os.getpid(), "data": str(self.data)}
        temporary.write_text(json.dumps(found))
        temporary.replace(self.folder / STATE)

    def _say(self, message: str) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), "supervisor:", message, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True, help="the folder of the socket")
    parser.add_argument("--grace-s", type=float, default=30.0)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    options = parser.parse_args()
    os.umask(0o077)
    lock = open_lock(options.folder / SUPERVISOR_LOCK)
    if not try_lock(lock):
        return 3
    # The lock is taken before the fork and stays in the child: the starter sees it held when we return.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    Supervisor(options).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
