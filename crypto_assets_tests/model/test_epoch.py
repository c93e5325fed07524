"""Instants as whole numbers: what is written is what is read, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.model.epoch import (
    DAY_US,
    at_microseconds,
    at_milliseconds,
    day_at,
    microseconds,
    midnight_us,
    milliseconds,
)

LATEST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""


@given(st.integers(0, LATEST_US - 1000))
def test_every_microsecond_comes_back(number: int) -> None:
    instant = at_microseconds(number)
    assert microseconds(instant) == number
    assert milliseconds(instant) == number // 1000
    assert at_milliseconds(number // 1000) <= instant < at_milliseconds(number // 1000) + timedelta(milliseconds=1)


@given(st.integers(-LATEST_US // 10, LATEST_US))
def test_every_microsecond_is_in_its_day(number: int) -> None:
    day = day_at(number)
    assert midnight_us(day) <= number < midnight_us(day) + DAY_US


def test_numbers_of_exchanges_are_instants_in_utc() -> None:
    assert at_milliseconds(1_704_067_200_001) == datetime(2024, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)
    assert milliseconds(datetime(2024, 1, 1, 0, 0, 0, 999, tzinfo=UTC)) == 1_704_067_200_000


def test_a_number_beyond_the_calendar_is_an_error() -> None:
    with pytest.raises(OverflowError):
        at_microseconds(LATEST_US + 1)
