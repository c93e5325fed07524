"""Limits of the exchanges' budgets, plus rates of requests per seconds for everything; and a record of all arrivals."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.dialects import Dialects, allowances, known

_MOST_REMEMBERED = 1_000_000

FIRST = "binance"
"""The exchange whose budgets have no name before them: they were first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` requests in any `window_s` seconds, for the named budgets; for all if none is named."""

    amount: int
    window_s: float
    budgets: tuple[str, ...] = ()


_RATE = re.compile(r"(?:([a-z0-9_.]+):)?(\d+)/(\d+(?:\.\d+)?)?(s|m)", re.ASCII)


def parse_rate(text: str) -> Rate:
    """Return the rate of `20/s`, `listing:100/10s`, `bybit.archive:600/m`; Binance's budgets stand without its name.

    Raises:
        ValueError: another form.
    """
    match = _RATE.fullmatch(text)
    others = (f"{name}.{what}" for name in known() if name != FIRST for what in ("archive", "listing", "rest"))
    budgets = tuple(dict.fromkeys(("archive", "listing", *allowances(), *others)))
    if match is None or match[1] not in (None, *budgets) or int(match[2]) < 1 or match[3] in ("0", "0.0"):
        raise ValueError(f"limit {text!r}: expected 20/s, 100/10s or listing:600/m (of {', '.join(budgets)})")
    seconds = float(match[3] or 1) * (60 if match[4] == "m" else 1)
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


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whether a request is refused: 0 (no), 429 or 418 (banned); for how many seconds; the weight used, None: not counted."""

    status: int
    wait_s: int
    used: int | None


@dataclass
class _Account:
    """The use of one budget by one address, and its bans."""

    window: int = -1
    weight: int = 0
    refused: int = 0
    bans: int = 0
    banned_until: float = 0.0
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    raw: deque[float] = field(default_factory=deque)


class Limits:
    """Counts requests and decides which ones are refused; may be called from any thread.

    Args:
        clock, monotonic: the server's time and its stopwatch.
        allowed: the allowances by budget; None: those of all dialects. `weights` are their amounts, changed by assignment.

    `first_ban_s`, if set, is the length of every first ban, in the place of the exchanges' own.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        allowed: Mapping[str, Allowance] | None = None,
    ) -> None:
        self._allowed = dict(allowances() if allowed is None else allowed)
        self.weights = {budget: one.amount for budget, one in self._allowed.items()}
        self.rates: list[Rate] = []
        self.first_ban_s: float | None = None
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

    def admit(self, budget: str, weight: int, client: str, address: str) -> Admitted:
        """Count one request, and say whether it is refused."""
        with self._lock:
            at = self._monotonic()
            status, wait = self._over_rate(budget, address, at)
            used = None
            if not status and budget.partition(":")[0] in self._allowed:
                status, wait, used = self._over_weight(budget, weight, address)
            self._arrivals.append(Arrival(at, budget, weight, client, address, status))
        return Admitted(status, max(1, math.ceil(wait)) if status else 0, used)

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
        name = budget.partition(":")[0]
        now, account, allowed = self._clock(), self._accounts[address, budget], self._allowed[name]
        if now < account.banned_until:
            return 418, account.banned_until - now, account.weight
        wait = _count(account, allowed, weight, now)
        over = account.weight > self.weights[name]
        if allowed.raw is not None:
            most, span = allowed.raw
            while account.raw and account.raw[0] <= now - span:
                account.raw.popleft()
            account.raw.append(now)
            over |= len(account.raw) > most
        if not over:
            return 0, 0.0, account.weight
        account.refused += 1
        if allowed.patience is not None and account.refused > allowed.patience:
            first = allowed.first_ban_s if self.first_ban_s is None else self.first_ban_s
            length = min(first * 2**account.bans, allowed.longest_ban_s)
            account.bans += 1
            account.banned_until = now + length
            return 418, length, account.weight
        return 429, wait, account.weight

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


def _count(account: _Account, allowed: Allowance, weight: int, now: float) -> float:
    """Add a request to its window (a refused one counts too); return the seconds until the window allows more."""
    if allowed.calendar:
        window = int(now // allowed.window_s)
        if account.window != window:
            account.window, account.weight, account.refused = window, 0, 0
        account.weight += weight
        return allowed.window_s - now % allowed.window_s
    while account.recent and account.recent[0][0] <= now - allowed.window_s:
        account.recent.popleft()
    if not account.recent:
        account.refused = 0
    account.recent.append((now, weight))
    account.weight = sum(one for _, one in account.recent)
    return account.recent[0][0] + allowed.window_s - now


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

    def __init__(self, app: ASGIApp, limits: Limits, dialects: Dialects) -> None:
        self._app = app
        self._limits = limits
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._dialects.asked(scope)
        if asked is None:
            await self._app(scope, receive, send)
            return
        budget, weight = asked.dialect.charge(asked.kind, asked.path, asked.query)
        headers = dict(scope["headers"])
        address = headers.get(b"x-forwarded-for", scope["client"][0].encode()).decode("latin-1")
        client = (headers.get(b"x-client") or headers.get(b"user-agent", b"")).decode("latin-1")
        found = self._limits.admit(budget, weight, client, address)
        said = {} if found.used is None else asked.dialect.used(budget, found.used)
        if found.status:
            allowed = self._limits.weights.get(budget.partition(":")[0])
            answer = asked.dialect.refused(found.status, found.wait_s, budget, allowed)
            answer.headers.update(said)
            await answer(scope, receive, send)
            return

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in said.items())]
            await send(message)

        await self._app(scope, receive, say)
