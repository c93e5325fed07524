from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_assets.checks.book_not_crossed import CHECK
from crypto_assets.model import Severity
from crypto_assets_tests.checks.books import book_rows, book_table, snapshot, ticker_rows, ticker_table
from crypto_assets_tests.checks.judging import finding_of, setting


def test_clean_books_and_tickers_pass():
    assert CHECK.severity is Severity.BLOCK
    for dataset, table in (("order_books", book_table(book_rows())), ("tickers", ticker_table(ticker_rows([1] * 30)))):
        found = finding_of(CHECK, dataset, table)
        assert (found.passed, found.evidence) == (True, {"snapshots": 30})


@pytest.mark.parametrize(("spread", "ask"), [(0, "100"), (-3, "99.97")])
def test_a_book_in_which_a_bid_meets_an_ask_is_found(spread, ask):
    found = finding_of(CHECK, "order_books", book_table([*book_rows(20), *snapshot(20, spread=spread), *snapshot(21)]))
    assert not found.passed
    assert found.evidence == {
        "snapshots": 22,
        "crossed": 1,
        "first": f"2024-03-01T00:20:00.000000, update 20000: bid 100, ask {ask}",
    }


def test_a_level_deep_in_the_book_counts_too():
    rows = setting(25, price=Decimal("100.02"))(book_rows())  # bid 5 of the second snapshot, its asks from 100.01
    found = finding_of(CHECK, "order_books", book_table(rows))
    assert (found.passed, found.evidence["crossed"]) == (False, 1)
    assert found.evidence["first"] == "2024-03-01T00:01:00.000000, update 1000: bid 100.02, ask 100.01"


def test_prices_of_different_snapshots_are_not_compared():
    falling = [row | {"price": row["price"] - minute} for minute in range(9) for row in snapshot(minute)]
    assert finding_of(CHECK, "order_books", book_table(falling)).passed


def test_a_book_with_one_side_is_not_crossed():
    rows = [*snapshot(0, bids=0), *snapshot(1, asks=0), *snapshot(2)]
    found = finding_of(CHECK, "order_books", book_table(rows))
    assert (found.passed, found.evidence) == (True, {"snapshots": 3})


def test_crossed_tickers_are_counted_and_the_first_is_shown():
    found = finding_of(CHECK, "tickers", ticker_table(ticker_rows([1, 1, 0, 5, -2])))
    assert not found.passed
    assert found.evidence == {
        "snapshots": 5,
        "crossed": 2,
        "first": "2024-03-01T00:02:00.000000, update 2000: bid 100, ask 100",
    }


def test_a_ticker_without_an_ask_is_not_crossed():
    rows = setting(3, ask_price=Decimal(0), ask_amount=Decimal(0))(ticker_rows([1] * 9))
    assert finding_of(CHECK, "tickers", ticker_table(rows)).passed
