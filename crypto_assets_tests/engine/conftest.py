"""Servers for the tests of the engine: the sandbox exchange, and small ones that answer oddly."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.sandbox.archive import FolderArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.transport.client import Client
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.workbench import Workbench

if TYPE_CHECKING:
    from crypto_assets_tests.engine.world import World

Answer = Callable[[Request], Awaitable[Response]]


async def _not_found(request: Request) -> Response:
    return Response(status_code=404)


class OddServer:
    """Answers every request with one function, on loopback; counts the requests by path."""

    def __init__(self) -> None:
        self.answer: Answer = _not_found
        self.requests: list[Request] = []
        self.url = ""

    @property
    def paths(self) -> Counter[str]:
        return Counter(request.url.path for request in self.requests)

    async def __call__(self, scope, receive, send) -> None:
        request = Request(scope, receive)
        self.requests.append(request)
        response = await self.answer(request)
        await response(scope, receive, send)


@contextmanager
def running(server: OddServer) -> Iterator[OddServer]:
    config = uvicorn.Config(server, lifespan="off", log_level="critical", access_log=False, date_header=False)
    uvicorn_server = uvicorn.Server(config)
    bound = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=uvicorn_server.run, args=([bound],), daemon=True)
    thread.start()
    while not uvicorn_server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield server
    finally:
        uvicorn_server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def odd_server() -> Iterator[OddServer]:
    """One server for all tests: starting and stopping one takes longer than a test."""
    with running(OddServer()) as server:
        yield server


@pytest.fixture
def serve(odd_server: OddServer) -> Callable[[Answer], OddServer]:
    """Let the server answer with a function from now on; call it once in a test."""

    def answer_with(answer: Answer) -> OddServer:
        odd_server.answer = answer
        odd_server.requests.clear()
        return odd_server

    return answer_with


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(timeout_s=10) as client:
        yield client


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are as many as ever, without the waits between them, but for those that a host asks for."""
    monkeypatch.setattr("crypto_assets.transport.client.backoff_s", lambda attempt: 0.0)


@pytest.fixture
def closed_port() -> int:
    """A port of loopback that refuses connections."""
    return free_port()


# ---- the world of `world.py`: files that are written one by one, and a REST API ---------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SandboxServer]]:
    """A folder, and the sandbox that serves it."""
    folder = tmp_path_factory.mktemp("archive")
    with SandboxServer(FolderArchive(folder)) as server:
        yield folder, server


@pytest.fixture
def world(
    served: tuple[Path, SandboxServer], odd_server: OddServer, postgres_url: str, tmp_path: Path
) -> Iterator[World]:
    """A world without files; those that a test publishes go with it."""
    from crypto_assets_tests.engine.world import World  # which needs the server above

    folder, server = served
    yield World(Workbench(server, postgres_url, tmp_path / "lake"), folder, odd_server)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
