"""Runs and pauses: list, pause, resume and cancel."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from crypto_assets.access.problem import Json, Problem
from crypto_assets.api import answers, bodies, parameters
from crypto_assets.api.context import Context, Here
from crypto_assets.ledger import pauses as scopes
from crypto_assets.ledger.pauses import Control
from crypto_assets.ledger.progress import ACTIVE_STATES, Progress, read_progress

router = APIRouter(prefix="/v1", tags=["runs"])

RunId = Annotated[str, Path(description="The id of a run, or its beginning.")]


@router.get("/runs", response_model=answers.Page[answers.Run])
def runs(request: Request, here: Here, asked: Annotated[parameters.Runs, Query()]) -> Response:
    """Progress of runs, newest first."""
    found = read_progress(here.ledger, states=asked.state or None, limit=asked.offset + asked.limit + 1)
    return asked.answer(request, [run.as_json() for run in found[asked.offset :]])


@router.get("/runs/{run_id}", response_model=answers.Run)
def run(run_id: RunId, here: Here) -> Response:
    """Progress of one run; the beginning of its id is enough."""
    return Json(_run(here, run_id).as_json())


@router.post(
    "/runs/{run_id}/cancel",
    response_model=answers.Cancelling,
    status_code=202,
    openapi_extra=bodies.described(bodies.Cancel),
)
def cancel(run_id: RunId, here: Here, given: Annotated[bodies.Cancel, bodies.read(bodies.Cancel)]) -> Response:
    """Cancel a run; answers before it has ended."""
    from crypto_assets.defs.cancellation import cancel

    found = _run(here, run_id)
    if found.state not in ACTIVE_STATES:
        raise Problem(409, "not running", "a run that is running or paused", found.state, "see GET /v1/runs")
    if not cancel(here.ledger, found, given.who, given.reason):
        raise Problem(409, "not running", "a run that is running or paused", "one that has ended", "see GET /v1/runs")
    return Json({"run_id": found.run_id, "cancelling": True}, 202)


@router.get("/pauses", response_model=answers.Items[Control])
def pauses(here: Here) -> Response:
    """The active pauses: scope, who, why, since when."""
    return Json({"items": pauses_in_force(here)})


@router.post("/pause", response_model=answers.Items[Control], openapi_extra=bodies.described(bodies.Pause))
def pause(here: Here, given: Annotated[bodies.Pause, bodies.read(bodies.Pause)]) -> Response:
    """Pause a scope; answers with all pauses."""
    here.controls.pause(_scope(here, given), given.who, given.reason)
    return Json({"items": pauses_in_force(here)})


@router.post("/resume", response_model=answers.Items[Control], openapi_extra=bodies.described(bodies.Scope))
def resume(here: Here, given: Annotated[bodies.Scope, bodies.read(bodies.Scope)]) -> Response:
    """Resume exactly that scope; answers with the remaining pauses."""
    scope = _scope(here, given)
    if not here.controls.resume(scope):
        held = ", ".join(item["scope"] for item in pauses_in_force(here)) or "nothing"
        raise Problem(409, "not paused", f"a scope that is paused: {held}", scope, "see GET /v1/pauses")
    return Json({"items": pauses_in_force(here)})


def pauses_in_force(here: Context) -> list[dict[str, Any]]:
    """Return every pause."""
    return [asdict(one) for one in here.controls.read() if one.action == "pause"]


def _scope(here: Context, given: bodies.Scope) -> str:
    """Return the scope that a body names, in one of three ways."""
    asked = [name for name in ("scope", "exchange", "run") if name in given.model_fields_set]
    if len(asked) != 1:
        raise Problem(
            400, "no scope", 'one of {"scope": "all"}, {"exchange": "binance"}, {"run": "…"}', str(asked or "none")
        )
    kind, name = asked[0], getattr(given, asked[0])
    if kind == "scope" and name != scopes.ALL:
        kind, _, name = name.partition(":")
        if kind not in ("exchange", "run") or not name:
            raise Problem(400, "unknown scope", "all, exchange:… or run:…", given.scope)
    if kind == "run":
        return scopes.of_run(_run(here, name).run_id)
    return scopes.of_exchange(_known_exchange(name)) if kind == "exchange" else scopes.ALL


def _known_exchange(name: str) -> str:
    from crypto_assets import sources

    if name not in sources.names():
        raise Problem(404, "unknown exchange", f"one of {', '.join(sources.names())}", name)
    return name


def _run(here: Context, run_id: str) -> Progress:
    found = [run for run in read_progress(here.ledger, run_id=run_id, limit=2) if run_id]
    if len(found) != 1:
        what = "several with this beginning" if found else run_id
        raise Problem(404, "unknown run", "the id of a run that has begun, or its beginning", what, "see GET /v1/runs")
    return found[0]
