"""Decimals become floats that people and checks can rely on."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.datasets.types import DECIMAL
from crypto_assets.rows.frames import to_check_frame, to_frame

decimals = st.decimals(min_value=Decimal("-1e19"), max_value=Decimal("1e19"), places=18, allow_nan=False)


def table(values):
    return pa.table({"price": pa.array(values, DECIMAL)})


@given(st.lists(decimals, min_size=1, max_size=50))
def test_every_decimal_is_rounded_as_its_text_is(values):
    assert to_frame(table(values))["price"].tolist() == [float(value) for value in values]


@given(st.lists(decimals, min_size=1, max_size=50), st.integers(min_value=0, max_value=3))
def test_check_frames_keep_order_and_sign(values, offset):
    rows = table([*[Decimal(0)] * offset, *values]).slice(offset)
    found = to_check_frame(rows)["price"].to_numpy()
    assert np.allclose(found, [float(value) for value in values], rtol=1e-12, atol=0)
    ordered = to_check_frame(table(sorted(values)))["price"].to_numpy()
    assert (np.diff(ordered) >= 0).all()
    assert [np.sign(value) for value in found] == [np.sign(float(value)) for value in values]


def test_a_frame_without_rows_has_its_columns():
    assert to_check_frame(table([])).dtypes.tolist() == to_frame(table([])).dtypes.tolist() == [np.float64]
