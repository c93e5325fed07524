"""Silences of one symbol: which are rare by its own rates, and which are its way to trade."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from crypto_assets.causes.silences import RARE, rare_silences
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import StoredDay, mask
from crypto_assets.model import DAY
from crypto_assets_tests.causes.test_outages import markov
from crypto_assets_tests.quality.stored import Spans, days, published, stored

FIRST = date(2024, 3, 4)
BTC = "BTC/USDT"
Found = dict[date, list[tuple[int, int]]]


def found(stored_days: list[StoredDay]) -> Found:
    return {day: [(one.first, one.end) for one in ones] for day, ones in rare_silences(stored_days, {}).items()}


def month(
    spans: dict[date, Spans], count: int = 30, dataset: str = "ohlcv_1m", absent: bool = False
) -> list[StoredDay]:
    """Return days of a symbol that trades in every minute but those of the spans."""
    what = "absent" if absent else "silent"
    return [stored(BTC, day, dataset=dataset, **{what: spans.get(day, ())}) for day in days(FIRST, count)]


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "trades"])
def test_a_long_silence_does_not_hide_a_shorter_one_of_the_day(dataset: str) -> None:
    middle = FIRST + 15 * DAY
    for long, short in ((74, 14), (74, 9), (600, 12), (40, 39)):
        spans: dict[date, Spans] = {middle: [(300, 300 + long), (1200, 1200 + short)]}
        assert found(month(spans, dataset=dataset)) == {middle: [(300, 300 + long), (1200, 1200 + short)]}
    near: dict[date, Spans] = {middle: [(300, 374), (380, 394)]}
    assert found(month(near)) == near


def test_a_chance_is_how_many_are_expected_in_a_day() -> None:
    (one,) = rare_silences(month({FIRST + 9 * DAY: [(300, 314)]}), {})[FIRST + 9 * DAY]
    # Nothing else is silent in five days of 1,440 minutes: one half counts for each rate of which nothing is seen.
    assert one.chance == pytest.approx(1440 * (1 / (5 * 1440 - 14 + 2)) * 0.5**13, rel=1e-6)
    assert one.once_in_days == round(1 / one.chance)
    (long,) = rare_silences(month({FIRST: [(0, MINUTES)]}), {})[FIRST]
    assert (long.chance > 0, long.once_in_days) == (True, 1_000_000_000)


@pytest.mark.parametrize("place", [0, 1, 15, 28, 29])
def test_the_first_and_last_days_are_judged_by_the_days_that_are_stored(place: int) -> None:
    day = FIRST + place * DAY
    assert found(month({day: [(300, 374)]})) == {day: [(300, 374)]}
    assert found(month({FIRST: [(300, 374)]}, count=1)) == {FIRST: [(300, 374)]}


def test_a_silence_over_midnight_is_one_and_a_whole_silent_day_is_rare() -> None:
    second = FIRST + DAY
    spans: dict[date, Spans] = {FIRST: [(1434, MINUTES)], second: [(0, 6)]}
    assert found(month(spans)) == spans, "six minutes on either side would be none"
    assert found(month({FIRST: [(1434, MINUTES)]}, count=1)) == {}
    whole: dict[date, Spans] = {FIRST + 3 * DAY: [(0, MINUTES)]}
    assert found(month(whole)) == whole
    assert found(month({FIRST: [(0, MINUTES)]}, count=1)) == {}, "nothing says how it trades"
    two: dict[date, Spans] = {FIRST + 3 * DAY: [(0, MINUTES)], FIRST + 4 * DAY: [(0, MINUTES)]}
    assert found(month(two)) == two


def test_missing_bars_and_bars_of_other_lengths_count() -> None:
    assert found(month({FIRST: [(300, 374)]}, absent=True)) == {FIRST: [(300, 374)]}
    assert found(month({FIRST: [(300, 420)]}, dataset="ohlcv_5m")) == {FIRST: [(300, 420)]}
    hours: dict[date, Spans] = {FIRST + 4 * DAY: [(60, 660)]}
    assert found(month(hours, dataset="ohlcv_1h")) == hours
    assert found(month({FIRST + 4 * DAY: [(60, 180)]}, dataset="ohlcv_1h")) == {}, "two silent hours are a coincidence"


def test_bars_and_trades_together_tell_by_what_both_show() -> None:
    bars, trades = month({FIRST: [(300, 374)]}), month({FIRST: [(310, 374)]}, dataset="trades")
    assert found(bars + trades) == {FIRST: [(310, 374)]}
    assert found(bars + month({}, dataset="trades")) == {}, "trades contradict"
    assert found(bars + month({}, dataset="ohlcv_1h")) == {FIRST: [(300, 374)]}


def test_an_outage_is_no_silence_of_the_symbol() -> None:
    stored_days = month({FIRST: [(480, 554), (900, 974)]})
    assert rare_silences(stored_days, {FIRST: mask(480, 554)}).keys() == {FIRST}
    (left,) = rare_silences(stored_days, {FIRST: mask(490, 554)})[FIRST]
    assert (left.first, left.end) == (900, 974), "the ten minutes before it are none of their own"


def test_a_symbol_that_trades_once_an_hour_is_never_rare() -> None:
    hourly = [(hour * 60 + 1, hour * 60 + 60) for hour in range(24)]
    thin = month(dict.fromkeys(days(FIRST, 30), hourly))
    assert found(thin) == {}
    longer = dict.fromkeys(days(FIRST, 30), hourly) | {FIRST + 9 * DAY: [(1, 480), *hourly[8:]]}
    assert found(month(longer)) == {}


def test_a_nightly_pause_is_the_symbols_way_to_trade() -> None:
    random = np.random.default_rng(11)
    made, nights = [], []
    for day in days(FIRST, 30):
        minutes = random.random(MINUTES) < 0.3
        night = int(random.integers(150, 260))
        minutes[30 : 30 + night] = True
        nights.append(night)
        made.append(stored(BTC, day, [(int(m), int(m) + 1) for m in np.flatnonzero(minutes)]))
    assert min(nights) > 150
    assert found(made) == {}
    # By day the same symbol is known well enough.
    halt = flags_with(made[15], 700, 800)
    assert found([*made[:15], halt, *made[16:]]).keys() == {made[15].day}


def flags_with(one: StoredDay, first: int, end: int) -> StoredDay:
    minutes = np.unpackbits(np.frombuffer(one.silent or b"", np.uint8)).astype(bool)
    minutes[first:end] = True
    return stored(one.symbol, one.day, [(int(m), int(m) + 1) for m in np.flatnonzero(minutes)])


def test_the_same_hour_on_one_other_day_is_no_habit() -> None:
    both: dict[date, Spans] = {FIRST + 9 * DAY: [(120, 194)], FIRST + 10 * DAY: [(125, 180)]}
    assert found(month(both)) == both
    daily: dict[date, Spans] = {day: [(120, 194)] for day in days(FIRST, 30)}
    assert found(month(daily)) == {}


@pytest.mark.parametrize(("quiet", "stays"), [(0.02, 0.3), (0.1, 0.5), (0.25, 0.75)])
def test_thin_trading_is_no_alarm(quiet: float, stays: float) -> None:
    """Three hundred days of a symbol that falls silent by chance, at night five times as often as by day."""
    random = np.random.default_rng(5)
    rates = np.where(np.arange(MINUTES) < 360, quiet, quiet / 5)
    made = [
        stored(BTC, day, [(int(m), int(m) + 1) for m in np.flatnonzero(markov(random, rates, stays))])
        for day in days(FIRST, 300)
    ]
    silences = rare_silences(made, {})
    # At one in a thousand days, and the greatest of three rates, one in three hundred days is no surprise.
    assert len(silences) <= 1
    assert all(one.chance < RARE for ones in silences.values() for one in ones)
    # In the same noise a silence that is none of its own is found, and nothing else than before.
    planted = flags_with(made[150], 600, 1000)
    with_planted = rare_silences([*made[:150], planted, *made[151:]], {})
    assert planted.day in with_planted
    (one,) = with_planted[planted.day]
    assert one.first <= 600
    assert one.end >= 1000
    assert len(with_planted.keys() - silences.keys()) <= 1


def test_a_day_that_is_not_over_is_not_silent_from_then_on() -> None:
    now = stored(BTC, FIRST, [(300, 374)])
    object.__setattr__(now, "last_time", now.last_time - timedelta(hours=6))
    assert found([now]) == {FIRST: [(300, 374)]}


@pytest.mark.realdata
def test_446_empty_bars_of_a_month_are_thin_trading(realdata: Path) -> None:
    algo = published(realdata, "ALGOUSDT", "ALGO/USDT:USDT")
    assert found(algo) == {}
    halt = flags_with(algo[15], 600, 614)
    assert found([*algo[:15], halt, *algo[16:]]) == {halt.day: [(600, 614)]}
