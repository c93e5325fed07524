"""Exact rate limits over all processes that share an address, kept by Postgres.

One call of `collection.take_grant` is one grant. It takes the lock of the budget (first come, first served), waits inside it
until the request fits into every window, writes it to the log and returns. So processes take turns, however many threads
each has; a heavy request is not overtaken for ever; only Postgres' clock counts; and a killed process loses its turn. Each
process has one thread and one connection for a budget, where its own requests wait in order.

What counts is the time when a request arrives at the exchange. It arrives before its answer: if the answer is later than the
grant plus the pad of the window, the grant is moved to the later instant, long before another grant depends on it.
Reservations of future slots would waste one for each process that is killed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from crypto_assets.errors import ConfigError, PostgresUnavailable, Stopped
from crypto_assets.sources.limits import Limit
from crypto_assets.storage.database import CONNECT_TIMEOUT_S, Database, connected
from crypto_assets.storage.patience import outlast, repeatable
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.storage.sessions import SAY_AFTER_S, SAY_AGAIN_S, say

_LOOK_S = 0.05
"""How often a waiting thread checks whether it should stop."""

_IDLE_S = 30.0
"""An unused thread and its connection end after this time."""

_CLOCK_S = 30.0
"""How often Postgres' clock is compared with our stopwatch."""

_BURST_SPACING_S = 0.01
"""The spacing of a burst after a pause, for the sake of both sides; never below twice the limit's own pace."""

_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "timezone=UTC",
        "synchronous_commit=off",
        "statement_timeout=0",
        "lock_timeout=0",
        "client_connection_check_interval=100ms",  # a process killed in the queue leaves it
        "tcp_keepalives_idle=10",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=3",
    )
)

