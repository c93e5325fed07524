from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_assets.checks.spread_bounded import CHECK
from crypto_assets.model import Severity
from crypto_assets_tests.checks.books import book_rows, book_table, snapshot, ticker_rows, ticker_table
from crypto_assets_tests.checks.judging import finding_of, setting


def finding(spreads):
    """Return what is found in tickers with these spreads, in hundredths of a per cent of the bid."""
    return finding_of(CHECK, "tickers", ticker_table(ticker_rows(spreads)))


def test_clean_books_and_tickers_pass():
    assert CHECK.severity is Severity.WARN
    for found in (finding_of(CHECK, "order_books", book_table(book_rows())), finding([1] * 30)):
        assert found.passed
        assert found.evidence == {"snapshots": 30, "median": pytest.approx(1e-4, rel=0.03), "widest": 1e-4}


def test_a_spread_of_two_per_cent_in_a_liquid_market_is_found():
    found = finding([1] * 20 + [202] + [1] * 20)
    assert not found.passed
    assert found.evidence == {
        "snapshots": 41,
        "median": pytest.approx(1e-4, rel=0.03),
        "widest": 0.02,
        "bound": 0.01,
        "wide": 1,
        "first": "2024-03-01T00:20:00.000000, update 20000: bid 100, ask 102.02",
    }


def test_the_first_of_many_is_shown_though_others_are_wider():
    found = finding([1] * 20 + [150, 900, 150, 900])
    assert (found.evidence["wide"], found.evidence["widest"]) == (4, 0.0861)
    assert found.evidence["first"] == "2024-03-01T00:20:00.000000, update 20000: bid 100, ask 101.5"


def test_a_jump_to_hundreds_of_the_median_is_no_matter_below_one_per_cent():
    assert finding([1] * 20 + [95] + [1] * 20).passed


def test_a_thin_market_is_measured_by_its_own_median():
    assert finding([80] * 20 + [900]).passed  # twenty times 0.8 % is 16 %
    assert not finding([30] * 20 + [900]).passed


def test_a_book_that_lost_its_best_levels_is_found():
    found = finding_of(CHECK, "order_books", book_table([*book_rows(20), *snapshot(20, spread=300), *snapshot(21)]))
    assert (found.passed, found.evidence["wide"]) == (False, 1)
    assert found.evidence["first"] == "2024-03-01T00:20:00.000000, update 20000: bid 100, ask 103"


def test_crossed_and_one_sided_books_have_no_spread_here():
    rows = setting(3, ask_price=Decimal(0), ask_amount=Decimal(0))(ticker_rows([1, 1, -5, 1, 0, 1, 1]))
    found = finding_of(CHECK, "tickers", ticker_table(rows))
    assert (found.passed, found.evidence["snapshots"], found.evidence["widest"]) == (True, 7, 1e-4)


def test_without_a_book_of_two_sides_nothing_is_judged():
    found = finding_of(CHECK, "order_books", book_table([*snapshot(0, asks=0), *snapshot(1, asks=0)]))
    assert (found.passed, found.judged) == (True, False)
    assert found.evidence == {"not_judged": "no snapshot has both sides"}
