"""The states of a partition."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What is known about a partition."""

    PENDING = "pending"  # not published yet
    AVAILABLE = "available"
    PROVISIONAL = "provisional"  # from REST, until the archive publishes it
    DEGRADED = "degraded"  # stored, a check failed
    MISSING = "missing"  # should exist: not found, or refused
    NO_DATA = "no_data"  # nothing traded, or not listed
    CORRECTED = "corrected"  # the exchange republished it after it was stored


COMPLETE_STATES = frozenset({State.AVAILABLE, State.PROVISIONAL, State.NO_DATA})
"""States that need no further work; a run whose days are all in these ends with exit code 0."""

STORED_STATES = frozenset({State.AVAILABLE, State.PROVISIONAL, State.DEGRADED, State.CORRECTED})
