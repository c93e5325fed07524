"""When an exchange publishes the rows of a series: the length of one file, and when it appears."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Literal

from crypto_assets import sources
from crypto_assets.model import DAY, Series
from crypto_assets.sources.feeds import Timing

_SOME_DAY = date(2024, 1, 31)
"""The length of a file is the same for every day of a series."""

_LONGEST_MONTH = timedelta(days=31)

ANSWERED_BY = Timing(timedelta(0), timedelta(hours=1), DAY)
"""When a day without an archive can be asked for, is mostly collected, and counts as missing."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One file holds a `period`; `answer`: there is no archive, and the exchange is asked for a day.

    All times count from the end of the period: the earliest usual appearance, the time by which most files have appeared,
    and the time after which a file that has not appeared is missing.
    """

    period: Literal["day", "month", "answer"]
    earliest: timedelta
    mostly_by: timedelta
    missing_after: timedelta

    @property
    def longest_period(self) -> timedelta:
        return _LONGEST_MONTH if self.period == "month" else DAY

    @property
    def in_words(self) -> str:
        """When a file appears, in two sentences."""
        match self.period:
            case "answer":
                return (
                    "There is no archive: the exchange is asked for a day once it is over. "
                    f"It counts as missing {_days(self.missing_after)} after its end."
                )
            case "day":
                return (
                    f"A day's file appears on the next day from {_hour(self.earliest)} UTC on, mostly by "
                    f"{_hour(self.mostly_by)} UTC. It counts as missing {_days(self.missing_after)} after the end of its day."
                )
            case "month":
                return (
                    f"A month's file appears from day {self.earliest.days + 1} of the next month on, mostly by day "
                    f"{self.mostly_by.days}. It counts as missing {_days(self.missing_after)} after the end of its month."
                )


@cache
def publication(series: Series) -> Publication:
    """Return when the archive of an exchange publishes the files that are preferred for a series.

    Raises:
        KeyError: the source is unknown.
    """
    feeds = sources.archives(series)
    if not feeds:
        return Publication("answer", ANSWERED_BY.earliest, ANSWERED_BY.mostly_by, ANSWERED_BY.missing_after)
    feed = feeds[0]
    # A day may end in the middle of a file: times count from the end of the day, or of the month.
    covers = sources.covered(series, _SOME_DAY)
    beyond = covers.end - covers.end.replace(hour=0, minute=0, second=0, microsecond=0)
    return Publication(
        "day" if covers.is_of_a_day else "month",
        feed.timing.earliest + beyond,
        feed.timing.mostly_by + beyond,
        feed.timing.missing_after + beyond,
    )


def _days(length: timedelta) -> str:
    days = -(-length // DAY)
    return "1 day" if days == 1 else f"{days} days"


def _hour(after_midnight: timedelta) -> str:
    days, rest = divmod(after_midnight, DAY)
    hour = f"{rest // timedelta(hours=1):02}:{rest % timedelta(hours=1) // timedelta(minutes=1):02}"
    return hour if not days else f"{hour} ({days} day{'s' if days > 1 else ''} later)"
