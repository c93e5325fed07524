"""Request limits like Binance's, plus rates of requests per seconds for everything; and a record of all arrivals.

REST: weights per endpoint and `limit=`, counted for each address in calendar minutes, separately on spot and futures.
`X-MBX-USED-WEIGHT-1M` on every answer; beyond the limit 429 with `Retry-After` in seconds up to the next minute; a client
that continues is banned: 418, two minutes first, each ban twice as long as the one before, three days at most.
(developers.binance.com/docs/binance-spot-api-docs/rest-api/limits; it does not say how many requests after a 429 cause a ban,
or how bans grow between two minutes and three days.)
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto_assets.sandbox.wire import classify

MINUTE_S = 60
WEIGHT_A_MINUTE = {"spot": 6_000, "linear": 2_400}
RAW_REQUESTS = 300_000, 300.0
"""Spot: most requests of any weight in five minutes."""

PATIENCE = 10
"""Requests answered 429 in a minute before the address is banned."""

FIRST_BAN_S, LONGEST_BAN_S = 120.0, 259_200.0

ARCHIVE, LISTING = "archive", "listing"
_MOST_REMEMBERED = 1_000_000


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
}


def weight_of(path: str, query: str = "") -> int:
    """Return the weight of a REST request; 1 for an endpoint outside the table."""
    text = parse_qs(query).get("limit", [""])[0]
    return _WEIGHTS.get(path, lambda _: 1)(int(text) if text.isascii() and text.isdigit() else None)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` requests in any `window_s` seconds, for the named budgets; for all if none is named."""

    amount: int
    window_s: float
    budgets: tuple[str, ...] = ()


_RATE = re.compile(r"(?:([a-z]+):)?(\d+)/(\d+(?:\.\d+)?)?(s|m)", re.ASCII)


def parse_rate(text: str) -> Rate:
    """Return the rate of `20/s`, `listing:100/10s`, `archive:600/m`.

    Raises:
        ValueError: another form.
    """
    match = _RATE.fullmatch(text)
    budgets = (ARCHIVE, LISTING, *WEIGHT_A_MINUTE)
    if match is None or match[1] not in (None, *budgets) or int(match[2]) < 1 or match[3] in ("0", "0.0"):
        raise ValueError(f"limit {text!r}: expected 20/s, 100/10s or listing:600/m (of {', '.join(budgets)})")
    seconds = float(match[3] or 1) * (MINUTE_S if match[4] == "m" else 1)
    return Rate(int(match[2]), seconds, (match[1],) if match[1] else ())


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: arrival time (monotonic seconds), budget and weight, sender, and the status if it was refused."""

    at: float
    budget: str
    weight: int
    client: str
    address: str
    refused: int = 0


@dataclass
class _Account:
    """The use of one REST budget by one address, and its bans."""

    minute: int = -1
    weight: int = 0
    refused: int = 0
    bans: int = 0
    banned_until: float = 0.0
    raw: deque[float] = field(default_factory=deque)


class Limits:
    """Counts requests and decides which ones are refused; may be called from any thread.

    Args:
        weights: of a calendar minute, by budget; changed by assignment.
        clock, monotonic: the server's time and its stopwatch.
    """

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.weights = dict(WEIGHT_A_MINUTE)
        self.rates: list[Rate] = []
        self.first_ban_s = FIRST_BAN_S
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accounts: dict[tuple[str, str], _Account] = defaultdict(_Account)
        self._recent: dict[tuple[str, int], deque[float]] = defaultdict(deque)
        self._arrivals: deque[Arrival] = deque(maxlen=_MOST_REMEMBERED)

    def set_rates(self, rates: Sequence[Rate]) -> None:
        """Replace the rates; their counts begin again."""
        with self._lock:
            self.rates = list(rates)
            self._recent.clear()

    def admit(self, budget: str, weight: int, client: str, address: str) -> tuple[int, Mapping[str, str]]:
        """Count one request; return the status that refuses it (0: allowed) and the headers of its answer."""
        with self._lock:
            at = self._monotonic()
            headers: dict[str, str] = {}
            status, wait = self._over_rate(budget, address, at)
            if not status and budget in self.weights:
                status, wait, used = self._over_weight(budget, weight, address)
                headers["x-mbx-used-weight"] = headers["x-mbx-used-weight-1m"] = str(used)
            if status:
                headers["retry-after"] = str(max(1, math.ceil(wait)))
            self._arrivals.append(Arrival(at, budget, weight, client, address, status))
        return status, headers

    def _over_rate(self, budget: str, address: str, at: float) -> tuple[int, float]:
        for number, rate in enumerate(self.rates):
            if rate.budgets and budget not in rate.budgets:
                continue
            recent = self._recent[address, number]
            while recent and recent[0] <= at - rate.window_s:
                recent.popleft()
            if len(recent) >= rate.amount:
                return 429, recent[0] + rate.window_s - at
            recent.append(at)
        return 0, 0.0

    def _over_weight(self, budget: str, weight: int, address: str) -> tuple[int, float, int]:
        now, account = self._clock(), self._accounts[address, budget]
        if now < account.banned_until:
            return 418, account.banned_until - now, account.weight
        if account.minute != int(now // MINUTE_S):
            account.minute, account.weight, account.refused = int(now // MINUTE_S), 0, 0
        account.weight += weight  # a refused request counts too
        most, span = RAW_REQUESTS
        while account.raw and account.raw[0] <= now - span:
            account.raw.popleft()
        account.raw.append(now)
        if account.weight <= self.weights[budget] and (budget != "spot" or len(account.raw) <= most):
            return 0, 0.0, account.weight
        account.refused += 1
        if account.refused > PATIENCE:
            length = min(self.first_ban_s * 2**account.bans, LONGEST_BAN_S)
            account.bans += 1
            account.banned_until = now + length
            return 418, length, account.weight
        return 429, MINUTE_S - now % MINUTE_S, account.weight

    def forget(self) -> None:
        """Forget all arrivals, counts and bans; the limits stay."""
        with self._lock:
            self._accounts.clear()
            self._recent.clear()
            self._arrivals.clear()

    def arrivals(self, budgets: Sequence[str] = ()) -> list[Arrival]:
        """Return the arrivals in order; only those of some budgets, if any are named."""
        with self._lock:
            return [arrival for arrival in self._arrivals if not budgets or arrival.budget in budgets]

    def report(
        self, window_s: float | None = None, amount: int | None = None, budgets: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return counts by client and budget; with a window, the maximum in any sliding window, and violations.

        A window is half-open, [t, t + window_s): two requests exactly its length apart are not in the same window.
        """
        found = self.arrivals(budgets)
        by_client: dict[str, Counter[str]] = defaultdict(Counter)
        for arrival in found:
            by_client[arrival.client].update(requests=1, weight=arrival.weight, refused=bool(arrival.refused))
        report: dict[str, Any] = {
            "requests": len(found),
            "weight": sum(arrival.weight for arrival in found),
            "refused": Counter(str(arrival.refused) for arrival in found if arrival.refused),
            "clients": by_client,
            "budgets": Counter(arrival.budget for arrival in found),
            "seconds": found[-1].at - found[0].at if found else 0.0,
            "limits": {
                "weights": self.weights,
                "rates": [f"{r.amount}/{r.window_s:g}s {' '.join(r.budgets) or 'all'}" for r in self.rates],
            },
        }
        if window_s is not None:
            report["window"] = busiest(found, window_s, amount)
        return report


