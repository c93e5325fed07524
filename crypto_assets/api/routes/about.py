"""The API itself: its health, its paths and its documentation."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from crypto_assets.access.problem import Json
from crypto_assets.api import answers
from crypto_assets.api.context import Here
from crypto_assets.version import __version__

router = APIRouter(tags=["about"])


@router.get("/healthz", response_model=answers.Health, responses={503: {"model": answers.Health}})
def health(here: Here) -> Response:
    """Whether database, lake, daemon and code server answer."""
    found = here.health.report()
    return Json({"version": __version__, **found}, 200 if found["ok"] else 503)


@router.get("/v1", response_model=answers.Index)
def index(request: Request) -> Response:
    """All paths."""
    paths = [
        f"{method.upper()} {path}" for path, methods in request.app.openapi()["paths"].items() for method in methods
    ]
    return Json({"version": __version__, "paths": paths})


@router.get("/docs", include_in_schema=False)
def reference(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    from crypto_assets.api.reference import page  # imports Jinja2, needed only here

    return HTMLResponse(page(request.app.openapi()))
