"""A server on loopback that answers oddly: every request with one function of a test."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

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
