"""Servers for the tests of the engine: the sandbox exchange, and small ones that answer oddly."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.collection.transport.http import Client
from crypto_assets_tests.ports import free_port

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
    monkeypatch.setattr("crypto_assets.collection.transport.http.backoff_s", lambda attempt: 0.0)


@pytest.fixture
def closed_port() -> int:
    """A port of loopback that refuses connections."""
    return free_port()
