"""A day counts as a day without data in one dataset, but another dataset of the symbol has rows that contradict it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.unreported import unreported
from crypto_assets.model import Series, State, days_between
from crypto_assets_tests.engine.one_symbol import (
    PERPETUAL,
    A,
    collect,
    funding,
    of_day,
    publish_trades,
    record,
    states,
)
from crypto_assets_tests.engine.world import World, at, eight_hours, klines, minutes, on, opens, trades
from crypto_assets_tests.workbench import entry


def silent(text: str) -> str:
    """Return bars as if nothing had traded in them."""
    return text.replace(",5.0,", ",0,").replace(",3,1.0,1.0,", ",0,0,0,")


def month(world: World, timeframe: str, first: str, end: str) -> None:
    text = klines(opens(timeframe, at(first), at(end)), timeframe)
    world.monthly("AAAUSDT", first[:7], text, timeframe, market="linear")


def states_now(world: World, dataset: str, first: str, last: str, symbol: str = A) -> dict[State, list[int]]:
    found: dict[State, list[int]] = {}
    for day in days_between(on(first), on(last)):
        found.setdefault(record(world, str(day), dataset, symbol).state, []).append(day.day)
    return found


CUT = {State.AVAILABLE: list(range(1, 10)), State.DEGRADED: [10], State.MISSING: list(range(11, 32))}


@pytest.mark.parametrize("cut_first", [True, False])
def test_a_month_that_is_cut_is_no_delisting_where_another_dataset_goes_on(world, cut_first):
    month(world, "1m", "2024-05-01", "2024-05-10 12:00")
    month(world, "1h", "2024-05-01", "2024-06-01")
    days = "2024-05-01", "2024-05-31"
    if cut_first:
        alone = collect(world, "ohlcv_1m", *days, PERPETUAL)
        assert states(alone) == {State.AVAILABLE: list(range(1, 11)), State.NO_DATA: list(range(11, 32))}
    collect(world, "ohlcv_1h", *days, PERPETUAL)
    if not cut_first:
        # A run counts its days by their state after its second look.
        found = collect_counted(world, "ohlcv_1m", *days)
        assert found == {State.AVAILABLE: 9, State.DEGRADED: 1, State.MISSING: 21}
    assert states_now(world, "ohlcv_1m", *days, PERPETUAL) == CUT
    lost = record(world, "2024-05-20", "ohlcv_1m", PERPETUAL)
    assert lost.reason.startswith(
        "no rows, and ohlcv_1h has rows of this day; without these: delisted: the last row is of"
    )
    assert lost.evidence["contradicted_by"] == "ohlcv_1h"
    assert "listed_until" not in record(world, "2024-05-10", "ohlcv_1m", PERPETUAL).evidence
    # The same again.
    assert collect_counted(world, "ohlcv_1m", *days) == {State.AVAILABLE: 9, State.DEGRADED: 1, State.MISSING: 21}
    assert states_now(world, "ohlcv_1m", *days, PERPETUAL) == CUT


def collect_counted(world: World, dataset: str, first: str, last: str) -> dict[State, int]:
    """Collect days of the perpetual contract and return the run's counts by state."""
    world.work.entries = [entry("linear", [dataset], [PERPETUAL], on("2017-01-01"))]
    tally = world.work.collect(on(first), on(last)).tally
    assert len(tally.problems) == tally.states.get(State.DEGRADED, 0) + tally.states.get(State.MISSING, 0)
    return {state: count for state, count in tally.states.items() if count}


def test_files_that_end_are_no_delisting_on_days_up_to_the_last_rows_of_another_dataset(world):
    """Bars were collected up to the 14th only: nothing explains that trades have no rows after it."""
    world.set_clock("2024-12-02 12:00")
    for day in range(8, 13):
        publish_trades(world, f"2024-05-{day:02}", of_day(day * 24, f"2024-05-{day:02}")[0])
    for symbol in ("BBBUSDT", "CCCUSDT"):
        world.publish(
            f"data/spot/daily/trades/{symbol}/{symbol}-trades-2024-11-28.zip", trades(1, [at("2024-11-28 10:00")])
        )
    world.days("AAAUSDT", "2024-05-08", "2024-05-14")
    found = collect(world, "trades", "2024-05-08", "2024-05-16")
    assert states(found) == {State.AVAILABLE: [8, 9, 10, 11, 12], State.NO_DATA: [13, 14, 15, 16]}
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-14")
    assert states_now(world, "trades", "2024-05-08", "2024-05-16")[State.MISSING] == [13, 14, 15, 16]


