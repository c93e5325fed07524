"""Who may ask: programs on this machine. A web page that a browser shows must not, from wherever it came.

A page can make a browser send requests to 127.0.0.1, with its own Origin (CSRF), or under a name of its own that resolves to
127.0.0.1 (DNS rebinding). So the Host must be a name of loopback, an Origin too where there is one, and a change must be
JSON, which a page cannot send to another origin without asking first.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from crypto_assets.api.answers import Problem

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OnlyFromHere:
    """Middleware that refuses requests which a foreign page may have caused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (problem := _problem(Request(scope))) is not None:
            await problem.answer()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _problem(request: Request) -> Problem | None:
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if _name(f"http://{host}") not in _LOOPBACK:
        return Problem(
            403, "foreign Host", f"one of {', '.join(_LOOPBACK)}", host, "ask 127.0.0.1; a proxy must set the Host so"
        )
    if origin is not None and _name(origin) not in _LOOPBACK:
        return Problem(403, "foreign Origin", "none, or one of this machine", origin, "ask from a program, not a page")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Problem(415, "not JSON", "Content-Type: application/json", kind or "none", "send that header")
    return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
