from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets.checks.unique_key import CHECK
from crypto_assets.model import Partition
from crypto_assets_tests.checks.books import book_rows, book_table, ticker_rows, ticker_table
from crypto_assets_tests.checks.judging import DAY_ONE, edited, finding_of, in_pieces, setting
from crypto_assets_tests.synthetic import day_of, series_of


def test_books_and_tickers_with_a_key_for_each_row_pass():
    assert finding_of(CHECK, "order_books", book_table(book_rows())).passed
    assert finding_of(CHECK, "tickers", ticker_table(ticker_rows([1] * 30))).passed


def test_a_snapshot_that_comes_back_later_is_found():
    rows = book_rows()
    found = finding_of(CHECK, "order_books", book_table([*rows, *rows[40:60]]))
    assert not found.passed
    assert found.evidence == {
        "doubles": 20,
        "first": "book_time 2024-03-01T00:02:00.000000, update_id 2000, side bid, level 0",
    }


def test_a_level_that_stands_twice_in_a_snapshot_is_found():
    rows = setting(35, level=4)(book_rows())
    found = finding_of(CHECK, "order_books", book_table(rows))
    assert found.evidence == {
        "doubles": 1,
        "first": "book_time 2024-03-01T00:01:00.000000, update_id 1000, side ask, level 4",
    }


@pytest.mark.parametrize("more", [{"update_id": 7}, {"side": "ask"}, {"level": 90}])
def test_rows_that_differ_in_one_column_of_the_key_are_two(more):
    row = book_rows()[0]
    assert finding_of(CHECK, "order_books", book_table([row, row | more])).passed
    assert finding_of(CHECK, "order_books", book_table([row | more, row])).passed
    assert not finding_of(CHECK, "order_books", book_table([row, row | more, row])).passed


def test_a_bar_that_stands_twice_is_named_by_its_time():
    _, table = day_of("ohlcv_1m", DAY_ONE)
    found = finding_of(CHECK, "ohlcv_1m", edited(table, lambda rows: [*rows, rows[10], rows[10], rows[500]]))
    assert found.evidence == {"doubles": 3, "first": "open_time 2024-03-01T00:10:00.000000"}


def test_ticker_ids_that_do_not_ascend_but_are_unique_pass():
    assert finding_of(CHECK, "tickers", ticker_table(ticker_rows([1] * 30)[::-1])).passed


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(st.integers(0, 40), min_size=1, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_doubles_are_counted_as_pandas_counts_them(ids, cuts):
    frame = pd.DataFrame({"trade_id": np.array(ids, dtype=np.int64)})
    found = in_pieces(CHECK, frame, [min(cut, len(ids)) for cut in cuts], "trades", "spot")
    double = frame["trade_id"][frame["trade_id"].duplicated()]
    assert found.passed is (len(double) == 0)
    assert found.evidence == ({"doubles": len(double), "first": f"trade_id {double.min()}"} if len(double) else {})


KEYS = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["bid", "ask"]), st.integers(0, 5))


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(KEYS, min_size=1, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_doubles_of_a_key_of_four_columns_are_counted_as_pandas_counts_them(keys, cuts):
    frame = pd.DataFrame(keys, columns=["book_time", "update_id", "side", "level"])
    frame = frame.assign(
        book_time=pd.to_datetime(frame["book_time"], unit="s", utc=True).dt.as_unit("us"),
        side=frame["side"].astype("category"),
        level=frame["level"].astype("int16"),
    )
    found = CHECK.run(frame, Partition("BTC/USDT", DAY_ONE), series_of("order_books"))
    double = frame.duplicated()
    assert found.passed is not double.any()
    assert found.evidence.get("doubles", 0) == double.sum()
    if double.any():
        time, update_id, side, level = min(
            (row for row, again in zip(keys, double, strict=True) if again),
            key=lambda key: (*key[:2], key[2] == "ask", key[3]),
        )
        assert found.evidence["first"] == (
            f"book_time 1970-01-01T00:00:0{time}.000000, update_id {update_id}, side {side}, level {level}"
        )
    assert in_pieces(CHECK, frame, [min(cut, len(keys)) for cut in cuts], "order_books", "spot") == found
