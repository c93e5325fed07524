"""Joint silences: which are outages, and which are coincidences."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.causes.outages import CHANCE, find_outages
from crypto_assets.checks._minutes import MINUTES, to_bits
from crypto_assets.ledger.minutes import StoredDay, covered, mask, moment, runs
from crypto_assets.model import DAY
from crypto_assets_tests.quality.stored import Spans, days, flags, published, published_5m, stored

FIRST = date(2024, 3, 4)
SECOND = FIRST + DAY
AVAX, FIL, ALGO = "AVAX/USDT:USDT", "FIL/USDT:USDT", "ALGO/USDT:USDT"


def market(spans: dict[date, Spans], symbols: int = 2, count: int = 3, absent: bool = False) -> list[StoredDay]:
    """Return some symbols that trade in every minute of some days but those of the spans."""
    what = "absent" if absent else "silent"
    return [
        stored(f"S{number}/USDT", day, **{what: spans.get(day, ())})
        for number in range(symbols)
        for day in days(FIRST - DAY, count + 1)
    ]


def found(stored_days: list[StoredDay]) -> list[tuple[datetime, datetime]]:
    return [(one.start, one.end) for one in find_outages(stored_days)]


@pytest.mark.parametrize("absent", [False, True])
def test_a_silence_of_all_symbols_is_an_outage_whether_bars_are_there_or_not(absent: bool) -> None:
    (one,) = find_outages(market({FIRST: [(514, 533)]}, absent=absent))
    assert (one.start, one.end) == (moment(FIRST, 514), moment(FIRST, 533))
    assert one.symbols == ("S0/USDT", "S1/USDT")
    assert 0 < one.chance < 1e-9
    assert not one.cut


def test_two_busy_symbols_need_nine_minutes_and_ten_need_one() -> None:
    assert [n for n in range(1, 15) if found(market({FIRST: [(600, 600 + n)]}))] == list(range(9, 15))
    assert found(market({FIRST: [(600, 601)]}, symbols=10)) == [(moment(FIRST, 600), moment(FIRST, 601))]


def test_one_symbol_alone_is_no_outage() -> None:
    assert found(market({FIRST: [(500, 600)]}, symbols=1)) == []


def test_a_symbol_that_traded_meanwhile_refutes_it_and_bounds_it() -> None:
    trading = [stored("X/USDT", FIRST)]
    assert found(market({FIRST: [(500, 600)]}) + trading) == []
    from_550 = [stored("X/USDT", FIRST, silent=[(550, 600)])]
    assert found(market({FIRST: [(500, 600)]}) + from_550) == [(moment(FIRST, 550), moment(FIRST, 600))]


def test_trades_of_a_symbol_refute_its_own_empty_bars() -> None:
    bars = market({FIRST: [(500, 600)]})
    trades = [stored("S0/USDT", FIRST, dataset="trades")]
    assert found(bars) != []
    assert found(bars + trades) == []
    silent = [stored("S0/USDT", FIRST, dataset="trades", silent=[(500, 590)])]
    assert found(bars + silent) == [(moment(FIRST, 500), moment(FIRST, 590))]


def test_hourly_bars_do_not_hide_twenty_minutes_of_finer_ones() -> None:
    hourly = [stored(f"{name}/USDT", FIRST, dataset="ohlcv_1h") for name in ("S0", "H1", "H2")]
    assert found(market({FIRST: [(500, 520)]}) + hourly) == [(moment(FIRST, 500), moment(FIRST, 520))]


def coarse(spans: dict[date, Spans], dataset: str, symbol: str = "H/USDT", count: int = 3) -> list[StoredDay]:
    return [stored(symbol, day, spans.get(day, ()), dataset=dataset) for day in days(FIRST - DAY, count + 1)]


@pytest.mark.parametrize(
    ("dataset", "silence", "witness"), [("ohlcv_1h", (687, 840), (720, 840)), ("ohlcv_5m", (490, 564), (490, 560))]
)
def test_longer_bars_of_another_symbol_are_a_witness(
    dataset: str, silence: tuple[int, int], witness: tuple[int, int]
) -> None:
    fine = market({FIRST: [silence]}, symbols=1)
    (one,) = find_outages(fine + coarse({FIRST: [witness]}, dataset))
    assert (one.start, one.end) == (moment(FIRST, silence[0]), moment(FIRST, silence[1]))
    assert one.symbols == ("H/USDT", "S0/USDT")
    assert found(fine) == []
    assert found(fine + coarse({}, dataset)) == [], "it traded meanwhile"
    short = market({FIRST: [(721, 779)]}, symbols=1)
    assert found(short + coarse({}, "ohlcv_1h")) == [], "no whole bar lies in it"
    often: dict[date, Spans] = {day: [(h * 60, h * 60 + 60) for h in range(0, 24, 3)] for day in days(FIRST - DAY, 4)}
    assert found(market({FIRST: [(719, 781)]}, symbols=1) + coarse(often, "ohlcv_1h")) == [], "it is often silent"


def test_a_long_bar_that_traded_refutes_a_silence_that_it_lies_in() -> None:
    fine = market({FIRST: [(600, 900)]})
    assert found(fine) == [(moment(FIRST, 600), moment(FIRST, 900))]
    assert found(fine + coarse({FIRST: [(600, 720), (780, 900)]}, "ohlcv_1h")) == []
    # A bar that reaches over the edge may have traded outside.
    assert found(market({FIRST: [(630, 690)]}) + coarse({}, "ohlcv_1h")) == [(moment(FIRST, 630), moment(FIRST, 690))]


def test_a_symbol_that_is_known_for_a_part_of_the_day_tells_of_that_part() -> None:
    fine = market({FIRST: [(500, 600), (900, 1000)]}, symbols=1)
    until_noon = stored("P/USDT", FIRST, silent=[(500, 600)])
    object.__setattr__(until_noon, "last_time", moment(FIRST, 719))
    assert found([*fine, until_noon]) == [(moment(FIRST, 500), moment(FIRST, 600))]
    trading = stored("P/USDT", FIRST)
    object.__setattr__(trading, "last_time", moment(FIRST, 719))
    assert found([*fine, trading]) == []


def test_a_whole_day_without_trades_in_any_symbol_is_an_outage() -> None:
    assert found(market({FIRST: [(0, MINUTES)]})) == [(moment(FIRST, 0), moment(FIRST + DAY, 0))]


def test_symbols_that_hardly_trade_tell_nothing() -> None:
    dead = [
        stored(f"{name}/USDT", day, silent=[(0, 700), (710, MINUTES)]) for name in "ABC" for day in days(FIRST - DAY, 3)
    ]
    assert found(dead) == []
    never = [stored(f"{name}/USDT", day, silent=[(0, MINUTES)]) for name in "ABC" for day in days(FIRST - DAY, 3)]
    assert found(never) == []
    one_busy = [stored("S0/USDT", day, silent=[(500, 560)]) for day in (FIRST,)]
    assert found(dead + one_busy) == []


def test_an_outage_over_midnight_is_one_even_where_a_part_alone_would_be_none() -> None:
    spans: dict[date, Spans] = {FIRST: [(MINUTES - 20, MINUTES)], SECOND: [(0, 3)]}
    (one,) = find_outages(market(spans, absent=True))
    assert (one.start, one.end, one.cut) == (moment(FIRST, MINUTES - 20), moment(SECOND, 3), False)
    longer: dict[date, Spans] = {FIRST: [(28, MINUTES)], SECOND: [(0, 600)]}
    assert found(market(longer, absent=True)) == [(moment(FIRST, 28), moment(SECOND, 600))]


def test_a_span_that_ends_at_midnight_without_bars_may_be_a_cut_of_all_files() -> None:
    spans: dict[date, Spans] = {FIRST: [(456, MINUTES)]}
    (cut,) = find_outages(market(spans, absent=True))
    assert (cut.cut, cut.start, cut.end) == (True, moment(FIRST, 456), moment(SECOND, 0))
    (empty_bars,) = find_outages(market(spans))
    assert empty_bars.cut is False


def test_a_later_outage_of_the_day_does_not_hide_behind_a_longer_one() -> None:
    spans: dict[date, Spans] = {FIRST: [(100, 500), (620, 632)]}
    assert found(market(spans)) == [(moment(FIRST, a), moment(FIRST, b)) for a, b in spans[FIRST]]


def markov(random: np.random.Generator, silent: np.ndarray, stays: float) -> np.ndarray:
    """Return minutes that fall silent with the given chances, and stay so with another."""
    throws = random.random(MINUTES)
    made = np.zeros(MINUTES, dtype=bool)
    for minute in range(MINUTES):
        made[minute] = throws[minute] < (stays if minute and made[minute - 1] else silent[minute])
    return made


@pytest.mark.parametrize("symbols", [2, 4])
def test_independent_illiquid_symbols_are_never_an_outage(symbols: int) -> None:
    """Two hundred days of symbols that are silent up to half of the time, at night five times as often as by day."""
    random = np.random.default_rng(7)
    night = np.where(np.arange(MINUTES) < 360, 0.25, 0.05)
    made, longest = [], 0
    for day in days(FIRST, 200):
        joint = flags([(0, MINUTES)])
        for number in range(symbols):
            minutes = markov(random, night, 0.75)
            joint &= minutes
            made.append(stored(f"S{number}/USDT", day, [(m, m + 1) for m in np.flatnonzero(minutes)]))
        longest = max([longest, *(b - a for a, b in runs(int.from_bytes(to_bits(joint) or b"", "big")))])
    assert longest >= 4, "there are joint silences to be judged"
    assert find_outages(made) == []


@given(
    spans=st.lists(st.tuples(st.integers(0, MINUTES - 1), st.integers(1, 60)), min_size=1, max_size=5),
    symbols=st.integers(2, 4),
)
def test_what_is_found_is_silent_in_every_symbol_and_as_long_as_it_can_be(
    spans: list[tuple[int, int]], symbols: int
) -> None:
    minutes = flags([(first, min(MINUTES, first + length)) for first, length in spans])
    joint = int.from_bytes(to_bits(minutes) or b"", "big")
    whole = {(moment(FIRST, a), moment(FIRST, b)): b - a for a, b in runs(joint)}
    made = [
        stored(f"S{n}/USDT", day, [(int(m), int(m) + 1) for m in np.flatnonzero(minutes)] if day == FIRST else ())
        for n in range(symbols)
        for day in days(FIRST - DAY, 3)
    ]
    for one in find_outages(made):
        assert (one.start, one.end) in whole
        assert one.chance < CHANCE
    if len(whole) == 1:  # silences beside each other make each other more likely
        assert list(whole) == found(made) or max(whole.values()) < 9


@given(st.integers(0, MINUTES), st.integers(0, MINUTES))
def test_minutes_that_are_covered_lie_wholly_inside(first: int, end: int) -> None:
    start, until = moment(FIRST, first), moment(FIRST, end)
    assert covered(start, until, FIRST) == mask(first, end)
    second = timedelta(seconds=1)
    assert covered(start + second, until + second, FIRST) == mask(min(first + 1, MINUTES), end)
    assert list(runs(mask(first, end))) == ([(first, end)] if first < end else [])
    assert covered(start, until, FIRST + 2 * DAY) == 0


# ---- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_outage_of_2023_09_12_is_found_from_two_symbols_alone(realdata: Path) -> None:
    made = published(realdata, "AVAXUSDT", AVAX) + published(realdata, "FILUSDT", FIL)
    assert len(made) == 60
    (one,) = find_outages(made)
    assert one.start == datetime(2023, 9, 12, 8, 34, tzinfo=UTC)
    assert one.end == datetime(2023, 9, 12, 8, 53, tzinfo=UTC)
    assert one.symbols == (AVAX, FIL)
    assert one.chance == pytest.approx(3.6e-13, rel=0.02)


@pytest.mark.realdata
def test_a_symbol_of_446_empty_bars_is_no_outage_beside_a_busy_or_a_quiet_one(realdata: Path) -> None:
    algo = published(realdata, "ALGOUSDT", ALGO)
    assert sum(one.untraded.bit_count() for one in algo) == 446
    twin = [StoredDay("TWIN/USDT:USDT", one.dataset, one.day, one.last_time, one.silent) for one in algo]
    assert find_outages(algo) == []
    # Even another symbol that is silent in the very same minutes: five of them are no proof.
    assert find_outages(algo + twin) == []


@pytest.mark.realdata
def test_one_symbol_does_not_prove_the_outage_of_2023_03_24(realdata: Path) -> None:
    assert find_outages(published_5m(realdata)) == []
