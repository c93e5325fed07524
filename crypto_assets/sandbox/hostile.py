"""Answers of a malicious host: compression bombs, endless bodies and listings, redirects elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Send

from crypto_assets.sandbox.objects import ObjectInfo
from crypto_assets.sandbox.s3_listing import MOST_ENTRIES, Page, Query, page_xml

_MB = 1 << 20
_DEPTH = 1_000_000

Head = dict[str, Any]

REDIRECTS = ("redirect-host", "redirect-loopback", "redirect-http", "redirect-loop")
LISTINGS = ("endless-pages", "deep-xml", "terminal-codes")


def listing(fault: str, request: Request) -> Response:
    """Return the page of one of `LISTINGS`, in the words of S3."""
    if fault == "endless-pages":
        return endless_page(request)
    return deep_page() if fault == "deep-xml" else page_with_codes(request)


def redirect(name: str, request: Request, host: str) -> Response:
    """Return a redirect that the client must not follow; `host` is one of the exchange."""
    target = {
        "redirect-host": f"https://elsewhere.example{request.url.path}",
        "redirect-loopback": f"http://127.0.0.1:{(request.url.port or 80) ^ 1}{request.url.path}",
        "redirect-http": f"http://{host}{request.url.path}",
        "redirect-loop": str(request.url),
    }[name]
    return RedirectResponse(target, 302)


def endless_page(request: Request) -> Response:
    """Return a page of a listing that has a next page, always with new keys after the requested ones."""
    query = Query.parse(request.query_params)
    start = f"{query.prefix}~"  # after all existing names
    told = query.after.removeprefix(start).rstrip("/")
    first = int(told) + 1 if query.after.startswith(start) and told.isdigit() else 0
    names = [f"{start}{number:012d}" for number in range(first, first + min(query.max_keys, MOST_ENTRIES))]
    if query.delimiter:
        page = Page(prefixes=[f"{name}{query.delimiter}" for name in names], truncated=True)
        page.last = page.prefixes[-1]
    else:
        now = datetime.now(UTC)
        page = Page(objects=[ObjectInfo(name, 1, "0" * 32, now) for name in names], truncated=True, last=names[-1])
    return Response(page_xml("endless", query, page), media_type="application/xml")


@cache
def deep_page() -> Response:
    """Return a page of 7 MB of nested elements; parsed, they take 1 GB."""
    return Response(b"<a>" * _DEPTH + b"</a>" * _DEPTH, media_type="application/xml")


def page_with_codes(request: Request) -> Response:
    """Return a page with a key that controls a terminal, with the codes allowed in XML: C1, DEL, and text direction."""
    prefix = Query.parse(request.query_params).prefix
    key = f"{prefix}\x9d0;owned\x9c\x7f\u202e\u2028binance spot forged: available"
    entry = f"<Contents><Key>{key}</Key><Size>\x9b2J</Size><LastModified>\x9b2J</LastModified></Contents>"
    page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>"
    return Response(page.encode(), media_type="application/xml")


def bomb() -> Iterator[bytes]:
    """Yield endless gzip, a thousandth of its unpacked size; each piece unpacks to 16 MB of zeros."""
    first, others = _bomb_pieces()
    yield first
    yield from itertools.repeat(others)


@cache
def _bomb_pieces() -> tuple[bytes, bytes]:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(16 * _MB)
    # After a full flush nothing refers to earlier data, so the second piece can be repeated.
    first, second = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first, second


async def stream(
    head: Head, pieces: Iterator[bytes], receive: Receive, send: Send, goes_on: Callable[[], bool]
) -> None:
    """Send pieces until there are no more, the client leaves, or the fault is switched off."""
    await send(head)
    gone = asyncio.ensure_future(_gone(receive))
    for piece in pieces:
        if gone.done() or not goes_on():
            break
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # to notice the end of the connection
    await send({"type": "http.response.body", "body": b""})
    gone.cancel()


def head_of(start: Head, **more: bytes) -> Head:
    """Return the head of the true answer without its length, with extra headers."""
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": [*headers, *((name.replace("_", "-").encode(), value) for name, value in more.items())]}


def again_and_again(body: bytes) -> Iterator[bytes]:
    """Yield a body endlessly, in pieces of a sensible size."""
    return itertools.repeat(body * max(1, 65_536 // max(1, len(body))) or b"\n")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
