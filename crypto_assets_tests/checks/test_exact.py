"""Decimals become whole numbers and decimals again without a digit lost, whatever their size."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets.checks._exact import decimals, products, sums, whole
from crypto_assets.datasets.types import DECIMAL

UNIT = 10**18
units = st.one_of(
    st.integers(0, 10**38 - 1),
    # What exchanges publish: few digits behind the point, and few in all.
    st.tuples(st.integers(0, 10**12), st.integers(0, 18)).map(lambda pair: pair[0] * 10 ** pair[1]),
    st.integers(0, 2**64 + 5),
)


def column(values: list[int], before: int = 0) -> pa.Array:
    """Numbers of 10⁻¹⁸ as a decimal column, cut out of a longer one."""
    array = pa.array([Decimal(7)] * before, DECIMAL)
    return pa.concat_arrays([array, decimals(values)]).slice(before)


@settings(deadline=None)
@given(st.lists(units, max_size=30), st.integers(0, 3))
def test_whole_numbers_stand_for_the_same_decimals(values, before):
    found, places = whole(column(values, before))
    assert [int(value) * 10 ** (18 - places) for value in found] == values
    assert 0 <= places <= 18


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(0, 18))
def test_few_digits_become_64_bit_integers_with_no_more_decimals_than_needed(values, shift):
    found, places = whole(column([value * 10**shift for value in values]))
    assert found.dtype == np.int64
    assert places <= 18 - shift
    trimmed = [value * 10**shift for value in values]
    assert places == 0 or any(value % 10 ** (19 - places) for value in trimmed)


@pytest.mark.parametrize(
    ("values", "dtype", "places"),
    [
        ([60_000_120_000_000_000_000_000, 59_999_990_000_000_000_000_000], "int64", 2),
        ([1, UNIT], "int64", 18),
        ([2**63 - 1], "int64", 18),
        ([2**63], "object", 18),  # 9.2 units with 18 decimals: one bit too many
        ([2**63 + 1], "object", 18),
        ([10 * UNIT + 1], "object", 18),
        ([0, 0], "int64", 0),
        ([92_000_000_000 * UNIT, UNIT // 10**7], "int64", 7),
        ([10**38 - 1], "object", 18),
        # Equal to a multiple of 10⁸ in the lower 64 bits, and no multiple.
        ([2**64 + 10**8, 10**8], "object", 18),
    ],
)
def test_the_least_decimals_that_fit(values, dtype, places):
    found, decimals_ = whole(column(values))
    assert (str(found.dtype), decimals_) == (dtype, places)
    assert [int(value) * 10 ** (18 - decimals_) for value in found] == values


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.booleans()), min_size=1, max_size=40))
def test_sums_of_groups_never_overflow(pairs):
    values = np.array([value for value, _ in pairs], dtype=np.int64)
    starts = np.array([0, *[n for n, (_, begins) in enumerate(pairs) if begins and n]])
    expected = [
        sum(value for value, _ in pairs[first:last])
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(pairs)], strict=True)
    ]
    assert sums(values, starts) == expected
    assert sums(values.astype(object), starts) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), min_size=1, max_size=20))
def test_products_never_overflow(pairs):
    one, other = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    assert [int(value) for value in products(one, other)] == [a * b for a, b in pairs]


def test_more_than_38_digits_are_refused():
    with pytest.raises(OverflowError, match="38 digits"):
        decimals([10**38])
    assert decimals([10**38 - 1, -1]).to_pylist() == [Decimal("9" * 20 + "." + "9" * 18), Decimal("-1e-18")]
