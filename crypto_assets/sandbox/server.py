"""Run the sandbox: in a thread of this process, in its own process, or in the foreground."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import uvicorn
import yaml
from starlette.applications import Starlette

from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.sandbox.app import create_app
from crypto_assets.sandbox.archive import Source
from crypto_assets.sandbox.dialects import known
from crypto_assets.sandbox.faults import Fault
from crypto_assets.sandbox.request_limits import Rate
from crypto_assets.sandbox.wire import Connection
from crypto_assets.sandbox.world import World

HOST = "127.0.0.1"
_START_SECONDS = 30.0
_STOP_SECONDS = 5


class _Urls:
    """The addresses of a running sandbox; each name is that of the collector's setting."""

    archive_url: str

    @property
    def listing_url(self) -> str:
        return f"{self.archive_url}/listing"

    @property
    def rest_url(self) -> str:
        return self.archive_url

    def urls(self, exchange: str) -> dict[str, str]:
        """Return an exchange's addresses as `exchanges:` of a collection wants them."""
        return exchanges_block(self.archive_url)[exchange]


class SandboxServer(_Urls):
    """Serves a source from a thread of this process, on a free port of the loopback interface, inside `with`."""

    def __init__(self, source: Source, host: str = HOST, port: int = 0) -> None:
        self.app: Starlette = create_app(source)
        self._address = host, port
        self._server = _server(self.app)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        bound = _bind(*self._address)
        self.archive_url = _url(bound)
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name="sandbox", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start on {self.archive_url}; see the log of uvicorn")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.state.faults.off()  # ends hanging answers
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * _STOP_SECONDS)

    def requests(self) -> list[tuple[str, str]]:
        """Return (method, path) of every request so far, in order of arrival."""
        return [(item.method, item.path) for item in list(self.app.state.requests)]

    def forget_requests(self) -> None:
        self.app.state.requests.clear()


class SandboxProcess(_Urls):
    """Runs `python -m crypto_assets.sandbox` with these arguments inside `with`; also ends when this process dies."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # The child reads its standard input, a pipe: its other end closes when this process ends in any way.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crypto_assets.sandbox", "--port", "0", *self._arguments, "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        found = re.search(r"http://\S+", line)
        if found is None:
            self.__exit__(None, None, None)
            raise RuntimeError(f"the sandbox did not start: expected its URL, found {line!r}; its errors are on stderr")
        self.archive_url = found.group()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(2 * _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def requests(self) -> list[tuple[str, str]]:
        """Return (method, path) of every request so far, in order of arrival."""
        answer = httpx.get(f"{self.archive_url}/_sandbox/requests", trust_env=False).raise_for_status().json()
        return [(item["method"], item["path"]) for item in answer["requests"]]


def exchanges_block(url: str) -> dict[str, dict[str, str]]:
    """Return `exchanges:` of a collection for a sandbox on `url`: the addresses of every exchange that it speaks."""
    nothing = World({})
    return {name: dialect(nothing).urls(url) for name, dialect in known().items()}


def serve(
    source: Source,
    host: str = HOST,
    port: int = 0,
    until_stdin_closes: bool = False,
    faults: Sequence[Fault] = (),
    rates: Sequence[Rate] = (),
    collection: Path | None = None,
) -> None:
    """Serve `source` in the foreground until interrupted; the first line on standard output has the URL.

    Args:
        collection: a file that gets `exchanges:` of a collection, with the addresses of every exchange.

    Raises:
        FileExistsError: `collection` is there already.
        FaultError: a fault that is impossible for this source.
    """
    app = create_app(source)
    for fault in faults:
        app.state.faults.on(fault)
    app.state.limits.set_rates(rates)
    server = _server(app)
    bound = _bind(host, port)
    what = "synthetic data" if source.synthetic else "files of a folder"
    url = _url(bound)
    if collection:
        with collection.open("x", encoding="utf-8") as file:
            yaml.safe_dump({"exchanges": exchanges_block(url)}, file, sort_keys=False)
    sys.stdout.write(f"Sandbox exchange ({what}) on {url} - listing on {url}/listing\n")
    sys.stdout.flush()
    if until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
    # uvicorn stops in order and then raises the interrupt again.
    with contextlib.suppress(KeyboardInterrupt):
        server.run([bound])


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    # Not sys.stdin: a thread waiting in its lock makes the interpreter crash at exit.
    while os.read(0, 1024):
        pass
    server.should_exit = True


def _server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # it would hide the address that finds the `Connection`
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


def _bind(host: str, port: int) -> socket.socket:
    # Bound and listening before the server runs: the port is known, and early clients wait.
    try:
        bound = socket.create_server((host, port), backlog=512)
    except (OSError, OverflowError) as error:
        raise_if_ours(error, f"{host} port {port}")
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{host} port {port}: {text}; choose others with --host and --port") from None
    bound.set_inheritable(False)
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"
