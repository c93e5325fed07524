"""Rows taken by position from a table in chunks: the right ones, without joining the columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.rows.take import take_rows

WORDS = pa.array(["a", "b"]).dictionary_encode()
TABLE = pa.table({"n": list(range(60)), "text": [f"t{n}" for n in range(60)], "word": pa.concat_arrays([WORDS] * 30)})
CHUNKED = pa.concat_tables([TABLE.slice(0, 7), TABLE.slice(7, 0), TABLE.slice(7, 30), TABLE.slice(37)])


@given(places=st.lists(st.integers(0, 59), max_size=80))
@pytest.mark.parametrize("table", [TABLE, CHUNKED])
def test_rows_come_in_the_order_of_the_positions(table: pa.Table, places: list[int]):
    found = take_rows(table, np.array(places, np.int64))
    assert found.schema == TABLE.schema
    assert found.to_pylist() == [TABLE.slice(place, 1).to_pylist()[0] for place in places]


def test_memory_follows_the_rows_that_are_taken():
    piece = pa.table({"n": np.arange(100_000), "text": pa.array([f"{n:036x}" for n in range(100_000)])})
    table = pa.concat_tables([piece] * 10)
    before = pa.total_allocated_bytes()
    found = [take_rows(table, np.arange(start, start + 100)[::-1]) for start in (0, 99_950, 500_000)]
    assert pa.total_allocated_bytes() - before < 100_000
    assert [part.num_rows for part in found] == [100] * 3
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        take_rows(table, np.arange(99_950, 100_050)[::-1])
        assert pool.max_memory() < 200_000
    finally:
        pa.set_memory_pool(usual)
