"""Refuse requests to the API and the Dagster UI that a foreign web page caused.

A foreign page can make a browser send requests to 127.0.0.1, with the page's own Origin (CSRF), or under a name of its own
that resolves to 127.0.0.1 (DNS rebinding), and also as a WebSocket, which browsers do not restrict. Therefore the Host must
be a loopback name, an Origin, if present, must have exactly the same host and port (a page of another server on this machine
is foreign too), and a change must be JSON, which a page cannot send to another origin without a preflight request.
"""

from __future__ import annotations

import re

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from crypto_assets.access.problem import Problem

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Nothing else that a parser of URLs would take apart: no user, no path, no second name.
_HOST = re.compile(rf"({'|'.join(map(re.escape, _LOOPBACK))})(:[0-9]{{1,5}})?", re.IGNORECASE)
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class OnlyFromHere:
    """Middleware that refuses requests and WebSockets that a foreign page may have caused.

    Args:
        only_json: refuses changes that are not JSON; otherwise the app does so (`not_json`).
    """

    def __init__(self, app: ASGIApp, *, only_json: bool = True) -> None:
        self._app = app
        self._only_json = only_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (problem := self._problem(HTTPConnection(scope))) is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            # Not accepted yet: the server answers 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": problem.error})
        else:
            await problem.answer()(scope, receive, send)

    def _problem(self, asked: HTTPConnection) -> Problem | None:
        return _foreign(asked) or (not_json(asked) if self._only_json else None)


def _foreign(asked: HTTPConnection) -> Problem | None:
    host, origin = asked.headers.get("host", ""), asked.headers.get("origin")
    if not _HOST.fullmatch(host):
        return Problem(
            403, "foreign Host", f"one of {', '.join(_LOOPBACK)}", host, "ask 127.0.0.1; a proxy must set this Host"
        )
    if origin is not None and not _is_own(origin, host):
        return Problem(403, "foreign Origin", f"none, or http://{host}", origin, "ask from a program, not a page")
    return None


def not_json(asked: HTTPConnection) -> Problem | None:
    """Return why a change is refused that is not JSON; None for everything else."""
    if asked.scope["type"] == "http" and asked.scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Problem(415, "not JSON", "Content-Type: application/json", kind or "none", "send that header")
    return None


def _is_own(origin: str, host: str) -> bool:
    scheme, separator, place = origin.partition("://")
    return scheme in ("http", "https") and bool(separator) and place.lower() == host.lower()
