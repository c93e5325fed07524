"""A profile summarises the rows of a day, in one piece or in many."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets.checks._minutes import from_bits, spans
from crypto_assets.engine.publication.profile_fold import ProfileFold, profile_of
from crypto_assets.model import Partition, Profile, Series
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.synthetic import day_of, series_of

DAY = date(2024, 3, 1)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)


def profile(
    dataset: str, edit=lambda table: table, market_type: str = "spot", until: datetime | None = None
) -> Profile:
    partition, table = day_of(dataset, DAY, market_type)
    frame = to_check_frame(edit(table))
    return profile_of(series_of(dataset, market_type), Partition(partition.symbol, DAY, until), frame, "abc")


def edited(**columns):
    """Return an edit that changes the values of some rows: `volume={3: 0}`."""

    def edit(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for name, values in columns.items():
            for place, value in values.items():
                rows[place][name] = value
        return pa.Table.from_pylist(rows, schema=table.schema)

    return edit


def without(*places: int):
    return lambda table: table.filter(pa.array([n not in places for n in range(table.num_rows)]))


def minutes(bits: bytes | None) -> list[tuple[int, int]]:
    return list(spans(from_bits(bits)))


@pytest.mark.parametrize(
    ("dataset", "market_type"), [("ohlcv_1m", "spot"), ("ohlcv_5m", "spot"), ("ohlcv_1h", "linear")]
)
def test_a_clean_day_of_bars(dataset, market_type):
    rows = day_of(dataset, DAY, market_type)[1].to_pylist()
    found = profile(dataset, market_type=market_type)
    closes = [float(row["close"]) for row in rows]
    steps = np.abs(np.diff(np.log([float(rows[0]["open"]), *closes])))
    assert found.largest_step == pytest.approx(steps.max(), rel=1e-9)
    assert found.largest_step > 0
    assert (found.first_price, found.last_price) == pytest.approx((float(rows[0]["open"]), closes[-1]), rel=1e-12)
    expected = Profile(
        symbol=day_of(dataset, DAY, market_type)[0].symbol,
        day=DAY,
        content_sha256="abc",
        rows=len(rows),
        first_time=MIDNIGHT,
        last_time=rows[-1]["open_time"],
        first_price=found.first_price,
        last_price=found.last_price,
        largest_step=found.largest_step,
        hours=found.hours,
    )
    assert found == expected
    assert (found.hours is None) == (dataset == "ohlcv_1h")


@pytest.mark.parametrize(
    ("dataset", "silent", "absent"),
    [
        ("ohlcv_1m", [(3, 4), (1439, 1440)], [(0, 1), (100, 102)]),
        ("ohlcv_5m", [(15, 20), (1435, 1440)], [(0, 5), (500, 510)]),
        ("ohlcv_1h", [(180, 240), (1380, 1440)], [(0, 60), (600, 660)]),
    ],
)
def test_silent_and_absent_bars_mark_all_of_their_minutes(dataset, silent, absent):
    count = day_of(dataset, DAY)[1].num_rows
    gone = {"ohlcv_1m": (0, 100, 101), "ohlcv_5m": (0, 100, 101), "ohlcv_1h": (0, 10)}[dataset]
    quiet = dict.fromkeys((3, count - 1), 0)
    found = profile(dataset, lambda table: without(*gone)(edited(volume=quiet, trade_count=quiet)(table)))
    assert minutes(found.silent) == silent
    assert minutes(found.absent) == absent


def test_a_bar_with_a_volume_or_a_count_is_not_silent():
    found = profile("ohlcv_1m", edited(volume={5: 0, 6: 0}, trade_count={6: 0, 7: 0}))
    assert minutes(found.silent) == [(6, 7)]


def test_bars_shorter_than_a_minute():
    first = day_of("ohlcv_1m", DAY)[1].slice(0, 1)
    rows = [row | {"open_time": MIDNIGHT + timedelta(seconds=n)} for n in range(300) for row in first.to_pylist()]
    day = pa.Table.from_pylist(rows, schema=first.schema)
    quiet = dict.fromkeys([*range(60, 120), 130], 0)
    table = without(185)(edited(volume=quiet, trade_count=quiet)(day))
    until = MIDNIGHT + timedelta(minutes=5)
    series = Series("binance", "spot", "ohlcv", "1s")
    found = profile_of(series, Partition("BTC/USDT", DAY, until), to_check_frame(table))
    assert minutes(found.silent) == [(1, 2)]
    assert minutes(found.absent) == [(3, 4)]


@pytest.mark.parametrize("timeframe", ["3d", "1w", "1mo"])
def test_bars_longer_than_a_day_have_no_minutes(timeframe):
    table = day_of("ohlcv_1d", DAY)[1]
    quiet = edited(volume={0: 0}, trade_count={0: 0})(table)
    found = profile_of(Series("binance", "spot", "ohlcv", timeframe), Partition("BTC/USDT", DAY), to_check_frame(quiet))
    assert (found.rows, found.silent, found.absent, found.hours) == (1, None, None, None)


def test_an_unfinished_day_misses_nothing_after_its_last_instant():
    until = MIDNIGHT + timedelta(hours=2, seconds=30)
    found = profile("ohlcv_1m", lambda table: without(7, *range(120, 1440))(table), until=until)
    assert minutes(found.absent) == [(7, 8)]
    first_hours = profile("trades", lambda table: table.slice(0, 200), until=until)
    assert minutes(first_hours.silent)[-1][1] == 120


@pytest.mark.parametrize(
    ("dataset", "name", "market_type"),
    [("trades", "trade_id", "spot"), ("trades", "trade_id", "linear"), ("agg_trades", "agg_trade_id", "spot")],
)
def test_a_clean_day_of_trades(dataset, name, market_type):
    rows = day_of(dataset, DAY, market_type)[1].to_pylist()
    found = profile(dataset, market_type=market_type)
    prices = [float(row["price"]) for row in rows]
    assert found == Profile(
        symbol=day_of(dataset, DAY, market_type)[0].symbol,
        day=DAY,
        content_sha256="abc",
        rows=len(rows),
        first_time=rows[0]["trade_time"],
        last_time=rows[-1]["trade_time"],
        first_id=rows[0][name],
        last_id=rows[-1][name],
        missing_ids=0,
        first_trade_id=rows[0].get("first_trade_id"),
        last_trade_id=rows[-1].get("last_trade_id"),
        first_price=found.first_price,
        last_price=found.last_price,
        largest_step=found.largest_step,
    )
    assert (found.first_price, found.last_price) == pytest.approx((prices[0], prices[-1]), rel=1e-12)
    assert found.largest_step == pytest.approx(np.abs(np.diff(np.log(prices))).max(), rel=1e-9)


def test_missing_ids_and_minutes_without_a_trade():
    times = [row["trade_time"] for row in day_of("trades", DAY)[1].to_pylist()]
    in_minutes = [n for n, time in enumerate(times) if time.hour == 8 and 34 <= time.minute < 53]
    found = profile("trades", without(*in_minutes, 5, len(times) - 1))
    # The minute of the last trade may have a later trade.
    assert (8 * 60 + 34, 8 * 60 + 53) in minutes(found.silent)
    assert found.missing_ids == len(in_minutes) + 1
    assert found.last_id == len(times) - 2 + found.first_id


def test_funding_has_rows_and_times_only():
    found = profile("funding_rates", market_type="linear")
    assert (found.rows, found.first_id, found.first_price, found.largest_step, found.silent) == (
        3,
        None,
        None,
        None,
        None,
    )
    assert found.last_time > found.first_time + timedelta(hours=15)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.integers(0, 3_000), max_size=8), st.sampled_from(["trades", "agg_trades"]))
def test_any_cut_into_pieces_gives_the_same_profile(cuts, dataset):
    partition, table = day_of(dataset, DAY)
    fold = ProfileFold(series_of(dataset), partition)
    edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    for first, last in pairwise(edges):
        fold.add(to_check_frame(table.slice(first, last - first)))
    assert fold.profile("abc") == profile(dataset)


def test_a_step_between_two_pieces_is_seen():
    partition, table = day_of("trades", DAY)
    frames = [to_check_frame(part) for part in (table.slice(0, 100), table.slice(100))]
    frames[1] = frames[1].assign(price=frames[1]["price"] * 2)
    fold = ProfileFold(series_of("trades"), partition)
    for frame in frames:
        fold.add(frame)
    assert fold.profile().largest_step == pytest.approx(math.log(2), rel=0.01)


def test_no_rows_have_no_profile():
    partition, table = day_of("trades", DAY)
    fold = ProfileFold(series_of("trades"), partition)
    fold.add(to_check_frame(table.slice(0, 0)))
    with pytest.raises(ValueError, match="at least one row"):
        fold.profile()


def test_the_sha256_is_taken_over():
    assert replace(profile("ohlcv_1m"), content_sha256="") == profile_of(
        series_of("ohlcv_1m"), day_of("ohlcv_1m", DAY)[0], to_check_frame(day_of("ohlcv_1m", DAY)[1])
    )
