"""Every defect of bars is caught by exactly the checks that are for it, and the evidence names the place."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crypto_assets import sources
from crypto_assets.checks import checks_of, of_kind
from crypto_assets.engine.publication.validation import blocking, degrading, validate
from crypto_assets.model import DAY, HistoryCheck, Partition, bar_length
from crypto_assets.rows.frames import to_frame
from crypto_assets_tests.checks.judging import DAY_ONE, Edit, at, edited, failed, findings_of, setting, without
from crypto_assets_tests.synthetic import day_of, read_file, series_of

DATASETS = [
    ("ohlcv_1m", "spot"),
    ("ohlcv_5m", "spot"),
    ("ohlcv_1h", "linear"),
    ("ohlcv_1d", "spot"),
    ("trades", "spot"),
    ("trades", "linear"),
    ("agg_trades", "spot"),
    ("funding_rates", "linear"),
]


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_a_clean_day_passes_every_check_of_its_table(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    findings = findings_of(dataset, table, partition, market_type)
    series = series_of(dataset, market_type)
    assert set(findings) == {check.name for check in (*checks_of(series), *of_kind(series, HistoryCheck))}
    assert failed(findings) == set()


def test_each_table_has_the_checks_that_suit_it():
    common = {"ascending_time", "contract", "inside_day", "unique_key"}
    more = {
        "ohlcv_1m": {"complete", "ohlc_consistent", "on_grid", "silence_agrees", "stale_prices"},
        "trades": {"complete", "quote_agrees"},
        "agg_trades": {"complete"},
        "funding_rates": {"complete"},
        "order_books": {"book_depth", "book_not_crossed", "levels_ordered", "spread_bounded"},
        "tickers": {"book_not_crossed", "spread_bounded"},
    }
    for dataset, names in more.items():
        assert {check.name for check in checks_of(series_of(dataset))} == common | names
    for dataset in ("trades", "agg_trades", "order_books", "tickers"):
        assert all(check.fold for check in checks_of(series_of(dataset)))  # their days come in pieces


BAR_DEFECTS: dict[str, tuple[Edit, dict[str, dict[str, object]]]] = {
    "one minute is missing": (
        without(514),
        {"complete": {"expected": 1440, "found": 1439, "missing": 1, "spans": ["08:34"]}},
    ),
    "minutes are missing in three places": (
        without(0, *range(514, 533), 1439),
        {"complete": {"expected": 1440, "found": 1419, "missing": 21, "spans": ["00:00", "08:34–08:52", "23:59"]}},
    ),
    "the second half is missing": (
        without(*range(720, 1440)),
        {"complete": {"expected": 1440, "found": 720, "missing": 720, "spans": ["12:00–23:59"]}},
    ),
    "a row stands twice": (
        lambda rows: [*rows[:11], *rows[10:]],
        {"unique_key": {"doubles": 1, "first": "open_time 2024-03-01T00:10:00.000000"}},
    ),
    "a row stands twice in the place of the next": (
        lambda rows: [*rows[:11], rows[10], *rows[12:]],
        {
            "unique_key": {"doubles": 1, "first": "open_time 2024-03-01T00:10:00.000000"},
            "complete": {"expected": 1440, "found": 1440, "missing": 1, "spans": ["00:11"]},
        },
    ),
    "rows are descending": (
        lambda rows: rows[::-1],
        {
            "ascending_time": {
                "steps_back": 1439,
                "first": "row 1: 2024-03-01T23:58:00.000000 after 2024-03-01T23:59:00.000000",
            }
        },
    ),
    "two rows have changed places": (
        lambda rows: [*rows[:100], rows[101], rows[100], *rows[102:]],
        {
            "ascending_time": {
                "steps_back": 1,
                "first": "row 101: 2024-03-01T01:40:00.000000 after 2024-03-01T01:41:00.000000",
            }
        },
    ),
    "a row of the next day is at the end": (
        lambda rows: [*rows, rows[0] | {"open_time": at(1440)}],
        {"inside_day": {"rows": 1, "first": "row 1440: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"}},
    ),
    "a row of the day before is at the beginning": (
        lambda rows: [rows[0] | {"open_time": at(-1)}, *rows],
        {"inside_day": {"rows": 1, "first": "row 0: 2024-02-29T23:59:00.000000, expected inside 2024-03-01"}},
    ),
    "the last row is one of the next day": (
        setting(1439, open_time=at(1440)),
        {
            "inside_day": {"rows": 1, "first": "row 1439: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"},
            "complete": {"expected": 1440, "found": 1440, "missing": 1, "spans": ["23:59"]},
        },
    ),
    "a minute is off the grid": (
        setting(514, open_time=at(514, seconds=30)),
        {
            "on_grid": {
                "off_grid": 1,
                "bars": 1440,
                "first_time": "2024-03-01T08:34:30.000000",
                "last_time": "2024-03-01T08:34:30.000000",
                "least_s": 30.0,
                "most_s": 30.0,
                "examples": [{"open_time": "2024-03-01T08:34:30.000000", "beside_s": 30.0}],
            }
        },
    ),
    "a minute is off the grid by a millisecond": (
        setting(514, open_time=at(514, milliseconds=1)),
        {
            "on_grid": {
                "off_grid": 1,
                "bars": 1440,
                "first_time": "2024-03-01T08:34:00.001000",
                "last_time": "2024-03-01T08:34:00.001000",
                "least_s": 0.001,
                "most_s": 0.001,
                "examples": [{"open_time": "2024-03-01T08:34:00.001000", "beside_s": 0.001}],
            }
        },
    ),
    "high is below close": (
        setting(7, open=Decimal(10), high=Decimal("10.5"), low=Decimal(9), close=Decimal(11)),
        {
            "ohlc_consistent": {
                "bars": 1,
                "first": "2024-03-01 00:07:00+00:00: open 10, high 10.5, low 9, close 11",
            }
        },
    ),
    "low is above open": (
        setting(7, open=Decimal(9), high=Decimal(11), low=Decimal(10), close=Decimal(10)),
        {
            "ohlc_consistent": {
                "bars": 1,
                "first": "2024-03-01 00:07:00+00:00: open 9, high 11, low 10, close 10",
            }
        },
    ),
    "a volume is negative": (
        setting(1438, taker_buy_volume=Decimal("-0.5")),
        {
            "contract": {
                "violations": 1,
                "rules": {"taker_buy_volume: greater_than_or_equal_to(0)": 1},
                "first": "row 1438: taker_buy_volume = -0.5, expected greater_than_or_equal_to(0)",
            }
        },
    ),
    "all four prices are zero": (
        setting(0, open=Decimal(0), high=Decimal(0), low=Decimal(0), close=Decimal(0)),
        {
            "contract": {
                "violations": 4,
                "rules": {f"{name}: greater_than(0)": 1 for name in ("open", "high", "low", "close")},
                "first": "row 0: open = 0.0, expected greater_than(0)",
            }
        },
    ),
    "a count of trades is negative": (
        setting(3, trade_count=-1),
        {
            "contract": {
                "violations": 1,
                "rules": {"trade_count: greater_than_or_equal_to(0)": 1},
                "first": "row 3: trade_count = -1, expected greater_than_or_equal_to(0)",
            }
        },
    ),
}


@pytest.mark.parametrize("defect", BAR_DEFECTS)
def test_a_defect_of_bars_is_caught_by_the_checks_that_are_for_it(defect):
    edit, expected = BAR_DEFECTS[defect]
    partition, table = day_of("ohlcv_1m", DAY_ONE)
    findings = findings_of("ohlcv_1m", edited(table, edit), partition)
    assert {name: dict(findings[name].evidence) for name in failed(findings)} == expected
    assert blocking(series_of("ohlcv_1m"), findings) == sorted(set(expected) - {"complete", "on_grid"})
    assert degrading(series_of("ohlcv_1m"), findings) == sorted(set(expected) & {"complete"})


@pytest.mark.parametrize(
    ("timeframe", "place", "span"),
    [("1s", 3_661, "01:01:01"), ("5m", 1, "00:05"), ("1h", 23, "23:00"), ("4h", 2, "08:00")],
)
def test_a_missing_bar_of_any_timeframe_is_named_by_its_time(timeframe, place, span):
    partition, table = day_of(f"ohlcv_{timeframe}", DAY_ONE)
    findings = findings_of(
        f"ohlcv_{timeframe}", pa.concat_tables([table.slice(0, place), table.slice(place + 1)]), partition
    )
    expected = DAY // bar_length(timeframe)
    assert failed(findings) == {"complete"}
    assert findings["complete"].evidence == {
        "expected": expected,
        "found": expected - 1,
        "missing": 1,
        "spans": [span],
    }


def test_many_gaps_are_counted_and_the_first_twenty_are_named():
    partition, table = day_of("ohlcv_1m", DAY_ONE)
    evidence = findings_of("ohlcv_1m", edited(table, without(*range(0, 100, 2))), partition)["complete"].evidence
    assert evidence["missing"] == 50
    assert evidence["spans"] == [f"{minute // 60:02}:{minute % 60:02}" for minute in range(0, 40, 2)]


@pytest.mark.parametrize("timeframe", ["3d", "1w", "1mo"])
def test_a_bar_longer_than_a_day_is_one_row_of_the_day_it_opens(timeframe):
    _, table = day_of("ohlcv_1d", DAY_ONE)
    partition = Partition("BTC/USDT", DAY_ONE)
    dataset = f"ohlcv_{timeframe}"
    # A bar elsewhere is right, but not where its timeframe has it. (DAY_ONE is the 1st, a Friday.)
    odd = {"opens_when_due"} if timeframe == "1w" else set()
    assert failed(findings_of(dataset, table, partition)) == odd
    assert failed(findings_of(dataset, pa.concat_tables([table, table]), partition)) == {"complete", "unique_key"} | odd
    elsewhere = {"inside_day"} | ({"opens_when_due"} if timeframe != "3d" else set())
    assert failed(findings_of(dataset, table, Partition("BTC/USDT", date(2024, 3, 2)))) == elsewhere


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_a_day_without_rows_passes_nothing(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    findings = findings_of(dataset, table.slice(0, 0), partition, market_type)
    assert {name: dict(finding.evidence) for name, finding in findings.items()} == {
        check.name: {"rows": 0} for check in checks_of(series_of(dataset, market_type))
    }
    assert failed(findings) == set(findings)


@pytest.mark.realdata
@pytest.mark.parametrize("symbol", ["AVAXUSDT", "FILUSDT", "ALGOUSDT"])
def test_real_days_of_bars_pass_even_those_without_volume(realdata, symbol):
    folder = f"data/futures/um/daily/klines/{symbol}/1m"
    paths = sorted((realdata / "binance_vision" / folder).glob("*.zip"))
    series = series_of("ohlcv_1m", "linear")
    days = []
    for path in paths:
        day = sources.span_of(series, f"{folder}/{path.name}").first_day
        table = read_file(series, f"{folder}/{path.name}", path.read_bytes())
        days.append((Partition(f"{symbol[:-4]}/USDT:USDT", day), table))
    assert len(days) > 20
    found = {str(p): failed(v.findings) for (p, _), v in zip(days, validate(series, days), strict=True)}
    assert {day: names for day, names in found.items() if names} == {}


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_no_check_changes_the_frame(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    series = series_of(dataset, market_type)
    frame = to_frame(table)
    before = frame.copy(deep=True)
    for check in checks_of(series):
        check.run(frame, partition, series)
    pd.testing.assert_frame_equal(frame, before)


def test_a_frame_has_floats_utc_microseconds_and_the_rows_in_their_order():
    _, table = day_of("trades", DAY_ONE)
    frame = to_frame(table)
    assert list(frame.columns) == table.column_names
    assert str(frame["trade_time"].dtype) == "datetime64[us, UTC]"
    assert frame["price"].to_list() == [float(value) for value in table.column("price").to_pylist()]
    assert frame["side"].to_list() == table.column("side").to_pylist()
    assert [time.to_pydatetime() for time in frame["trade_time"]] == table.column("trade_time").to_pylist()
    assert frame["trade_id"].dtype == np.int64
