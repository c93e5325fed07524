"""What a run has found about the days of one symbol: which have a file, and the outcomes of those beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from crypto_assets.model import DAY, Outcome


@dataclass(slots=True)
class SeenDays:
    """The days of a symbol seen so far: spans of days with a file, and the first and last days of spans without one.

    Only days beside one with rows are ever looked up, so the days inside a span without files are not kept.
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
        """Remember the outcome of a day; None if it has a file."""
        if found is None:
            self.add([day], [])
        else:
            self.absent[day] = found

    def _holds(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.held)

    def __contains__(self, day: date) -> bool:
        return day in self.absent or self._holds(day)

    def at(self, day: date) -> Outcome | None:
        """Return the outcome of a day without a file, None for a day with one; the day must be in here."""
        return self.absent.get(day)