@pytest.mark.parametrize("traded", [True, False])
@pytest.mark.parametrize("bars_first", [True, False])
def test_ids_that_run_on_prove_no_empty_day_where_bars_traded(world, traded, bars_first):
    publish_trades(world, "2024-05-01", trades(1, [at("2024-05-01 10:00")]))
    publish_trades(world, "2024-05-02", "")
    publish_trades(world, "2024-05-03", trades(2, [at("2024-05-03 10:00")]))
    world.days("AAAUSDT", "2024-05-01", "2024-05-03")
    if not traded:
        world.daily("AAAUSDT", "2024-05-02", silent(minutes("2024-05-02", "2024-05-03")))
    for dataset in ("ohlcv_1m", "trades") if bars_first else ("trades", "ohlcv_1m"):
        collect(world, dataset, "2024-05-01", "2024-05-03")
    now = record(world, "2024-05-02", "trades")
    assert now.state is (State.MISSING if traded else State.NO_DATA)
    if traded:
        assert now.reason.startswith(
            "no rows, and ohlcv_1m has rows of this day; without these: nothing traded: ids continue"
        )
        assert states(collect(world, "trades", "2024-05-01", "2024-05-03"))[State.MISSING] == [2]


@pytest.mark.parametrize(("timeframe", "opened"), [("3d", "2024-05-02"), ("1w", "2024-05-06")])
def test_a_first_bar_that_is_lost_is_missing_where_its_time_has_trades(world, timeframe, opened):
    bars = [one for one in opens(timeframe, at("2024-05-01"), at("2024-06-01")) if one > at(opened)]
    assert bars[0] - at(opened) == timedelta(days=3 if timeframe == "3d" else 7)
    world.monthly("AAAUSDT", "2024-05", klines(bars, timeframe), timeframe, market="linear")
    month(world, "1h", "2024-05-08", "2024-06-01")  # listed inside the week; three days later the next bar opens
    if timeframe == "3d":
        month(world, "1h", "2024-05-03", "2024-06-01")
    name, days = f"ohlcv_{timeframe}", ("2024-05-01", "2024-05-31")
    collect(world, name, *days, PERPETUAL)
    collect(world, "ohlcv_1h", *days, PERPETUAL)
    assert record(world, opened, name, PERPETUAL).state is State.MISSING
    assert states_now(world, name, *days, PERPETUAL)[State.MISSING] == [on(opened).day]


def test_datasets_that_agree_on_a_life_and_funding_that_begins_later_contradict_nothing(world):
    month(world, "1m", "2024-05-05 10:00", "2024-05-25 12:00")
    month(world, "1h", "2024-05-05 10:00", "2024-05-25 12:00")
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-06", "2024-05-25 12:00"))
    days = "2024-05-01", "2024-05-31"
    empty = {State.NO_DATA: [1, 2, 3, 4, 26, 27, 28, 29, 30, 31], State.AVAILABLE: list(range(5, 26))}
    for dataset in ("ohlcv_1m", "ohlcv_1h", "funding_rates", "ohlcv_1m"):
        collect(world, dataset, *days, PERPETUAL)
    assert states_now(world, "ohlcv_1m", *days, PERPETUAL) == empty
    assert states_now(world, "ohlcv_1h", *days, PERPETUAL) == empty
    assert states_now(world, "funding_rates", *days, PERPETUAL)[State.NO_DATA] == [1, 2, 3, 4, 5, *range(26, 32)]


