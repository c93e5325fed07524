"""Profiles of the stored days around the present ones, and the findings of seam checks on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import psycopg

from crypto_assets.checks import of_kind
from crypto_assets.ledger.profiles import read_profiles
from crypto_assets.model import DAY, Finding, HistoryCheck, Partition, Profile, SeamCheck, Series

EMPTY = 3
"""The most days without a trade that a seam reaches over; no id is missing across them, which proves that they are empty."""

WEEKS = 8
"""The number of earlier weeks that a day's bars are compared with."""


class Near:
    """Profiles of days of one series, of one or more symbols."""

    def __init__(self, profiles: Iterable[Profile] = ()) -> None:
        self._profiles = {(profile.symbol, profile.day): profile for profile in profiles}

    def add(self, profile: Profile) -> None:
        """Add one more day, or a new version of one."""
        self._profiles[profile.symbol, profile.day] = profile

    def get(self, symbol: str, day: date) -> Profile | None:
        return self._profiles.get((symbol, day))

    def weeks_before(self, partition: Partition) -> list[Profile]:
        """Return the same weekday of the earlier weeks, as far as known, the latest first."""
        days = (partition.day - timedelta(weeks=number) for number in range(1, WEEKS + 1))
        return [found for day in days if (found := self.get(partition.symbol, day))]

    def seams(self, series: Series, partition: Partition) -> dict[str, Finding]:
        """Return the findings of the seam checks of a day and the days beside it; empty if the day is not known."""
        mine = self.get(partition.symbol, partition.day)
        if mine is None:
            return {}
        before, after = self._before(mine), self._after(mine)
        return {check.name: check.judge(before, mine, after, series) for check in of_kind(series, SeamCheck)}

    def _before(self, mine: Profile) -> Profile | None:
        """Return the day before, or an earlier one if no id is missing between it and the day."""
        beside = self.get(mine.symbol, mine.day - DAY)
        if beside is not None or mine.first_id is None:
            return beside
        earlier = (self.get(mine.symbol, mine.day - n * DAY) for n in range(2, EMPTY + 2))
        found = next((one for one in earlier if one is not None), None)
        return found if found is not None and found.last_id == mine.first_id - 1 else None

    def _after(self, mine: Profile) -> Profile | None:
        """Return the day after, or a later one if no id is missing between the day and it."""
        beside = self.get(mine.symbol, mine.day + DAY)
        if beside is not None or mine.last_id is None:
            return beside
        later = (self.get(mine.symbol, mine.day + n * DAY) for n in range(2, EMPTY + 2))
        found = next((one for one in later if one is not None), None)
        return found if found is not None and found.first_id == mine.last_id + 1 else None


def read_near(
    connection: psycopg.Connection[Any], series: Series, partitions: Sequence[Partition], weeks: int = WEEKS
) -> Near:
    """Return the stored days that the checks of some partitions need: those beside them, and some weeks before."""
    if not partitions:
        return Near()
    days = [partition.day for partition in partitions]
    # The days beside these are checked again too, against the days beside them.
    reach = (2 + EMPTY) * DAY
    back = timedelta(weeks=weeks) if weeks and of_kind(series, HistoryCheck) else reach
    symbols = sorted({partition.symbol for partition in partitions})
    return Near(read_profiles(connection, series, min(days) - back, max(days) + reach, symbols))
