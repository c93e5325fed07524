"""Coverage: status, gaps, incidents, and the rows of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from crypto_assets.access.problem import Json
from crypto_assets.api import answers, parameters
from crypto_assets.api.context import Context, Here
from crypto_assets.api.filters import series_filters
from crypto_assets.api.parameters import MOST
from crypto_assets.api.routes.runs import pauses_in_force
from crypto_assets.config.selection import without_symbols
from crypto_assets.ledger.corrections import CorrectionRecord
from crypto_assets.ledger.coverage import known_coverage
from crypto_assets.ledger.coverage_tables import status_json
from crypto_assets.ledger.gaps import Gap
from crypto_assets.ledger.gaps import gaps as read_gaps
from crypto_assets.ledger.incidents import IncidentRecord, incident_records
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.objects import ObjectRecord, object_records
from crypto_assets.ledger.origins import other_origins
from crypto_assets.ledger.partitions import PartitionRow
from crypto_assets.ledger.progress import ACTIVE_STATES, read_progress
from crypto_assets.ledger.symbol_rules import Unchosen, unchosen
from crypto_assets.quality.gap_causes import as_json, explain, unchosen_json

router = APIRouter(prefix="/v1", tags=["coverage"])


@router.get("/status", response_model=answers.Status)
def status(here: Here) -> Response:
    """Coverage of every series, active runs and pauses."""
    running = read_progress(here.ledger, states=ACTIVE_STATES, limit=MOST)
    collection, today = here.load_collection(), datetime.now(UTC).date()
    _, found, _ = known_coverage(collection, here.ledger, here.lake, today)
    return Json(
        {
            "series": [status_json(one) for one in found],
            "other_origins": other_origins(here.ledger, collection),
            "entries_without_symbols": [
                asdict(one) for one in unchosen(collection, without_symbols(collection, last=today - timedelta(days=1)))
            ],
            "runs": [run.as_json() for run in running],
            "pauses": pauses_in_force(here),
        }
    )


@router.get("/gaps", response_model=answers.Page[answers.Gap])
def gaps(request: Request, here: Here, asked: Annotated[parameters.TrackDays, Query()]) -> Response:
    """Every incomplete day of the collection, and why it is incomplete; first the entries that have no symbol yet."""
    wanted = series_filters(asked, here)
    collection = here.load_collection()
    entries = [
        entry
        for entry in collection.series
        if all(_some(wanted[name], getattr(entry, name)) for name in ("exchange", "market_type"))
    ]
    tracks = {
        track
        for entry in entries
        for track in entry.tracks
        if _some(wanted["symbol"], track.symbol) and _some(wanted["dataset"], track.series.dataset)
    }
    lost = lost_days(here.ledger, here.lake, tracks, asked.first, asked.last, collection).reasons
    today = datetime.now(UTC).date()
    found = read_gaps(
        collection, here.ledger, today, entries, tracks=tracks, first=asked.first, last=asked.last, lost=lost
    )
    waiting = [
        entry
        for entry in without_symbols(
            collection,
            asked.first,
            asked.last or today - timedelta(days=1),
            symbols=wanted["symbol"] or (),
            datasets=wanted["dataset"] or (),
        )
        if all(_some(wanted[name], getattr(entry, name)) for name in ("exchange", "market_type"))
    ]
    nothing = [one for one in unchosen(collection, waiting) if _some(wanted["dataset"], one.dataset)]
    some = list(islice(chain(nothing, found), asked.offset, asked.offset + asked.limit + 1))
    shown = some[: asked.limit]
    explained = explain(here.ledger, [one for one in shown if isinstance(one, Gap)])
    items = [*(unchosen_json(one) for one in shown if isinstance(one, Unchosen)), *map(as_json, explained)]
    return asked.answer(request, [*items, *some[asked.limit :]])


@router.get("/incidents", response_model=answers.Page[IncidentRecord])
def incidents(request: Request, here: Here, asked: Annotated[parameters.Incidents, Query()]) -> Response:
    """Outages and other spans without data that overlap the days, with their causes."""
    wanted = _wanted(asked, here)
    with here.ledger.transaction() as connection:
        found = incident_records(connection, **wanted, kinds=asked.kind or None)
    return asked.answer(request, _fields(IncidentRecord, found))


@router.get("/partitions", response_model=answers.Page[PartitionRow])
def partitions(request: Request, here: Here, asked: Annotated[parameters.Partitions, Query()]) -> Response:
    """The record of each symbol and day."""
    found = here.ledger.partitions(**_wanted(asked, here), states=asked.state or None)
    return asked.answer(request, _fields(PartitionRow, found))


@router.get("/corrections", response_model=answers.Page[CorrectionRecord])
def corrections(request: Request, here: Here, asked: Annotated[parameters.TrackDays, Query()]) -> Response:
    """Stored days that were published again, with the differences, newest first."""
    return asked.answer(request, _fields(CorrectionRecord, here.ledger.corrections(**_wanted(asked, here))))


@router.get("/objects", response_model=answers.Page[ObjectRecord])
def objects(request: Request, here: Here, asked: Annotated[parameters.Objects, Query()]) -> Response:
    """Archive objects seen in listings."""
    with here.ledger.transaction() as connection:
        found = object_records(
            connection,
            exchanges=asked.exchange or None,
            prefix=asked.prefix,
            limit=asked.limit + 1,
            offset=asked.offset,
        )
    return asked.answer(request, _fields(ObjectRecord, found))


def _wanted(asked: parameters.TrackDays, here: Context) -> dict[str, Any]:
    """Return the requested series, symbols and days, and the part of the answer, as the ledger's functions take them."""
    names = series_filters(asked, here)
    return {
        "exchange": names["exchange"],
        "market_type": names["market_type"],
        "symbols": names["symbol"],
        "datasets": names["dataset"],
        "first": asked.first,
        "last": asked.last,
        "limit": asked.limit + 1,  # one more shows that there is a rest
        "offset": asked.offset,
    }


def _fields(model: type[Any], records: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the fields that a model has of some records; not `asdict`, which copies all evidence."""
    names = [one.name for one in fields(model)]
    return [{name: getattr(record, name) for name in names} for record in records]


def _some(wanted: list[str] | None, name: str) -> bool:
    return not wanted or name in wanted
