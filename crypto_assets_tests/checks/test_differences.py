"""Rows of two sources are compared by key: what only one has and what differs is counted, and shown to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets.checks import rules_of
from crypto_assets.checks._differences import differences
from crypto_assets.checks.agrees_with_monthly import CHECK as MONTHLY
from crypto_assets.checks.agrees_with_rest import CHECK as REST
from crypto_assets.model import Finding, Series, days_between
from crypto_assets.rows.row_keys import RowKeys
from crypto_assets_tests.synthetic import day_of, read_file, series_of

DAY = date(2024, 3, 1)
CASES = [("ohlcv_1m", "spot"), ("ohlcv_1d", "linear"), ("trades", "spot"), ("agg_trades", "spot")]
Edit = Callable[[list[dict]], list[dict]]


def finding(dataset: str, edit: Edit, market_type: str = "spot", check=MONTHLY) -> Finding:
    """What a check says of a day and an edited copy of it."""
    partition, mine = day_of(dataset, DAY, market_type)
    theirs = pa.Table.from_pylist(edit(mine.to_pylist()), schema=mine.schema)
    series = series_of(dataset, market_type)
    half = mine.num_rows // 2
    found = check.run(check.gather(series, [mine.slice(0, half), mine.slice(half)]), theirs, partition, series)
    json.dumps(dict(found.evidence))
    return found


@pytest.mark.parametrize("check", [MONTHLY, REST])
@pytest.mark.parametrize(("dataset", "market_type"), [*CASES, ("funding_rates", "linear")])
def test_the_same_rows_agree_in_any_order(check, dataset, market_type):
    count = day_of(dataset, DAY, market_type)[1].num_rows
    for edit in (lambda rows: rows, lambda rows: rows[::-1], lambda rows: [*rows[1:], rows[0]]):
        assert finding(dataset, edit, market_type, check) == Finding(
            True, {"compared": count, "only_here": 0, "only_there": 0, "changed": 0}
        )


@pytest.mark.parametrize(("check", "names"), [(MONTHLY, ("daily", "monthly")), (REST, ("stored", "rest"))])
def test_a_value_that_differs_in_the_last_digit_is_shown_from_both(check, names):
    was = day_of("ohlcv_1m", DAY)[1].column("volume")[514].as_py()

    def edit(rows):
        rows[514]["volume"] += Decimal("1e-18")
        return rows

    assert finding("ohlcv_1m", edit, check=check) == Finding(
        False,
        {
            "compared": 1440,
            "only_here": 0,
            "only_there": 0,
            "changed": 1,
            "columns": {"volume": 1},
            "differences": [
                {
                    "open_time": "2024-03-01 08:34:00",
                    "column": "volume",
                    names[0]: f"{was.normalize():f}",
                    names[1]: f"{was + Decimal('1e-18'):f}",
                }
            ],
        },
    )


def test_rows_that_only_one_has_are_shown_whole():
    def edit(rows):
        rows[700]["open_time"] += timedelta(seconds=30)
        return rows

    found = finding("ohlcv_1m", edit)
    assert (found.evidence["compared"], found.evidence["only_here"], found.evidence["only_there"]) == (1441, 1, 1)
    here, there = found.evidence["differences"]
    assert (here["open_time"], here["column"], here["monthly"]) == ("2024-03-01 11:40:00", "row", "")
    assert (there["open_time"], there["daily"]) == ("2024-03-01 11:40:30", "")
    assert here["daily"] == there["monthly"]
    assert here["daily"].startswith("open ")
    assert ", trade_count " in here["daily"]


def test_sides_and_ids_of_trades_are_compared():
    def edit(rows):
        rows[0]["side"] = "sell" if rows[0]["side"] == "buy" else "buy"
        rows[1]["trade_id"] += 10**6
        return rows

    found = finding("trades", edit)
    assert (found.evidence["changed"], found.evidence["columns"]) == (1, {"side": 1})
    assert [row["column"] for row in found.evidence["differences"]] == ["side", "row", "row"]


def test_at_most_fifty_differences_are_shown_the_first_ones():
    def edit(rows):
        return [row | {"high": row["high"] + 1, "low": row["low"] / 2} for row in rows[100:]]

    found = finding("ohlcv_1m", edit)
    assert found.evidence["columns"] == {"high": 1340, "low": 1340}
    assert (found.evidence["only_here"], found.evidence["changed"]) == (100, 1340)
    shown = found.evidence["differences"]
    assert len(shown) == 50
    assert [row["open_time"] for row in shown] == sorted(row["open_time"] for row in shown)
    assert {row["column"] for row in shown} == {"row"}


@pytest.mark.parametrize("check", [MONTHLY, REST])
def test_a_source_without_rows_of_the_day_says_nothing(check):
    found = finding("ohlcv_1m", lambda rows: [], check=check)
    assert found.passed
    assert not found.judged


def test_which_series_have_another_source():
    def applies(check, *series):
        return [check in rules_of(one) for one in series]

    bars = [Series("binance", "spot", "ohlcv", timeframe) for timeframe in ("1s", "1d", "3d", "1mo")]
    assert applies(MONTHLY, *bars, series_of("trades"), series_of("funding_rates", "linear")) == [
        *(True, True, False, False),
        *(True, False),
    ]
    assert applies(REST, bars[3], series_of("funding_rates", "linear")) == [True, True]
    assert MONTHLY.counterparts(bars[0]) == REST.counterparts(bars[0]) == (bars[0],)


rows_of_two_columns = st.dictionaries(st.integers(0, 12), st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=12)


@settings(deadline=None)
@given(rows_of_two_columns, rows_of_two_columns, st.randoms())
def test_any_two_tables(one, other, chance):
    def table(rows):
        places = list(rows.items())
        chance.shuffle(places)
        return pa.table(
            {
                "id": pa.array([key for key, _ in places], pa.int64()),
                "a": pa.array([value[0] for _, value in places], pa.int64()),
                "b": pa.array([str(value[1]) for _, value in places], pa.string()),
            }
        )

    found = differences(table(one), table(other), RowKeys(("id",), is_instant=False))
    both = one.keys() & other.keys()
    assert found.equal == (one == other)
    assert found.changed == sum(one[key] != other[key] for key in both)
    assert {found.here.column("id")[n].as_py() for n in found.only_here} == one.keys() - both
    assert {found.there.column("id")[n].as_py() for n in found.only_there} == other.keys() - both
    for place, column in enumerate("ab"):
        expected = [
            (key, one[key][place], other[key][place]) for key in sorted(both) if one[key][place] != other[key][place]
        ]
        got = list(found.values(column)) if column in found.columns else []
        assert [(key, int(was), int(is_now)) for key, was, is_now in got] == expected
    assert len(found.shown("x", "y")) == len(one.keys() ^ other.keys()) + sum(map(len, found.columns.values()))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("base", "first"), [("AVAX", date(2023, 9, 1)), ("FIL", date(2023, 9, 1)), ("ALGO", date(2024, 9, 1))]
)
def test_real_daily_bars_are_those_of_the_month(realdata: Path, base, first):
    series = series_of("ohlcv_1m", "linear")
    folder = realdata / "binance_vision/data/futures/um"
    name = f"{base}USDT-1m-{first:%Y-%m}.zip"
    month = read_file(series, name, (folder / f"monthly/klines/{base}USDT/1m/{name}").read_bytes())
    assert month.num_rows == 43_200
    for n, day in enumerate(days_between(first, first + timedelta(days=29))):
        name = f"{base}USDT-1m-{day}.zip"
        rows = read_file(series, name, (folder / f"daily/klines/{base}USDT/1m/{name}").read_bytes())
        partition = day_of("ohlcv_1m", DAY, "linear")[0]
        found = MONTHLY.run(rows, month.slice(n * 1440, 1440), partition, series)
        assert found == Finding(True, {"compared": 1440, "only_here": 0, "only_there": 0, "changed": 0}), day
    wrong = MONTHLY.run(rows, month.slice(0, 1440), partition, series)
    assert (wrong.passed, wrong.evidence["only_here"]) == (False, 1440)
