"""`crypto-assets up`: code server, webserver and daemon as children of one process that ends them all."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from crypto_assets.config import environment, settings
from crypto_assets.environment import require_places
from crypto_assets.errors import ConfigError, CryptoAssetsError
from crypto_assets.instance.child import listens
from crypto_assets.ports import HOST, free_port, is_free, require_free
from crypto_assets.private_folder import private_folder, private_opener, socket_folder, write_private
from crypto_assets.runs import use_dagster_home
from crypto_assets.storage import postgres_url
from crypto_assets.storage.migrations import migrate

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1

MAX_RESTARTS = 3
"""A child that ends by itself is started again; one that does so more often than this is left alone, and all end."""

CODE_SOCKET = "code-server"
"""The code server runs what it is asked to as its owner: it listens on a unix socket that its owner alone can reach."""

_INSTANCE = ("crypto_assets.instance.storage", "crypto_assets.instance.launcher", "crypto_assets.instance.local_files")


@dataclass
class Services:
    """The running processes. `url` is the UI's, `api` the API's, `postgres` the database's; `stop` ends all."""

    url: str
    api: str
    postgres: str
    logs: Path
    stop: threading.Event
    say: Callable[[str], None]
    _commands: dict[str, list[str]] = field(default_factory=dict)
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _restarts: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        """Start `python -m crypto_assets.instance.child …`; what it prints goes to a log of its name."""
        self._commands[name] = list(command)
        child = [sys.executable, "-m", "crypto_assets.instance.child", "--parent", str(os.getpid()), *command]
        with open(self.logs / f"{name}.log", "ab", opener=private_opener) as log:
            # A session of its own: Ctrl-C in the terminal is for us, and we end the children in order.
            self._children[name] = subprocess.Popen(
                child, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True
            )

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Return once `ready` is true, or `stop` is set.

        Raises:
            CryptoAssetsError: a process ended meanwhile, or nothing happened for START_TIMEOUT_S; the message has its log.
        """
        self.say(f"waiting for the {name.replace('-', ' ')}")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.stop.is_set() and not ready():
            for other, process in self._children.items():
                if process.poll() is not None:
                    raise CryptoAssetsError(self._ended(other))
            if time.monotonic() > deadline:
                raise CryptoAssetsError(
                    f"{name}: expected an answer within {START_TIMEOUT_S:.0f} s; see {self._log(name)}"
                )
            self.stop.wait(POLL_S)

    def watch(self) -> None:
        """Keep the processes running until `stop` is set.

        Raises:
            CryptoAssetsError: one ended more often than it is worth starting again.
        """
        while not self.stop.wait(5 * POLL_S):
            for name, process in list(self._children.items()):
                if process.poll() is None:
                    continue
                self._restarts[name] = self._restarts.get(name, 0) + 1
                if self._restarts[name] > MAX_RESTARTS:
                    raise CryptoAssetsError(self._ended(name))
                self.say(f"the {name} ended with code {process.returncode} and is started again; see {self._log(name)}")
                self.start(name, *self._commands[name])

    def end(self) -> None:
        """End the children, newest first: politely, then not."""
        children = list(reversed(self._children.values()))
        for process in children:
            if process.poll() is None:
                # To the code server's run workers too: they save their state, and their runs are CANCELED.
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

    def _ended(self, name: str) -> str:
        text = self._log(name).read_text(errors="replace")
        tail = "\n".join(text.splitlines()[-5:])
        code = self._children[name].returncode
        return f"{name}: expected it to run, it ended with code {code}; see {self._log(name)}:\n{tail}"


@contextmanager
def running(
    port: int, say: Callable[[str], None], stop: threading.Event, api_port: int | None = None
) -> Iterator[Services]:
    """Run Dagster's processes while the block lasts; the UI answers when it begins, unless `stop` was set meanwhile.

    Args:
        port: of the UI on 127.0.0.1.
        api_port: of the API there; None: the one after `port`, or any where that is in use.
        say: told what is being waited for.
        stop: ends the waiting.

    Raises:
        ConfigError: the port is in use, the same home is up already, or there is no dagster.yaml.
        PostgresUnavailable: it does not answer.
        CryptoAssetsError: a process ended while starting; the message names its log.
    """
    use_dagster_home()
    require_places(settings())
    home = settings().home
    logs = private_folder(home / "logs")
    url = f"http://{HOST}:{port}"
    with _only_one(home, url):
        require_free(port, "--port")
        if api_port is None:
            api_port = port + 1 if is_free(port + 1) else free_port()
        else:
            require_free(api_port, "--api-port")
        say("waiting for Postgres")
        database = postgres_url(settings())
        migrate(database)
        services = Services(url, f"http://{HOST}:{api_port}/v1", database, logs, stop, say)
        code = socket_folder(home / "sockets", CODE_SOCKET) / CODE_SOCKET
        code.unlink(missing_ok=True)  # left behind by one that was killed: `up` holds the lock of this home
        workspace = home / "workspace.yaml"
        server = {"socket": str(code), "location_name": "crypto_assets"}
        write_private(workspace, yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        try:
            services.start(
                "code-server",
                *("crypto_assets.instance.code_server", "api", "grpc", "--socket", str(code)),
                *("-m", "crypto_assets.definitions", "--location-name", "crypto_assets"),
            )
            services.start(
                "webserver",
                *_after(code, "dagster_webserver.app"),
                *("crypto_assets.instance.webserver", "--port", str(port), "--workspace", str(workspace)),
            )
            services.start(
                "daemon",
                *_after(code, "dagster._daemon.cli"),
                *("dagster._daemon", "run", "-w", str(workspace)),
            )
            services.start("api", "crypto_assets.api", "--port", str(api_port))
            services.wait_for("code-server", lambda: listens(code))
            services.wait_for("webserver", lambda: _answers(f"{url}/server_info"))
            services.wait_for("api", lambda: _answers(f"http://{HOST}:{api_port}/healthz"))
            yield services
        finally:
            services.end()


def _after(socket: Path, module: str) -> list[str]:
    """Return the options of a child that needs the code server: it imports while that one starts."""
    return [f"--after={socket}", *(f"--import={name}" for name in (module, *_INSTANCE))]


@contextmanager
def _only_one(home: Path, url: str) -> Iterator[None]:
    """Hold the lock of a home: two daemons on one instance would start every run twice."""
    with open(home / "up.lock", "a+", encoding="utf-8", opener=private_opener) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigError(f"{home}: is up already, see {lock.read().strip()}; end that one first") from None
        lock.truncate(0)
        lock.write(url)
        lock.flush()
        yield


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
