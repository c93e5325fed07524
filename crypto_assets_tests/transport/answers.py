"""An odd server: answers with given statuses and bodies in a given order, and the endpoints to request them as."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from crypto_assets.sources.limits import Endpoint

ARCHIVE = Endpoint("binance", "archive", "archive")


def statuses(*codes: int, headers: dict[str, str] | None = None):
    """Answer with these statuses in turn, and then always with the last one."""
    left = list(codes)

    async def answer(request):
        code = left.pop(0) if len(left) > 1 else left[0]
        return Response("body" if code == 200 else "no", code, headers if code != 200 else None)

    return answer


def in_turn(*answers):
    """Give each answer once, built from the request."""
    left = list(answers)

    async def answer(request):
        return left.pop(0)(request)

    return answer


async def endless(piece: bytes, start: bytes = b""):
    """The pieces of an endless body, until the client disconnects."""
    yield start
    while True:
        yield piece
        await asyncio.sleep(0)  # so that the server notices that the client has disconnected
