"""Limits of the size and time of a request: no client can hold a connection or memory forever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from crypto_assets.access.problem import Problem

MOST_BODY_BYTES = 64 << 10
"""Most bytes of a body. It has a scope, days, a reason: some hundred bytes."""

REQUEST_S = 10.0
"""Seconds for the head of a request, and the same for its body."""


class OnlyPlainText:
    """Middleware that refuses NUL in a path or a query: none of our texts has one, and Postgres refuses it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or _has_nul(Request(scope))):
            problem = Problem(400, "not a text", "text without NUL in path and query", "NUL")
            await problem.answer()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class HeadAsGet:
    """Middleware that answers HEAD as GET: FastAPI's routes have GET only. The server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def _has_nul(request: Request) -> bool:
    return any("\0" in name or "\0" in value for name, value in request.query_params.multi_items())


async def body(request: Request, known: Iterable[str]) -> dict[str, str]:
    """Return the JSON object of a POST, of texts only; an empty body is an empty object.

    Raises:
        Problem: 413 for a body of more than 64 kB, which is not read further; 408 for a body that does not arrive; 400 for
            a body that is not such an object, is nested without end, or has invalid texts.
    """
    try:
        content = await asyncio.wait_for(_read(request), REQUEST_S)
    except TimeoutError:
        raise Problem(408, "incomplete body", f"a complete body within {REQUEST_S:g} s", "a part of it") from None
    except ClientDisconnect:
        raise Problem(400, "incomplete body", "a complete body", "the connection was closed") from None
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise Problem(400, "not JSON", "a JSON object", content[:100].decode(errors="replace")) from None
    known = set(known)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        wanted = f"a JSON object with some of {', '.join(sorted(known))}"
        raise Problem(400, "not an object of texts", wanted, content[:100].decode(errors="replace"))
    for name, value in found.items():
        if name not in known:
            raise Problem(400, "unknown field", f"some of {', '.join(sorted(known))}", name)
        if not _is_text(value):
            raise Problem(400, "not a text", f"{name} without NUL and halves of surrogate pairs", ascii(value))
    return found


def _is_text(value: str) -> bool:
    """Return whether Postgres can store a text; JSON can contain invalid ones."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


async def _read(request: Request) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and len(told) < 20 and int(told) > MOST_BODY_BYTES:
        raise _too_large(told)
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_BODY_BYTES:
            raise _too_large(f"{len(content)} or more")
    return content


def _too_large(found: str) -> Problem:
    return Problem(413, "too large", f"a body of at most {MOST_BODY_BYTES} bytes", found, "send less")


class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen by uvicorn when it is imported
    """uvicorn's protocol, with a time limit for requests; uvicorn itself waits for a head forever."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()  # the head is complete, and is being answered
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(REQUEST_S, self._end)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _end(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
