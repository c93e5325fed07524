"""Coverage: status, gaps, incidents, and the rows of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from psycopg.rows import dict_row

from crypto_assets.access.problem import Json
from crypto_assets.api import answers, parameters
from crypto_assets.api.context import Context, Here
from crypto_assets.api.filters import series_filters
from crypto_assets.api.parameters import MOST, Paged
from crypto_assets.api.routes.runs import pauses_in_force
from crypto_assets.ledger.coverage import coverage
from crypto_assets.ledger.coverage_tables import status_json
from crypto_assets.ledger.gaps import gaps as read_gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.minutes import start_of
from crypto_assets.ledger.progress import ACTIVE_STATES, read_progress
from crypto_assets.model import DAY
from crypto_assets.quality.gap_causes import as_json, explain

router = APIRouter(prefix="/v1", tags=["coverage"])


@router.get("/status", response_model=answers.Status)
def status(here: Here) -> Response:
    """Coverage of every series, active runs and pauses."""
    running = read_progress(here.ledger, states=ACTIVE_STATES, limit=MOST)
    collection, today = here.load_collection(), datetime.now(UTC).date()
    lost = lost_days(here.ledger, here.lake, collection=collection)
    found_gaps = read_gaps(collection, here.ledger, today, lost=lost.reasons)
    found = coverage(collection, here.ledger, found_gaps, today, lost)
    return Json(
        {
            "series": [status_json(one) for one in found],
            "runs": [run.as_json() for run in running],
            "pauses": pauses_in_force(here),
        }
    )


@router.get("/gaps", response_model=answers.Page[answers.Gap])
def gaps(request: Request, here: Here, asked: Annotated[parameters.TrackDays, Query()]) -> Response:
    """Every incomplete day of the collection, and why it is incomplete."""
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
    some = list(islice(found, asked.offset, asked.offset + asked.limit + 1))
    explained = explain(here.ledger, some[: asked.limit])
    return asked.answer(request, [*map(as_json, explained), *some[asked.limit :]])


@router.get("/incidents", response_model=answers.Page[answers.Incident])
def incidents(request: Request, here: Here, asked: Annotated[parameters.Incidents, Query()]) -> Response:
    """Outages and other spans without data that overlap the days, with their causes."""
    names = series_filters(asked, here)
    conditions: dict[str, Any] = {f"{name} = ANY(%s)": names[name] for name in ("exchange", "market_type")}
    # An incident of the whole market concerns each of its symbols and datasets.
    conditions |= {f"({name} IS NULL OR {name} = ANY(%s))": names[name] for name in ("symbol", "dataset")}
    conditions |= {
        "kind = ANY(%s)": asked.kind or None,
        "end_time > %s": asked.first and start_of(asked.first),
        "start_time < %s": asked.last and start_of(asked.last + DAY),
    }
    order = "exchange, market_type, start_time, incident_id"
    return _rows(request, here, asked, "collection.incidents", conditions, order)


@router.get("/partitions", response_model=answers.Page[answers.Partition])
def partitions(request: Request, here: Here, asked: Annotated[parameters.Partitions, Query()]) -> Response:
    """The record of each symbol and day."""
    conditions = _of_tracks(asked, here) | {"state = ANY(%s)": asked.state or None}
    order = "exchange, market_type, dataset, symbol, day"
    return _rows(request, here, asked, "collection.partitions", conditions, order)


@router.get("/corrections", response_model=answers.Page[answers.Correction])
def corrections(request: Request, here: Here, asked: Annotated[parameters.TrackDays, Query()]) -> Response:
    """Stored days that were published again, with the differences, newest first."""
    return _rows(request, here, asked, "collection.corrections", _of_tracks(asked, here), "found_at DESC, id DESC")


@router.get("/objects", response_model=answers.Page[answers.ArchiveObject])
def objects(request: Request, here: Here, asked: Annotated[parameters.Objects, Query()]) -> Response:
    """Archive objects seen in listings."""
    conditions = {"exchange = ANY(%s)": asked.exchange or None, "starts_with(key, %s)": asked.prefix}
    return _rows(request, here, asked, "collection.archive_objects", conditions, "exchange, key")


def _of_tracks(asked: parameters.TrackDays, here: Context) -> dict[str, Any]:
    conditions: dict[str, Any] = {f"{name} = ANY(%s)": values for name, values in series_filters(asked, here).items()}
    return conditions | {"day >= %s": asked.first, "day <= %s": asked.last}


def _rows(
    request: Request, here: Context, asked: Paged, table: str, conditions: dict[str, Any], order: str
) -> Response:
    """Return unchanged rows of a table; names come from us, values travel as parameters."""
    given = {text: value for text, value in conditions.items() if value is not None}
    query = f"SELECT * FROM {table} WHERE {' AND '.join(given) or 'true'} ORDER BY {order} LIMIT %s OFFSET %s"
    with here.ledger.transaction() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        rows = cursor.execute(query, [*given.values(), asked.limit + 1, asked.offset]).fetchall()
    return asked.answer(request, rows)


def _some(wanted: list[str] | None, name: str) -> bool:
    return not wanted or name in wanted
