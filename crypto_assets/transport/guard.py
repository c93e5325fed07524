"""The guard of every request to a host: circuit breaker, cool-down and limits, shared by all processes.

Call `admit` before a request, then `answered` or `failed`. All state is in Postgres. Breakers and cool-downs are read once
for the whole process, at most twice a second and only while requests are made; they are written when something changes.
Only a budget with limits costs a call for each request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.errors import CircuitOpen, HostRefused, Stopped
from crypto_assets.sources.limits import Endpoint, Limit
from crypto_assets.storage.database import Database
from crypto_assets.transport import limit_state
from crypto_assets.transport.ban_scope import banned_together
from crypto_assets.transport.breaker import FAILURES, FIRST_OPEN_S, PROBE_S, Breaker, Breakers, Key
from crypto_assets.transport.limit_state import Snapshot
from crypto_assets.transport.limiter import Cooling, Grant, Limiter
from crypto_assets.transport.retry import WaitUntil, decide

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection

EGRESS = "default"
"""Our name for the address that exchanges see. By default all processes of one Postgres share it. That is the safe choice:
containers and machines behind one gateway have one address."""

PATIENCE_S = 60.0

_FRESH_S = 0.5
_LOOK_S = 0.05
_SLACK_S = 0.05


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one request; pass it back with the result of the request."""

    endpoint: Endpoint
    host: str
    began: float
    probe: bool = False
    grant: Grant | None = None


@dataclass(slots=True)
class _Known:
    """This process's copy of the shared state, with times by its own stopwatch."""

    read_at: float = float("-inf")
    breakers: dict[Key, tuple[Breaker, float | None]] = field(default_factory=dict)
    cool: dict[tuple[str, str], tuple[float, int, str]] = field(default_factory=dict)


