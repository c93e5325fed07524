"""Compute a value once in a process, also when many threads ask for it first at the same time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import TypeVar

_Value = TypeVar("_Value")


def once(compute: Callable[[], _Value]) -> Callable[[], _Value]:
    """Return a function that keeps the first result of `compute`; `functools.cache` would let every thread compute it."""
    kept, lock = cache(compute), Lock()

    @wraps(compute)
    def value() -> _Value:
        with lock:
            return kept()

    return value
