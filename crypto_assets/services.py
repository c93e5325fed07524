"""`crypto-assets up`: Postgres, code server, webserver and daemon as children of one process that ends them all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from crypto_assets.config import environment, settings
from crypto_assets.errors import ConfigError, CryptoAssetsError
from crypto_assets.runs import use_dagster_home

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


@contextmanager
def running(port: int) -> Iterator[str]:
    """Run Dagster's processes while the block lasts; yields the URL of the UI once it answers.

    Raises:
        ConfigError: the port is in use, or there is no dagster.yaml.
        CryptoAssetsError: a process ended while starting; the message names its log.
    """
    use_dagster_home()
    _require_free(port)
    home = settings().home
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    code_port = _free_port()
    workspace = home / "workspace.yaml"
    workspace.write_text(
        yaml.safe_dump(
            {"load_from": [{"grpc_server": {"host": HOST, "port": code_port, "location_name": "crypto_assets"}}]}
        )
    )
    children: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str, *command: str) -> None:
        with (logs / f"{name}.log").open("ab") as log:
            children[name] = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=log, stderr=log, env=environment(), start_new_session=True
            )

    try:
        start(
            "code-server",
            "crypto_assets.instance.code_server",
            *("api", "grpc", "-h", HOST, "-p", str(code_port), "-m", "crypto_assets.definitions"),
            *("--location-name", "crypto_assets"),
        )
        _wait("code-server", children, logs, lambda: _listens(code_port))
        start("webserver", "dagster_webserver", "-h", HOST, "-p", str(port), "-w", str(workspace))
        start("daemon", "dagster._daemon", "run", "-w", str(workspace))
        url = f"http://{HOST}:{port}"
        _wait("webserver", children, logs, lambda: _answers(f"{url}/server_info"))
        yield url
    finally:
        _stop(children)


def watch(until: Callable[[], bool]) -> None:
    """Wait until `until` is true, checking twice a second."""
    while not until():
        time.sleep(0.5)


def _wait(name: str, children: dict[str, subprocess.Popen[bytes]], logs: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        for child, process in children.items():
            if process.poll() is not None:
                raise CryptoAssetsError(
                    f"{child}: expected it to run, it ended with code {process.returncode}; see {logs / child}.log:\n"
                    + _tail(logs / f"{child}.log")
                )
        if time.monotonic() > deadline:
            raise CryptoAssetsError(f"{name}: expected an answer within {START_TIMEOUT_S:.0f} s; see {logs / name}.log")
        time.sleep(0.1)


def _tail(path: Path, lines: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _stop(children: dict[str, subprocess.Popen[bytes]]) -> None:
    """End the children, newest first: politely, then not."""
    for process in reversed(children.values()):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in reversed(children.values()):
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}; is another one running? Choose with --port") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
