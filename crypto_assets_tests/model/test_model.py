"""The nouns: symbols, series, days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets import model
from crypto_assets.model import (
    COMPLETE_STATES,
    STORED_STATES,
    TIMEFRAMES,
    Finding,
    Outcome,
    Partition,
    Series,
    State,
    Track,
    TrackDay,
    bar_length,
    day_spans,
    days_between,
    path_symbol,
    unified_symbol,
)


@pytest.mark.parametrize(
    ("text", "market_type", "unified"),
    [
        ("BTC/USDT", "spot", "BTC/USDT"),
        ("BTC-USDT", "spot", "BTC/USDT"),
        ("btc/usdt", "spot", "BTC/USDT"),
        (" BTC/USDT\n", "spot", "BTC/USDT"),
        ("1000SATS/USDT", "spot", "1000SATS/USDT"),
        ("1INCH-BTC", "spot", "1INCH/BTC"),
        ("BTC/USDT:USDT", "linear", "BTC/USDT:USDT"),
        ("BTC/USDT", "linear", "BTC/USDT:USDT"),
        ("BTC-USDT", "linear", "BTC/USDT:USDT"),
        ("BTC-USDT:USDT", "linear", "BTC/USDT:USDT"),
        ("BTC/USDT:USDT-240628", "linear", "BTC/USDT:USDT-240628"),
        ("BTC-USDT-240628", "linear", "BTC/USDT:USDT-240628"),
        ("BTC/USDT-240628", "linear", "BTC/USDT:USDT-240628"),
        ("BTC/USDC", "linear", "BTC/USDC:USDC"),
        ("BTC/USD", "inverse", "BTC/USD:BTC"),
        ("BTC/USD:BTC", "inverse", "BTC/USD:BTC"),
        ("BTC-USD-240628", "inverse", "BTC/USD:BTC-240628"),
    ],
)
def test_a_symbol_is_unified_whichever_form_it_was_written_in(text, market_type, unified):
    assert unified_symbol(text, market_type) == unified


@pytest.mark.parametrize(
    ("text", "market_type", "message"),
    [
        ("", "spot", "symbol '': expected the form BTC/USDT, BTC/USDT:USDT or BTC/USDT:USDT-240628"),
        ("BTCUSDT", "spot", "symbol 'BTCUSDT': expected the form BTC/USDT"),
        ("BTC/", "spot", "symbol 'BTC/': expected the form"),
        ("/USDT", "spot", "symbol '/USDT': expected the form"),
        ("BTC USDT", "spot", "symbol 'BTC USDT': expected the form"),
        ("BTC_USDT", "spot", "symbol 'BTC_USDT': expected the form"),
        ("BTC//USDT", "spot", "symbol 'BTC//USDT': expected the form"),
        ("../etc/passwd", "spot", "symbol '../etc/passwd': expected the form"),
        ("BTC/USDT:", "linear", "symbol 'BTC/USDT:': expected the form"),
        ("BTC/USDT:USDT-2406", "linear", "symbol 'BTC/USDT:USDT-2406': expected the form"),
        ("BTC/USDT:USDT-٢٤٠٦٢٨", "linear", "expected the form"),
        ("BTC/USDT:USDT", "spot", "a spot symbol has no settle currency and no date; write BTC/USDT"),
        ("BTC/USDT-240628", "spot", "a spot symbol has no settle currency and no date; write BTC/USDT"),
        ("BTC/USDT:BTC", "linear", "symbol 'BTC/USDT:BTC': linear contracts of BTC/USDT settle in USDT"),
        ("BTC/USD:USD", "inverse", "symbol 'BTC/USD:USD': inverse contracts of BTC/USD settle in BTC"),
    ],
)
def test_what_is_not_a_symbol_of_the_market_is_refused_with_the_form_expected(text, market_type, message):
    with pytest.raises(ValueError, match="symbol") as caught:
        unified_symbol(text, market_type)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("symbol", "path"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT"),
        ("BTC/USDT:USDT-240628", "BTC-USDT-240628"),
        ("BTC/USD:BTC-240628", "BTC-USD-240628"),
    ],
)
def test_paths_and_asset_keys_have_the_short_form_of_a_symbol(symbol, path):
    assert path_symbol(symbol) == path


_CURRENCY = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=10)


@given(_CURRENCY, _CURRENCY, st.sampled_from(["spot", "linear", "inverse"]), st.dates(), st.booleans())
def test_the_short_form_of_a_symbol_leads_back_to_it(base, quote, market_type, expiry, dated):
    settle = {"spot": "", "linear": f":{quote}", "inverse": f":{base}"}[market_type]
    symbol = f"{base}/{quote}{settle}" + (f"-{expiry:%y%m%d}" if dated and settle else "")
    assert unified_symbol(symbol, market_type) == symbol
    assert unified_symbol(path_symbol(symbol), market_type) == symbol


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_series_of_bars_is_named_after_its_timeframe_and_back(timeframe):
    series = Series.named("binance", "spot", f"ohlcv_{timeframe}")
    assert series == Series("binance", "spot", "ohlcv", timeframe)
    assert series.dataset == f"ohlcv_{timeframe}"
    assert str(series) == f"binance spot ohlcv_{timeframe}"


@pytest.mark.parametrize("dataset", ["trades", "agg_trades", "funding_rates"])
def test_other_series_have_no_timeframe(dataset):
    series = Series.named("binance", "linear", dataset)
    assert series == Series("binance", "linear", dataset, None)
    assert series.dataset == dataset


@pytest.mark.parametrize("timeframe", ["1M", "2m", "", "1min", "m1"])
def test_an_unknown_timeframe_is_refused_with_the_known_ones(timeframe):
    with pytest.raises(ValueError, match=r"is unknown; known: 1s, 1m, .*, 1mo$") as caught:
        Series.named("binance", "spot", f"ohlcv_{timeframe}")
    assert str(caught.value).startswith(f"ohlcv_{timeframe}: timeframe {timeframe!r}")


def test_a_month_has_no_length_and_an_unknown_timeframe_neither():
    assert bar_length("1m") == timedelta(minutes=1)
    assert bar_length("1w") == timedelta(days=7)
    for timeframe in ("1mo", "1M"):
        with pytest.raises(KeyError):
            bar_length(timeframe)


def test_days_between_includes_both_ends_and_leap_days():
    assert days_between(date(2024, 2, 28), date(2024, 3, 1)) == [
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 1),
    ]
    assert days_between(date(2023, 2, 28), date(2023, 3, 1)) == [date(2023, 2, 28), date(2023, 3, 1)]
    assert days_between(date(2024, 1, 1), date(2024, 1, 1)) == [date(2024, 1, 1)]
    assert days_between(date(2024, 1, 2), date(2024, 1, 1)) == []


@given(st.dates(max_value=date(9000, 1, 1)), st.integers(-5, 800))
def test_days_between_follow_each_other(first, count):
    days = days_between(first, first + timedelta(days=count - 1) if first.year > 1 else first)
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))
    if first.year > 1:
        assert len(days) == max(0, count)
        assert not days or (days[0], days[-1]) == (first, first + timedelta(days=count - 1))


@given(st.lists(st.dates(date(2024, 2, 20), date(2024, 3, 10))))
def test_spans_of_days_hold_exactly_these_days_and_no_two_touch(days):
    spans = day_spans(days)
    assert [day for first, last in spans for day in days_between(first, last)] == sorted(set(days))
    assert all(after - before > timedelta(days=1) for (_, before), (after, _) in pairwise(spans))


def test_a_partition_is_the_half_open_utc_day():
    partition = Partition("BTC/USDT", date(2024, 12, 31))
    assert partition.start == datetime(2024, 12, 31, tzinfo=UTC)
    assert partition.end == datetime(2025, 1, 1, tzinfo=UTC)
    assert str(partition) == "BTC/USDT 2024-12-31"


def test_degraded_and_missing_days_are_never_complete():
    assert {state.value for state in COMPLETE_STATES} == {"available", "provisional", "no_data"}
    assert {state.value for state in STORED_STATES} == {"available", "provisional", "degraded", "corrected"}


def test_an_outcome_names_the_checks_that_failed():
    outcome = Outcome(
        Series.named("binance", "spot", "ohlcv_1m"),
        Partition("BTC/USDT", date(2024, 1, 1)),
        State.DEGRADED,
        findings={"complete": Finding(False, {"missing": 3}), "contract": Finding(True)},
    )
    assert outcome.failed_checks == ["complete"]


@pytest.mark.parametrize("name", model.__all__)
def test_every_noun_comes_from_the_package(name):
    assert getattr(model, name) is not None


def test_an_unknown_noun_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Candle'"):
        _ = model.Candle


def test_a_track_is_written_as_people_say_it():
    track = Track(Series.named("binance", "spot", "ohlcv_1m"), "BTC/USDT")
    assert str(track) == f"{track}" == "binance spot BTC/USDT ohlcv_1m"
    assert str(TrackDay(*track, date(2024, 1, 1))) == "binance spot BTC/USDT ohlcv_1m 2024-01-01"
    assert str(track._replace(symbol="BTC\x1b[2J")) == "binance spot BTC\\x1b[2J ohlcv_1m"


def test_tracks_are_ordered_by_series_then_symbol_and_found_by_what_they_say():
    bars, trades = Series.named("binance", "spot", "ohlcv_1m"), Series.named("binance", "spot", "trades")
    tracks = [Track(trades, "BTC/USDT"), Track(bars, "ETH/USDT"), Track(bars, "BTC/USDT")]
    assert sorted(tracks) == [Track(bars, "BTC/USDT"), Track(bars, "ETH/USDT"), Track(trades, "BTC/USDT")]
    assert {Track(bars, "BTC/USDT"): 1}[TrackDay(bars, "BTC/USDT", date(2024, 1, 1)).track] == 1


def test_the_columns_of_tracks_have_an_entry_for_each():
    bars, trades = Series.named("binance", "spot", "ohlcv_1m"), Series.named("okx", "linear", "trades")
    assert Track.columns([Track(bars, "BTC/USDT"), Track(trades, "ETH/USDT:USDT")]) == (
        ["binance", "okx"],
        ["spot", "linear"],
        ["ohlcv_1m", "trades"],
        ["BTC/USDT", "ETH/USDT:USDT"],
    )
    assert Track.columns([]) == ([], [], [], [])
