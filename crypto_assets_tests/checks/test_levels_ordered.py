from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_assets.checks.levels_ordered import CHECK
from crypto_assets.model import Severity
from crypto_assets_tests.checks.books import book_rows, book_table, snapshot
from crypto_assets_tests.checks.judging import Edit, finding_of, setting

TIME = "2024-03-01T00:01:00.000000, update 1000"
DEFECTS: dict[str, tuple[Edit, int, str]] = {
    # Rows 20 to 39 are the second snapshot: bids 0 to 9 from 100 down, asks 0 to 9 from 100.01 up.
    "a bid is missing": (
        lambda rows: [*rows[:23], *rows[24:]],
        1,
        f"row 23: {TIME}: bid 4 at 99.96, after bid 2 at 99.98",
    ),
    "the best bid is missing": (
        lambda rows: [*rows[:20], *rows[21:]],
        1,
        f"row 20: {TIME}: bid 1 at 99.99, after ask 9 at 100.1",
    ),
    "the best ask is missing": (
        lambda rows: [*rows[:30], *rows[31:]],
        1,
        f"row 30: {TIME}: ask 1 at 100.02, after bid 9 at 99.91",
    ),
    "an ask stands twice": (
        lambda rows: [*rows[:35], rows[34], *rows[35:]],
        1,
        f"row 35: {TIME}: ask 4 at 100.05, after ask 4 at 100.05",
    ),
    "two levels have one price": (
        setting(26, price=Decimal("99.95")),
        1,
        f"row 26: {TIME}: bid 6 at 99.95, after bid 5 at 99.95",
    ),
    "a bid is better than the one before": (
        setting(26, price=Decimal("99.955")),
        1,
        f"row 26: {TIME}: bid 6 at 99.955, after bid 5 at 99.95",
    ),
    "an ask is better than the one before": (
        setting(36, price=Decimal("100.055")),
        1,
        f"row 36: {TIME}: ask 6 at 100.055, after ask 5 at 100.06",
    ),
    "bids ascend": (
        lambda rows: [*rows[:20], *(r | {"price": 200 - r["price"]} for r in rows[20:30]), *rows[30:]],
        9,
        f"row 21: {TIME}: bid 1 at 100.01, after bid 0 at 100",
    ),
    "asks stand before bids": (
        lambda rows: [*rows[:20], *rows[30:40], *rows[20:30], *rows[40:]],
        1,
        f"row 30: {TIME}: bid 0 at 100, after ask 9 at 100.1",
    ),
    "the first row of the day is not the best": (
        lambda rows: rows[1:],
        1,
        "row 0: 2024-03-01T00:00:00.000000, update 0: bid 1 at 99.99",
    ),
}


def test_clean_books_pass():
    assert CHECK.severity is Severity.BLOCK
    assert finding_of(CHECK, "order_books", book_table(book_rows())).passed


def test_books_of_any_depth_and_of_one_side_pass():
    rows = [*snapshot(0, 1, 1), *snapshot(1, 0, 3), *snapshot(2, 500, 0), *snapshot(3, 0, 1), *snapshot(4)]
    assert finding_of(CHECK, "order_books", book_table(rows)).passed


def test_two_snapshots_at_one_time_are_two():
    rows = [*snapshot(1), *(row | {"update_id": 1001} for row in snapshot(1))]
    assert finding_of(CHECK, "order_books", book_table(rows)).passed


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_level_out_of_place_is_found(defect):
    edit, count, first = DEFECTS[defect]
    found = finding_of(CHECK, "order_books", book_table(edit(book_rows())))
    assert not found.passed
    assert found.evidence == {"rows": count, "first": first}