def test_funding_that_is_lost_before_or_after_days_with_trades_is_missing(world):
    month(world, "1h", "2024-05-05 10:00", "2024-05-25 12:00")
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-08", "2024-05-21"))
    days = "2024-05-01", "2024-05-31"
    collect(world, "funding_rates", *days, PERPETUAL)
    collect(world, "ohlcv_1h", *days, PERPETUAL)
    now = states_now(world, "funding_rates", *days, PERPETUAL)
    assert now[State.MISSING] == [6, 7, *range(21, 26)]
    assert now[State.NO_DATA] == [1, 2, 3, 4, 5, *range(26, 32)]


@pytest.mark.parametrize("late", [False, True])
def test_an_edge_inside_a_day_holds_only_where_no_other_dataset_traded_outside_it(world, late):
    """Hours with a first or last minute are no contradiction, and neither are bars of a whole day."""
    month(world, "1m", "2024-05-05 10:30", "2024-05-25 12:20")
    month(
        world,
        "1h",
        "2024-05-05 09:00" if late else "2024-05-05 10:00",
        "2024-05-25 14:00" if late else "2024-05-25 13:00",
    )
    month(world, "1d", "2024-05-05", "2024-05-26")
    days = "2024-05-05", "2024-05-25"
    for dataset in ("ohlcv_1m", "ohlcv_1h", "ohlcv_1d"):
        collect(world, dataset, *days, PERPETUAL)
    collect_counted(world, "ohlcv_1m", *days)
    now = states_now(world, "ohlcv_1m", *days, PERPETUAL)
    assert now.get(State.DEGRADED, []) == ([5, 25] if late else [])
    assert State.DEGRADED not in states_now(world, "ohlcv_1h", *days, PERPETUAL)


def test_bars_that_are_silent_up_to_a_delisting_contradict_no_end_of_trades(world):
    world.set_clock("2024-12-03 12:00")  # the newest day of the others is read once a day
    for day in ("2024-05-09", "2024-05-10"):
        number = on(day).day * 24
        publish_trades(world, day, of_day(number, day)[0])
    for symbol in ("BBBUSDT", "CCCUSDT"):
        world.publish(
            f"data/spot/daily/trades/{symbol}/{symbol}-trades-2024-11-28.zip", trades(1, [at("2024-11-28 10:00")])
        )
    world.days("AAAUSDT", "2024-05-09", "2024-05-10")
    world.daily("AAAUSDT", "2024-05-11", silent(minutes("2024-05-11", "2024-05-11 03:00")))
    for dataset in ("ohlcv_1m", "trades", "ohlcv_1m"):
        collect(world, dataset, "2024-05-09", "2024-05-13")
    assert states_now(world, "trades", "2024-05-09", "2024-05-13") == {
        State.AVAILABLE: [9, 10],
        State.NO_DATA: [11, 12, 13],
    }, record(world, "2024-05-12", "trades").reason


@pytest.mark.parametrize(("first_id", "missing"), [(1, []), (900, []), (100_001, [6, 7])])
def test_a_first_trade_with_a_late_number_shows_that_the_symbol_was_listed_before(world, first_id, missing):
    """Rows that the archive lost at its beginning: whole days, or the first hours of its first file."""
    for day in (8, 9):
        publish_trades(world, f"2024-05-{day:02}", of_day(first_id + (day - 8) * 24, f"2024-05-{day:02}")[0])
    found = states(collect(world, "trades", "2024-05-06", "2024-05-09"))
    # The end of one run records the finding, and the next run reports it at once.
    again = states(collect(world, "trades", "2024-05-06", "2024-05-09"))
    assert again.get(State.MISSING, []) == missing
    assert found[State.AVAILABLE] == again[State.AVAILABLE] == [8, 9]
    now = states_now(world, "trades", "2024-05-06", "2024-05-09")
    assert now.get(State.MISSING, []) == missing
    if missing:
        assert "the first row of 2024-05-08 has the number 100001" in record(world, "2024-05-06", "trades").reason


@pytest.mark.parametrize(("first_id", "state"), [(1, State.AVAILABLE), (100_001, State.DEGRADED)])
def test_a_first_day_that_begins_at_noon_is_whole_where_nothing_was_numbered_before(world, first_id, state):
    lines = trades(first_id, [at("2024-05-08 12:00") + timedelta(minutes=30 * n) for n in range(24)])
    head, *rest = lines.splitlines(keepends=True)
    publish_trades(world, "2024-05-08", "".join([*rest[:1], head, *rest[1:]]) if first_id == 1 else lines)
    publish_trades(world, "2024-05-09", of_day(first_id + 24, "2024-05-09")[0])
    collect(world, "trades", "2024-05-08", "2024-05-09")
    assert record(world, "2024-05-08", "trades").state is state


