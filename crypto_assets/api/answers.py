"""Parameters and answers of the API: JSON in and out, errors that say what was expected, found and to be done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.access.problem import Json, Problem

LIMIT, MOST = 1_000, 10_000
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a long answer was asked for."""

    limit: int
    offset: int

    def answer(self, request: Request, items: Sequence[Any]) -> Response:
        """Return the items, one more than the limit where there are more, and the path of the rest."""
        more = len(items) > self.limit
        following = None
        if more:
            kept = [(key, value) for key, value in request.query_params.multi_items() if key != "offset"]
            following = f"{request.url.path}?{urlencode([*kept, ('offset', self.offset + self.limit)])}"
        return Json({"items": items[: self.limit], "next": following})


def day_of(name: str, text: str) -> date:
    """Return a day that somebody wrote: one at which something can have been traded, with room for the day after it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "not a day", f"{name} like 2024-01-31", text) from None
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise Problem(400, "not a day in range", f"{name} from {_FIRST_DAY} to {_LAST_DAY}", text)
    return day


class Query:
    """The parameters of a request; every one that is not asked for is an error, for a filter with a typing error lies."""

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        self._given = request.query_params
        known = set(known)
        for name in self._given:
            if name not in known:
                raise Problem(400, "unknown parameter", f"some of {', '.join(sorted(known))}", name)

    def one(self, name: str) -> str | None:
        return self._given.get(name)

    def many(self, name: str) -> list[str] | None:
        """Return all values of a parameter that may stand several times, or None."""
        return self._given.getlist(name) or None

    def day(self, name: str) -> date | None:
        text = self._given.get(name)
        return day_of(name, text) if text else None

    def share(self, name: str) -> float | None:
        """Return a number from 0 to 1, or None."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise Problem(400, "not a number in range", f"{name} from 0 to 1", text)
        return value

    def flag(self, name: str) -> bool:
        text = self._given.get(name, "false")
        if text not in ("true", "false"):
            raise Problem(400, "not a truth value", f"{name}=true or {name}=false", text)
        return text == "true"

    @property
    def page(self) -> Page:
        return Page(self._number("limit", LIMIT, 1, MOST), self._number("offset", 0, 0, 2**62))

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._given.get(name, str(default))
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise Problem(400, "not a number in range", f"{name} from {least} to {most}", text)
        return int(text)