_TAKE = "SELECT * FROM collection.take_grant(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_MOVE = "SELECT collection.move_grant(%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for one request; `at` is when it was given, by our stopwatch, rounded to early rather than late."""

    id: int
    at: float


@dataclass(frozen=True, slots=True)
class Cooling:
    """No requests on a budget for some seconds, and why: the status and the text of the refusal."""

    seconds: float
    status: int
    reason: str


@dataclass(slots=True)
class _Waiter:
    weight: int
    found: Grant | Cooling | Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Limiter:
    """Admits the requests of one budget exactly within its limits; safe to use from many threads.

    Not for use across a fork: make one in each process.
    """

    def __init__(self, database: Database, budget_id: int, limits: Sequence[Limit], name: str = "the exchange") -> None:
        """Prepare; the connection is opened with the first request.

        Args:
            database: for short statements; the limiter's own connection goes to the same server.
            budget_id: the row of collection.budgets.
            limits: at least one.
            name: of the budget, for messages to people who wait.
        """
        self._database = database
        self._budget_id = budget_id
        self._limits = tuple(limits)
        self._name = name
        self._log_was_lost = False
        self._said_at = float("-inf")
        self._pad_s = min(limit.pad_s for limit in limits)
        self._stale_s = min(limit.window_s for limit in limits) / 2
        self._arrays = (
            [limit.amount for limit in limits],
            [limit.window_s for limit in limits],
            [limit.pad_s for limit in limits],
            [limit.unit == "weight" for limit in limits],
            [limit.aligned for limit in limits],
        )
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._waiting: deque[_Waiter] = deque()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._closed = False
        self._counted: tuple[Any, ...] = (None, None, None, None)
        self._server_minus_ours: tuple[float, float] | None = None
        self._clock_read = 0.0

    def acquire(self, weight: int = 1, stop: threading.Event | None = None) -> Grant | Cooling:
        """Wait for permission for one request, or return at once if the budget is in a cool-down.

        Raises:
            Stopped: `stop` was set while waiting, or the limiter was closed.
            ConfigError: the request is heavier than a limit.
            PostgresUnavailable: the server does not answer.
        """
        for limit in self._limits:
            if limit.unit == "weight" and weight > limit.amount:
                raise ConfigError(
                    f"a request of weight {weight} never fits into the limit {limit}; check limits in collection.yaml"
                )
        while True:
            waiter = _Waiter(weight)
            self._enter(waiter)
            entered = time.monotonic()
            while not waiter.done.wait(_LOOK_S):
                if time.monotonic() - entered > SAY_AFTER_S:
                    self._say()
                if stop is not None and stop.is_set():
                    self._leave(waiter)
                    raise Stopped("stopped while waiting for a limit of the exchange")
            found = waiter.found
            if isinstance(found, PostgresUnavailable):
                raise PostgresUnavailable(str(found), passing=found.passing) from found
            if isinstance(found, Exception):
                raise found
            # A process that slept meanwhile (SIGSTOP, a suspended machine) must not use a grant that left its window.
            if isinstance(found, Cooling) or (found is not None and time.monotonic() - found.at < self._stale_s):
                return found

    def _say(self) -> None:
        """Print now and then what is waited for: a used-up limit is no fault, but nobody would see the reason."""
        with self._lock:
            if time.monotonic() - self._said_at < SAY_AGAIN_S:
                return
            self._said_at = time.monotonic()
        longest = max(limit.window_s for limit in self._limits)
        why = "Postgres has crashed, so the whole limit counts as used; " if self._log_was_lost else ""
        limits = ", ".join(map(str, self._limits))
        say(f"waiting for the limits of {self._name} ({limits}); {why}at most {longest:g} s for a request")

    @repeatable
    def arrived(self, grant: Grant, at: float) -> None:
        """Report the latest time at which a request can have arrived: that of its answer or failure, by our stopwatch."""
        if at - grant.at > self._pad_s:
            with self._database.transaction() as connection:
                ago = time.monotonic() - at + self._pad_s
                connection.execute(_MOVE, (self._budget_id, grant.id, ago))

    def counted(self, weight: int, window_s: float, sent: float, answered: float) -> None:
        """Report what the exchange counted in its calendar window; the next grant passes it on to others at our address."""
        if (clock := self._server_minus_ours) is not None:
            self._counted = (weight, _instant(sent + clock[0]), _instant(answered + clock[1]), window_s)

    def server_clock(self, ours: float) -> tuple[float, float] | None:
        """Return the earliest and latest time of Postgres' clock at a moment of our stopwatch; None before a grant."""
        clock = self._server_minus_ours
        return None if clock is None else (ours + clock[0], ours + clock[1])

    def close(self) -> None:
        """End the thread; waiting requests get Stopped."""
        with self._lock:
            self._closed = True
            self._answer_all(Stopped("stopped while waiting for a limit of the exchange"))
            self._wanted.notify_all()
            thread = self._thread
        deadline = time.monotonic() + 5
        while thread is not None and thread.is_alive() and time.monotonic() < deadline:
            self._cancel()  # again, in case the first came just before the statement
            thread.join(0.2)

    def _enter(self, waiter: _Waiter) -> None:
        with self._lock:
            if self._closed:
                raise Stopped("the limiter was closed")
            self._waiting.append(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"limiter {self._budget_id}", daemon=True)
                self._thread.start()
            self._wanted.notify()

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            unwanted = not self._waiting
        if unwanted:
            # A grant that nobody uses would be lost to the others.
            threading.Thread(target=self._cancel, name="cancel", daemon=True).start()

    def _cancel(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=2)

    def _answer_all(self, found: Cooling | Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            waiter.found = found
            waiter.done.set()

    def _run(self) -> None:
        """Take grants for the waiting requests, one after the other; runs in the limiter's own thread."""
        while (weight := self._next_weight()) is not None:
            try:
                found = self._take(weight)
            except psycopg.errors.QueryCanceled:
                continue
            except Exception as error:  # any error is passed to the waiting requests
                with self._lock:
                    self._answer_all(error)
                continue
            with self._lock:
                if isinstance(found, Cooling):
                    self._answer_all(found)
                elif waiter := next((w for w in self._waiting if w.weight <= weight), None):
                    self._waiting.remove(waiter)
                    waiter.found = found
                    waiter.done.set()

    def _next_weight(self) -> int | None:
        """Return the weight of the first waiting request; when idle, close the connection and return None."""
        with self._lock:
            while not self._waiting:
                if self._closed or not self._wanted.wait(_IDLE_S):
                    self._disconnect()
                    self._thread = None
                    return None
            return self._waiting[0].weight

    def _take(self, weight: int) -> Grant | Cooling:
        paces = [
            limit.window_s / limit.amount * (weight if limit.unit == "weight" else 1) / 2 for limit in self._limits
        ]
        spacing = min(_BURST_SPACING_S, max(paces))
        counted, self._counted = self._counted, (None, None, None, None)
        values = (self._budget_id, weight, spacing, self._pad_s, *self._arrays, *counted)
        grant_id, granted, cool_s, status, reason = self._execute(_TAKE, values)
        if cool_s is not None:
            return Cooling(float(cool_s), status, reason)
        if grant_id is None:
            # The log of grants was lost. All of the limit is now written as used, and the next statement waits for it.
            self._log_was_lost = True
            grant_id, granted, cool_s, status, reason = self._execute(_TAKE, (*values[:-4], None, None, None, None))
            if cool_s is not None:
                return Cooling(float(cool_s), status, reason)
        assert self._server_minus_ours is not None  # noqa: S101 - read with the connection
        return Grant(grant_id, granted.timestamp() - self._server_minus_ours[1])

    def _execute(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the row of a query; a broken connection is replaced by a new one."""
        return outlast(self._execute_once, query, values)

    def _execute_once(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            connection = self._connected()
            row = connection.execute(query, values, prepare=True).fetchone()
        except psycopg.errors.QueryCanceled:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._disconnect()
            if self._closed:
                raise Stopped("stopped while waiting for a limit of the exchange") from None
            raise unavailable(self._database.url, error) from error
        assert row is not None  # noqa: S101 - a function returns one
        return row

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = connected(self._database.url, self._connect, stopped=lambda: self._closed)
            self._clock_read = -_CLOCK_S
        if time.monotonic() - self._clock_read > _CLOCK_S:
            self._server_minus_ours = _compare_clocks(self._connection)
            self._clock_read = time.monotonic()
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._database.url,
            autocommit=True,
            connect_timeout=int(CONNECT_TIMEOUT_S),
            application_name="crypto_assets limiter",
            options=_OPTIONS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _compare_clocks(connection: psycopg.Connection[Any]) -> tuple[float, float]:
    """Return the least and the most seconds that Postgres' clock can be ahead of our stopwatch."""
    best = (float("-inf"), float("inf"))
    for _ in range(3):
        before = time.monotonic()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        after = time.monotonic()
        assert row is not None  # noqa: S101 - a function returns one
        best = max(best[0], row[0] - after), min(best[1], row[0] - before)
    return best


def _instant(seconds: float) -> Any:
    return datetime.fromtimestamp(seconds, UTC)