def test_many_symbols_are_told_apart(world):
    """Each symbol is contradicted by its own rows only."""
    for symbol in ("AAAUSDT", "BBBUSDT"):
        text = klines(opens("1m", at("2024-05-01"), at("2024-05-10 12:00")), "1m")
        world.monthly(symbol, "2024-05", text, "1m", market="linear")
    for symbol, end in (("AAAUSDT", "2024-06-01"), ("BBBUSDT", "2024-05-10 12:00")):
        world.monthly(symbol, "2024-05", klines(opens("1h", at("2024-05-01"), at(end)), "1h"), "1h", market="linear")
    world.work.entries = [
        entry("linear", ["ohlcv_1m", "ohlcv_1h"], [PERPETUAL, "BBB/USDT:USDT"], on("2017-01-01"), rest=False)
    ]
    world.work.collect(on("2024-05-09"), on("2024-05-13"))
    days = "2024-05-09", "2024-05-13"
    assert states_now(world, "ohlcv_1m", *days, PERPETUAL) == {
        State.AVAILABLE: [9],
        State.DEGRADED: [10],
        State.MISSING: [11, 12, 13],
    }
    assert states_now(world, "ohlcv_1m", *days, "BBB/USDT:USDT") == {
        State.AVAILABLE: [9, 10],
        State.NO_DATA: [11, 12, 13],
    }


def test_a_reopened_day_keeps_its_file_and_counts_as_not_reported_to_dagster(world):
    month(world, "1m", "2024-05-01", "2024-05-10 12:00")
    month(world, "1h", "2024-05-01", "2024-06-01")
    collect(world, "ohlcv_1m", "2024-05-09", "2024-05-12", PERPETUAL)
    before = record(world, "2024-05-11", "ohlcv_1m", PERPETUAL)
    collect(world, "ohlcv_1h", "2024-05-09", "2024-05-12", PERPETUAL)
    now = record(world, "2024-05-11", "ohlcv_1m", PERPETUAL)
    assert (before.state, now.state) == (State.NO_DATA, State.MISSING)
    assert before.source_etag
    assert (now.source_key, now.source_etag) == (before.source_key, before.source_etag)
    with Ledger(world.work.url) as ledger:
        series = Series("binance", "linear", "ohlcv", "1m")
        told = unreported(ledger, datetime.now(UTC) + timedelta(days=1), [(series, PERPETUAL)], 100)
    assert {one.day.day for one in told} >= {10, 11, 12}


def test_an_edge_moves_to_where_another_dataset_traded_and_no_hour_before_it_is_missing(world):
    """A first trade in the last second before the first bar, and a last one in the first second after the last bar."""
    world.daily(
        "AAAUSDT", "2024-05-08", klines(opens("1h", at("2024-05-08 10:00"), at("2024-05-09")), "1h"), timeframe="1h"
    )
    world.daily(
        "AAAUSDT", "2024-05-09", klines(opens("1h", at("2024-05-09"), at("2024-05-09 09:00")), "1h"), timeframe="1h"
    )
    for symbol in ("BBBUSDT", "CCCUSDT"):
        world.days(symbol, "2024-11-28", "2024-11-28", timeframe="1h")
    minute = timedelta(minutes=30)
    first = [at("2024-05-08 09:59") + timedelta(seconds=59), *(at("2024-05-08 10:00") + minute * n for n in range(28))]
    last = [*(at("2024-05-09") + minute * n for n in range(18)), at("2024-05-09 09:00") + timedelta(seconds=1)]
    publish_trades(world, "2024-05-08", trades(1, first))
    publish_trades(world, "2024-05-09", trades(1 + len(first), last))
    for dataset in ("trades", "ohlcv_1h"):
        collect(world, dataset, "2024-05-08", "2024-05-09")
    begins, ends = record(world, "2024-05-08", "ohlcv_1h"), record(world, "2024-05-09", "ohlcv_1h")
    assert begins.findings["complete"]["spans"] == ["09:00"]
    assert begins.evidence["listed_from"]["contradicted_by"] == "trades"
    assert begins.evidence["listed_from"]["time"] == "2024-05-08T09:59:00+00:00"
    assert ends.findings["complete"]["spans"] == ["09:00"]


