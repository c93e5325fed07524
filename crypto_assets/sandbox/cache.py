"""A least-recently-used cache limited by the total cost of its values, not by their number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps values up to a total cost; keeps the newest value even if it alone is over the limit.

    Safe to use from threads. One key is computed by one thread at a time, different keys mostly in parallel.
    """

    def __init__(self, limit: int, cost: Callable[[V], int]) -> None:
        self._limit = limit
        self._cost = cost
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()
        # A few locks instead of one per key: nothing to clean up, and collisions only cost a little waiting.
        self._making = [threading.Lock() for _ in range(16)]

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of `key`; call `make` if it is not cached. `make` must not use this cache."""
        found = self._find(key)
        if found is not None:
            return found
        with self._making[hash(key) % len(self._making)]:
            found = self._find(key)
            if found is None:
                found = make()
                self._keep(key, found)
            return found

    def _find(self, key: K) -> V | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def _keep(self, key: K, value: V) -> None:
        with self._lock:
            self._values[key] = value
            self._total += self._cost(value)
            while self._total > self._limit and len(self._values) > 1:
                self._total -= self._cost(self._values.popitem(last=False)[1])
