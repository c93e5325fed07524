"""Rows are put into the order that their keys prove, doubles are dropped, and nothing else changes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.rows.arrange import AS_PUBLISHED, arranged
from crypto_assets_tests.synthetic import day_of

DAY = date(2024, 3, 1)
DATASETS = [("ohlcv_1m", "ohlcv"), ("trades", "trades"), ("agg_trades", "agg_trades"), ("ohlcv_1h", "ohlcv")]
TRADES = day_of("trades", DAY)[1].slice(0, 40).combine_chunks()
DATASET = datasets.get("trades")


def cut(table: pa.Table, *places: int) -> pa.Table:
    """The same rows in chunks, as a parser gives them."""
    bounds = [0, *sorted(place % (table.num_rows + 1) for place in places), table.num_rows]
    return pa.concat_tables([table.slice(a, b - a) for a, b in pairwise(bounds)])


@pytest.mark.parametrize(("dataset", "table"), DATASETS)
def test_a_day_in_order_is_returned_as_it_is(dataset, table):
    rows = cut(day_of(dataset, DAY)[1], 7, 8, 8, 20)
    found = arranged(rows, datasets.get(table))
    assert found.rows is rows
    assert found.arrangement is AS_PUBLISHED


def test_a_day_without_rows_is_returned_as_it_is():
    assert arranged(DATASET.schema.empty_table(), DATASET).arrangement is AS_PUBLISHED


@settings(max_examples=150, deadline=None)
@given(
    order=st.permutations(range(40)),
    again=st.lists(st.integers(0, 39), max_size=6),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_rows_in_any_order_and_number_become_the_rows_of_the_day(order, again, cuts):
    in_file = [*order, *again]
    found = arranged(cut(TRADES.take(pa.array(in_file)), *cuts), DATASET)
    assert found.rows.combine_chunks().equals(TRADES)
    assert found.arrangement.doubles == len(again)
    first = list(dict.fromkeys(in_file))
    assert (found.arrangement.moved > 0) is (first != sorted(first))
    assert len(found.arrangement.double_rows) == len(again)
    assert found.arrangement.conflict == ()


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(41)), place=st.integers(0, 39))
def test_two_rows_of_one_key_that_differ_both_stay_and_are_shown(order, place):
    rows = TRADES.to_pylist()
    other = rows[place] | {"price": rows[place]["price"] + Decimal("0.5")}
    table = pa.Table.from_pylist([*rows, other], schema=DATASET.schema).take(pa.array(order))
    found = arranged(table, DATASET)
    assert found.rows.num_rows == 41
    assert found.arrangement.doubles == 0
    shown = {row["price"] for row in found.arrangement.conflict}
    assert len(shown) == 2
    assert {row["trade_id"] for row in found.arrangement.conflict} == {str(rows[place]["trade_id"])}


def test_one_row_out_of_its_place_is_named_by_its_place_and_id():
    order = [0, 1, 3, 2, *range(4, 40)]
    found = arranged(TRADES.take(pa.array(order)), DATASET)
    assert found.arrangement.moved == 2
    third = TRADES.slice(3, 1).to_pylist()[0]
    assert found.arrangement.first_moved.startswith(f"row 2: trade_id {third['trade_id']} at {DAY} 00:0")


def test_trades_of_one_instant_follow_their_ids_and_times_are_never_changed():
    times = np.repeat(TRADES.column("trade_time").cast(pa.int64()).to_numpy()[:1], 40)
    same = TRADES.set_column(0, DATASET.schema.field(0), pa.array(times).cast(DATASET.schema.field(0).type))
    found = arranged(same.take(pa.array(np.arange(40)[::-1])), DATASET)
    assert found.rows.combine_chunks().equals(same)
    assert found.arrangement.moved == 40


def test_ids_go_before_times_so_that_a_contradiction_is_seen_by_the_check_of_order():
    times = TRADES.column("trade_time").to_pylist()
    times[5], times[9] = times[9], times[5]
    swapped = TRADES.set_column(0, DATASET.schema.field(0), pa.array(times, DATASET.schema.field(0).type))
    by_time = swapped.sort_by("trade_time")
    assert arranged(by_time, DATASET).rows.combine_chunks().equals(swapped)
    assert arranged(swapped, DATASET).rows.combine_chunks().equals(swapped)
