"""Binance's exchangeInfo for the sandbox's market: its symbols, whether they trade, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse

from crypto_assets.sandbox.archive import SyntheticArchive

_RULES = {"baseAssetPrecision": 8, "quotePrecision": 8, "quoteAsset": "USDT"}
_WEIGHTS = {"spot": 6000, "linear": 2400}


def exchange_info(source: SyntheticArchive, market: str) -> Callable[[Request], JSONResponse]:
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
                "baseAsset": name.removesuffix("USDT"),
                **_RULES,
            }
            for name, is_over in ended.items()
            if wanted in (None, name) and not (market == "linear" and is_over)
        ]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": _WEIGHTS[market]}
        time = int(now.timestamp() * 1_000)
        return JSONResponse({"timezone": "UTC", "serverTime": time, "rateLimits": [limit], "symbols": symbols})

    return answer
