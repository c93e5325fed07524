"""The sandbox's HTTP application: the exchanges of `dialects/`, with faults and limits, and a record of the requests.

GET {root}{key}          one object: ETag, Last-Modified, Range, If-None-Match; other exchanges' keys begin with archive/
GET {root}/listing…      a listing, usually S3 ListObjects (version 2 with list-type=2); the root is / or /{exchange}/
{root}/…                 REST, see each dialect
/_sandbox/requests       GET: requests so far, counted by class and one by one; DELETE forgets them
/_sandbox/faults         GET: active faults, and all known ones; POST {"fault": …} switches on; DELETE[/number] switches off
/_sandbox/limits         GET[?window=1&amount=20]: what arrived, by client; POST {"rates": ["20/s"], …}; DELETE forgets
/_sandbox/exchanges      GET: the addresses of all exchanges, as the collection's `exchanges:` wants them

`app.state.overrides` (Binance's; `overrides_of[exchange]` of any) maps a key to other bytes, or to None for a deleted object.
Listings follow. A `.CHECKSUM` is a separate key and does not follow its zip, so a test decides whether they agree. Faults
(`app.state.faults`) are applied on top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto_assets.sandbox.archive import Source
from crypto_assets.sandbox.control_routes import InFlight, RecordedRequest, control_routes
from crypto_assets.sandbox.dialects import Dialects, known, xml
from crypto_assets.sandbox.faults import Faults
from crypto_assets.sandbox.objects import ObjectInfo
from crypto_assets.sandbox.outage import Quiet
from crypto_assets.sandbox.request_limits import FIRST, LimitedWire, Limits
from crypto_assets.sandbox.s3_listing import error_xml
from crypto_assets.sandbox.shown import Shown
from crypto_assets.sandbox.wire import FaultyWire
from crypto_assets.sandbox.world import World

LISTING_SECONDS = 5.0
"""Seconds that one listing may generate objects before its page ends early."""

_BYTE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def create_app(source: Source) -> Starlette:
    """Return the ASGI app that serves `source`."""
    dialects = dialects_of(source)
    recorded: list[RecordedRequest] = []
    in_flight = InFlight()
    faults = Faults(_quiet_of(source))
    limits = Limits()
    overrides: dict[str, dict[str, bytes | None]] = {name: {} for name in dialects}
    shown = {name: Shown(dialect, faults, overrides[name]) for name, dialect in dialects.items()}

    async def answer(request: Request) -> Response:
        asked = dialects.asked(request.scope)
        if asked is None:
            return xml(error_xml("NoSuchKey", "The specified key does not exist.", request.url.path), 404)
        view = shown[asked.dialect.name]
        if asked.kind == "listing":
            return await asked.dialect.list(request, view.to_listing(asked.key), LISTING_SECONDS)
        return await run_in_threadpool(_answer, view, asked.key, request)

    rest = (
        Route(f"{dialect.root}{path}", endpoint)
        for dialect in dialects.values()
        if isinstance(source, World)
        for path, endpoint in dialect.rest().items()
    )
    app = Starlette(
        routes=[*control_routes(recorded, in_flight, faults, limits, dialects), *rest, Route("/{path:path}", answer)]
    )
    app.state.source = source
    app.state.dialects = dialects
    app.state.overrides_of = overrides
    app.state.overrides = overrides[FIRST]
    app.state.requests = recorded
    app.state.faults = faults
    app.state.limits = limits
    # The last middleware sees a request first.
    app.add_middleware(FaultyWire, faults=faults, dialects=dialects)
    app.add_middleware(LimitedWire, limits=limits, dialects=dialects)
    app.add_middleware(_Recorder, dialects=dialects, recorded=recorded, in_flight=in_flight, synthetic=source.synthetic)
    return app


def dialects_of(source: Source) -> Dialects:
    """Return all dialects of a world; the files of a folder are served as Binance's, without REST."""
    if isinstance(source, World):
        return Dialects({name: dialect(source) for name, dialect in known().items()})
    first = known()[FIRST](World({}))
    first.archive = source
    return Dialects({FIRST: first})


def _quiet_of(source: Source) -> Callable[[Sequence[Quiet]], None]:
    """Return the function that changes when a source's market trades; it raises ValueError for files of a folder."""

    def change(quiet: Sequence[Quiet]) -> None:
        if not isinstance(source, World):
            raise ValueError("expected the synthetic market, found files of a folder, which cannot change")
        source.stand_still(quiet)

    return change


def _answer(shown: Shown, key: str, request: Request) -> Response:
    """Answer GET or HEAD of one object. Blocks while the object is generated or read."""
    wanted = shown.to_download(key)
    info = wanted.info()
    if info is None:
        return shown.dialect.missing(key)
    etag = f'"{info.etag}"'
    headers = _headers(shown, info, etag)
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    try:
        part = _byte_range(request, etag, info.size)
    except ValueError:
        headers = {"content-range": f"bytes */{info.size}"}
        return xml(error_xml("InvalidRange", "The requested range is not satisfiable", key), 416, headers)
    length = info.size
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{info.size}"
        length = part.stop - part.start
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers | {"content-length": str(length)})
    content = wanted.read()
    if content is None:  # removed after its size was read
        return shown.dialect.missing(key)
    return Response(content if part is None else content[part], status, headers)


def _byte_range(request: Request, etag: str, size: int) -> slice | None:
    """Return the requested bytes; None means all. A request for several ranges gets all bytes, as HTTP allows.

    Raises:
        ValueError: the range lies behind the end.
    """
    match = _BYTE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None  # not a range
    if start >= stop:
        raise ValueError(f"bytes {first}-{last} of {size}")
    return slice(start, stop)


def _headers(shown: Shown, info: ObjectInfo, etag: str) -> dict[str, str]:
    headers = {
        "etag": etag,
        "last-modified": format_datetime(info.last_modified, usegmt=True),
        "accept-ranges": "bytes",
        "content-type": shown.dialect.media_type(info.key),
    }
    return shown.dialect.described(info, headers)


class _Recorder:
    """Records requests before they are answered, and marks every answer with synthetic data."""

    def __init__(
        self, app: ASGIApp, dialects: Dialects, recorded: list[RecordedRequest], in_flight: InFlight, synthetic: bool
    ) -> None:
        self._app = app
        self._dialects = dialects
        self._recorded = recorded
        self._in_flight = in_flight
        self._synthetic = synthetic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = self._dialects.asked(scope)
        if asked is not None:
            exchange = asked.dialect.name
            self._recorded.append(RecordedRequest(asked.kind, scope["method"], scope["path"], asked.query, exchange))

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start" and self._synthetic:
                MutableHeaders(scope=message)["x-synthetic"] = "true"
            await send(message)

        if asked is None:
            await self._app(scope, receive, say)
            return
        self._in_flight.begin()
        try:
            await self._app(scope, receive, say)
        finally:
            self._in_flight.end()
