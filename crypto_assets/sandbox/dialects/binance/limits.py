"""Binance's request limits: weights per endpoint and `limit=`, counted for each address in calendar minutes, by market.

Beyond the limit 429 with `Retry-After` in seconds up to the next minute; a client that continues is banned: 418, two minutes
first, each ban twice as long as the one before, three days at most.
(developers.binance.com/docs/binance-spot-api-docs/rest-api/limits; it does not say how many requests after a 429 cause a ban,
or how bans grow between two minutes and three days.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from crypto_assets.sandbox.allowances import Allowance

PATIENCE = 10
"""Requests answered 429 in a minute before the address is banned."""

FIRST_BAN_S, LONGEST_BAN_S = 120.0, 259_200.0

RAW_REQUESTS = 300_000, 300.0
"""Spot: most requests of any weight in five minutes."""


def _minute(amount: int, raw: tuple[int, float] | None = None) -> Allowance:
    return Allowance(amount, 60.0, True, PATIENCE, FIRST_BAN_S, LONGEST_BAN_S, raw)


LIMITS: Mapping[str, Allowance] = {
    "spot": _minute(6_000, RAW_REQUESTS),
    "linear": _minute(2_400),
    "inverse": _minute(2_400),
}


def _steps(parameter: int, *steps: tuple[int, int]) -> Callable[[int | None], int]:
    """Return a weight that grows with `limit=`; `parameter` is the default limit."""

    def weight(limit: int | None) -> int:
        asked = parameter if limit is None else limit
        return next((cost for most, cost in steps if asked <= most), steps[-1][1])

    return weight


# Spot: API documentation of 2024 to 2026. Futures: the same, and ccxt's binance.py (which agrees).
_WEIGHTS: Mapping[str, Callable[[int | None], int]] = {
    "/api/v3/ping": lambda _: 1,
    "/api/v3/time": lambda _: 1,
    "/api/v3/exchangeInfo": lambda _: 20,
    "/api/v3/klines": lambda _: 2,
    "/api/v3/uiKlines": lambda _: 2,
    "/api/v3/aggTrades": lambda _: 4,
    "/api/v3/trades": lambda _: 25,
    "/api/v3/historicalTrades": lambda _: 25,
    "/api/v3/depth": _steps(100, (100, 5), (500, 25), (1_000, 50), (5_000, 250)),
    "/fapi/v1/klines": _steps(500, (99, 1), (499, 2), (1_000, 5), (1_500, 10)),
    "/fapi/v1/aggTrades": lambda _: 20,
    "/fapi/v1/trades": lambda _: 5,
    "/fapi/v1/historicalTrades": lambda _: 200,
    "/fapi/v1/fundingRate": lambda _: 1,
    "/fapi/v1/depth": _steps(500, (50, 2), (100, 5), (500, 10), (1_000, 20)),
    "/dapi/v1/klines": _steps(500, (99, 1), (499, 2), (1_000, 5), (1_500, 10)),
    "/dapi/v1/aggTrades": lambda _: 20,
    "/dapi/v1/trades": lambda _: 5,
    "/dapi/v1/historicalTrades": lambda _: 20,
    "/dapi/v1/fundingRate": lambda _: 1,
    "/dapi/v1/depth": _steps(500, (50, 2), (100, 5), (500, 10), (1_000, 20)),
}


def weight_of(path: str, query: str = "") -> int:
    """Return the weight of a REST request; 1 for an endpoint outside the table."""
    text = parse_qs(query).get("limit", [""])[0]
    return _WEIGHTS.get(path, lambda _: 1)(int(text) if text.isascii() and text.isdigit() else None)
