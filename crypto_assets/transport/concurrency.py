"""Limits the requests in flight to one host: more while it answers well, fewer when it fails or slows down.

Additive increase, multiplicative decrease, as in TCP: after as many good answers as the limit, the limit grows by one; after
a failure it is halved. This is per process; limits, cool-downs and breakers are shared by all processes.
"""

from __future__ import annotations

import threading
import time

from crypto_assets.errors import Stopped

_LOOK_S = 0.05
_SLOW_S = 2.0
"""An answer that begins within this time is never slow, however fast the others were."""

_SLOW_TIMES = 8.0
_SMOOTHING = 0.1


class Slots:
    """Slots for requests to one host, 1 to `most`; safe to use from many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._in_flight = 0
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._decreased = 0.0
        self._usual_s: float | None = None

    @property
    def limit(self) -> int:
        """The most requests that may be in flight now."""
        return int(self._limit)

    def enter(self, stop: threading.Event | None = None) -> float:
        """Wait for a slot and return the time when it was given, for `leave`.

        Raises:
            Stopped: `stop` was set while waiting.
        """
        with self._lock:
            while self._in_flight >= int(self._limit):
                self._free.wait(None if stop is None else _LOOK_S)
                if stop is not None and stop.is_set():
                    raise Stopped("stopped while waiting for a slot of the host")
            self._in_flight += 1
            return time.monotonic()

    def leave(self, began: float, *, good: bool | None, answered_s: float | None = None) -> None:
        """Return a slot.

        Args:
            began: the result of `enter`.
            good: whether the host answered well; None if the request says nothing about it.
            answered_s: the seconds until its answer began.
        """
        with self._lock:
            self._in_flight -= 1
            if good and not self._slow(answered_s):
                self._limit = min(self._limit + 1 / self._limit, float(self._most))
            elif good is not None and began > self._decreased:
                # Requests that were in flight together fail together: that is one event and one decrease.
                self._limit = max(self._limit / 2, 1.0)
                self._decreased = time.monotonic()
            if self._in_flight < int(self._limit):
                self._free.notify(int(self._limit) - self._in_flight)

    def _slow(self, answered_s: float | None) -> bool:
        if answered_s is None:
            return False
        usual = self._usual_s
        if usual is not None and answered_s > max(_SLOW_S, _SLOW_TIMES * usual):
            return True
        self._usual_s = answered_s if usual is None else usual + _SMOOTHING * (answered_s - usual)
        return False
