"""The bodies of changes: JSON objects of texts, as in `/openapi.json`.

`bounds.body` reads them, with limits of size and time; FastAPI has no such limits.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Self, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from crypto_assets.access.problem import Problem
from crypto_assets.api.bounds import body
from crypto_assets.api.parameters import day_of, require_order

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scope(Body):
    """A scope: exactly one of `scope`, `exchange` and `run`."""

    scope: str = Field("", description="`all`, `exchange:…` or `run:…`.")
    exchange: str = Field("", description="Every request to this exchange.")
    run: str = Field("", description="The id of a run, or its beginning.")


class Pause(Scope):
    reason: str = Field("", description="Why; shown with the pause.")
    who: str = Field("API", description="Who requests it.")


class Cancel(Body):
    reason: str = Field("", description="Why; stored with the run.")
    who: str = Field("API", description="Who requests it.")


class Gaps(Body):
    """Days of one symbol of one dataset."""

    exchange: str = Field(description="Such as `binance`.")
    market_type: str = Field(description="`spot`, `linear`, `inverse` or `news`.")
    symbol: str = Field(description="Such as `BTC/USDT`, `BTC/USDT:USDT`.")
    dataset: str = Field(description="Such as `ohlcv_1m`.")
    first: Annotated[date, BeforeValidator(lambda text: day_of("from", text))] = Field(
        alias="from", description="First day, like 2024-01-31."
    )
    last: Annotated[date | SkipJsonSchema[None], BeforeValidator(lambda text: day_of("to", text))] = Field(
        None, alias="to", description="Last day, included; default: the first day."
    )
    reason: str = Field("", description="Why.")
    who: str = Field("API", description="Who requests it.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        require_order(self.first, self.last)
        return self


def read(model: type[B]) -> Any:
    """Return the dependency that reads a body; it raises Problem if the body is not such an object."""
    fields = {field.alias or name: field.is_required() for name, field in model.model_fields.items()}
    required = [name for name, needed in fields.items() if needed]

    async def given(request: Request) -> B:
        found = await body(request, fields)
        for name in required:
            if not found.get(name):
                raise Problem(400, "a field is missing", f"all of {', '.join(required)}", f"no {name}")
        for name, value in found.items():
            if not value.strip():
                raise Problem(400, "empty text", f"{name} with a text, or no {name}", "an empty text")
        return model.model_validate(found)

    return Depends(given)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of `/openapi.json` about a body that FastAPI does not read itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}
