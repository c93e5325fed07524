"""Acknowledged gaps: list, acknowledge and withdraw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crypto_assets.access.problem import Json, Problem
from crypto_assets.api import answers, bodies, parameters
from crypto_assets.api.context import Here
from crypto_assets.api.filters import series_filters
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.acknowledgements import Acknowledgement, read_acknowledgements
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.model import Track
from crypto_assets.quality import acknowledged_gaps
from crypto_assets.quality.gap_causes import acknowledgement_json

router = APIRouter(prefix="/v1", tags=["gaps"])

Given = Annotated[bodies.Gaps, bodies.read(bodies.Gaps)]


@router.get("/acknowledgements", response_model=answers.Page[answers.Acknowledgement])
def acknowledgements(request: Request, here: Here, asked: Annotated[parameters.Acknowledgements, Query()]) -> Response:
    """The last acknowledgement of each day; `withdrawn=true` includes those that are no longer valid."""
    wanted = series_filters(asked, here)
    with here.ledger.transaction() as connection:
        found = read_acknowledgements(
            connection,
            exchange=wanted["exchange"],
            market_type=wanted["market_type"],
            symbols=wanted["symbol"],
            datasets=wanted["dataset"],
            first=asked.first,
            last=asked.last,
            holding=not asked.withdrawn,
        )
    page = found[asked.offset :][: asked.limit + 1]
    return asked.answer(request, [acknowledgement_json(one) for one in page])


@router.post(
    "/gaps/acknowledge",
    response_model=answers.Items[answers.Acknowledgement],
    openapi_extra=bodies.described(bodies.Gaps),
)
def acknowledge(here: Here, given: Given) -> Response:
    """Accept gaps; answers with an acknowledgement for each day."""
    collection = here.load_collection()
    selected = _selected(collection, given)
    first, last = given.first, given.last or given.first
    tracks = {track for _, of_entry in selected for track in of_entry}
    try:
        found = acknowledged_gaps.acknowledge(
            here.ledger,
            collection,
            acknowledged_gaps.Decision(selected, first, last, given.who, given.reason),
            today=datetime.now(UTC).date(),
            lost=lost_days(here.ledger, here.lake, tracks, first, last, collection).reasons,
        )
    except ConfigError as error:
        raise _impossible(error) from error
    return _answer(found)


@router.post(
    "/gaps/withdraw",
    response_model=answers.Items[answers.Acknowledgement],
    openapi_extra=bodies.described(bodies.Gaps),
)
def withdraw(here: Here, given: Given) -> Response:
    """Make acknowledged gaps count again; answers with the withdrawn acknowledgements."""
    selected = _selected(here.load_collection(), given)
    first, last = given.first, given.last or given.first
    try:
        decision = acknowledged_gaps.Decision(selected, first, last, given.who, given.reason)
        found = acknowledged_gaps.withdraw_by_hand(here.ledger, decision)
    except ConfigError as error:
        raise _impossible(error) from error
    return _answer(found)


def _answer(found: Sequence[Acknowledgement]) -> Response:
    return Json({"items": [acknowledgement_json(one) for one in found]})


def _impossible(error: ConfigError) -> Problem:
    return Problem(409, "not possible", "days that are gaps", str(error), "see GET /v1/gaps")


def _selected(collection: Collection, given: bodies.Gaps) -> list[tuple[SeriesEntry, set[Track]]]:
    """Return the entry with the fully named symbol and dataset."""
    named = (given.exchange, given.market_type, given.symbol, given.dataset)
    found = []
    for entry in collection.series:
        tracks = {
            track
            for track in entry.tracks
            if (entry.exchange, entry.market_type, track.symbol, track.series.dataset) == named
        }
        if tracks:
            found.append((entry, tracks))
    if not found:
        expected = "a symbol and dataset of collection.yaml"
        raise Problem(404, "not in the collection", expected, " ".join(named), "see GET /v1/status")
    return found
