"""The sandbox's HTTP side: objects, listings, and a record of what was asked.

GET /{key}               one object: ETag, Last-Modified, Range, If-None-Match; 404 is S3's NoSuchKey
GET /listing?prefix=…    S3 ListObjects (version 2 with list-type=2); /listing/{key} serves the object too, as S3 does
GET /_sandbox/requests   requests so far, counted by class and one by one; DELETE forgets them

`app.state.overrides` maps a key to other bytes, or to None: the object is gone. Listings follow. A `.CHECKSUM` is a key
of its own and does not follow its zip, so a test decides whether they agree.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto_assets.sandbox.archive import CHECKSUM, ObjectInfo, Source
from crypto_assets.sandbox.listing import Query, QueryError, error_xml, list_page, page_xml

LISTING_SECONDS = 5.0
"""How long one listing may generate objects before its page ends early."""

_BYTE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request, as it came in. `kind` is listing, checksum or object."""

    kind: str
    method: str
    path: str
    query: str


class _Overridden:
    """A source with the replaced objects of `overrides` on top. They are as new as the server."""

    def __init__(self, source: Source, overrides: dict[str, bytes | None]) -> None:
        self._source = source
        self._overrides = overrides
        self._started = datetime.now(UTC)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        replaced = dict(self._overrides)
        ours = sorted(k for k, content in replaced.items() if content is not None and k > after)
        theirs = (key for key in self._source.keys(prefix, after) if key not in replaced)
        yield from heapq.merge(theirs, (key for key in ours if key.startswith(prefix)))

    def info(self, key: str) -> ObjectInfo | None:
        if key not in self._overrides:
            return self._source.info(key)
        content = self._overrides[key]
        if content is None:
            return None
        return ObjectInfo(key, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest(), self._started)

    def read(self, key: str) -> bytes | None:
        return self._overrides[key] if key in self._overrides else self._source.read(key)


def create_app(source: Source) -> Starlette:
    """Return the ASGI app that serves `source`."""
    overrides: dict[str, bytes | None] = {}
    recorded: list[RecordedRequest] = []
    objects = _Overridden(source, overrides)

    async def listing(request: Request) -> Response:
        try:
            query = Query.parse(request.query_params)
            page = await run_in_threadpool(list_page, objects, query, LISTING_SECONDS)
        except QueryError as error:
            return _xml(error_xml("InvalidArgument", str(error)), 400)
        return _xml(page_xml(source.name, query, page))

    async def download(request: Request) -> Response:
        key = request.path_params["key"]
        response = await run_in_threadpool(_answer, objects, key, request)
        return await deliver(request, key, response)

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            recorded.clear()
        counts = Counter(item.kind for item in recorded)
        return JSONResponse({"counts": counts, "requests": [asdict(item) for item in recorded]})

    app = Starlette(
        routes=[
            Route("/_sandbox/requests", requests, methods=["GET", "DELETE"]),
            Route("/listing", listing),
            Route("/listing/{key:path}", download),
            Route("/{key:path}", download),
        ]
    )
    app.state.source = source
    app.state.overrides = overrides
    app.state.requests = recorded
    app.add_middleware(_Recorder, recorded=recorded, synthetic=source.synthetic)
    return app


async def deliver(request: Request, key: str, response: Response) -> Response:  # noqa: ARG001 - a fault will need them
    """Every answer about an object, errors too, passes here on its way out: the place for faults on demand."""
    return response


def _answer(objects: _Overridden, key: str, request: Request) -> Response:
    """Answer GET or HEAD of one object. Blocks while the object is generated or read."""
    info = objects.info(key)
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
    content = objects.read(key)
    if content is None:  # removed between the two looks
        return _xml(error_xml("NoSuchKey", "The specified key does not exist.", key), 404)
    return Response(content if part is None else content[part], status, headers)


def _byte_range(request: Request, etag: str, size: int) -> slice | None:
    """Return the bytes asked for; None means all of them. Several ranges at once are answered with all, as allowed.

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
            return None  # not a range at all
    if start >= stop:
        raise ValueError(f"bytes {first}-{last} of {size}")
    return slice(start, stop)


def _xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/xml")


class _Recorder:
    """Records requests before they are answered, and says on every answer when the data is synthetic."""

    def __init__(self, app: ASGIApp, recorded: list[RecordedRequest], synthetic: bool) -> None:
        self._app = app
        self._recorded = recorded
        self._synthetic = synthetic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if not path.startswith("/_sandbox/"):
            kind = "listing" if path == "/listing" else "checksum" if path.endswith(CHECKSUM) else "object"
            self._recorded.append(RecordedRequest(kind, scope["method"], path, scope["query_string"].decode("latin-1")))

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start" and self._synthetic:
                MutableHeaders(scope=message)["x-synthetic"] = "true"
            await send(message)

        await self._app(scope, receive, say)
