"""A price that jumps at midnight is found; what a market does is not."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from crypto_assets.checks._minutes import to_bits
from crypto_assets.checks.price_step import CHECK
from crypto_assets.engine.publication.profile_fold import profile_of
from crypto_assets.model import Partition, Profile, Series, days_between
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.synthetic import day_of, read_file, series_of


def profile(day: date, dataset: str = "ohlcv_1m", base: str = "BTC") -> Profile:
    partition, table = day_of(dataset, day, base=base)
    return profile_of(series_of(dataset), partition, to_check_frame(table))


def judge(before: Profile | None, day: Profile, dataset: str = "ohlcv_1m"):
    return CHECK.judge(before, day, None, series_of(dataset))


def minutes(*spans: tuple[int, int]) -> bytes | None:
    bits = np.zeros(1440, dtype=bool)
    for first, last in spans:
        bits[first:last] = True
    return to_bits(bits)


MARCH = days_between(date(2024, 2, 26), date(2024, 3, 12))
ONE, TWO = profile(MARCH[0]), profile(MARCH[1])


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_1h", "ohlcv_1d"])
def test_no_day_of_a_clean_fortnight_is_blamed(dataset):
    for before, day in pairwise(MARCH):
        found = judge(profile(before, dataset), profile(day, dataset), dataset)
        assert found.passed
        assert found.judged
        assert 0 <= found.evidence["step"] < 0.05


def test_the_evidence_names_both_prices_and_the_bound():
    found = judge(ONE, replace(TWO, first_price=ONE.last_price * 10))
    assert not found.passed
    assert found.evidence == {
        "step": pytest.approx(math.log(10), abs=1e-6),
        "allowed": 0.05,
        "close_before": ONE.last_price,
        "open": ONE.last_price * 10,
        "quiet_minutes": 0,
    }


def test_a_day_of_another_symbol_is_found():
    found = judge(ONE, profile(MARCH[1], base="ETH"))
    assert not found.passed


@pytest.mark.parametrize(("factor", "passed"), [(1.04, True), (1 / 1.04, True), (1.06, False), (1 / 1.06, False)])
def test_five_per_cent_may_be_at_any_seam(factor, passed):
    assert judge(ONE, replace(TWO, first_price=ONE.last_price * factor)).passed is passed


@pytest.mark.parametrize("wild", ["before", "day"])
def test_a_wild_day_may_step_three_times_as_far_as_inside(wild):
    before, day = ONE, replace(TWO, first_price=ONE.last_price * math.exp(0.28))
    if wild == "before":
        before = replace(before, largest_step=0.1)
    else:
        day = replace(day, largest_step=0.1)
    assert judge(before, day).passed
    assert not judge(before, replace(day, first_price=ONE.last_price * math.exp(0.32))).passed


@pytest.mark.parametrize(
    ("before", "day", "quiet"),
    [
        ({"silent": minutes((1380, 1440))}, {}, 60),
        ({}, {"absent": minutes((0, 60))}, 60),
        ({"silent": minutes((1410, 1430)), "absent": minutes((1430, 1440))}, {"silent": minutes((0, 30))}, 60),
        ({"silent": minutes((0, 1439))}, {"silent": minutes((1, 1440))}, 0),
        ({"absent": minutes((0, 1440))}, {"silent": minutes((0, 1440))}, 2880),
    ],
)
def test_quiet_around_midnight_widens_the_bound(before, day, quiet):
    found = judge(replace(ONE, **before), replace(TWO, first_price=ONE.last_price * math.exp(0.06), **day))
    assert found.evidence["quiet_minutes"] == quiet
    assert found.evidence["allowed"] == pytest.approx(0.05 * math.sqrt(1 + quiet / 60), abs=1e-6)
    assert found.passed is (quiet > 0)


def test_ten_times_the_price_is_found_even_after_hours_of_quiet():
    before = replace(ONE, absent=minutes((720, 1440)))
    assert not judge(before, replace(TWO, first_price=ONE.last_price * 10)).passed


def test_without_the_day_before_nothing_is_judged():
    found = judge(None, TWO)
    assert found.passed
    assert found.evidence == {"not_judged": "the day before is not stored"}


def test_bars_longer_than_a_day_have_no_day_before():
    applies = {
        timeframe: CHECK.applies(Series("binance", "spot", "ohlcv", timeframe))
        for timeframe in ("1s", "1d", "3d", "1mo")
    }
    assert applies == {"1s": True, "1d": True, "3d": False, "1mo": False}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("base", "first"), [("AVAX", date(2023, 9, 1)), ("FIL", date(2023, 9, 1)), ("ALGO", date(2024, 9, 1))]
)
def test_no_day_of_a_real_month_is_blamed(realdata: Path, base, first):
    series = Series("binance", "linear", "ohlcv", "1m")
    folder = realdata / f"binance_vision/data/futures/um/daily/klines/{base}USDT/1m"
    profiles = []
    for day in days_between(first, first + timedelta(days=29)):
        name = f"{base}USDT-1m-{day}.zip"
        frame = to_check_frame(read_file(series, name, (folder / name).read_bytes()))
        profiles.append(profile_of(series, Partition(f"{base}/USDT:USDT", day), frame))
    found = [CHECK.judge(before, day, None, series) for before, day in pairwise(profiles)]
    assert len(found) == 29
    assert all(finding.passed and finding.judged for finding in found)
    assert any(finding.evidence["step"] > 0 for finding in found)
