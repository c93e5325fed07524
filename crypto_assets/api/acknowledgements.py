"""The routes of acknowledged gaps: which there are, and to acknowledge and withdraw."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crypto_assets.api.answers import Json, Problem, Query, day_of
from crypto_assets.api.bounds import body
from crypto_assets.config.collection import Collection, SeriesEntry, load_collection
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.acknowledgements import read_acknowledgements
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Track
from crypto_assets.quality.acknowledged_gaps import acknowledge, withdraw_by_hand
from crypto_assets.quality.gap_causes import acknowledgement_json
from crypto_assets.storage.lake import Lake

_NAMES = ("exchange", "market_type", "symbol", "dataset")
_FIELDS = (*_NAMES, "from", "to", "reason", "who")


def routes(ledger: Ledger, lake: Lake, collection: Path) -> list[Route]:
    """Return the routes over a ledger, its lake and a collection.yaml that is read when it is asked about."""
    answers = _Acknowledgements(ledger, lake, collection)
    return [
        Route("/v1/acknowledgements", answers.all, methods=["GET"]),
        Route("/v1/gaps/acknowledge", answers.acknowledge, methods=["POST"]),
        Route("/v1/gaps/withdraw", answers.withdraw, methods=["POST"]),
    ]


class _Acknowledgements:
    def __init__(self, ledger: Ledger, lake: Lake, collection: Path) -> None:
        self._ledger = ledger
        self._lake = lake
        self._collection = collection

    def all(self, request: Request) -> Response:
        """The last acknowledgement of each day, those that were withdrawn too where `withdrawn=true` asks for them."""
        query = Query(request, (*_NAMES, "from", "to", "limit", "offset", "withdrawn"))
        with self._ledger.transaction() as connection:
            found = read_acknowledgements(
                connection,
                exchange=query.one("exchange"),
                market_type=query.one("market_type"),
                symbols=query.many("symbol"),
                datasets=query.many("dataset"),
                first=query.day("from"),
                last=query.day("to"),
                holding=not query.flag("withdrawn"),
            )
        page = query.page
        return page.answer(request, [acknowledgement_json(one) for one in found[page.offset :]][: page.limit + 1])

    async def acknowledge(self, request: Request) -> Response:
        """Accept gaps as they are; answers with what is kept of each day."""
        given = await body(request, _FIELDS)
        return await run_in_threadpool(self._change, given, withdrawn=False)

    async def withdraw(self, request: Request) -> Response:
        """Let acknowledged gaps count again; answers with what was withdrawn."""
        given = await body(request, _FIELDS)
        return await run_in_threadpool(self._change, given, withdrawn=True)

    def _change(self, given: dict[str, str], *, withdrawn: bool) -> Response:
        collection = load_collection(self._collection)
        selected = _selected(collection, given)
        first = day_of("from", given["from"])
        last = day_of("to", given["to"]) if "to" in given else first
        who, reason = given.get("who", "API"), given.get("reason", "")
        try:
            if withdrawn:
                found = withdraw_by_hand(self._ledger, selected, first, last, by=who, reason=reason)
            else:
                tracks = {track for _, of_entry in selected for track in of_entry}
                found = acknowledge(
                    self._ledger,
                    collection,
                    selected,
                    first,
                    last,
                    reason=reason,
                    by=who,
                    today=datetime.now(UTC).date(),
                    lost=lost_days(self._ledger, self._lake, tracks, first, last, collection).reasons,
                )
        except ConfigError as error:
            raise Problem(409, "not possible", "days that are gaps", str(error), "see GET /v1/gaps") from error
        return Json({"items": [acknowledgement_json(one) for one in found]})


def _selected(collection: Collection, given: dict[str, str]) -> list[tuple[SeriesEntry, set[Track]]]:
    """Return the entry that has the symbol and dataset that were named in full."""
    for name in (*_NAMES, "from"):
        if not given.get(name):
            raise Problem(400, "a field is missing", f"all of {', '.join((*_NAMES, 'from'))}", f"no {name}")
    found = []
    for entry in collection.series:
        tracks = {
            Track(series, symbol)
            for series in entry.series
            for symbol in entry.symbols
            if (entry.exchange, entry.market_type, symbol, series.dataset) == tuple(given[name] for name in _NAMES)
        }
        if tracks:
            found.append((entry, tracks))
    if not found:
        raise Problem(
            404,
            "not in the collection",
            "a symbol and dataset of collection.yaml",
            " ".join(given[name] for name in _NAMES),
            "see GET /v1/status",
        )
    return found