class Guard:
    """Admits requests to exchanges; safe to use from many threads. One for each process: not for use across a fork."""

    def __init__(
        self,
        url: str,
        collection: Collection | None = None,
        *,
        egress: str = EGRESS,
        limits: Mapping[str, Mapping[str, Sequence[Limit]]] | None = None,
        patience_s: float = PATIENCE_S,
        failures: int = FAILURES,
        first_open_s: float = FIRST_OPEN_S,
        probe_s: float = PROBE_S,
    ) -> None:
        """Prepare; connections are opened with the first request.

        Args:
            url: of a Postgres whose schema is up to date.
            collection: its `limits` replace those of the exchanges.
            egress: see EGRESS.
            limits: by exchange and budget; they replace both.
            patience_s: a longer cool-down raises `HostRefused` at once and is not waited for.
            failures, first_open_s, probe_s: settings of the circuit breakers.
        """
        self._database = Database(url, connections=2)
        self._collection = collection
        self._egress = egress
        self._limits = limits
        self._patience_s = patience_s
        self._breakers = Breakers(self._database, egress, failures=failures, first_open_s=first_open_s, probe_s=probe_s)
        self._known = _Known()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._budgets: dict[tuple[str, str], tuple[int, Limiter | None]] = {}
        self._clocks: dict[tuple[str, str], tuple[float, float]] = {}
        self._closed = threading.Event()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End waiting requests with Stopped, and close the connections."""
        self._closed.set()
        with self._lock:
            limiters = [limiter for _, limiter in self._budgets.values() if limiter is not None]
        for limiter in limiters:
            limiter.close()
        self._database.close()

    def limits(self, exchange: str, budget: str) -> tuple[Limit, ...]:
        """Return the limits of a budget: the configuration's if it names the budget, else the exchange's own."""
        if self._limits is not None:
            return tuple(self._limits.get(exchange, {}).get(budget, ()))
        configured = self._collection.urls(exchange).limits if self._collection is not None else {}
        if budget in configured:
            return tuple(configured[budget])
        return tuple(sources.get(exchange).limits.get(budget, ()))

    def admit(self, endpoint: Endpoint, host: str, stop: threading.Event | None = None) -> Permit:
        """Wait until a request may be sent.

        Raises:
            CircuitOpen: the host fails; no process sends it requests for now.
            HostRefused: the exchange asks for a pause that is longer than our patience.
            Stopped: `stop` was set while waiting.
            PostgresUnavailable: the shared state cannot be read.
        """
        probe = self._pass_breaker(Key(endpoint.exchange, endpoint.kind, host))
        try:
            self._wait_cool_down(endpoint, host, stop)
            grant = self._grant(endpoint, host, stop)
        except BaseException:
            if probe:
                self._breakers.release(Key(endpoint.exchange, endpoint.kind, host))
            raise
        return Permit(endpoint, host, time.monotonic(), probe, grant)

    def answered(
        self,
        permit: Permit,
        status: int,
        headers: Mapping[str, str],
        *,
        at: float,
        retry_after_s: float | None = None,
        body: str = "",
    ) -> None:
        """Report that an answer began, whatever its status; `at` is by `time.monotonic()`, `body` the text of a refusal.

        A status of 5xx is neither success nor failure until the caller has tried again and calls `failed`.
        """
        endpoint = permit.endpoint
        budget = endpoint.exchange, endpoint.budget
        limiter = self._budgets[budget][1] if permit.grant is not None else None
        if limiter is not None and permit.grant is not None:
            limiter.arrived(permit.grant, at)
            self._learn_clock(budget, limiter, headers, permit.began, at)
            if counted := sources.get(endpoint.exchange).counted_weight(endpoint.budget, headers):
                limiter.counted(*counted, permit.began, at)
        decision = decide(
            status, exchange=endpoint.exchange, rest=self._is_rest(endpoint), retry_after_s=retry_after_s, body=body
        )
        if isinstance(decision, WaitUntil):
            self._cool_down(endpoint, decision, status, f"{permit.host} answered {status}")
        if status < 500:
            self._succeeded(Key(endpoint.exchange, endpoint.kind, permit.host))

    def failed(self, permit: Permit, error: str, *, arrived: bool = True) -> None:
        """Count a failure of the host; `arrived` is false if the request cannot have reached it."""
        endpoint = permit.endpoint
        now = time.monotonic()
        if permit.grant is not None and arrived and (limiter := self._budgets[endpoint.exchange, endpoint.budget][1]):
            limiter.arrived(permit.grant, now)
        key = Key(endpoint.exchange, endpoint.kind, permit.host)
        breaker = self._breakers.failed(key, error, now - permit.began, probe=permit.probe)
        with self._lock:
            self._known.breakers[key] = breaker, _moment(breaker.probed_in_s)

    def abandoned(self, permit: Permit) -> None:
        """Report a request that our side gave up; it says nothing about the host."""
        if permit.grant is not None and (limiter := self._budgets[permit.endpoint.exchange, permit.endpoint.budget][1]):
            limiter.arrived(permit.grant, time.monotonic())
        if permit.probe:
            self._breakers.release(Key(permit.endpoint.exchange, permit.endpoint.kind, permit.host))

    def snapshot(self) -> Snapshot:
        """Return the limits in use, cool-downs and breakers of every address; see `limit_state.snapshot`."""
        return limit_state.snapshot(self._database)

    def _pass_breaker(self, key: Key) -> bool:
        """Return whether the request is a probe; raise CircuitOpen if it may not be sent."""
        found = self._fresh().breakers.get(key)
        if found is None or found[1] is None:
            return False
        breaker, until = found[0], found[1]
        if until <= time.monotonic() and self._breakers.claim(key):
            return True
        left = until - time.monotonic()
        probed = f"at {_clock(left)}" if left > 0 else "now by another request"
        retry_at = datetime.now(UTC) + timedelta(seconds=max(left, 0.0))
        raise CircuitOpen(
            f"{key.host} has failed {breaker.failures} times in a row, the last: {breaker.last_error}; "
            f"no requests until a probe succeeds, the next {probed}; then `crypto-assets fill`",
            host=key.host,
            failures=breaker.failures,
            last_error=breaker.last_error,
            retry_at=retry_at.isoformat(timespec="seconds"),
        )

    def _wait_cool_down(self, endpoint: Endpoint, host: str, stop: threading.Event | None) -> None:
        waited = False
        while found := self._fresh().cool.get((endpoint.exchange, endpoint.budget)):
            until, status, reason = found
            left = until - time.monotonic()
            if left <= 0:
                break
            if left > self._patience_s:
                retry_at = datetime.now(UTC) + timedelta(seconds=left)
                raise HostRefused(
                    f"{host}: requests are paused because {reason}; all of {endpoint.exchange} {endpoint.budget} "
                    f"waits until {_clock(left)}; then `crypto-assets fill`",
                    status=status,
                    retry_after_s=left,
                    retry_at=retry_at.isoformat(timespec="seconds"),
                    host=host,
                )
            waited = True
            self._sleep(min(left, _FRESH_S), stop)
        if waited:
            # So that the waiting requests do not all start at once.
            self._sleep(limit_state.jitter(), stop)

    def _grant(self, endpoint: Endpoint, host: str, stop: threading.Event | None) -> Grant | None:
        _, limiter = self._budget(endpoint)
        if limiter is None:
            return None
        while isinstance(found := limiter.acquire(endpoint.weight, stop), Cooling):
            self._note_cool_down(endpoint, found)
            self._wait_cool_down(endpoint, host, stop)
        return found

    def _sleep(self, seconds: float, stop: threading.Event | None) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._closed.wait(min(left, _LOOK_S)) or (stop is not None and stop.is_set()):
                raise Stopped("stopped while waiting for the end of an exchange's cool-down")

    def _fresh(self) -> _Known:
        """Return the shared state, read again if older than half a second; one thread reads, the others do not wait."""
        known = self._known
        if time.monotonic() - known.read_at < _FRESH_S:
            return known
        never = known.read_at == float("-inf")
        if self._reading.acquire(blocking=never):
            try:
                if time.monotonic() - self._known.read_at >= _FRESH_S:
                    self._known = self._read()
            finally:
                self._reading.release()
        return self._known

    def _read(self) -> _Known:
        breakers = {
            Key(found.exchange, found.kind, found.host): (found, _moment(found.probed_in_s))
            for found in self._breakers.read()
        }
        cool = {
            (exchange, budget): (time.monotonic() + seconds, status, reason)
            for exchange, budget, seconds, status, reason in limit_state.cool_downs(self._database, self._egress)
        }
        return _Known(time.monotonic(), breakers, cool)

    def _succeeded(self, key: Key) -> None:
        if key not in self._known.breakers:
            return
        with self._lock:
            found = self._known.breakers.pop(key, None)
        if found is not None:
            self._breakers.succeeded(key)

    def asked_to_wait(self, endpoint: Endpoint, decision: WaitUntil, status: int, reason: str) -> None:
        """Begin a pause that the text of an answer asks for (an error in an answer with status 200)."""
        self._cool_down(endpoint, decision, status, reason)

    def _cool_down(self, endpoint: Endpoint, decision: WaitUntil, status: int, reason: str) -> None:
        """Pause a budget; after a ban, every budget of the same host."""
        if decision.seconds is not None:
            reason += f" and asked to wait {decision.seconds:g} s"
        seconds, first_ban_s = decision.seconds, decision.first_s if decision.ban else None
        for paused in banned_together(endpoint, self._collection) if decision.ban else [endpoint]:
            budget_id, _ = self._budget(paused)
            found = limit_state.cool_down(self._database, budget_id, seconds, status, reason, first_ban_s=first_ban_s)
            seconds = found[0]
            self._note_cool_down(paused, Cooling(*found))

    def _note_cool_down(self, endpoint: Endpoint, found: Cooling) -> None:
        with self._lock:
            until = time.monotonic() + found.seconds
            self._known.cool[endpoint.exchange, endpoint.budget] = until, found.status, found.reason

    def _budget(self, endpoint: Endpoint) -> tuple[int, Limiter | None]:
        """Return the row of a budget and its limiter (None without limits); the row is made on first use."""
        key = endpoint.exchange, endpoint.budget
        found = self._budgets.get(key)
        if found is not None:
            return found
        with self._lock:
            if key not in self._budgets:
                limits = self.limits(*key)
                budget_id = limit_state.budget_id(
                    self._database, endpoint.exchange, self._egress, endpoint.budget, limits
                )
                self._budgets[key] = (
                    budget_id,
                    Limiter(self._database, budget_id, limits, " ".join(key)) if limits else None,
                )
            return self._budgets[key]

    def _learn_clock(
        self, budget: tuple[str, str], limiter: Limiter, headers: Mapping[str, str], sent: float, answered: float
    ) -> None:
        """Narrow down how far the exchange's clock is ahead of Postgres': its Date was true between sent and answered."""
        ours = limiter.server_clock(sent), limiter.server_clock(answered)
        try:
            told = parsedate_to_datetime(headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            return
        if ours[0] is None or ours[1] is None:
            return
        # A Date is cut to whole seconds, so it holds for one second.
        low, high = told - ours[1][1] - _SLACK_S, told + 1 - ours[0][0] + _SLACK_S
        with self._lock:
            before = self._clocks.get(budget, (float("-inf"), float("inf")))
            now = (max(low, before[0]), min(high, before[1])) if low <= before[1] and high >= before[0] else (low, high)
            if now[0] - before[0] < _SLACK_S and before[1] - now[1] < _SLACK_S:
                return
            self._clocks[budget] = now
        limit_state.learn_clock(self._database, self._budgets[budget][0], *now)

    def _is_rest(self, endpoint: Endpoint) -> bool:
        return endpoint.budget not in ("archive", "listing")


def _moment(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _clock(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S} UTC"
