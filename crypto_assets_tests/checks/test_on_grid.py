"""Bars off the grid of their timeframe: marked, counted for the step they open in, left out where they would mislead."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from crypto_assets.checks._grid import uncovered
from crypto_assets.checks.agrees_with_bars import CHECK as AGREES
from crypto_assets.checks.agrees_with_shorter import CHECK as SHORTER
from crypto_assets.checks.complete import CHECK as COMPLETE
from crypto_assets.checks.on_grid import CHECK
from crypto_assets.checks.price_band import CHECK as BAND
from crypto_assets.engine.publication.profile_fold import profile_of
from crypto_assets.model import Finding, Partition, Series
from crypto_assets.rows.derive import longer_bars, merge_bars
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources.paging.rows_of_pages import missing_spans
from crypto_assets_tests.synthetic import day_of, series_of

DAY = date(2024, 3, 1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SHIFT_US = 14_789_000


def shifted(table: pa.Table, first: int, last: int, by_us: int = SHIFT_US) -> pa.Table:
    """Bars of which some open so much later."""
    times = table.column("open_time").cast(pa.int64()).to_numpy().copy()
    times[first:last] += by_us
    return table.set_column(0, table.schema.field(0), pa.array(times).cast(table.schema.field(0).type))


def minutes(first: int = 0, last: int = 0) -> pa.Table:
    return shifted(day_of("ohlcv_1m", DAY)[1], first, last)


def run(table: pa.Table, timeframe: str = "1m") -> Finding:
    return CHECK.run(to_check_frame(table), Partition("BTC/USDT", DAY), series_of(f"ohlcv_{timeframe}"))


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
def test_bars_of_the_exchange_open_on_the_grid(timeframe):
    assert run(day_of(f"ohlcv_{timeframe}", DAY)[1], timeframe) == Finding(True)


@pytest.mark.parametrize("timeframe", ["3d", "1w", "1mo"])
def test_bars_longer_than_a_day_open_at_midnight(timeframe):
    bars = minutes().slice(0, 1)
    assert run(bars, timeframe).passed
    assert run(shifted(bars, 0, 1), timeframe).evidence["off_grid"] == 1


def test_it_says_how_many_from_when_to_when_and_how_far():
    table = shifted(minutes(600, 900), 899, 900, 1_000)
    found = run(table)
    assert not found.passed
    assert CHECK.words(found.evidence, series_of("ohlcv_1m")) == (
        "300 of 1,440 bars open off the grid of 1m, 14.789 s after to 14.79 s after it, "
        "from 2024-03-01T10:00:14.789000 to 2024-03-01T14:59:14.790000; stored as published"
    )
    assert len(found.evidence["examples"]) == 50


def test_bars_that_open_just_before_the_minute_are_called_early():
    found = run(shifted(minutes(), 1, 1_440, -214_000))
    assert "1,439 of 1,440 bars open off the grid of 1m, 0.214 s before it, from 2024-03-01T00:00:59.786000" in (
        CHECK.words(found.evidence, series_of("ohlcv_1m"))
    )
    assert complete(shifted(minutes(), 1, 1_440, -214_000)).passed


# ---- which steps are covered ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ([0, 60, 120, 180], []),
        ([0, 60, 180], [2]),
        ([14, 74, 134, 194], []),
        ([0, 60, 119, 180], []),  # a second early: two bars in minute 1, none in minute 2
        ([0, 1, 120, 180], []),  # the second bar of minute 0 stands for minute 1
        ([0, 0, 120, 180], [1]),  # a double covers nothing more
        ([0, 14, 14, 120, 180], []),
        ([0, 14, 180], [2]),
        ([0, 14, 28, 180], [2]),  # three bars in minute 0, and no bar beside minute 2 to spare
        ([0, 59, 119, 179], []),  # all a second early but the first: each stands for the minute that it reaches into
        ([0, 120, 134, 180], [1]),  # no bar reaches back
        ([14, 74, 134, 194, 239], []),
        ([-46, 14, 74, 134, 194], []),
        ([-1, 60, 120, 180], [0]),  # that of 23:59:59 is the day before's
        ([0, 60, 120, 240], [3]),
    ],
)
def test_a_step_without_a_bar_is_covered_by_one_too_many_beside_it(since, expected):
    assert np.flatnonzero(uncovered(np.array(since) * 1_000_000, 60_000_000, 4)).tolist() == expected


def complete(table: pa.Table) -> Finding:
    return COMPLETE.run(to_check_frame(table), Partition("BTC/USDT", DAY), series_of("ohlcv_1m"))


def test_bars_beside_the_grid_are_all_there_and_a_missing_one_is_missed():
    assert complete(minutes(600, 900)).passed
    rows = minutes(600, 900)
    lost = pa.concat_tables([rows.slice(0, 700), rows.slice(702)])
    assert complete(lost).evidence == {"expected": 1440, "found": 1438, "missing": 2, "spans": ["11:40–11:41"]}


def test_a_rest_api_is_not_asked_again_for_a_bar_that_is_stored_beside_the_grid():
    start = datetime(2024, 3, 1, tzinfo=UTC)
    assert missing_spans(minutes(600, 900), start, start + timedelta(days=1), MINUTE) == []
    rows = minutes(600, 900)
    lost = pa.concat_tables([rows.slice(0, 700), rows.slice(702)])
    first = start + 700 * MINUTE
    assert missing_spans(lost, start, start + timedelta(days=1), MINUTE) == [(first, first + 2 * MINUTE)]


# ---- what is made of them ------------------------------------------------------------------------------------------


def test_no_longer_bar_is_made_of_bars_beside_the_grid():
    clean, odd = minutes(), minutes(600, 900)
    for timeframe in ("5m", "1h"):
        whole, built = (longer_bars([rows], [timeframe])[0][timeframe] for rows in (clean, odd))
        hours = [time.hour for time in built.column("open_time").to_pylist()]
        assert set(hours) == set(range(24)) - set(range(10, 15))
        kept = pa.array([not 10 <= time.hour < 15 for time in whole.column("open_time").to_pylist()])
        assert built.equals(whole.filter(kept))
    assert longer_bars([odd], ["1d"])[0]["1d"].num_rows == 0


def test_as_many_bars_as_an_hour_has_minutes_are_no_hour_if_one_of_them_is_beside_the_grid():
    assert merge_bars(shifted(minutes().slice(0, 60), 30, 31), MINUTE, HOUR).num_rows == 0


def test_minutes_that_such_a_bar_reaches_into_are_not_compared_with_trades():
    partition, trades = day_of("trades", DAY)
    series = series_of("trades")
    built = AGREES.gather(series, [trades])
    published = AGREES.run(built, minutes(), partition, series)
    assert (published.passed, published.evidence["compared"]) == (True, 1_440)
    assert "off_grid" not in published.evidence
    for check in (AGREES, BAND):
        found = check.run(built, minutes(600, 900), partition, series)
        assert (found.passed, found.evidence["compared"], found.evidence["off_grid"]) == (True, 1_140, 300)
        rows = minutes(600, 900)
        skipped = check.run(built, pa.concat_tables([rows.slice(0, 900), rows.slice(901)]), partition, series)
        assert (skipped.passed, skipped.evidence["compared"]) == (True, 1_139)
        assert not check.run(built, minutes(0, 1_440), partition, series).judged


def test_a_wrong_minute_beside_them_is_still_found():
    partition, trades = day_of("trades", DAY)
    series = series_of("trades")
    built = AGREES.gather(series, [trades.slice(0, 100), trades.slice(101)])
    found = AGREES.run(built, minutes(600, 900), partition, series)
    assert (found.passed, found.evidence["differ"]) == (False, 1)


def test_hours_are_compared_where_their_minutes_are_on_the_grid_and_so_are_they():
    hours, series = day_of("ohlcv_1h", DAY)[1], series_of("ohlcv_1h")
    partition = Partition("BTC/USDT", DAY)
    found = SHORTER.run(hours, minutes(600, 900), partition, series)
    assert (found.passed, found.evidence["compared"], found.evidence["not_whole"]) == (True, 19, 5)
    assert found.evidence["off_grid"] == 300
    late = shifted(hours, 9, 24, 28 * 60_000_000 + SHIFT_US)
    found = SHORTER.run(late, minutes(), partition, series)
    assert (found.evidence["not_whole"], found.evidence["off_grid"]) == (15, 15)


def test_a_silent_bar_beside_the_grid_makes_its_minute_silent_only_after_another_silent_one():
    rows = minutes(10, 20).to_pylist()
    for place in (14, 15):
        rows[place] |= {"trade_count": 0, "volume": rows[place]["volume"] * 0}
    table = pa.Table.from_pylist(rows, schema=minutes().schema)
    series = Series("binance", "spot", "ohlcv", "1m")
    profile = profile_of(series, Partition("BTC/USDT", DAY), to_check_frame(table))
    assert profile.absent is None
    assert profile.silent is not None
    bits = np.unpackbits(np.frombuffer(profile.silent, dtype=np.uint8))
    assert np.flatnonzero(bits).tolist() == [15]
