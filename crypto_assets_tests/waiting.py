"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 120.0, poll_s: float = 0.05) -> Any:
    """Return the first true answer of `condition`, asked every `poll_s` seconds.

    The time is long, for machines are shared: it only ends a wait for what never happens.

    Raises:
        AssertionError: there was none within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s: {what}"
        time.sleep(poll_s)
    return answer
