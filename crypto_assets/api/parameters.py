"""The parameters of the paths: types, bounds and descriptions, as in `/openapi.json`.

A value that cannot be read raises a `Problem`. pydantic does not catch it, because it is no ValueError. So every error of the
API has the same four texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlencode

from fastapi import Depends, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
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


def _reads(reader: Callable[[str], Any]) -> BeforeValidator:
    """Return a validator for a sent text. A default, which some versions of FastAPI pass too, stays as it is."""
    return BeforeValidator(lambda value: reader(value) if isinstance(value, str) else value)


def _day(name: str) -> BeforeValidator:
    return _reads(lambda text: day_of(name, text) if text else None)


def _number(name: str, least: int, most: int) -> BeforeValidator:
    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise Problem(400, "not a number in range", f"{name} from {least} to {most}", text)
        return int(text)

    return _reads(read)


def _share(name: str) -> BeforeValidator:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise Problem(400, "not a number in range", f"{name} from 0 to 1", text)
        return value

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
    """The parameters of a request; any other one is an error: a filter with a typing error would give a wrong result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, given: dict[str, Any]) -> dict[str, Any]:
        require_known(given, [field.alias or name for name, field in cls.model_fields.items()])
        return given


def require_known(given: dict[str, Any], known: Sequence[str]) -> None:
    """Raise Problem if a parameter is unknown to the path."""
    for name in given:
        if name not in known:
            raise Problem(400, "unknown parameter", f"some of {', '.join(sorted(known))}", name)


async def _without_parameters(request: Request) -> None:
    require_known(dict(request.query_params), ())


WITHOUT_PARAMETERS = [Depends(_without_parameters)]
"""The dependencies of a path that has no parameter."""


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


class Tracks(Parameters):
    """The requested symbols and datasets; each filter may be repeated."""

    exchange: list[str] = Field([], description="Such as `binance`; may be repeated.")
    market_type: list[str] = Field([], description="`spot`, `linear` or `inverse`; may be repeated.")
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


class Acknowledgements(Paged, Days):
    exchange: str | Unset = Field(None, description="Such as `binance`.")
    market_type: str | Unset = Field(None, description="`spot`, `linear` or `inverse`.")
    symbol: list[str] = Field([], description="May be repeated.")
    dataset: list[str] = Field([], description="May be repeated.")
    withdrawn: Annotated[bool, _flag("withdrawn")] = Field(False, description="Include those that are no longer valid.")
