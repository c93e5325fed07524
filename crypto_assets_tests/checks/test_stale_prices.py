from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from crypto_assets.checks.stale_prices import CHECK
from crypto_assets_tests.checks.judging import DAY_ONE, Rows, edited, finding_of
from crypto_assets_tests.synthetic import day_of, read_file, series_of

STALE = {"close": Decimal("42000.5")}
SILENT = {"trade_count": 0, "volume": Decimal(0), "quote_volume": Decimal(0)}


def finding(edit):
    return finding_of(CHECK, "ohlcv_1m", edited(day_of("ohlcv_1m", DAY_ONE)[1], edit))


def frozen(rows: Rows, first: int, count: int, **more: object) -> Rows:
    return [row | STALE | more if first <= n < first + count else row for n, row in enumerate(rows)]


def closes(values: np.ndarray):
    """Return an edit that makes these the closes of the day, in ticks of 0.0001."""
    return lambda rows: [row | {"close": Decimal(int(v)) / 10_000} for row, v in zip(rows, values, strict=True)]


def test_a_clean_day_passes():
    found = finding(lambda rows: rows)
    assert (found.passed, found.judged) == (True, True)


def test_an_hour_in_which_the_price_stands_still_while_trading_goes_on_is_found():
    found = finding(lambda rows: frozen(rows, 514, 60))
    assert not found.passed
    assert found.evidence["bars"] == 60
    assert found.evidence["spans"] == ["08:34–09:33"]
    assert found.evidence["first"].startswith(
        "2024-03-01T08:34:00.000000: 60 bars close at 42000.5, the close repeats in "
    )


@pytest.mark.parametrize(
    ("first", "count", "span"), [(0, 60, "00:00–00:59"), (1380, 60, "23:00–23:59"), (60, 1200, "01:00–20:59")]
)
def test_a_frozen_price_is_found_at_the_ends_of_the_day_and_over_most_of_it(first, count, span):
    found = finding(lambda rows: frozen(rows, first, count))
    assert (found.passed, found.evidence["bars"], found.evidence["spans"]) == (False, count, [span])


def test_each_frozen_span_is_named():
    found = finding(lambda rows: frozen(frozen(rows, 100, 40), 900, 50))
    assert (found.evidence["bars"], found.evidence["spans"]) == (90, ["01:40–02:19", "15:00–15:49"])


def test_fewer_than_thirty_bars_are_not_looked_at():
    assert finding(lambda rows: frozen(rows, 514, 29)).passed
    assert not finding(lambda rows: frozen(rows, 514, 30)).passed


def test_bars_without_trades_neither_count_nor_interrupt():
    assert finding(lambda rows: frozen(rows, 514, 60, **SILENT)).passed
    found = finding(lambda rows: frozen(frozen(rows, 514, 60), 530, 20, **SILENT))
    assert (found.passed, found.evidence["bars"], found.evidence["spans"]) == (False, 40, ["08:34–09:33"])


def test_a_price_whose_tick_is_coarse_is_not_judged():
    # A stable coin: at 1.0000 all day but for a tick now and then.
    ticks = np.where(np.arange(1440) % 40 == 0, 10_001, 10_000)
    found = finding(closes(ticks))
    assert (found.passed, found.judged) == (True, False)
    assert found.evidence == {"not_judged": "the close repeats in 95% of the bars: its tick is too coarse"}


def test_a_day_that_stands_still_as_a_whole_is_not_judged():
    found = finding(lambda rows: frozen(rows, 0, 1440))
    assert (found.passed, found.judged) == (True, False)
    assert found.evidence["not_judged"].startswith("1440 bars close at one price, and fewer than 120 others show")


def test_no_alarm_where_the_close_repeats_often_or_the_night_is_quiet():
    chance = np.random.default_rng(7)
    for day in range(60):
        rates = np.full(1440, (0.1, 0.3, 0.45)[day % 3])
        night = chance.integers(0, 1200)
        rates[night : night + 240] += 0.3
        moves = np.where(chance.random(1440) < rates, 0, chance.choice([-1, 1], 1440))
        found = finding(closes(10_000 + np.cumsum(moves)))
        assert (found.passed, found.judged) == (True, True)


def test_a_frozen_price_is_found_where_the_close_repeats_often_otherwise():
    chance = np.random.default_rng(8)
    moves = np.where(chance.random(1440) < 0.43, 0, chance.choice([-1, 1], 1440))
    moves[700:800] = 0
    found = finding(closes(10_000 + np.cumsum(moves)))
    assert not found.passed
    assert len(found.evidence["spans"]) == 1
    assert 100 <= found.evidence["bars"] <= 110


def test_bars_of_an_hour_are_too_few_to_be_judged_by_it():
    _, table = day_of("ohlcv_1h", DAY_ONE)
    assert finding_of(CHECK, "ohlcv_1h", edited(table, lambda rows: frozen(rows, 0, 24))).passed


@pytest.mark.realdata
@pytest.mark.parametrize("symbol", ["AVAXUSDT", "FILUSDT", "ALGOUSDT"])
def test_no_real_day_alarms_and_each_would_with_a_frozen_hour(realdata, symbol):
    folder = realdata / "binance_vision" / f"data/futures/um/daily/klines/{symbol}/1m"
    paths = sorted(folder.glob("*.zip"))
    assert len(paths) == 30
    for number, path in enumerate(paths):
        table = read_file(series_of("ohlcv_1m", "linear"), path.name, path.read_bytes())
        found = finding_of(CHECK, "ohlcv_1m", table, "linear")
        assert (found.passed, found.judged) == (True, True)
        if number % 10 == 0:
            stale = edited(table, lambda rows: frozen(rows, 1000, 90))
            assert finding_of(CHECK, "ohlcv_1m", stale, "linear").evidence["spans"] == ["16:40–18:09"]
