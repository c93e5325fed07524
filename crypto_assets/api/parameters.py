"""The parameters of the paths: types, bounds and descriptions, as in `/openapi.json`.

A value that cannot be read raises a `Problem`. pydantic does not catch it, because it is no ValueError. So every error of the
API has the same four texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias, get_origin
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from crypto_assets.access.problem import Json, Problem
from crypto_assets.ledger.progress import RunState
from crypto_assets.ledger.score_query import LEVELS
from crypto_assets.model import State
from crypto_assets.model.kinds import Kind

Unset: TypeAlias = SkipJsonSchema[None]
"""The value of a parameter that is not given; a request cannot send `null`."""

LIMIT, MOST = 1_000, 10_000
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)


# ---- reading a value ------------------------------------------------------------------------------------------------


def day_of(name: str, text: str) -> date:
    """Return a day from a request: within the years of possible trading, and with room for the day after it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "not a day", f"{name} like 2024-01-31", text) from None
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise Problem(400, "not a day in range", f"{name} from {_FIRST_DAY} to {_LAST_DAY}", text)
    return day


def require_order(first: date | None, last: date | None) -> None:
    """Raise Problem if the last day is before the first: an empty answer would look like "nothing is missing"."""
    if first and last and last < first:
        raise Problem(400, "days in the wrong order", "to on the day of from, or later", f"from {first} to {last}")


def _reads(reader: Callable[[str], Any]) -> BeforeValidator:
    """Return a validator for a sent text. A default, which some versions of FastAPI pass too, stays as it is."""
    return BeforeValidator(lambda value: reader(value) if isinstance(value, str) else value)


def _day(name: str) -> BeforeValidator:
    return _reads(lambda text: day_of(name, text) if text else None)


def _number(name: str, least: int, most: int) -> BeforeValidator:
    def read(text: str) -> int:
        # `int` and `isdecimal` also take the digits of other scripts.
        if not re.fullmatch("[0-9]{1,20}", text) or not least <= int(text) <= most:
            raise Problem(400, "not a number in range", f"{name} from {least} to {most}", text)
        return int(text)

    return _reads(read)


def _share(name: str) -> BeforeValidator:
    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", text) or not 0 <= float(text) <= 1:
            raise Problem(400, "not a number in range", f"{name} from 0 to 1, like 0.999", text)
        return float(text)

    return _reads(read)


def _flag(name: str) -> BeforeValidator:
    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise Problem(400, "not a boolean", f"{name}=true or {name}=false", text)
        return text == "true"

    return _reads(read)


def _each(name: str, words: type[StrEnum]) -> BeforeValidator:
    known = {word.value for word in words}

    def read(texts: list[str]) -> list[str]:
        for text in texts:
            if text not in known:
                raise Problem(400, f"unknown {name}", f"one of {', '.join(words)}", text)
        return texts

    return BeforeValidator(read)


def _level(text: str) -> str:
    if text and text not in LEVELS:
        raise Problem(400, "unknown level", f"by={' or by='.join(LEVELS)}", text)
    return text or "symbol"


# ---- the parameters of a path ---------------------------------------------------------------------------------------


class Parameters(BaseModel):
    """The parameters of a request; `require_known` refuses others before."""

    model_config = ConfigDict(frozen=True, extra="forbid")


async def require_known(request: Request) -> None:
    """Raise Problem for a parameter that the path does not take, or takes only once; a dependency of every path.

    A filter with a typing error would give a wrong result, as would one of two values that exclude each other.
    """
    known, where = _known(request.scope["route"]), f"{request.method} {request.url.path}"
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            expected = f"some of {', '.join(sorted(known))}" if known else f"no parameters: {where} takes none"
            raise Problem(400, "unknown parameter", expected, name)
        if times > 1 and get_origin(known[name].annotation) is not list:
            found = ", ".join(request.query_params.getlist(name))
            raise Problem(400, "repeated parameter", f"{name} once", found)


def _known(route: APIRoute) -> Mapping[str, FieldInfo]:
    """Return the parameters of a path by their names in a request."""
    models = [one.field_info.annotation for one in route.dependant.query_params]
    return {
        field.alias or name: field
        for model in models
        if isinstance(model, type) and issubclass(model, Parameters)
        for name, field in model.model_fields.items()
    }


class Paged(Parameters):
    """The requested part of a long answer."""

    limit: Annotated[int, _number("limit", 1, MOST)] = Field(LIMIT, ge=1, le=MOST, description="Items of a page.")
    offset: Annotated[int, _number("offset", 0, 2**62)] = Field(0, ge=0, le=2**62, description="Items to skip.")

    def answer(self, request: Request, items: Sequence[Any]) -> Response:
        """Return `limit` items, and the path of the rest; `items` has one more than `limit` if there is a rest."""
        following = None
        if len(items) > self.limit:
            kept = [(key, value) for key, value in request.query_params.multi_items() if key != "offset"]
            following = f"{request.url.path}?{urlencode([*kept, ('offset', self.offset + self.limit)])}"
        return Json({"items": items[: self.limit], "next": following})


class Days(Parameters):
    """The requested days, UTC, both included."""

    first: Annotated[date | Unset, _day("from")] = Field(None, alias="from", description="First day, like 2024-01-31.")
    last: Annotated[date | Unset, _day("to")] = Field(None, alias="to", description="Last day, included.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        require_order(self.first, self.last)
        return self


class Tracks(Parameters):
    """The requested symbols and datasets; each filter may be repeated."""

    exchange: list[str] = Field([], description="Such as `binance`; may be repeated.")
    market_type: list[str] = Field([], description="`spot`, `linear`, `inverse` or `news`; may be repeated.")
    symbol: list[str] = Field([], description="Such as `BTC/USDT`, `BTC/USDT:USDT`; may be repeated.")
    dataset: list[str] = Field([], description="Such as `ohlcv_1m`; may be repeated.")


class TrackDays(Paged, Days, Tracks):
    """Some symbols and datasets over some days."""


class Incidents(TrackDays):
    kind: Annotated[list[Kind], _each("kind", Kind)] = Field([], description="May be repeated.")


class Partitions(TrackDays):
    state: Annotated[list[State], _each("state", State)] = Field([], description="May be repeated.")


class Objects(Paged):
    exchange: list[str] = Field([], description="Such as `binance`; may be repeated.")
    prefix: str | Unset = Field(None, description="The beginning of the key.")


class Runs(Paged):
    state: Annotated[list[RunState], _each("state", RunState)] = Field([], description="May be repeated.")


class Quality(TrackDays):
    by: Annotated[Literal["partition", "symbol", "series", "exchange"], _reads(_level)] = Field(
        "symbol", description="What one item describes."
    )
    below: Annotated[Annotated[float, Field(ge=0, le=1)] | Unset, _share("below")] = Field(
        None, description="Only items under this score; not together with `trend`."
    )
    trend: Annotated[bool, _flag("trend")] = Field(False, description="The history of the scores, day by day.")


class Acknowledgements(TrackDays):
    withdrawn: Annotated[bool, _flag("withdrawn")] = Field(False, description="Include those that are no longer valid.")
