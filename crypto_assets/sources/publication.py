"""When an exchange's archive publishes a series: the period of one file, and when it appears."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Literal

from crypto_assets import sources
from crypto_assets.model import DAY, Series

_SOME_SYMBOL, _SOME_DAY = "BTC/USDT:USDT", date(2024, 1, 31)
"""The period of a file is the same for every symbol and day of a series."""

_LONGEST_MONTH = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Publication:
    """One file holds a `period`. All times count from its end: the earliest usual appearance, the time by which most files
    have appeared, and the time after which a file that has not appeared is missing.
    """

    period: Literal["day", "month"]
    earliest: timedelta
    mostly_by: timedelta
    missing_after: timedelta

    @property
    def longest_period(self) -> timedelta:
        return DAY if self.period == "day" else _LONGEST_MONTH

    @property
    def in_words(self) -> str:
        """When a file appears, in two sentences."""
        if self.period == "day":
            return (
                f"A day's file appears on the next day from {_hour(self.earliest)} UTC on, mostly by "
                f"{_hour(self.mostly_by)} UTC. It counts as missing {self.missing_after.days} days after the end of its day."
            )
        return (
            f"A month's file appears from day {self.earliest.days + 1} of the next month on, mostly by day "
            f"{self.mostly_by.days}. It counts as missing {self.missing_after.days} days after the end of its month."
        )


@cache
def publication(series: Series) -> Publication:
    """Return when the archive of an exchange publishes the files that are preferred for a series.

    Raises:
        KeyError: the exchange is unknown.
    """
    exchange = sources.get(series.exchange)
    prefix = exchange.prefixes(series, _SOME_SYMBOL)[0]
    first, last = exchange.period(exchange.key(prefix, series, _SOME_SYMBOL, _SOME_DAY))
    end = datetime.combine(last, time(), UTC) + DAY
    return Publication(
        "day" if first == last else "month",
        exchange.usual_delay(series),
        exchange.mostly_by(series),
        exchange.expected_by(series, last) - end,
    )


def _hour(after_midnight: timedelta) -> str:
    return f"{after_midnight // timedelta(hours=1):02}:{after_midnight % timedelta(hours=1) // timedelta(minutes=1):02}"
