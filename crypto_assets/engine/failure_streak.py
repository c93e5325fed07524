"""Counts failures in a row: days that failed because a host did not answer or refused, until a request succeeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crypto_assets.engine.day_outcomes import Day, Target
from crypto_assets.model import State

_FOR_NOW = frozenset({"HostUnreachable", "HostRefused", "CircuitOpen", "OutOfResources"})
"""Causes that say nothing about the day itself. Wrong bytes and unpublished days are no reason to stop requests."""

_DISTINCT = 3
"""A monthly file that a host refuses is thirty failed days, but not yet a failing host."""


@dataclass(frozen=True, slots=True)
class FailureLimits:
    """The failures in a row that a run accepts from a host, and its reaction.

    After `pause_after` days in a row (0: never) it pauses and tries one day after `probe_s[0]` seconds, then at growing
    intervals up to `probe_s[1]`; after `give_up_after_s` seconds without success it gives up the rest. With `then` "stop" it
    gives up at once.
    """

    then: Literal["pause", "stop"] = "stop"
    pause_after: int = 20
    give_up_after_s: float = 3600.0
    probe_s: tuple[float, float] = (30.0, 600.0)


@dataclass(slots=True)
class Streak:
    """The days that failed in a row; they are recorded when the streak ends, or tried again."""

    pause_after: int
    days: list[Day] = field(default_factory=list)
    _requests: int = 0

    def see(self, days: Sequence[Day]) -> list[Day]:
        """Add the days of one request, in order; return those that can continue, earlier failures included."""
        failing = [day for day in days if failed_for_now(day)]
        if any(not failed_for_now(day) and not _without_asking(day) for day in days) or not self.pause_after:
            return [*self.release(), *days]
        if failing:
            self.days += failing
            self._requests += 1
        return [day for day in days if not failed_for_now(day)]

    @property
    def too_long(self) -> bool:
        return (
            self.pause_after > 0
            and len(self.days) >= self.pause_after
            and self._requests >= min(self.pause_after, _DISTINCT)
        )

    @property
    def last_error(self) -> str:
        return self.days[-1].outcome.reason if self.days and self.days[-1].outcome else ""

    def release(self) -> list[Day]:
        """End the streak; return its days."""
        days, self.days, self._requests = self.days, [], 0
        return days


def failed_for_now(day: Day) -> bool:
    """Return whether a day failed because of the host or the way to it."""
    outcome = day.outcome
    return outcome is not None and outcome.state is State.MISSING and outcome.evidence.get("error") in _FOR_NOW


def again(days: Sequence[Day]) -> list[Target]:
    """Return the targets that try these days again, in their order."""
    by_target: dict[int, list[Day]] = {}
    for day in days:
        by_target.setdefault(id(day.target), []).append(day)
    return [
        replace(mine[0].target, days=tuple(sorted(day.partition.day for day in mine))) for mine in by_target.values()
    ]


def _without_asking(day: Day) -> bool:
    """Return whether a day came from the lake, so that it says nothing about the host."""
    return day.known is not None or (day.outcome is not None and day.outcome.unchanged)
