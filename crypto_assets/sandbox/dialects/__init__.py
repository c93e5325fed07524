"""The exchanges that a sandbox speaks; each module or folder here with a class `DIALECT` is one, found by itself.

A dialect says the one world (`world.py`: the same trades on every exchange) in the words of its exchange: names of symbols,
keys and bytes of files, listings, REST answers, errors, limits and bans. All are served on one port, below `/<exchange>`:

    /bybit/archive/<key>    one object (kind `object`, or `checksum` for a sidecar)
    /bybit/listing…         a listing
    /bybit/rest/…           the REST API
    (Binance's paths begin at the root: it was first.)

A small dialect, whole (files of trades, S3 listing, one REST route):

    LIMITS = {"example.rest": Allowance(600, 5.0, patience=0, first_ban_s=600)}     # beyond 600 in 5 s: banned for 10 min

    class Example(Dialect):
        name = "example"
        limits = LIMITS

        def __init__(self, world: World) -> None:
            super().__init__(world)
            self.archive = PublishedFiles(world, self.name, self._files)

        def _files(self) -> Iterator[PublishedFile]:
            for (market, symbol), (item, first, last) in self.world.listed.items():
                for day in days_between(first, last):
                    key = f"trading/{symbol}/{symbol}{day}.csv.gz"
                    yield PublishedFile(key, instant(day + timedelta(days=1), 8), partial(self._trades, item, day))

        def _trades(self, item: Instrument, day: date) -> bytes | None:      # None: nothing traded, no file
            trades = self.world.market.trades(item, day)
            write = Numbers(item)
            columns = [Integer(trades.time // 1_000), write.price(trades.price), write.amount(trades.amount)]
            return gzip_member(csv_rows(columns), header="time,price,size") if len(trades) else None

        def rest(self) -> Mapping[str, Endpoint]:
            return {"/rest/v5/market/time": lambda request: JSONResponse({"retCode": 0, "time": 0})}

        def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:
            return Response("access too frequent", 403)

        def table(self, key: str) -> Table:
            return Table("trades", time=0, price=1, amount=2, header="time,price,size", pack="gzip")

    DIALECT = Example

A listing that is not S3 overrides `list` (and `classify`, if it has other paths); `refused` returns errors that stand in an
answer with status 200. `crypto_assets_tests/sandbox/test_dialects.py` runs this example.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from crypto_assets.sandbox import hostile
from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.damage import Table, damaged
from crypto_assets.sandbox.faults import Kind
from crypto_assets.sandbox.objects import CHECKSUM, Archive, ObjectInfo
from crypto_assets.sandbox.s3_listing import Objects, Query, QueryError, error_xml, list_page, page_xml
from crypto_assets.sandbox.world import World

Endpoint = Callable[[Request], Response]
"""An answer to one REST route; it may block and is called from a thread."""


class Nothing:
    """The archive of an exchange that publishes no files."""

    synthetic = True
    name = "none"

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:  # noqa: ARG002 - none for any prefix
        return iter(())

    def info(self, key: str) -> ObjectInfo | None:  # noqa: ARG002
        return None

    def read(self, key: str) -> bytes | None:  # noqa: ARG002
        return None


class Dialect:
    """One exchange of the sandbox. What is here is the usual: an S3 listing, S3's errors, 429 for every refusal."""

    name: ClassVar[str]
    """The exchange, as the collection writes it."""

    limits: ClassVar[Mapping[str, Allowance]] = {}
    """By budget. Budgets begin with the exchange and a dot; one that ends with `:…` is counted by itself."""

    host: ClassVar[str] = "example.com"
    """A real host of the exchange, which the fault `redirect-http` names."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.archive: Archive = Nothing()

    @property
    def root(self) -> str:
        """The path that all paths of this exchange begin with; no other method sees it."""
        return f"/{self.name}"

    def urls(self, base: str) -> dict[str, str]:
        """Return the addresses for `exchanges:` of a collection, by the name of their setting."""
        root = f"{base}{self.root}"
        return {"archive_url": f"{root}/archive", "listing_url": f"{root}/listing", "rest_url": f"{root}/rest"}

    # ---- which request is it ------------------------------------------------------------------------------------------

    def classify(self, path: str, query: str) -> tuple[Kind, str]:
        """Return the kind of a request and the key that faults are matched with."""
        if path.startswith("/listing"):
            below = path.removeprefix("/listing").removeprefix("/")
            return "listing", parse_qs(query).get("prefix", [below])[0]
        if path.startswith("/rest/"):
            return "rest", f"{path}?{query}" if query else path
        key = path.removeprefix("/archive/").removeprefix("/")
        return ("checksum" if key.endswith(CHECKSUM) else "object"), key

    def charge(self, kind: Kind, path: str, query: str) -> tuple[str, int]:  # noqa: ARG002 - the usual counts requests
        """Return the budget that a request counts for, and its weight."""
        return f"{self.name}.{'archive' if kind in ('object', 'checksum') else kind}", 1

    # ---- answers ------------------------------------------------------------------------------------------------------

    def rest(self) -> Mapping[str, Endpoint]:
        """Return the REST routes, by path (Starlette's notation) below the root."""
        return {}

    async def list(self, request: Request, objects: Objects, seconds: float) -> Response:
        """Answer a request of kind `listing`; after `seconds` the page ends early."""
        try:
            query = Query.parse(request.query_params)
            page = await run_in_threadpool(list_page, objects, query, seconds)
        except QueryError as error:
            return xml(error_xml("InvalidArgument", str(error)), 400)
        return xml(page_xml(self.archive.name, query, page))

    def hostile(self, fault: str, request: Request) -> Response:
        """Answer a listing under `endless-pages`, `deep-xml` or `terminal-codes`."""
        return hostile.listing(fault, request)

    def media_type(self, key: str) -> str:
        return "binary/octet-stream" if key.endswith(CHECKSUM) else "application/zip"

    def described(self, info: ObjectInfo, headers: dict[str, str]) -> dict[str, str]:  # noqa: ARG002
        """Return the headers of an object's answer; an exchange without ETags leaves `etag` out."""
        return headers

    def missing(self, key: str) -> Response:
        """Answer for an object that does not exist."""
        return xml(error_xml("NoSuchKey", "The specified key does not exist.", key), 404)

    # ---- refusals and faults ------------------------------------------------------------------------------------------

    def used(self, budget: str, used: int) -> dict[str, str]:  # noqa: ARG002
        """Return the headers that tell the weight used so far; for budgets of `limits` only."""
        return {}

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        """Answer beyond a limit (status 429) or during a ban (418), as this exchange does, which may be another status.

        Args:
            allowed: the weight of the window; None for a rate set by hand.
        """
        return Response(
            error_xml("SlowDown", "Please reduce your request rate.", ""), status, {"retry-after": f"{wait_s}"}
        )

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:
        """Return text and media type of a failure: a `http-…` fault."""
        if kind == "rest":
            return f'{{"error":"{phrase}"}}', "application/json"
        code = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError"}.get(status, "SlowDown")
        return error_xml(code, phrase, key), "application/xml"

    def table(self, key: str) -> Table:
        """Return where the columns of a file are; faults of content need it."""
        raise NotImplementedError(f"{self.name}: {key} has no table")

    def damaged(self, fault: str, key: str, content: bytes) -> bytes:
        """Return the bytes of an object under a fault of `faults.OBJECTS`."""
        return damaged(fault, key, content, self.table(key))


def xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/xml")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for an exchange: `path` is below its root."""

    dialect: Dialect
    kind: Kind
    key: str
    path: str
    query: str


class Dialects(Mapping[str, Dialect]):
    """The dialects of one sandbox, by exchange."""

    def __init__(self, dialects: Mapping[str, Dialect]) -> None:
        self._all = dict(dialects)

    def __getitem__(self, name: str) -> Dialect:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def asked(self, scope: Scope) -> Asked | None:
        """Return which request this is; None for the sandbox's control paths and anything but HTTP."""
        path: str = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/_sandbox/"):
            return None
        name = path.split("/", 2)[1] if path.count("/") > 1 else ""
        # A dialect at the root has all paths that are nobody's.
        dialect = self._all.get(name) or next(one for one in self._all.values() if not one.root)
        below, query = path.removeprefix(dialect.root), scope["query_string"].decode("latin-1")
        return Asked(dialect, *dialect.classify(below, query), below, query)


def known() -> dict[str, type[Dialect]]:
    """Return the classes of all dialects by exchange, sorted."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {one.DIALECT.name: one.DIALECT for one in sorted(modules, key=lambda module: module.__name__)}


def allowances() -> dict[str, Allowance]:
    """Return the allowances of all dialects by budget."""
    return {budget: allowed for dialect in known().values() for budget, allowed in dialect.limits.items()}
