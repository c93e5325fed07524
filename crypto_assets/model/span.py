"""A `Span` is a stretch of time, half-open; an archive file covers one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from crypto_assets.model.partition import DAY


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The instants [start, end), UTC. A daily file covers a day, a monthly one a month, one of OKX 16:00 to 16:00 UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: date, last: date) -> Span:
        """Return the span of whole UTC days, both included."""
        return cls(datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC) + DAY)

    @property
    def first_day(self) -> date:
        """The UTC day of the first instant."""
        return self.start.date()

    @property
    def last_day(self) -> date:
        """The UTC day of the last instant."""
        return (self.end - timedelta(microseconds=1)).date()

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def is_of_a_day(self) -> bool:
        """Whether a file of this span is one of a day's files: at most a day long."""
        return self.length <= DAY

    def meets(self, other: Span) -> bool:
        """Return whether the two spans share an instant."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} … {self.end:%Y-%m-%d %H:%M} UTC"
