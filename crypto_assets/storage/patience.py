"""Retry our own stores, Postgres and the lake, when they fail for a moment.

A restart, a cut connection or a 500 of a bucket is over in seconds. The request is repeated, with growing waits, until the
store answers, the time limit (CRYPTO_ASSETS_STORE_PATIENCE_S) is over, or the run is stopped. All threads of a process share
the time limit of a store: once it is over, the next caller does not wait again.

There is no wait for a store that has never answered this process if its address may be wrong: a person would wait for a
typing error. A full disk does not recover by itself, so there is no wait for it either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from crypto_assets.errors import CryptoAssetsError, Stopped, StoreUnavailable
from crypto_assets.machine.backoff import backoff_s
from crypto_assets.storage.sessions import say

SAY_AFTER_S = 3.0
"""Seconds before a wait is reported: a restarting server takes a second or two."""

SAY_AGAIN_S = 30.0

REST_S = 30.0
"""Seconds without requests to a store that was given up because it hangs: undoing many files would wait for each."""

_DEFAULT_SPAN_S = 60.0
_SLICE_S = 0.2
_FIRST_ATTEMPTS = 3
"""Most attempts in direct sequence: each may take another cut connection from the pool."""

STOP: ContextVar[threading.Event | None] = ContextVar("stop", default=None)
"""The event that ends the waits of a run; threads of a DaemonPool use their caller's."""

T = TypeVar("T")
P = ParamSpec("P")


class Patience:
    """The time one store has failed, for all threads of this process; `name` is its name in messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._known = False
        self._since: float | None = None
        self._failed_at = 0.0
        self._said_at: float | None = None
        self._hung_at: float | None = None
        self._calls: dict[object, tuple[float, str]] = {}
        self._watcher: threading.Thread | None = None

    def answered(self) -> None:
        """Note that the store answered: the next failure restarts the time limit."""
        self._known = True
        if self._since is not None:
            with self._lock:
                self._since = self._said_at = self._hung_at = None

    def hung(self) -> None:
        """Note that the store was given up after long attempts without an answer."""
        self._hung_at = time.monotonic()

    @property
    def hangs(self) -> bool:
        """Whether the store was given up so recently that a new request would only wait again."""
        return self._hung_at is not None and time.monotonic() - self._hung_at < REST_S

    @property
    def known(self) -> bool:
        """Whether the store has answered this process before."""
        return self._known

    def wait(self, attempt: int, why: str, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait a little after failed attempt n (from 1); return False when the time limit is over.

        Raises:
            Stopped: the run was stopped meanwhile.
        """
        span = span_s()
        now = time.monotonic()
        with self._lock:
            # An old failure that nobody followed up does not belong to this one.
            if self._since is None or now - self._failed_at > max(span, _DEFAULT_SPAN_S):
                self._since, self._said_at = now, None
            self._failed_at = now
            waited = now - self._since  # another thread may have an answer before the next line: it sets None
        left = span - waited
        if left <= 0:
            return False
        self._say_waiting(why, waited, left)
        pause = min(left, backoff_s(attempt))
        self._sleep(pause, stopped)
        return True

    def _sleep(self, seconds: float, stopped: Callable[[], bool]) -> None:
        event, deadline = STOP.get(), time.monotonic() + seconds
        while True:
            if stopped() or (event is not None and event.is_set()):
                raise Stopped(f"stopped while waiting for {self.name}")
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if event is None:
                time.sleep(min(left, _SLICE_S))
            else:
                event.wait(min(left, _SLICE_S))

    def _say_waiting(self, why: str, waited_s: float, left_s: float) -> None:
        with self._lock:
            now = time.monotonic()
            if waited_s < SAY_AFTER_S or (self._said_at is not None and now - self._said_at < SAY_AGAIN_S):
                return
            self._said_at = now
        say(f"waiting for {self.name}: {why}; for {left_s:.0f} s more at most")

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Print a line if the answer to the block takes long: a hanging store gives no error for a while."""
        call = object()
        with self._lock:
            self._calls[call] = time.monotonic(), what
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="slow store", daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                del self._calls[call]

    def _watch(self) -> None:
        idle_at = time.monotonic()
        while True:
            time.sleep(1.0)
            now = time.monotonic()
            with self._lock:
                if self._calls:
                    idle_at = now
                elif now - idle_at > _DEFAULT_SPAN_S:
                    self._watcher = None
                    return
                began, what = min(self._calls.values(), default=(now, ""))
                quiet = self._said_at is None or now - self._said_at >= SAY_AGAIN_S
                if not quiet or now - began < SAY_AFTER_S:
                    continue
                self._said_at = now
            say(f"waiting for {self.name}: no answer to {what} for {now - began:.0f} s")


_all: dict[str, Patience] = {}
_all_lock = threading.Lock()


def patience_with(key: str, name: str) -> Patience:
    """Return this process's patience with a store, identified by `key`."""
    with _all_lock:
        return _all.setdefault(key, Patience(name))


def outlast(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return the result of a call, repeated while a store fails temporarily.

    The whole call is repeated, so it must be safe to repeat: a read, or a transaction that has not committed.

    Raises:
        Stopped: the run was stopped meanwhile.
        StoreUnavailable: the store failed until the time limit, or permanently; `passing` is False.
    """
    began: float | None = None
    attempt = 0
    while True:
        try:
            return call(*arguments, **named)
        except StoreUnavailable as error:
            if not error.passing:
                raise
            attempt += 1
            now = time.monotonic()
            began = now if began is None else began
            # Each attempt may reach the store and be cut each time: that ends too.
            if attempt > _FIRST_ATTEMPTS and now - began > span_s():
                error.passing = False
                raise
            _pause(attempt)


def repeatable(call: Callable[P, T]) -> Callable[P, T]:
    """Retry a function while a store fails temporarily; the function must be safe to repeat as a whole."""

    @wraps(call)
    def patient(*arguments: P.args, **named: P.kwargs) -> T:
        return outlast(call, *arguments, **named)

    return patient


def _pause(attempt: int) -> None:
    event, seconds = STOP.get(), backoff_s(attempt) if attempt > 1 else 0.0
    if event is None:
        time.sleep(seconds)
    elif event.wait(seconds):
        raise Stopped("stopped while waiting for one of our own stores")


def span_s() -> float:
    """Return the seconds to wait for a failing store (CRYPTO_ASSETS_STORE_PATIENCE_S)."""
    from crypto_assets.config.environment import settings

    try:
        return settings().store_patience_s
    except CryptoAssetsError:  # reported at the start of the process
        return _DEFAULT_SPAN_S
