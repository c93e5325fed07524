from __future__ import annotations

import pytest

from crypto_assets.checks.book_depth import CHECK, LEVELS
from crypto_assets.model import Severity
from crypto_assets_tests.checks.books import book_rows, book_table, snapshot
from crypto_assets_tests.checks.judging import finding_of


def test_books_of_ten_levels_pass():
    assert CHECK.severity is Severity.WARN
    found = finding_of(CHECK, "order_books", book_table(book_rows()))
    assert (found.passed, found.evidence) == (True, {"snapshots": 30, "fewest_bids": 10, "fewest_asks": 10})


def test_five_levels_are_enough():
    assert LEVELS == 5
    assert finding_of(CHECK, "order_books", book_table([*snapshot(0, 5, 5), *snapshot(1, 20, 5)])).passed


@pytest.mark.parametrize(("bids", "asks"), [(4, 10), (10, 4), (10, 0), (0, 10)])
def test_a_side_with_fewer_is_found(bids, asks):
    found = finding_of(CHECK, "order_books", book_table([*book_rows(7), *snapshot(7, bids, asks), *snapshot(8)]))
    assert not found.passed
    assert found.evidence == {
        "snapshots": 9,
        "fewest_bids": bids,
        "fewest_asks": asks,
        "thin": 1,
        "first": f"2024-03-01T00:07:00.000000, update 7000: {bids} bids, {asks} asks, expected 5 of each",
    }


def test_the_last_snapshot_counts():
    found = finding_of(CHECK, "order_books", book_table([*book_rows(7), *snapshot(7, 3, 2)]))
    assert (found.passed, found.evidence["thin"], found.evidence["snapshots"]) == (False, 1, 8)
