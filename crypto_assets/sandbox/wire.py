"""Faults on the wire: a status, a page, half a body, a connection that is reset, drips, or never answers.

Half a body with a full Content-Length, and a reset, need the connection itself, which ASGI does not show. `Connection`
is uvicorn's own protocol; it remembers the transport of each client by the addresses of both ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from crypto_assets.sandbox import hostile
from crypto_assets.sandbox.dialects import Asked, Dialects
from crypto_assets.sandbox.faults import Active, Faults

_HTML = (
    "<!DOCTYPE html><html><head><meta charset=utf-8><title>Attention</title></head>"
    "<body><p>Please wait while we check your browser.<br></body></html>"
)
_CHECKED_EVERY_S = 0.05

_transports: dict[tuple[object, ...], asyncio.Transport] = {}


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen by uvicorn when it is imported
    """uvicorn's protocol; its transport can be found by the addresses of client and server."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        # Both, because a client may use one port to two servers.
        self._ends = *transport.get_extra_info("peername")[:2], *transport.get_extra_info("sockname")[:2]
        _transports[self._ends] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _transports.pop(self._ends, None)
        super().connection_lost(exc)


class FaultyWire:
    """Applies the active `Faults` to the answers of an app."""

    def __init__(self, app: ASGIApp, faults: Faults, dialects: Dialects) -> None:
        self._app = app
        self._faults = faults
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._dialects.asked(scope)
        active = self._faults.of(asked.dialect.name).claim_answer(asked.kind, asked.key) if asked else None
        if asked is None or active is None:
            await self._app(scope, receive, send)
            return
        name = active.fault.fault
        if name.startswith("http-"):
            await _refusal(active, asked)(scope, receive, send)
        elif name == "html":
            await Response(_HTML, media_type="text/html")(scope, receive, send)
        elif name == "hang":
            await self._hang(active, scope, receive)
        elif name == "reset":
            await _reset(scope, receive)
        elif name in hostile.REDIRECTS:
            await hostile.redirect(name, Request(scope), asked.dialect.host)(scope, receive, send)
        elif name in hostile.LISTINGS:
            await asked.dialect.hostile(name, Request(scope))(scope, receive, send)
        else:
            await self._body(active, scope, receive, send)

    async def _hang(self, active: Active, scope: Scope, receive: Receive) -> None:
        """Send nothing until the client gives up or the fault is switched off; then end the connection."""
        gone = asyncio.ensure_future(_gone(receive))
        while not gone.done() and self._faults.is_on(active):
            await asyncio.wait({gone}, timeout=_CHECKED_EVERY_S)
        if transport := _transport(scope):
            transport.abort()
        await gone

    async def _body(self, active: Active, scope: Scope, receive: Receive, send: Send) -> None:
        start, body = await _captured(self._app, scope, receive)
        half = body[: len(body) // 2]
        name = active.fault.fault
        if start["status"] not in (200, 206) or scope["method"] == "HEAD" or len(body) < 2:
            await _send(send, start, body)
        elif name in ("truncated-silently", "cut-xml"):
            headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
            start["headers"] = [*headers, (b"content-length", str(len(half)).encode())]
            await _send(send, start, half)
        elif name == "drip":
            await self._drip(active, start, body, receive, send)
        elif name == "endless":
            pieces = hostile.again_and_again(body)
            await hostile.stream(hostile.head_of(start), pieces, receive, send, lambda: self._faults.is_on(active))
        elif name == "gzip-bomb":
            head = hostile.head_of(start, content_encoding=b"gzip")
            await hostile.stream(head, hostile.bomb(), receive, send, lambda: self._faults.is_on(active))
        else:
            await send(start)
            await send({"type": "http.response.body", "body": half, "more_body": True})
            if name == "truncated":
                if transport := _transport(scope):
                    transport.close()
                await _gone(receive)
            else:
                await asyncio.sleep(_CHECKED_EVERY_S)  # so that the half arrives before the reset
                await _reset(scope, receive)

    async def _drip(self, active: Active, start: Message, body: bytes, receive: Receive, send: Send) -> None:
        """Send a few bytes at a time; when the fault is switched off, send the rest at once."""
        await send(start)
        gone = asyncio.ensure_future(_gone(receive))
        size, place = active.fault.chunk_bytes, 0
        while place + size < len(body) and self._faults.is_on(active) and not gone.done():
            await send({"type": "http.response.body", "body": body[place : place + size], "more_body": True})
            place += size
            await asyncio.wait({gone}, timeout=active.fault.pause_s)
        await send({"type": "http.response.body", "body": body[place:]})
        gone.cancel()


def _refusal(active: Active, asked: Asked) -> Response:
    """Answer with a status, with the text of the exchange; a limit or a ban as the exchange says it."""
    status, dialect = HTTPStatus(int(active.fault.fault.split("-")[1])), asked.dialect
    wait_s, name = active.fault.retry_after_s, active.fault.fault
    if asked.kind == "rest" and name in ("http-418", "http-429"):
        budget, _ = dialect.charge(asked.kind, asked.path, asked.query)
        return dialect.refused(status, wait_s, budget, None)
    headers = {}
    if name == "http-429-date":
        headers["retry-after"] = format_datetime(datetime.now(UTC) + timedelta(seconds=wait_s), usegmt=True)
    elif status in (418, 429):
        headers["retry-after"] = str(wait_s)
    text, media = dialect.failed(status, status.phrase, asked.kind, asked.key)
    return Response(text, status, headers, media)


async def _captured(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[dict[str, Any], bytes]:
    """Return the start of the true answer and its whole body."""
    start: dict[str, Any] = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    return start, bytes(body)


async def _send(send: Send, start: Message, body: bytes) -> None:
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _gone(receive: Receive) -> None:
    """Return when the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope, receive: Receive) -> None:
    """End the connection with RST, as a host or firewall does for an unknown connection."""
    if transport := _transport(scope):
        # On a copy of the descriptor, because uvloop has no socket object: no lingering means RST (socket(7)).
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await _gone(receive)


def _transport(scope: Scope) -> asyncio.Transport | None:
    """Return the connection of a request; None if the client has ended it already."""
    transport = _transports.get((*scope["client"], *scope["server"]))
    return None if transport is None or transport.is_closing() else transport