def busiest(arrivals: Sequence[Arrival], window_s: float, amount: int | None = None) -> dict[str, Any]:
    """Return the most requests and weight in any sliding window, and how many windows had more than `amount`."""
    times = np.array([arrival.at for arrival in arrivals])
    ends = np.searchsorted(times, times + window_s, side="left")
    requests = ends - np.arange(len(times))
    sums = np.concatenate([[0], np.cumsum([arrival.weight for arrival in arrivals])])
    weights = sums[ends] - sums[:-1] if len(times) else np.array([])
    told: dict[str, Any] = {
        "window_s": window_s,
        "most_requests": int(requests.max(initial=0)),
        "most_weight": int(weights.max(initial=0)),
    }
    if amount is not None:
        told["violations_requests"] = int((requests > amount).sum())
        told["violations_weight"] = int((weights > amount).sum())
    return told


class LimitedWire:
    """Enforces the limits in front of an app. `X-Forwarded-For` sets the address, `X-Client` a name."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = classify(scope) if scope["type"] == "http" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        path, budget = scope["path"], LISTING if asked[0] == "listing" else ARCHIVE
        weight = 1
        if asked[0] == "rest":
            budget = "linear" if path.startswith("/fapi/") else "spot"
            weight = weight_of(path, scope["query_string"].decode("latin-1"))
        headers = dict(scope["headers"])
        address = headers.get(b"x-forwarded-for", scope["client"][0].encode()).decode("latin-1")
        client = (headers.get(b"x-client") or headers.get(b"user-agent", b"")).decode("latin-1")
        status, said = self._limits.admit(budget, weight, client, address)
        if status:
            await _refusal(status, said, budget, self._limits)(scope, receive, send)
            return

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in said.items())]
            await send(message)

        await self._app(scope, receive, say)


def _refusal(status: int, headers: Mapping[str, str], budget: str, limits: Limits) -> Response:
    """Answer with Binance's text (code -1003); the archive's hosts answer the same here."""
    if status == 418:
        text = f"Way too much request weight used; IP banned for {headers['retry-after']} s."
    else:
        most = limits.weights.get(budget)
        text = f"Too much request weight used; current limit is {most or 'a rate'} request weight per 1 MINUTE."
    return JSONResponse({"code": -1003, "msg": text}, status, dict(headers))
