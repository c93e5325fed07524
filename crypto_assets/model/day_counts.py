"""The counts of days by state that `status`, `catalog`, the API and `collection.coverage` show, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crypto_assets.model.state import State

__all__ = ["DAY_COUNTS", "DayCount", "counted"]


@dataclass(frozen=True, slots=True)
class DayCount:
    """One count of days: its title for people, its meaning, and the states that it counts.

    `states` is empty if records alone do not give the count. `within` names the count that already has these days; the
    others add up to all days. `seldom` ones are shown in tables only where they are not zero.
    """

    title: str
    meaning: str
    states: frozenset[State] = frozenset()
    within: str | None = None
    seldom: bool = False


DAY_COUNTS: Mapping[str, DayCount] = {
    "complete": DayCount(
        "complete",
        "stored, every check that can degrade passed; provisional days are among them",
        frozenset({State.AVAILABLE, State.PROVISIONAL}),
    ),
    "provisional": DayCount(
        "provisional",
        "complete so far, from a feed that is not final, until a final one has the day; counted in complete too",
        frozenset({State.PROVISIONAL}),
        within="complete",
        seldom=True,
    ),
    "partial": DayCount("partial", "stored, some rows are missing (state degraded)", frozenset({State.DEGRADED})),
    "missing": DayCount("missing", "should be there, and is not", frozenset({State.MISSING})),
    "not_collected": DayCount("not collected yet", "without a record"),
    "no_data": DayCount("no data", "nothing should be there; the record has the reason", frozenset({State.NO_DATA})),
    "acknowledged": DayCount("acknowledged", "incomplete, and a person accepts it", seldom=True),
    "pending": DayCount("not published yet", "not published yet", frozenset({State.PENDING}), seldom=True),
    "corrected": DayCount(
        "published again",
        "published again, and the new file could not be used",
        frozenset({State.CORRECTED}),
        seldom=True,
    ),
}


def counted(states: Mapping[State, int] | Mapping[str, int], name: str) -> int:
    """Return one of the counts from the number of days in each state."""
    return sum(states.get(state, 0) for state in DAY_COUNTS[name].states)