def test_bars_of_weeks_that_came_before_show_that_a_symbol_was_listed(world):
    """The week of the first bar may be that of the listing; the following weeks cannot be."""
    world.monthly(
        "AAAUSDT", "2024-05", klines(opens("1w", at("2024-05-06"), at("2024-06-01")), "1w"), "1w", market="linear"
    )
    month(world, "1h", "2024-05-20", "2024-06-01")
    for dataset in ("ohlcv_1h", "ohlcv_1w"):
        collect(world, dataset, "2024-05-01", "2024-05-31", PERPETUAL)
    now = states_now(world, "ohlcv_1h", "2024-05-01", "2024-05-31", PERPETUAL)
    assert now[State.MISSING] == list(range(13, 20))
    assert now[State.NO_DATA] == list(range(1, 13))


def test_a_witness_whose_days_end_before_the_first_file_still_shows_an_earlier_listing(world):
    for day in (3, 4):
        publish_trades(world, f"2024-05-{day:02}", of_day(1 + (day - 3) * 24, f"2024-05-{day:02}")[0])
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    collect(world, "trades", "2024-05-03", "2024-05-04")
    found = collect(world, "ohlcv_1m", "2024-05-01", "2024-05-11")
    assert states(found)[State.NO_DATA] == [1, 2]
    assert states(found)[State.MISSING] == [3, 4, 5, 6, 7, 8, 9]


def test_one_trade_after_midnight_makes_no_funding_due(world):
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-01", "2024-05-10 17:00"))
    month(world, "1m", "2024-05-01", "2024-05-11 00:01")
    collect(world, "ohlcv_1m", "2024-05-09", "2024-05-13", PERPETUAL)
    collect(world, "funding_rates", "2024-05-09", "2024-05-13", PERPETUAL)
    assert states_now(world, "funding_rates", "2024-05-09", "2024-05-13", PERPETUAL)[State.NO_DATA] == [11, 12, 13]


# ---- thin trading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [[8, 9, 11], [11, 9, 8]])
@pytest.mark.parametrize("lost", [0, 3])
def test_silence_at_midnight_is_no_gap_where_the_ids_run_on(world, order, lost):
    """Two trades a day, early, one after the other; the tenth day has none. Lost ids are still a gap."""
    ids = {8: 1, 9: 3, 11: 5 + lost}
    for day in order:
        times = [at(f"2024-05-{day:02} 01:00"), at(f"2024-05-{day:02} 03:00")]
        publish_trades(world, f"2024-05-{day:02}", trades(ids[day], times))
        collect(world, "trades", f"2024-05-{day:02}", f"2024-05-{day:02}")
    collect(world, "trades", "2024-05-10", "2024-05-10")
    whole = record(world, "2024-05-08", "trades")
    assert whole.state is State.AVAILABLE
    assert whole.findings["complete"]["ids_run_on"] == ["after"]
    assert record(world, "2024-05-09", "trades").state is (State.DEGRADED if lost else State.AVAILABLE)


@pytest.mark.parametrize("order", [("ohlcv_1m", "trades"), ("trades", "ohlcv_1m")])
def test_a_day_of_trades_without_a_file_had_none_where_all_bars_are_silent(world, order):
    publish_trades(world, "2024-05-08", of_day(1, "2024-05-08")[0])
    publish_trades(world, "2024-05-10", of_day(100, "2024-05-10")[0])
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    world.daily("AAAUSDT", "2024-05-09", silent(minutes("2024-05-09", "2024-05-10")))
    for dataset in order:
        collect(world, dataset, "2024-05-08", "2024-05-10")
    now = record(world, "2024-05-09", "trades")
    assert now.state is State.NO_DATA
    assert now.reason == "nothing traded: ohlcv_1m has all bars of this day, and none of them has a trade"
