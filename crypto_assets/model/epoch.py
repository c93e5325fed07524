"""Instants as whole numbers since 1970, exact: exchanges take and give them so."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DAY_US = 86_400_000_000
"""The microseconds of a UTC day."""

_MILLISECOND, _MICROSECOND = timedelta(milliseconds=1), timedelta(microseconds=1)


def milliseconds(instant: datetime) -> int:
    """Return the whole milliseconds since 1970; the rest of a millisecond is cut."""
    return (instant - EPOCH) // _MILLISECOND


def microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970."""
    return (instant - EPOCH) // _MICROSECOND


def at_milliseconds(number: int) -> datetime:
    """Return the instant, UTC, of so many milliseconds since 1970; raises OverflowError beyond the year 9999."""
    return EPOCH + number * _MILLISECOND


def at_microseconds(number: int) -> datetime:
    """Return the instant, UTC, of so many microseconds since 1970; raises OverflowError beyond the year 9999."""
    return EPOCH + number * _MICROSECOND


def midnight_us(day: date) -> int:
    """Return the microseconds from the beginning of 1970 to that of a UTC day."""
    return (day.toordinal() - EPOCH.toordinal()) * DAY_US


def day_at(number: int) -> date:
    """Return the UTC day of so many microseconds since 1970; raises OverflowError beyond the year 9999."""
    return at_microseconds(number).date()
