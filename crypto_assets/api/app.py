"""The application: its routes, access checks and error format."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from crypto_assets.access.callers import OnlyTheseUsers, users
from crypto_assets.access.origin import OnlyFromHere, not_json
from crypto_assets.access.problem import Problem
from crypto_assets.api import answers
from crypto_assets.api.bounds import HeadAsGet, OnlyPlainText
from crypto_assets.api.context import Context
from crypto_assets.api.failures import answered, failed, no_route, not_valid
from crypto_assets.api.health import Health
from crypto_assets.api.parameters import require_known
from crypto_assets.api.routes import about, acknowledgements, coverage, limits, quality, runs
from crypto_assets.config.environment import settings
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance.liveness import ANSWER_S
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.storage.lake import Lake
from crypto_assets.version import __version__

ROUTERS = (about.router, coverage.router, acknowledgements.router, runs.router, limits.router, quality.router)


def create_app(postgres: str, collection: Path, lake: str | None = None) -> FastAPI:
    """Return the ASGI app over an up-to-date database; a route that needs collection.yaml reads it at each request.

    Args:
        lake: its URL; default: the configured one.
    """
    ledger, its_lake = Ledger(postgres, waits_s=ANSWER_S), Lake(lake or settings().lake)
    app = FastAPI(
        title="crypto_assets",
        version=__version__,
        description="Crypto market data: what is stored, what is missing and why, what is running.",
        # FastAPI's own pages load scripts from other hosts; our page is in `reference`.
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": answers.Error}, "5XX": {"model": answers.Error}},
        generate_unique_id_function=_name,
        # No telemetry, whatever OpenTelemetry's environment variables are.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(OnlyTheseUsers, users(settings().ui_users)),
            # `only_json` below follows the choice of the route: an unknown method is 405, whatever it sends.
            Middleware(OnlyFromHere, only_json=False),
            Middleware(OnlyPlainText),
            Middleware(HeadAsGet),
        ],
        dependencies=[Depends(_only_json), Depends(require_known)],
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.add_exception_handler(Problem, answered)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(CryptoAssetsError, failed)
    app.add_exception_handler(Exception, failed)
    for router in ROUTERS:
        app.include_router(router)
    health = Health(ledger, its_lake, settings().home)
    app.state.context = Context(ledger, its_lake, collection, Controls(ledger), health)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the connections at the end."""
    context: Context = app.state.context
    with context.ledger:
        yield
    context.health.close()


async def _only_json(request: Request) -> None:
    """Refuse a change that is not JSON, on every path."""
    if problem := not_json(request):
        raise problem


def _name(route: APIRoute) -> str:
    return route.name
