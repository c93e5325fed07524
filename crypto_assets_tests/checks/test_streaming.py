"""A day in pieces is judged as the whole day is, evidence included, whatever the pieces are; and in little memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets.checks import (
    ascending_time,
    book_depth,
    book_not_crossed,
    complete,
    contract,
    inside_day,
    levels_ordered,
    quote_agrees,
    spread_bounded,
    unique_key,
)
from crypto_assets.model import Check, Partition
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources.published import unpublished
from crypto_assets_tests.checks.books import book_table, snapshot
from crypto_assets_tests.checks.judging import DAY_ONE, at, finding_of, in_pieces
from crypto_assets_tests.synthetic import day_of, series_of

CHECKS = {
    "trades": (
        ascending_time.CHECK,
        complete.CHECK,
        contract.CHECK,
        inside_day.CHECK,
        quote_agrees.CHECK,
        unique_key.CHECK,
    ),
    "agg_trades": (ascending_time.CHECK, complete.CHECK, contract.CHECK, inside_day.CHECK, unique_key.CHECK),
    "order_books": (
        ascending_time.CHECK,
        book_depth.CHECK,
        book_not_crossed.CHECK,
        contract.CHECK,
        inside_day.CHECK,
        levels_ordered.CHECK,
        spread_bounded.CHECK,
        unique_key.CHECK,
    ),
}
ROWS = 240
Damage = Callable[[pd.DataFrame, int, int], pd.DataFrame]


def moved(frame: pd.DataFrame, first: int, after: int) -> pd.DataFrame:
    order = np.arange(len(frame))
    return frame.iloc[np.concatenate([order[:first], order[after:], order[first:after]])]


def with_value(column: int, value: float) -> Damage:
    def damage(frame: pd.DataFrame, first: int, after: int) -> pd.DataFrame:
        name = ("trade_id", "price", "amount", "quote_amount")[column]
        if name not in frame:
            name = {"trade_id": "agg_trade_id", "quote_amount": "amount"}[name]
        return frame.assign(**{name: frame[name].where((np.arange(len(frame)) + 1) % (after + 1) > 0, value)})

    return damage


DAMAGES: dict[str, Damage] = {
    "a part is missing": lambda frame, first, after: frame.drop(frame.index[first:after]),
    "a part stands twice": lambda frame, first, after: pd.concat([frame.iloc[:after], frame.iloc[first:]]),
    "a part is at the end": moved,
    "a part is backwards": lambda frame, first, after: pd.concat(
        [frame.iloc[:first], frame.iloc[first:after][::-1], frame.iloc[after:]]
    ),
    "two halves are interleaved": lambda frame, first, after: pd.concat([frame.iloc[0::2], frame.iloc[1::2]]),
    "some times are of the next day": lambda frame, first, after: frame.assign(
        trade_time=frame["trade_time"].where(
            np.arange(len(frame)) % (after + 1) != first, frame["trade_time"] + timedelta(days=1)
        )
    ),
    "some ids are one": with_value(0, 7),
    "some prices are zero": with_value(1, 0),
    "some amounts are negative": with_value(2, -1),
    "some quote amounts are wrong": with_value(3, 5),
    "the type of prices is another": lambda frame, first, after: frame.assign(price=frame["price"].astype("float32")),
    "all ids are far apart": lambda frame, first, after: frame.assign(
        **{name: frame[name] * (after + 2) for name in ("trade_id", "agg_trade_id") if name in frame}
    ),
}


@pytest.mark.parametrize(
    ("dataset", "market_type"),
    [("trades", "spot"), ("trades", "linear"), ("agg_trades", "spot"), ("agg_trades", "linear")],
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    damages=st.lists(
        st.tuples(st.sampled_from(sorted(DAMAGES)), st.integers(0, ROWS), st.integers(0, ROWS)), max_size=3
    ),
    cuts=st.lists(st.integers(0, ROWS), max_size=6),
)
def test_a_day_of_trades_in_pieces_is_judged_as_the_whole_day(dataset, market_type, damages, cuts):
    _, table = day_of(dataset, DAY_ONE, market_type)
    frame = to_check_frame(table.slice(0, ROWS))
    for name, *places in damages:
        frame = DAMAGES[name](frame, *sorted(places))
    frame = frame.reset_index(drop=True)
    for check in CHECKS[dataset]:
        whole = check.run(frame, Partition("BTC/USDT", DAY_ONE), series_of(dataset, market_type))
        assert in_pieces(check, frame, [min(cut, len(frame)) for cut in cuts], dataset, market_type) == whole
        if not damages and check is not complete.CHECK:
            assert whole.passed


BOOK_ROWS = st.lists(
    st.builds(
        snapshot,
        st.sampled_from([0, 1, 1, 2, 2.5, 3]),
        st.integers(0, 7),
        st.integers(0, 7),
        st.sampled_from([-3, 0, 1, 1, 1, 700]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(snapshots=BOOK_ROWS, cuts=st.lists(st.integers(0, 112), max_size=6))
def test_order_books_in_pieces_are_judged_as_the_whole_day(snapshots, cuts):
    frame = to_check_frame(book_table([row for rows in snapshots for row in rows]))
    for check in CHECKS["order_books"]:
        whole = check.run(frame, Partition("BTC/USDT", DAY_ONE), series_of("order_books"))
        assert in_pieces(check, frame, [min(cut, len(frame)) for cut in cuts], "order_books", "spot") == whole


@pytest.mark.parametrize("check", CHECKS["trades"], ids=lambda check: check.name)
def test_a_fold_tells_at_any_time_what_it_has_found_so_far(check: Check):
    _, table = day_of("trades", DAY_ONE)
    frame = to_check_frame(table)
    partition, series = Partition("BTC/USDT", DAY_ONE), series_of("trades")
    assert check.fold is not None
    fold = check.fold(partition, series)
    assert (fold.finding().passed, fold.finding().evidence) == (False, {"rows": 0})
    for first in range(0, len(frame), 1000):
        fold.add(frame.iloc[first : first + 1000])
        fold.add(frame.iloc[:0])
        assert fold.finding() == fold.finding() == check.run(frame.iloc[: first + 1000], partition, series)


@pytest.mark.parametrize("check", CHECKS["trades"], ids=lambda check: check.name)
def test_memory_does_not_follow_the_number_of_trades(check: Check):
    _, table = day_of("trades", DAY_ONE)
    piece = to_check_frame(table.slice(0, 1000), unpublished(series_of("trades")))
    assert check.fold is not None
    fold = check.fold(Partition("BTC/USDT", DAY_ONE), series_of("trades"))
    fold.add(piece)  # what is imported late is
    tracemalloc.start()
    try:
        for n in range(1, 101):
            fold.add(piece.assign(trade_id=piece["trade_id"] + n * 1000))
        gc.collect()  # what nobody can reach any more is not kept
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000  # ids of 100,000 trades alone would be 800,000 bytes


def test_bars_and_funding_in_pieces_are_judged_whole_too():
    for dataset, market_type in (("ohlcv_1m", "spot"), ("funding_rates", "linear")):
        _, table = day_of(dataset, DAY_ONE, market_type)
        damaged = table.slice(0, table.num_rows - 1)
        for check in (ascending_time.CHECK, complete.CHECK, contract.CHECK, inside_day.CHECK, unique_key.CHECK):
            assert finding_of(check, dataset, damaged, market_type).passed is (check is not complete.CHECK)


def test_the_place_of_a_defect_is_its_row_in_the_day_not_in_the_piece():
    _, table = day_of("trades", DAY_ONE)
    frame = to_check_frame(table)
    frame = frame.assign(
        price=frame["price"].where(np.arange(len(frame)) != 2500, -1.0),
        trade_time=frame["trade_time"].where(np.arange(len(frame)) != 2000, pd.Timestamp(at(-1)).as_unit("us")),
    )
    found = {
        check.name: in_pieces(check, frame, [700, 2000], "trades", "spot").evidence["first"].split(":")[0]
        for check in (ascending_time.CHECK, inside_day.CHECK, contract.CHECK, quote_agrees.CHECK)
    }
    assert found == {
        "ascending_time": "row 2000",
        "inside_day": "row 2000",
        "contract": "row 2500",
        "quote_agrees": "row 2500",
    }
