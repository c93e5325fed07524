"""Circuit breakers, limits and cool-downs."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Response

from crypto_assets.access.problem import Json
from crypto_assets.api import answers
from crypto_assets.api.context import Here
from crypto_assets.transport import limit_state
from crypto_assets.transport.breaker import Breaker

router = APIRouter(prefix="/v1", tags=["limits"])


@router.get("/breakers", response_model=answers.Items[Breaker])
def breakers(here: Here) -> Response:
    """Circuit breakers that are open or have counted failures."""
    return Json({"items": [asdict(breaker) for breaker in limit_state.snapshot(here.ledger).breakers]})


@router.get("/limits", response_model=answers.Limits)
def limits(here: Here) -> Response:
    """How much of each limit is used now, and which budgets are cooling down until when."""
    found = limit_state.snapshot(here.ledger)
    return Json(
        {"items": [asdict(use) for use in found.limits], "cool_downs": [asdict(cool) for cool in found.cool_downs]}
    )
