"""A `Partition` is one symbol over one UTC day; `days_between` lists days, `day_spans` joins them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One symbol over one UTC day, half-open: [start, end).

    Rows are expected in [first, last). That is the whole day unless `since` or `until` cut it: `since` on a symbol's first
    day (trading starts at 04:00), `until` on its last day (a contract expires at 08:00) and on a day that is not over.
    """

    symbol: str
    day: date
    until: datetime | None = field(default=None, compare=False)
    since: datetime | None = field(default=None, compare=False)

    @property
    def start(self) -> datetime:
        return datetime.combine(self.day, time(), UTC)

    @property
    def end(self) -> datetime:
        return self.start + DAY

    @property
    def first(self) -> datetime:
        """The instant from which rows are expected."""
        return max(self.since, self.start) if self.since else self.start

    @property
    def last(self) -> datetime:
        """The instant before which rows are expected."""
        return min(self.until, self.end) if self.until else self.end

    def __str__(self) -> str:
        return f"{self.symbol} {self.day}"


def days_between(first: date, last: date) -> list[date]:
    """Return every day from `first` to `last`, both included; empty if `last` is before `first`."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def day_spans(days: Iterable[date]) -> list[tuple[date, date]]:
    """Return the runs of consecutive days as (first, last), both included, in order; a repeated day counts once."""
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if spans and day - spans[-1][1] == DAY:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans
