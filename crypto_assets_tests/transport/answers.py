"""Answers of an odd server: what a host says, in the order in which it says it; and as what it is asked."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from crypto_assets.sources.limits import Endpoint

ARCHIVE = Endpoint("binance", "archive", "archive")


def statuses(*codes: int, headers: dict[str, str] | None = None):
    """Answer with these statuses one after the other, and with the last one for ever."""
    left = list(codes)

    async def answer(request):
        code = left.pop(0) if len(left) > 1 else left[0]
        return Response("body" if code == 200 else "no", code, headers if code != 200 else None)

    return answer


def in_turn(*answers):
    """Give each answer, made of the request, once."""
    left = list(answers)

    async def answer(request):
        return left.pop(0)(request)

    return answer


async def endless(piece: bytes, start: bytes = b""):
    """The pieces of a body without an end, until the client leaves."""
    yield start
    while True:
        yield piece
        await asyncio.sleep(0)  # so that the server notices that the client is gone
