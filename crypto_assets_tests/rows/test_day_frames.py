"""A day of a check frame gives its columns as arrays; it is an ordinary frame besides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.rows.day_frames import array_of, computed_once, days_of, times_us
from crypto_assets.rows.frames import to_check_frame

START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS = pa.table(
    {
        "time": pa.array([START + timedelta(minutes=place) for place in range(6)], INSTANT),
        "price": pa.array([1, 2, None, 4, 5, 6], DECIMAL),
        "count": pa.array([10, 11, 12, 13, 14, 15], pa.int64()),
        "some": pa.array([1, None, 3, 4, 5, 6], pa.int64()),
        "side": pa.array(list("bsbsbs")).dictionary_encode(),
    }
)
BOUNDS = np.array([0, 2, 2, 6])


def test_days_have_the_rows_and_the_values_of_the_frame():
    frame = to_check_frame(ROWS)
    days = list(days_of(frame, BOUNDS))
    assert [len(day) for day in days] == [2, 0, 4]
    pd.testing.assert_frame_equal(pd.concat(days), frame)
    for day, first, end in zip(days, BOUNDS[:-1], BOUNDS[1:], strict=True):
        plain = frame.iloc[first:end]
        for name in ("price", "count", "some"):
            found, expected = array_of(day, name), array_of(plain, name)
            assert found.dtype == expected.dtype == plain[name].to_numpy().dtype
            assert pd.Series(found).equals(pd.Series(expected))
        assert times_us(day, "time").tolist() == times_us(plain, "time").tolist()
    since = int(START.timestamp()) * 1_000_000
    assert times_us(days[2], "time").tolist() == [since + 60_000_000 * place for place in (2, 3, 4, 5)]


def test_a_frame_made_from_a_day_is_read_by_itself():
    (day,) = days_of(to_check_frame(ROWS), np.array([0, 6]))
    later = day[day["count"] > 12]
    assert array_of(later, "count").tolist() == [13, 14, 15]
    doubled = day.assign(count=day["count"] * 2)
    assert array_of(doubled, "count").tolist() == [20, 22, 24, 26, 28, 30]
    assert array_of(day, "count").tolist() == [10, 11, 12, 13, 14, 15]


def test_numbers_of_a_day_are_computed_once_and_those_of_another_frame_each_time():
    (day,) = days_of(to_check_frame(ROWS), np.array([0, 6]))
    calls: list[str] = []

    def compute() -> int:
        calls.append("called")
        return 7

    assert [computed_once(day, "seven", compute), computed_once(day, "seven", compute)] == [7, 7]
    assert len(calls) == 1
    other = day.copy()
    assert [computed_once(other, "seven", compute), computed_once(other, "seven", compute)] == [7, 7]
    assert len(calls) == 3
