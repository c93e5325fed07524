"""Longer bars are compared with what shorter ones make of them, wherever all parts are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from crypto_assets.checks.agrees_with_shorter import CHECK
from crypto_assets.model import Finding, Partition, Series, bar_length, days_between
from crypto_assets.rows.derive import longer_bars, merge_bars
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets_tests.synthetic import day_of, key_of, read_file, series_of

DAY = date(2024, 3, 1)
Edit = Callable[[list[dict]], list[dict]]
LONGER = ["3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]


def same(rows: list[dict]) -> list[dict]:
    return rows


def finding(timeframe: str, shorter: str, *, bars: Edit = same, parts: Edit = same, day: date = DAY) -> Finding:
    partition, published = day_of(f"ohlcv_{timeframe}", day)
    tables = (published, day_of(f"ohlcv_{shorter}", day)[1])
    mine, theirs = (
        pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema)
        for edit, table in zip((bars, parts), tables, strict=True)
    )
    series = series_of(f"ohlcv_{timeframe}")
    half = mine.num_rows // 2
    found = CHECK.run(CHECK.gather(series, [mine.slice(0, half), mine.slice(half)]), theirs, partition, series)
    json.dumps(dict(found.evidence))
    return found


def agreed(compared: int, not_whole: int = 0) -> Finding:
    counts = {"compared": compared, "only_here": 0, "only_there": 0, "changed": 0}
    return Finding(True, counts | {"not_whole": not_whole})


@pytest.mark.parametrize("timeframe", LONGER)
def test_clean_bars_agree_with_each_of_their_parts(timeframe):
    for other in CHECK.counterparts(series_of(f"ohlcv_{timeframe}")):
        for day in days_between(DAY, date(2024, 3, 2)):
            expected = timedelta(days=1) // bar_length(timeframe)
            assert finding(timeframe, other.timeframe, day=day) == agreed(expected), other


def test_on_a_thin_market_clean_bars_agree_too():
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, DAY, date(2024, 3, 2), trades_per_day=300)

    def published(timeframe: str) -> pa.Table:
        series = series_of(f"ohlcv_{timeframe}")
        key = key_of(series, "BTC/USDT", DAY)
        return read_file(series, key, archive.read(key))

    for timeframe in ("5m", "1h", "1d"):
        series = series_of(f"ohlcv_{timeframe}")
        found = CHECK.run(published(timeframe), published("1m"), Partition("BTC/USDT", DAY), series)
        assert found == agreed(timedelta(days=1) // bar_length(timeframe))


@pytest.mark.parametrize("column", [name for name in day_of("ohlcv_1h", DAY)[1].column_names if name != "open_time"])
def test_any_field_that_differs_is_shown_from_both(column):
    was = day_of("ohlcv_1h", DAY)[1].column(column)[8].as_py()
    wrong = was + (1 if column == "trade_count" else Decimal("1e-18"))

    def edit(rows):
        rows[8][column] = wrong
        return rows

    found = finding("1h", "5m", bars=edit)
    assert not found.passed
    assert found.evidence["columns"] == {column: 1}
    text = f"{wrong:f}" if isinstance(wrong, Decimal) else str(wrong)
    expected = f"{was.normalize():f}" if isinstance(was, Decimal) else str(was)
    assert found.evidence["differences"] == [
        {"open_time": "2024-03-01 08:00:00", "column": column, "bars": text, "shorter": expected}
    ]


def test_a_wrong_part_is_found_in_the_bar_that_holds_it():
    def edit(rows):
        rows[514]["volume"] += 1
        return rows

    found = finding("1h", "1m", parts=edit)
    assert (found.passed, found.evidence["compared"], found.evidence["changed"]) == (False, 24, 1)
    assert found.evidence["differences"][0]["open_time"] == "2024-03-01 08:00:00"


def test_bars_that_lack_a_part_are_not_compared():
    def edit(rows):
        return [row for n, row in enumerate(rows) if n not in (0, 514)]

    assert finding("1h", "1m", parts=edit) == agreed(22, not_whole=2)
    found = finding("1d", "1m", parts=edit)
    assert found.passed
    assert found.evidence == {"not_judged": "no bar has all its parts"}


def test_a_bar_that_lacks_although_its_parts_are_there_is_a_difference():
    found = finding("1h", "30m", bars=lambda rows: rows[:3] + rows[4:])
    assert (found.passed, found.evidence["compared"], found.evidence["only_there"]) == (False, 24, 1)
    (row,) = found.evidence["differences"]
    assert (row["open_time"], row["column"], row["bars"]) == ("2024-03-01 03:00:00", "row", "")
    assert row["shorter"].startswith("open ")


@pytest.mark.parametrize("parts", [lambda rows: [], lambda rows: rows[:1], lambda rows: [rows[0], rows[7]]])
def test_without_parts_side_by_side_nothing_is_judged(parts):
    found = finding("15m", "1m", parts=parts)
    assert found.passed
    assert not found.judged


@pytest.mark.parametrize(
    ("timeframe", "expected"),
    [
        ("1d", ["12h", "8h", "6h", "4h", "2h", "1h", "30m", "15m", "5m", "3m", "1m"]),
        ("1h", ["30m", "15m", "5m", "3m", "1m"]),
        ("5m", ["1m"]),
        ("12h", ["6h", "4h", "2h", "1h", "30m", "15m", "5m", "3m", "1m"]),
    ],
)
def test_counterparts_are_those_that_divide_it_the_longest_first(timeframe, expected):
    series = Series("binance", "linear", "ohlcv", timeframe)
    assert CHECK.counterparts(series) == tuple(Series("binance", "linear", "ohlcv", name) for name in expected)


def test_it_is_about_bars_that_have_parts():
    applies = {t: CHECK.applies(Series("binance", "spot", "ohlcv", t)) for t in ("1s", "1m", "3m", "1d", "3d", "1mo")}
    assert applies == {"1s": False, "1m": False, "3m": True, "1d": True, "3d": False, "1mo": False}


def test_merged_bars_are_those_that_are_derived():
    _, minutes = day_of("ohlcv_1m", DAY)
    (derived,) = longer_bars([minutes], ["5m", "1h", "1d"])
    for timeframe, table in derived.items():
        assert merge_bars(minutes, timedelta(minutes=1), bar_length(timeframe)).equals(table)
    assert derived["1h"].num_rows == 24


@pytest.mark.realdata
def test_a_real_hour_file_has_no_minutes_to_be_compared_with(realdata: Path):
    key = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-05-08.zip"
    series = series_of("ohlcv_1h")
    bars = read_file(series, key, (realdata / "binance_vision" / key).read_bytes())
    assert bars.num_rows == 24
    found = CHECK.run(bars, bars.slice(0, 0), Partition("BTC/USDT", date(2026, 5, 8)), series)
    assert found.passed
    assert not found.judged


@pytest.mark.realdata
def test_real_bars_agree_with_their_minutes(realdata: Path):
    key = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip"
    minutes = read_file(series_of("ohlcv_1m"), key, (realdata / "binance_vision" / key).read_bytes())
    (derived,) = longer_bars([minutes], ["1h"])
    found = CHECK.run(derived["1h"], minutes, Partition("BTC/USDT", date(2020, 1, 1)), series_of("ohlcv_1h"))
    assert found == agreed(24)
