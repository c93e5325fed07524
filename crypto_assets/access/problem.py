"""Refusals and errors as JSON: what was expected, what was found and what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from starlette.responses import JSONResponse, Response

from crypto_assets.text.visible import visible_json

_SHOWN = 1_000


@dataclass(slots=True)
class Problem(Exception):
    """An answer that reports a problem."""

    status: int
    error: str
    expected: str
    found: str
    what_to_do: str = "see docs/reference/http.md"

    def answer(self) -> Response:
        fields = ("error", "expected", "found", "what_to_do")
        return Json({name: shortened(getattr(self, name)) for name in fields}, self.status)


class Json(JSONResponse):
    """JSON with days and instants in ISO 8601 and decimals as text."""

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":"))
        return visible_json(text).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return str(value)


def shortened(text: str) -> str:
    """Return the beginning of a value from a request, to show what was found."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
