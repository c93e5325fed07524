"""Compute the wait before a retry."""

from __future__ import annotations

import random

_FIRST_WAIT_S = 0.4
_LONGEST_WAIT_S = 5.0


def backoff_s(attempt: int) -> float:
    """Return the wait after the n-th attempt (from 1): random within a range that doubles, to spread the retries."""
    return random.uniform(0.0, min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S))  # noqa: S311 - no secret
