"""What a run has found of the days of one symbol: which have a file, and what is known of those beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from crypto_assets.model import DAY, Outcome


@dataclass(slots=True)
class SeenDays:
    """What was found of the days of a symbol: spans of days with a file, and the first and last of days without one.

    Only a day beside one with rows is ever asked for, so the days inside a span without files are not kept.
    """

    held: list[tuple[date, date]] = field(default_factory=list)
    absent: dict[date, Outcome] = field(default_factory=dict)

    def add(self, held: Sequence[date], absent: Sequence[Outcome]) -> None:
        for day in sorted(held):
            self.absent.pop(day, None)
            if self.held and self.held[-1][1] in (day - DAY, day):
                self.held[-1] = self.held[-1][0], day
            elif not self._holds(day):
                self.held.append((day, day))
        days = {outcome.partition.day for outcome in absent}
        self.absent |= {
            outcome.partition.day: outcome
            for outcome in absent
            if not {outcome.partition.day - DAY, outcome.partition.day + DAY} <= days
        }

    def note(self, day: date, found: Outcome | None) -> None:
        """Know what was found of a day: None where it has a file."""
        if found is None:
            self.add([day], [])
        else:
            self.absent[day] = found

    def _holds(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.held)

    def __contains__(self, day: date) -> bool:
        return day in self.absent or self._holds(day)

    def at(self, day: date) -> Outcome | None:
        """Return what is known of a day without a file, None for one that has a file; the day is known."""
        return self.absent.get(day)
