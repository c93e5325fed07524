"""The routes of the API, version 1; docs/api.md describes each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crypto_assets.access.callers import OnlyTheseUsers, users
from crypto_assets.access.origin import OnlyFromHere
from crypto_assets.api import acknowledgements
from crypto_assets.api.answers import MOST, Json, Page, Problem, Query
from crypto_assets.api.bounds import OnlyPlainText, body
from crypto_assets.api.failures import failed, no_route
from crypto_assets.api.filters import series_filters
from crypto_assets.api.health import Health
from crypto_assets.config.collection import load_collection
from crypto_assets.config.environment import settings
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance.liveness import ANSWER_S
from crypto_assets.ledger import pauses, score_query, series_names
from crypto_assets.ledger.coverage import coverage
from crypto_assets.ledger.coverage_tables import status_json
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.minutes import start_of
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import ACTIVE_STATES, Progress, RunState, read_progress
from crypto_assets.model import DAY, State, Track
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.delays import delays, late_objects
from crypto_assets.quality.gap_causes import as_json as explained_json
from crypto_assets.quality.gap_causes import explain
from crypto_assets.storage.lake import Lake
from crypto_assets.transport import limit_state
from crypto_assets.version import __version__

_PAGED = ("limit", "offset")
_DAYS = ("from", "to")


def create_app(postgres: str, collection: Path, lake: str | None = None) -> Starlette:
    """Return the ASGI app over a database that is up to date and a collection.yaml that is read when it is asked about.

    Args:
        lake: its URL; the configured one by default.
    """
    api = _Api(Ledger(postgres, waits_s=ANSWER_S), collection, Lake(lake or settings().lake))
    routes = {
        "/healthz": api.health,
        "/v1": api.index,
        "/v1/status": api.status,
        "/v1/gaps": api.gaps,
        "/v1/incidents": api.incidents,
        "/v1/partitions": api.partitions,
        "/v1/objects": api.objects,
        "/v1/runs": api.runs,
        "/v1/runs/{run_id}": api.run,
        "/v1/breakers": api.breakers,
        "/v1/limits": api.limits,
        "/v1/corrections": api.corrections,
        "/v1/quality": api.quality,
        "/v1/delays": api.delays,
        "/v1/pauses": api.pauses,
    }
    changes = {"/v1/pause": api.pause, "/v1/resume": api.resume, "/v1/runs/{run_id}/cancel": api.cancel}
    return Starlette(
        routes=[
            *(Route(path, answer, methods=["GET"]) for path, answer in routes.items()),
            *(Route(path, answer, methods=["POST"]) for path, answer in changes.items()),
            *acknowledgements.routes(api.ledger, api.lake, collection),
        ],
        middleware=[
            Middleware(OnlyTheseUsers, users(settings().ui_users)),
            Middleware(OnlyFromHere),
            Middleware(OnlyPlainText),
        ],
        exception_handlers={
            Problem: lambda _, error: error.answer(),
            HTTPException: no_route,
            CryptoAssetsError: failed,
            Exception: failed,
        },
        lifespan=api.lifespan,
    )


class _Api:
    """Answers from one ledger; plain functions run in threads, so that a long one holds up nobody."""

    def __init__(self, ledger: Ledger, collection: Path, lake: Lake) -> None:
        self._ledger = ledger
        self._lake = lake
        self._collection = collection
        self._controls = Controls(ledger)
        self._health = Health(ledger, lake, settings().home)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def lake(self) -> Lake:
        return self._lake

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Close the connections at the end."""
        with self._ledger:
            yield
        self._health.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    def health(self, _: Request) -> Response:
        """Whether database, lake, daemon and code server do their work."""
        found = self._health.report()
        return Json({"version": __version__, **found}, 200 if found["ok"] else 503)

    def index(self, request: Request) -> Response:
        """What can be asked."""
        routes = [route for route in request.app.routes if isinstance(route, Route)]
        return Json({"version": __version__, "paths": [f"{'/'.join(_methods(r))} {r.path}" for r in routes]})

    def status(self, request: Request) -> Response:
        """Coverage of every series, what is running and what is paused."""
        Query(request, ())
        running = read_progress(self._ledger, states=ACTIVE_STATES, limit=MOST)
        collection, today = load_collection(self._collection), datetime.now(UTC).date()
        lost = lost_days(self._ledger, self._lake, collection=collection)
        found_gaps = gaps(collection, self._ledger, today, lost=lost.reasons)
        found = coverage(collection, self._ledger, found_gaps, today, lost)
        return Json(
            {
                "series": [status_json(one) for one in found],
                "runs": [run.as_json() for run in running],
                "pauses": self._pauses(),
            }
        )

    def gaps(self, request: Request) -> Response:
        """Every day of the collection that is not complete, and why."""
        query = Query(request, (*series_names.NAMES, *_DAYS, *_PAGED))
        wanted = series_filters(query, self._ledger, self._collection)
        first, last, page = query.day("from"), query.day("to"), query.page
        collection = load_collection(self._collection)
        entries = [
            entry
            for entry in collection.series
            if all(_some(wanted[name], [getattr(entry, name)]) for name in ("exchange", "market_type"))
        ]
        tracks = {
            Track(series, symbol)
            for entry in entries
            for series in entry.series
            for symbol in entry.symbols
            if _some(wanted["symbol"], [symbol]) and _some(wanted["dataset"], [series.dataset])
        }
        lost = lost_days(self._ledger, self._lake, tracks, first, last, collection).reasons
        today = datetime.now(UTC).date()
        found = gaps(collection, self._ledger, today, entries, tracks=tracks, first=first, last=last, lost=lost)
        asked = list(islice(found, page.offset, page.offset + page.limit + 1))
        explained = explain(self._ledger, asked[: page.limit])
        return page.answer(request, [*map(explained_json, explained), *asked[page.limit :]])

    def incidents(self, request: Request) -> Response:
        """Spans of minutes without data, and why."""
        query = Query(request, (*series_names.NAMES, *_DAYS, *_PAGED, "kind"))
        kinds = query.many("kind")
        for kind in kinds or ():
            if kind not in {known.value for known in Kind}:
                raise Problem(400, "unknown kind", f"one of {', '.join(Kind)}", kind)
        first, last = query.day("from"), query.day("to")
        names = series_filters(query, self._ledger, self._collection)
        conditions: dict[str, Any] = {f"{name} = ANY(%s)": names[name] for name in ("exchange", "market_type")}
        # What is about the whole market is about each of its symbols and datasets.
        conditions |= {f"({name} IS NULL OR {name} = ANY(%s))": names[name] for name in ("symbol", "dataset")}
        conditions |= {
            "kind = ANY(%s)": kinds,
            "end_time > %s": first and start_of(first),
            "start_time < %s": last and start_of(last + DAY),
        }
        order = "exchange, market_type, start_time, incident_id"
        return self._rows(request, query.page, "collection.incidents", conditions, order)

    def partitions(self, request: Request) -> Response:
        """What the ledger knows of every symbol and day."""
        query = Query(request, (*series_names.NAMES, *_DAYS, *_PAGED, "state"))
        states = query.many("state")
        for state in states or ():
            if state not in {known.value for known in State}:
                raise Problem(400, "unknown state", f"one of {', '.join(State)}", state)
        conditions: dict[str, Any] = {
            f"{name} = ANY(%s)": values
            for name, values in series_filters(query, self._ledger, self._collection).items()
        }
        conditions |= {"state = ANY(%s)": states, "day >= %s": query.day("from"), "day <= %s": query.day("to")}
        order = "exchange, market_type, dataset, symbol, day"
        return self._rows(request, query.page, "collection.partitions", conditions, order)

    def objects(self, request: Request) -> Response:
        """Every archive object that a listing has shown."""
        query = Query(request, ("exchange", "prefix", *_PAGED))
        conditions: dict[str, Any] = {
            "exchange = ANY(%s)": query.many("exchange"),
            "starts_with(key, %s)": query.one("prefix"),
        }
        return self._rows(request, query.page, "collection.archive_objects", conditions, "exchange, key")

    def runs(self, request: Request) -> Response:
        """How far each run is, the newest first."""
        query = Query(request, ("state", *_PAGED))
        states = query.many("state")
        for state in states or ():
            if state not in {known.value for known in RunState}:
                raise Problem(400, "unknown state", f"one of {', '.join(RunState)}", state)
        page = query.page
        wanted = [RunState(state) for state in states] if states else None
        found = read_progress(self._ledger, states=wanted, limit=page.offset + page.limit + 1)
        return page.answer(request, [run.as_json() for run in found[page.offset :]])

    def run(self, request: Request) -> Response:
        """How far one run is."""
        return Json(self._run(request.path_params["run_id"]).as_json())

    def breakers(self, request: Request) -> Response:
        """The circuit breakers that are not closed, or have counted failures."""
        Query(request, ())
        return Json({"items": [asdict(breaker) for breaker in limit_state.snapshot(self._ledger).breakers]})

    def limits(self, request: Request) -> Response:
        """How much of each limit is used now, and what is left alone until when."""
        Query(request, ())
        found = limit_state.snapshot(self._ledger)
        return Json(
            {"items": [asdict(use) for use in found.limits], "cool_downs": [asdict(cool) for cool in found.cool_downs]}
        )

    def corrections(self, request: Request) -> Response:
        """Stored days that the exchange has published again, and how they differ, the newest first."""
        query = Query(request, (*series_names.NAMES, *_DAYS, *_PAGED))
        conditions: dict[str, Any] = {
            f"{name} = ANY(%s)": values
            for name, values in series_filters(query, self._ledger, self._collection).items()
        }
        conditions |= {"day >= %s": query.day("from"), "day <= %s": query.day("to")}
        return self._rows(request, query.page, "collection.corrections", conditions, "found_at DESC, id DESC")

    def quality(self, request: Request) -> Response:
        """Quality scores as they were last kept, or how they came to be."""
        query = Query(request, (*series_names.NAMES, *_DAYS, *_PAGED, "by", "below", "trend"))
        by, below, page = query.one("by") or "symbol", query.share("below"), query.page
        if by not in score_query.LEVELS:
            raise Problem(400, "unknown level", f"by={' or by='.join(score_query.LEVELS)}", by)
        chosen = score_query.Chosen(
            **series_filters(query, self._ledger, self._collection), first=query.day("from"), last=query.day("to")
        )
        rows: dict[str, Any] = {"limit": page.limit + 1, "offset": page.offset}
        found: list[Any]
        if query.flag("trend"):
            if below is not None:
                raise Problem(400, "not together", "below or trend=true", "both", "leave one of them out")
            found = score_query.trend(self._ledger, by, chosen, **rows)
        else:
            collection = load_collection(self._collection)
            rules = collection.quality
            lost = lost_days(self._ledger, self._lake, None, chosen.first, chosen.last, collection)
            found = score_query.read_scores(
                self._ledger,
                by,
                chosen,
                threshold=rules.threshold,
                below=below,
                lost=lost,
                weights=rules.weights.model_dump(),
                **rows,
            )
        return page.answer(request, [asdict(one) for one in found])

    def delays(self, request: Request) -> Response:
        """How long the archives take to publish, and what should be there by now and is not."""
        Query(request, ())
        collection = load_collection(self._collection)
        measured = delays(self._ledger, collection)
        late = late_objects(self._ledger, collection, measured)
        return Json({"items": [asdict(one) for one in measured], "late": [asdict(one) for one in late]})

    def pauses(self, request: Request) -> Response:
        """What is paused, by whom and why."""
        Query(request, ())
        return Json({"items": self._pauses()})

    # ---- changing ---------------------------------------------------------------------------------------------------

    async def pause(self, request: Request) -> Response:
        """Pause a scope; answers with all that is paused."""
        given = await body(request, ("scope", "exchange", "run", "reason", "who"))
        return await run_in_threadpool(self._change, given, pause=True)

    async def resume(self, request: Request) -> Response:
        """Resume a scope; answers with what is still paused."""
        given = await body(request, ("scope", "exchange", "run"))
        return await run_in_threadpool(self._change, given, pause=False)

    async def cancel(self, request: Request) -> Response:
        """End a run; answers before it has ended."""
        given = await body(request, ("reason", "who"))
        return await run_in_threadpool(self._cancel, request.path_params["run_id"], given)

    def _change(self, given: dict[str, str], *, pause: bool) -> Response:
        scope = self._scope(given)
        if pause:
            self._controls.pause(scope, given.get("who", "API"), given.get("reason", ""))
        elif not self._controls.resume(scope):
            held = ", ".join(item["scope"] for item in self._pauses()) or "nothing"
            raise Problem(409, "not paused", f"a scope that is paused: {held}", scope, "see GET /v1/pauses")
        return Json({"items": self._pauses()})

    def _cancel(self, run_id: str, given: dict[str, str]) -> Response:
        from crypto_assets.defs.cancellation import cancel

        run = self._run(run_id)
        if run.state not in ACTIVE_STATES:
            raise Problem(409, "not running", "a run that is running or paused", run.state, "see GET /v1/runs")
        if not cancel(self._ledger, run, given.get("who", "API"), given.get("reason", "")):
            raise Problem(
                409, "not running", "a run that is running or paused", "one that has ended", "see GET /v1/runs"
            )
        return Json({"run_id": run.run_id, "cancelling": True}, 202)

    # ---- what they share --------------------------------------------------------------------------------------------

    def _scope(self, given: dict[str, str]) -> str:
        asked = [name for name in ("scope", "exchange", "run") if name in given]
        if len(asked) != 1:
            raise Problem(
                400, "no scope", 'one of {"scope": "all"}, {"exchange": "binance"}, {"run": "…"}', str(asked or "none")
            )
        if "run" in given:
            return pauses.of_run(self._run(given["run"]).run_id)
        if "exchange" in given:
            from crypto_assets import sources

            if given["exchange"] not in sources.names():
                raise Problem(404, "unknown exchange", f"one of {', '.join(sources.names())}", given["exchange"])
            return pauses.of_exchange(given["exchange"])
        kind, _, name = given["scope"].partition(":")
        if kind in ("exchange", "run") and name:
            return self._scope({kind: name})
        if given["scope"] != pauses.ALL:
            raise Problem(400, "unknown scope", "all, exchange:… or run:…", given["scope"])
        return pauses.ALL

    def _run(self, run_id: str) -> Progress:
        found = [run for run in read_progress(self._ledger, run_id=run_id, limit=2) if run_id]
        if len(found) != 1:
            what = "several that begin so" if found else run_id
            raise Problem(
                404, "unknown run", "the id of a run that has begun, or its beginning", what, "see GET /v1/runs"
            )
        return found[0]

    def _pauses(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._controls.read() if one.action == "pause"]

    def _rows(self, request: Request, page: Page, table: str, conditions: dict[str, Any], order: str) -> Response:
        """Return rows of a table as they are; names come from us, values travel as parameters."""
        given = {text: value for text, value in conditions.items() if value is not None}
        query = f"SELECT * FROM {table} WHERE {' AND '.join(given) or 'true'} ORDER BY {order} LIMIT %s OFFSET %s"
        with self._ledger.transaction() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            rows = cursor.execute(query, [*given.values(), page.limit + 1, page.offset]).fetchall()
        return page.answer(request, rows)


def _some(wanted: list[str] | None, there: list[str]) -> bool:
    return not wanted or any(name in wanted for name in there)


def _methods(route: Route) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"})
