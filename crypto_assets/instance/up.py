"""`crypto-assets up`: runs code server, webserver and daemon as child processes, and stops them together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from crypto_assets.access.callers import require_host, users
from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.config.environment import settings
from crypto_assets.config.error_log import last_line
from crypto_assets.config.home_folders import require_places
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance.child import listens
from crypto_assets.instance.liveness import HEARTBEAT_S, Heartbeats, answers_grpc, answers_http
from crypto_assets.instance.parts import CODE_SERVER, DAEMON, WEBSERVER, environment_of_parts, make_places, only_one
from crypto_assets.machine.ports import HOST, free_port, is_free, require_free
from crypto_assets.machine.private_folder import private_opener
from crypto_assets.storage import postgres_url
from crypto_assets.storage.migrations import migrate

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1

MAX_RESTARTS, RESTART_WINDOW_S = 3, 600.0
"""A child that ends by itself is restarted; more restarts than this within the window stop everything."""

PROBE_S, MOST_SILENT = 10.0, 6
"""Seconds between two probes of each child, and how many unanswered probes in a row mean that it hangs."""

MOST_LOG_BYTES, KEPT_LOG_BYTES = 20 << 20, 1 << 20
"""Size at which a log is emptied, and how much of its end is kept beside it. Without Postgres the daemon writes tracebacks
without end: 47 MB in some minutes."""

_INSTANCE = ("crypto_assets.instance.storage", "crypto_assets.instance.launcher", "crypto_assets.instance.local_files")


@dataclass
class _Child:
    """A running child, and its probe: True, False, or None if unknown."""

    command: tuple[str, ...]
    lives: Callable[[], bool | None]
    patience: int
    process: subprocess.Popen[bytes]
    has_answered: bool = False
    silent: int = 0
    restarts: list[float] = field(default_factory=list)

    def hangs(self) -> bool:
        """Whether it was silent for too long; a child that was just started may take START_TIMEOUT_S."""
        return self.silent >= (
            self.patience if self.has_answered else max(self.patience, int(START_TIMEOUT_S / PROBE_S))
        )


@dataclass
class Services:
    """The running processes. `url` is the UI's, `api` the API's, `postgres` the database's; `stop` ends all."""

    url: str
    api: str
    postgres: str
    logs: Path
    stop: threading.Event
    say: Callable[[str], None]
    trouble: Callable[[], Iterable[str]] = tuple
    """Returns lines about trouble outside; asked every PROBE_S seconds, and each line is said once while it lasts."""
    outdated: Callable[[], str] = str
    """Returns why the code must be loaded again, empty if it need not be; asked every PROBE_S seconds."""
    _children: dict[str, _Child] = field(default_factory=dict)
    _reload: str = ""
    _cannot_ask: str = ""

    def start(self, name: str, *command: str, lives: Callable[[], bool | None], patience: int | None = None) -> None:
        """Start `python -m crypto_assets.instance.child …`; its output goes to a log with its name.

        Args:
            lives: the probe, called every PROBE_S seconds once `watch` runs.
            patience: most unanswered probes in a row; default: MOST_SILENT.
        """
        process = self._run(name, command)
        self._children[name] = _Child(command, lives, patience or MOST_SILENT, process)

    def _run(self, name: str, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        child = [sys.executable, "-m", "crypto_assets.instance.child", "--parent", str(os.getpid()), *command]
        with open(self.logs / f"{name}.log", "ab", opener=private_opener) as log:
            # A session of its own: Ctrl-C in the terminal goes to us, and we end the children in order.
            return subprocess.Popen(
                child,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment_of_parts(),
                start_new_session=True,
            )

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Return once `ready` is true, or `stop` is set.

        Raises:
            CryptoAssetsError: a process ended meanwhile, or START_TIMEOUT_S passed; the message names its log.
        """
        self.say(f"waiting for the {name.replace('-', ' ')}")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.stop.is_set() and not ready():
            for other, child in self._children.items():
                if child.process.poll() is not None:
                    raise CryptoAssetsError(self._ended(other))
            if time.monotonic() > deadline:
                raise CryptoAssetsError(
                    f"{name}: expected an answer within {START_TIMEOUT_S:.0f} s; see {self._log(name)}"
                )
            self.stop.wait(POLL_S)

    def watch(self) -> None:
        """Keep the processes running and answering until `stop` is set.

        Raises:
            CryptoAssetsError: a child ended or hung too often.
        """
        threading.Thread(target=self._ask, name="signs of life", daemon=True).start()
        while not self.stop.wait(5 * POLL_S):
            if self._reload:
                self._load_again()
            for name, child in self._children.items():
                keep_short(self._log(name))
                code = child.process.poll()
                if code is not None:
                    self._restart(name, child, f"ended with code {code}")
                elif child.hangs():
                    # Only this process: runs started by the code server continue, as when it dies by itself.
                    child.process.kill()
                    child.process.wait()
                    self._restart(name, child, f"gave no sign of life {child.silent} times in a row")

    def _restart(self, name: str, child: _Child, why: str) -> None:
        child.restarts = [at for at in child.restarts if at > time.monotonic() - RESTART_WINDOW_S] + [time.monotonic()]
        if len(child.restarts) > MAX_RESTARTS:
            raise CryptoAssetsError(self._ended(name))
        self.say(f"the {name} {why} and is started again; see {self._log(name)}")
        child.process, child.has_answered, child.silent = self._run(name, child.command), False, 0

    def _load_again(self) -> None:
        """Start the code server again, which loads the definitions; webserver and daemon notice it by themselves."""
        why, self._reload = self._reload, ""
        child = self._children[CODE_SERVER]
        self.say(f"{why}; the code server is started again")
        # Only this process, as in `watch`: runs continue.
        child.process.kill()
        child.process.wait()
        child.process, child.has_answered, child.silent = self._run(CODE_SERVER, child.command), False, 0

    def _ask(self) -> None:
        """Probe each child again and again. Counts probes, not time: this process may have been asleep."""
        said: set[str] = set()
        while not self.stop.wait(PROBE_S):
            with suppress(Exception):  # the database: the children report it
                now = set(self.trouble())
                for line in sorted(now - said):
                    self.say(line)
                said = now
            with suppress(Exception):
                self._reload = self._reload or self.outdated()
            for name, child in self._children.items():
                asked = child.process
                found = self._found(name, child)
                if found is None or asked is not child.process:
                    continue
                child.has_answered |= found
                child.silent = 0 if found else child.silent + 1

    def _found(self, name: str, child: _Child) -> bool | None:
        """Return a child's answer. A failure to ask proves nothing about the child, and does not stop the watch."""
        try:
            found = child.lives()
        except Exception as error:
            words = last_line(error)
            if words != self._cannot_ask:  # report it once
                self.say(f"the {name} cannot be asked whether it lives: {words}")
            self._cannot_ask = words
            return None
        self._cannot_ask = ""
        return found

    def end(self) -> None:
        """End the children, newest first: first SIGINT, then SIGKILL."""
        children = [child.process for child in reversed(self._children.values())]
        for process in children:
            if process.poll() is None:
                # Also to the code server's run workers: they save their state, and their runs are CANCELED.
                os.killpg(process.pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in children:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _ended(self, name: str) -> list[str]:
        text = self._log(name).read_text(errors="replace")
        code = self._children[name].process.returncode
        return [
            f"{name}: expected it to run, it ended with code {code}; see {self._log(name)}:",
            *text.splitlines()[-5:],
        ]


def keep_short(log: Path) -> None:
    """Empty a log that is too long, and keep its end in `NAME.log.1`; the process that appends to it goes on at its start."""
    with suppress(OSError), log.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > MOST_LOG_BYTES:
            file.seek(-KEPT_LOG_BYTES, os.SEEK_END)
            with open(f"{log}.1", "wb", opener=private_opener) as kept:
                kept.write(file.read())
            file.truncate(0)


@contextmanager
def running(
    port: int, say: Callable[[str], None], stop: threading.Event, api_port: int | None = None, host: str = HOST
) -> Iterator[Services]:
    """Run Dagster's processes during the block; the UI answers at its beginning, unless `stop` was set meanwhile.

    Args:
        port: of the UI.
        api_port: of the API; None: the one after `port`, or any free one.
        say: called with a line about each wait.
        stop: ends the waiting.
        host: the address that UI and API listen on, one of `machine.ports.HOSTS`.

    Raises:
        ConfigError: the port is in use, the same home is up already, dagster.yaml is missing, or the host is open to other
            machines while the settings are not.
        PostgresUnavailable: Postgres does not answer.
        CryptoAssetsError: a process ended while starting; the message names its log.
    """
    use_dagster_home()
    require_places(settings())
    users(settings().ui_users)  # report a mistake there now, not through a child that ends
    require_host(host, settings().ui_users)
    home = settings().home
    url = f"http://{HOST}:{port}"
    places = make_places(home)
    code = places.socket
    with only_one(home, url):
        require_free(port, "--port", host)
        if api_port is None:
            api_port = port + 1 if is_free(port + 1, host) else free_port()
        else:
            require_free(api_port, "--api-port", host)
        say("waiting for Postgres")
        database = postgres_url(settings())
        migrate(database)
        services = Services(url, f"http://{HOST}:{api_port}/v1", database, places.logs, stop, say)
        code.unlink(missing_ok=True)  # left by a killed code server: `up` holds the lock of this home
        try:
            services.start(CODE_SERVER, *places.command(CODE_SERVER), lives=lambda: answers_grpc(code))
            services.start(
                WEBSERVER,
                *_after(code, "dagster_webserver.app"),
                *places.command(WEBSERVER, port, host),
                lives=lambda: answers_http(f"{url}/server_info"),
            )
            services.start(
                DAEMON,
                *_after(code, "dagster._daemon.cli"),
                *places.command(DAEMON),
                lives=Heartbeats(database),
                patience=int(HEARTBEAT_S / PROBE_S),
            )
            # An answer that needs the database and the lake would stop with them, and a restart would not help.
            services.start(
                "api",
                *("crypto_assets.api", "--host", host, "--port", str(api_port)),
                lives=lambda: answers_http(services.api),
            )
            services.wait_for(CODE_SERVER, lambda: listens(code))
            services.wait_for(WEBSERVER, lambda: answers_http(f"{url}/server_info"))
            services.wait_for("api", lambda: answers_http(services.api))
            yield services
        finally:
            services.end()


def _after(socket: Path, module: str) -> list[str]:
    """Return the options of a child that needs the code server: it imports while the code server starts."""
    return [f"--after={socket}", *(f"--import={name}" for name in (module, *_INSTANCE))]
