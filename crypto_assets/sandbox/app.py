"""The sandbox's HTTP application: objects, listings, and a record of the requests.

GET /{key}               one object: ETag, Last-Modified, Range, If-None-Match; 404 is S3's NoSuchKey
GET /listing?prefix=…    S3 ListObjects (version 2 with list-type=2); /listing/{key} serves the object too, as S3 does
/api/v3/…, /fapi/v1/…    the REST API, see `rest.py`
/_sandbox/requests       GET: requests so far, counted by class and one by one; DELETE forgets them
/_sandbox/faults         GET: active faults, and all known ones; POST {"fault": …} switches on; DELETE[/number] switches off
/_sandbox/limits         GET[?window=1&amount=20]: what arrived, by client; POST {"rates": ["20/s"], …}; DELETE forgets

`app.state.overrides` maps a key to other bytes, or to None for a deleted object. Listings follow. A `.CHECKSUM` is a separate
key and does not follow its zip, so a test decides whether they agree. Faults (`app.state.faults`) are applied on top.
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

from crypto_assets.sandbox.archive import CHECKSUM, Source, SyntheticArchive
from crypto_assets.sandbox.control_routes import InFlight, RecordedRequest, control_routes
from crypto_assets.sandbox.faults import Faults
from crypto_assets.sandbox.outage import Quiet
from crypto_assets.sandbox.request_limits import LimitedWire, Limits
from crypto_assets.sandbox.rest_api import rest_routes
from crypto_assets.sandbox.s3_listing import Query, QueryError, error_xml, list_page, page_xml
from crypto_assets.sandbox.shown import Overridden, Shown
from crypto_assets.sandbox.wire import FaultyWire, classify

LISTING_SECONDS = 5.0
"""Seconds that one listing may generate objects before its page ends early."""

_BYTE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def create_app(source: Source) -> Starlette:
    """Return the ASGI app that serves `source`."""
    overrides: dict[str, bytes | None] = {}
    recorded: list[RecordedRequest] = []
    in_flight = InFlight()
    faults = Faults(_quiet_of(source))
    limits = Limits()
    shown = Shown(Overridden(source, overrides), faults)

    async def listing(request: Request) -> Response:
        try:
            query = Query.parse(request.query_params)
            page = await run_in_threadpool(list_page, shown.to_listing(query.prefix), query, LISTING_SECONDS)
        except QueryError as error:
            return _xml(error_xml("InvalidArgument", str(error)), 400)
        return _xml(page_xml(source.name, query, page))

    async def download(request: Request) -> Response:
        return await run_in_threadpool(_answer, shown, request.path_params["key"], request)

    app = Starlette(
        routes=[
            *control_routes(recorded, in_flight, faults, limits),
            *(rest_routes(source) if isinstance(source, SyntheticArchive) else ()),
            Route("/listing", listing),
            Route("/listing/{key:path}", download),
            Route("/{key:path}", download),
        ]
    )
    app.state.source = source
    app.state.overrides = overrides
    app.state.requests = recorded
    app.state.faults = faults
    app.state.limits = limits
    # The last middleware sees a request first.
    app.add_middleware(FaultyWire, faults=faults)
    app.add_middleware(LimitedWire, limits=limits)
    app.add_middleware(_Recorder, recorded=recorded, in_flight=in_flight, synthetic=source.synthetic)
    return app


def _quiet_of(source: Source) -> Callable[[Sequence[Quiet]], None]:
    """Return the function that changes when a source's market trades; it raises ValueError for files of a folder."""

    def change(quiet: Sequence[Quiet]) -> None:
        if not isinstance(source, SyntheticArchive):
            raise ValueError("expected the synthetic market, found files of a folder, which cannot change")
        source.stand_still(quiet)

    return change


def _answer(shown: Shown, key: str, request: Request) -> Response:
    """Answer GET or HEAD of one object. Blocks while the object is generated or read."""
    wanted = shown.to_download(key)
    info = wanted.info()
    if info is None:
        return _xml(error_xml("NoSuchKey", "The specified key does not exist.", key), 404)
    etag = f'"{info.etag}"'
    headers = {
        "etag": etag,
        "last-modified": format_datetime(info.last_modified, usegmt=True),
        "accept-ranges": "bytes",
        "content-type": "binary/octet-stream" if key.endswith(CHECKSUM) else "application/zip",
    }
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    try:
        part = _byte_range(request, etag, info.size)
    except ValueError:
        headers = {"content-range": f"bytes */{info.size}"}
        return _xml(error_xml("InvalidRange", "The requested range is not satisfiable", key), 416, headers)
    length = info.size
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{info.size}"
        length = part.stop - part.start
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers | {"content-length": str(length)})
    content = wanted.read()
    if content is None:  # removed after its size was read
        return _xml(error_xml("NoSuchKey", "The specified key does not exist.", key), 404)
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


def _xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/xml")


class _Recorder:
    """Records requests before they are answered, and marks every answer with synthetic data."""

    def __init__(self, app: ASGIApp, recorded: list[RecordedRequest], in_flight: InFlight, synthetic: bool) -> None:
        self._app = app
        self._recorded = recorded
        self._in_flight = in_flight
        self._synthetic = synthetic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = classify(scope)
        if asked is not None:
            query = scope["query_string"].decode("latin-1")
            self._recorded.append(RecordedRequest(asked[0], scope["method"], scope["path"], query))

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
