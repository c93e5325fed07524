"""Binance: S3 listing, zips with checksums, REST with weights. Its paths begin at the root of the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox.damage import Table
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.dialects.binance import layout
from crypto_assets.sandbox.dialects.binance.archive import BinanceArchive
from crypto_assets.sandbox.dialects.binance.limits import LIMITS, weight_of
from crypto_assets.sandbox.dialects.binance.rest_api import ROOTS, rest_routes
from crypto_assets.sandbox.faults import Kind
from crypto_assets.sandbox.objects import CHECKSUM
from crypto_assets.sandbox.s3_listing import error_xml
from crypto_assets.sandbox.world import World

_CAPITALS = {root.split("/")[1]: market for market, root in ROOTS.items()}


class Binance(Dialect):
    """Binance's archive (data.binance.vision) and REST APIs (api, fapi, dapi)."""

    name = "binance"
    limits = LIMITS
    host = "data.binance.vision"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.archive = getattr(world, "binance", None) or BinanceArchive(world)

    @property
    def root(self) -> str:
        return ""

    def urls(self, base: str) -> dict[str, str]:
        return {"archive_url": base, "listing_url": f"{base}/listing", "rest_url": base}

    def classify(self, path: str, query: str) -> tuple[Kind, str]:
        if path == "/listing":
            return "listing", parse_qs(query).get("prefix", [""])[0]
        if path.split("/", 2)[1] in _CAPITALS:
            return "rest", f"{path}?{query}" if query else path
        key = path.removeprefix("/listing/").removeprefix("/")
        return ("checksum" if key.endswith(CHECKSUM) else "object"), key

    def charge(self, kind: Kind, path: str, query: str) -> tuple[str, int]:
        if kind == "rest":
            return _CAPITALS[path.split("/", 2)[1]], weight_of(path, query)
        return ("listing" if kind == "listing" else "archive"), 1

    def rest(self) -> Mapping[str, Endpoint]:
        return rest_routes(self.world)

    def used(self, budget: str, used: int) -> dict[str, str]:  # noqa: ARG002 - the same for all
        return {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        """Answer with code -1003; the archive's hosts answer the same here."""
        if status == 418:
            text = f"Way too much request weight used; IP banned for {wait_s} s."
        else:
            text = f"Too much request weight used; current limit is {allowed or 'a rate'} request weight per 1 MINUTE."
        return JSONResponse({"code": -1003, "msg": text}, status, {"retry-after": str(wait_s)})

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:
        if kind == "rest":
            return f'{{"code":-1003,"msg":"{phrase}"}}', "application/json"
        code = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError"}.get(status, "SlowDown")
        return error_xml(code, phrase, key), "application/xml"

    def table(self, key: str) -> Table:
        return layout.table(key)


DIALECT = Binance
