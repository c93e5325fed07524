"""Binance's exchangeInfo for the sandbox's market: its symbols, whether they trade, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse

from crypto_assets.sandbox.world import World, assets, expiry

_RULES = {
    "baseAssetPrecision": 8,
    "quotePrecision": 8,
    "quoteAsset": "USDT",
    "filters": [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "0.01000000",
            "maxPrice": "1000000.00000000",
            "tickSize": "0.01000000",
        },
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    ],
}
_NO_END_MS = 4133404800000
_WEIGHTS = {"spot": 6000, "linear": 2400, "inverse": 2400}


def exchange_info(source: World, market: str) -> Callable[[Request], JSONResponse]:
    """Return the endpoint of a market. An ended symbol has status BREAK on spot; an ended contract is left out."""

    def answer(request: Request) -> JSONResponse:
        wanted = request.query_params.get("symbol")
        now = source.now or datetime.now(UTC)
        ended = {name: now >= source.listed_until(where, name) for where, name in source.listed if where == market}
        if wanted and wanted not in ended:
            return JSONResponse({"code": -1121, "msg": "Invalid symbol."}, 400)
        symbols = [
            {
                "symbol": name,
                "status": "BREAK" if is_over else "TRADING",
                "baseAsset": name.partition("_")[0].removesuffix("USDT"),
                **_RULES,
                **_contract(source, market, name),
            }
            for name, is_over in ended.items()
            if wanted in (None, name) and not (market != "spot" and is_over)
        ]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": _WEIGHTS[market]}
        time = int(now.timestamp() * 1_000)
        return JSONResponse({"timezone": "UTC", "serverTime": time, "rateLimits": [limit], "symbols": symbols})

    return answer


def _contract(source: World, market: str, name: str) -> dict[str, object]:
    """Return what a contract has beside a pair of spot. COIN-M calls the status contractStatus (recorded answers of dapi)."""
    if market == "spot":
        return {}
    life = _life(source, market, name)
    if market == "linear":
        return {"marginAsset": "USDT", **life}
    base, quote = assets(name)
    kind = "PERPETUAL" if name.endswith("_PERP") else "CURRENT_QUARTER"
    size = source.listed[market, name][0].contract_size
    told = {"pair": f"{base}{quote}", "contractType": kind, "contractSize": size, "contractStatus": "TRADING"}
    return {"baseAsset": base, "quoteAsset": quote, "marginAsset": base, **told, **life}


def _life(source: World, market: str, name: str) -> dict[str, int]:
    """Return the first instant of a contract, and its last if its name has a date, in milliseconds."""
    _, first, _ = source.listed[market, name]
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end_ms = int(source.listed_until(market, name).timestamp() * 1_000) if expiry(name) else _NO_END_MS
    return {"onboardDate": int(begin.timestamp() * 1_000), "deliveryDate": end_ms}
