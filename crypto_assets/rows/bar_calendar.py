"""Determine on which days a bar of three days, a week or a month opens. Shorter bars open every day.

Weeks open on Mondays and months on the 1st. Bars of three days follow no calendar: they open every third day, counted from
any other bar of the same symbol.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from crypto_assets.model import DAY

LONG_TIMEFRAMES = ("3d", "1w", "1mo")
"""Timeframes whose bars do not open every day."""

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a bar opens on a day, by `rule`; None if unknown. `because` applies the rule to the day."""

    opens: bool | None
    rule: str
    because: str = ""


def due(timeframe: str, day: date, anchor: date | None = None) -> Due:
    """Return whether a bar of `timeframe` opens on a day.

    Args:
        anchor: a day on which a bar of the same symbol is known to open; only bars of three days need one.
    """
    match timeframe:
        case "1w":
            rule = "1w bars open on Mondays"
            return Due(day.weekday() == 0, rule, f"{rule}, {day} is a {_WEEKDAYS[day.weekday()]}")
        case "1mo":
            rule = "1mo bars open on the 1st"
            return Due(day.day == 1, rule, f"{rule}, {day} is the {day.day}{_ending(day.day)}")
        case "3d":
            if anchor is None:
                rule = "no 3d bar of the symbol is known, from which every third day would follow"
                return Due(None, rule, rule)
            rule, after = f"a 3d bar opens on {anchor} and on every third day", (day - anchor).days % 3
            where = f"{after} day{'s' if after > 1 else ''} after one" if after else "one of these days"
            return Due(after == 0, rule, f"{rule}, {day} is {where}")
    return Due(True, f"a {timeframe} bar opens on every day")


def days_of_bar(timeframe: str | None, day: date) -> list[date]:
    """Return the days that a bar opening on a day covers, ascending; one day for bars up to a day, and for other rows."""
    month = monthrange(day.year, day.month)[1]
    length = {"3d": 3, "1w": 7, "1mo": month}.get(timeframe or "", 1)
    return [day + number * DAY for number in range(length)]


def anchor_of(days: Iterable[date]) -> date | None:
    """Return the latest day on the three-day grid of most of some bars; None without bars."""
    known = sorted(days)
    if not known:
        return None
    # If two grids have equally many bars the smaller remainder wins: the result must not depend on the order.
    counts = Counter(day.toordinal() % 3 for day in known)
    most = max(counts, key=lambda remainder: (counts[remainder], -remainder))
    return next(day for day in reversed(known) if day.toordinal() % 3 == most)


def _ending(number: int) -> str:
    return "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
