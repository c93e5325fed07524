"""Unordered, repeated or mistimed rows: the effect of each fault on a file, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import pairwise

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.damage import damaged
from crypto_assets.sandbox.dialects.binance import layout

Rows = list[list[str]]

BARS = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-02.zip"
TRADES = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip"
AGGREGATES = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-01-02.zip"
BEFORE = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-01-01.zip"
WEEKS = "data/spot/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-01.zip"
FUTURES = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip"


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    symbols = {"spot": ["BTCUSDT"], "linear": ["BTCUSDT"]}
    return SyntheticArchive(symbols, date(2024, 1, 1), date(2024, 2, 4), trades_per_day=2_000)


@pytest.fixture(scope="module")
def usual(archive: SyntheticArchive, read: Callable[[bytes], tuple[str, Rows]]) -> Callable[[str], Rows]:
    return lambda key: read(archive.read(key) or b"")[1]


@pytest.fixture(scope="module")
def under(archive: SyntheticArchive, read: Callable[[bytes], tuple[str, Rows]]) -> Callable[[str, str], Rows]:
    return lambda fault, key: read(damaged(fault, key, archive.read(key) or b"", layout.table(key)))[1]


def test_a_bar_is_lost_from_a_file_of_a_month(usual, under):
    assert [cells[0] for cells in usual(WEEKS)] == [
        str(1_704_067_200_000 + week * 604_800_000) for week in range(5)
    ]  # the Mondays of the month
    assert under("missing-bar", WEEKS) == usual(WEEKS)[:3] + usual(WEEKS)[4:]


@pytest.mark.parametrize("key", [BARS, TRADES, AGGREGATES])
def test_two_rows_of_one_key_differ_in_their_amount(usual, under, key):
    found, true = under("conflicting-rows", key), usual(key)
    assert len(found) == len(true) + 1
    (place,) = [n for n in range(len(true)) if found[: n + 1] == true[: n + 1] and found[n + 2 :] == true[n + 1 :]]
    one, other = found[place], found[place + 1]
    amount = 5 if key == BARS else 2
    assert one[0] == other[0]
    assert one[amount] != other[amount]


def test_trades_of_one_instant_are_reversed_and_no_others(usual, under):
    found, true = under("swapped-rows", TRADES), usual(TRADES)
    times = [cells[4] for cells in true]
    assert 0 < len(times) - len(set(times)) < len(times)
    assert [cells[4] for cells in found] == times
    assert found != true
    assert sorted(found, key=lambda cells: int(cells[0])) == true
    for before, after in pairwise(found):
        assert (int(before[0]) > int(after[0])) == (before[4] == after[4])
    assert under("swapped-rows", BARS) == usual(BARS)


def test_two_trades_get_one_instant_where_none_share_one(read):
    quiet = SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 2), date(2024, 1, 2), trades_per_day=100)
    content = quiet.read(TRADES) or b""
    true, found = read(content)[1], read(damaged("swapped-rows", TRADES, content, layout.table(TRADES)))[1]
    assert len({cells[4] for cells in true}) == 100
    assert [cells[0] for cells in found[49:51]] == [true[50][0], true[49][0]]
    assert {cells[4] for cells in found[49:51]} == {true[49][4]}
    assert found[:49] + found[51:] == true[:49] + true[51:]


@pytest.mark.parametrize("key", [BARS, TRADES])
def test_shuffled_rows_are_the_same_rows(usual, under, key):
    found, true = under("shuffled-rows", key), usual(key)
    assert found != true
    assert sorted(found) == sorted(true)
    assert under("shuffled-rows", key) == found


def test_bars_lie_beside_the_minute_for_a_quarter_of_the_day(usual, under):
    found, true = under("off-grid-bars", BARS), usual(BARS)
    beside = [n for n, cells in enumerate(found) if int(cells[0]) % 60_000]
    assert beside == list(range(360, 720))
    assert {int(found[n][0]) - int(true[n][0]) for n in beside} == {14_789}
    assert {int(found[n][6]) - int(true[n][6]) for n in beside} == {14_789}
    assert [[*cells[1:6], *cells[7:]] for cells in found] == [[*cells[1:6], *cells[7:]] for cells in true]
    assert under("off-grid-bars", TRADES) == usual(TRADES)


def test_a_header_stands_where_none_is_usual_and_is_missing_where_one_is(usual, under):
    assert under("header", TRADES) == [
        ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker"],
        *usual(TRADES),
    ]
    assert under("header", FUTURES) == usual(FUTURES)[1:]
    assert usual(FUTURES)[0][0] == "id"


def test_the_first_aggregate_of_a_day_has_the_id_of_the_last_one_before(usual, under):
    found, true = under("repeated-id", AGGREGATES), usual(AGGREGATES)
    assert found[0][0] == usual(BEFORE)[-1][0]
    assert [int(cells[0]) for cells in found] == [int(cells[0]) - 1 for cells in true]
    assert [cells[1:] for cells in found] == [cells[1:] for cells in true]
