"""Quality scores and publication delays."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from crypto_assets.access.problem import Json, Problem
from crypto_assets.api import answers, parameters
from crypto_assets.api.context import Here
from crypto_assets.api.filters import series_filters
from crypto_assets.ledger import score_query
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.quality import delays as measure

router = APIRouter(prefix="/v1", tags=["quality"])


@router.get("/quality", response_model=answers.Page[score_query.Quality] | answers.Page[score_query.Point])
def quality(request: Request, here: Here, asked: Annotated[parameters.Quality, Query()]) -> Response:
    """Quality scores as last stored, or (`trend=true`) their history."""
    if asked.trend and asked.below is not None:
        raise Problem(400, "not together", "below or trend=true", "both", "leave one out")
    chosen = score_query.Chosen(**series_filters(asked, here), first=asked.first, last=asked.last)
    rows: dict[str, Any] = {"limit": asked.limit + 1, "offset": asked.offset}
    found: list[Any]
    if asked.trend:
        found = score_query.trend(here.ledger, asked.by, chosen, **rows)
    else:
        collection = here.load_collection()
        rules = collection.quality
        found = score_query.read_scores(
            here.ledger,
            asked.by,
            chosen,
            threshold=rules.threshold,
            below=asked.below,
            lost=lost_days(here.ledger, here.lake, None, chosen.first, chosen.last, collection),
            weights=rules.weights.model_dump(),
            **rows,
        )
    return asked.answer(request, [asdict(one) for one in found])


@router.get("/delays", response_model=answers.Delays)
def delays(here: Here) -> Response:
    """Publication delays of the archives, and overdue objects."""
    collection = here.load_collection()
    measured = measure.delays(here.ledger, collection)
    late = measure.late_objects(here.ledger, collection, measured)
    return Json({"items": [asdict(one) for one in measured], "late": [asdict(one) for one in late]})
