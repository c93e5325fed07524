"""The Dagster UI of `crypto-assets up`: Dagster's own webserver application behind the API's access checks.

    python -m crypto_assets.instance.webserver --port 3000 --workspace workspace.yaml

Dagster's command answers every caller: a web page could delete runs through the address of an image. So the application is
served here. Everything the UI itself does is allowed: queries and changes by POST as JSON, and subscriptions by WebSocket,
from the page that this server delivered.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from crypto_assets.access.callers import OnlyTheseUsers, require_host, users
from crypto_assets.access.origin import OnlyFromHere
from crypto_assets.access.problem import Problem
from crypto_assets.config.environment import settings
from crypto_assets.instance.dagster_instance import opened_instance
from crypto_assets.machine.ports import HOST, HOSTS

# The defaults of `dagster-webserver`: statement timeout in ms, age of a connection in s, connections beyond the pool.
_STATEMENT_TIMEOUT_MS, _RECYCLE_S, _MAX_OVERFLOW = 15_000, 3600, 20


class QuestionsByPost:
    """Middleware that refuses queries and changes in an address: GraphQL by GET returns its page, no answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _asks_by_address(request := Request(scope)):
            found = f"{request.method} {request.url.path}"
            answer = Problem(405, "GraphQL by address", "POST with Content-Type: application/json", found, "use POST")
            await answer.answer()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class FirstPage:
    """Middleware that opens the catalog, whose first asset shows the coverage; Dagster would open an empty timeline."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] == "/":
            await RedirectResponse("/assets")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _asks_by_address(request: Request) -> bool:
    of_graphql = str(request.scope["path"]).rstrip("/").endswith("/graphql")
    return of_graphql and request.method != "POST" and "text/html" not in request.headers.get("accept", "")


def guarded(context: Any, allowed: Collection[int] | None) -> ASGIApp:
    """Return the application of a workspace, for some users of this machine (None: all) and for its own pages."""
    app = create_app_from_workspace_process_context(context, lifespan=_lifespan)
    return OnlyTheseUsers(OnlyFromHere(QuestionsByPost(FirstPage(app))), allowed)


@asynccontextmanager
async def _lifespan(_app: object) -> AsyncIterator[None]:
    with suppress(asyncio.CancelledError):  # uvicorn ends an application with it
        yield


def main() -> None:
    """Serve on a port of this machine until interrupted."""
    words = argparse.ArgumentParser("crypto_assets.instance.webserver", description=__doc__)
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--host", choices=HOSTS, default=HOST)
    words.add_argument("--workspace", type=Path, required=True, help="the file with the code server's address")
    given = words.parse_args()
    require_host(given.host, settings().ui_users)
    configure_loggers()
    with opened_instance() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _RECYCLE_S, _MAX_OVERFLOW)
        target = WorkspaceFileTarget(paths=[str(given.workspace)])
        with WorkspaceProcessContext(instance, version=__version__, workspace_load_target=target) as context:
            app = guarded(context, users(settings().ui_users))
            # proxy_headers: with them a header could change the caller's address.
            uvicorn.run(
                app, host=given.host, port=given.port, log_level="warning", server_header=False, proxy_headers=False
            )


if __name__ == "__main__":
    main()
