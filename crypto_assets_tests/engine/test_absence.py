"""Days without rows: missing, unless something proves that there should be none; through all steps, archive and REST."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from crypto_assets.defs.asset_checks import tables_of
from crypto_assets.engine.publication.warehouse_rows import judge
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series, State, days_between
from crypto_assets.quality.validate import Validator
from crypto_assets.storage.database import Database
from crypto_assets_tests.engine.one_symbol import (
    DATED,
    A,
    collect,
    of_day,
    publish_trades,
    record,
    states,
)
from crypto_assets_tests.engine.world import (
    at,
    klines,
    minutes,
    ms,
    on,
    opens,
    trades,
)

# ---- which bars are due ------------------------------------------------------------------------------------------------


def weeks(*without: str, first: str = "2024-05-01", last: str = "2024-06-01", timeframe: str = "1w") -> str:
    return klines((one for one in opens(timeframe, at(first), at(last)) if str(one.date()) not in without), timeframe)


@pytest.mark.parametrize("lost", ["2024-05-13", "2024-05-27"])
def test_a_monday_that_a_file_of_weeks_lost_is_missing_and_other_days_have_no_bar(world, lost):
    world.monthly("AAAUSDT", "2024-04", weeks(first="2024-04-01", last="2024-05-01"), "1w")
    world.monthly("AAAUSDT", "2024-05", weeks(lost), "1w")
    found = collect(world, "ohlcv_1w", "2024-05-01", "2024-05-31")
    mondays = [6, 13, 20, 27]
    by_state = states(found)
    assert by_state[State.MISSING] == [on(lost).day]
    assert by_state[State.AVAILABLE] == [day for day in mondays if day != on(lost).day]
    assert by_state[State.NO_DATA] == [day for day in range(1, 32) if day not in mondays]
    assert "has no bar of this day, and one is due: 1w bars open on Mondays" in found[on(lost).day - 1].reason
    assert found[6].evidence["opens"] == "1w bars open on Mondays, 2024-05-07 is a Tuesday"


def test_of_a_month_of_weeks_that_has_no_file_only_the_mondays_are_missing(world):
    world.monthly("AAAUSDT", "2024-04", weeks(first="2024-04-01", last="2024-05-01"), "1w")
    world.monthly("AAAUSDT", "2024-06", weeks(first="2024-06-01", last="2024-07-01"), "1w")
    found = states(collect(world, "ohlcv_1w", "2024-05-01", "2024-05-31"))
    assert found[State.MISSING] == [6, 13, 20, 27]
    assert len(found[State.NO_DATA]) == 27


def test_a_first_of_the_month_without_its_bar_is_missing(world):
    for month, bars in (("2024-04", [at("2024-04-01")]), ("2024-05", []), ("2024-06", [at("2024-06-01")])):
        world.monthly("AAAUSDT", month, klines(bars, "1mo"), "1mo")
    found = collect(world, "ohlcv_1mo", "2024-05-01", "2024-05-31")
    assert states(found) == {State.MISSING: [1], State.NO_DATA: list(range(2, 32))}
    assert "1mo bars open on the 1st" in found[0].reason


def test_bars_of_three_days_are_due_every_third_day_from_those_of_their_file_or_of_the_ledger(world):
    every = opens("3d", at("2024-04-01"), at("2024-06-01"))
    april, may = ([one for one in every if one.month == month] for month in (4, 5))
    world.monthly("AAAUSDT", "2024-04", klines(april, "3d"), "3d")
    world.monthly("AAAUSDT", "2024-05", klines(may[:4] + may[5:], "3d"), "3d")
    world.monthly("AAAUSDT", "2024-06", klines([], "3d"), "3d")
    world.monthly("AAAUSDT", "2024-07", klines(opens("3d", at("2024-07-01"), at("2024-08-01")), "3d"), "3d")
    found = collect(world, "ohlcv_3d", "2024-05-01", "2024-05-31")
    assert states(found)[State.MISSING] == [may[4].day]
    assert len(states(found)[State.NO_DATA]) == 31 - len(may)
    # The file of June is empty; the bars of May are known by now.
    due = [one.day for one in opens("3d", at("2024-06-01"), at("2024-07-01"))]
    june = collect(world, "ohlcv_3d", "2024-06-01", "2024-06-30")
    assert states(june)[State.MISSING] == due
    assert states(june)[State.NO_DATA] == [day for day in range(1, 31) if day not in due]


def test_where_no_bar_of_three_days_is_known_its_days_are_missing_and_say_so(world):
    world.monthly("AAAUSDT", "2024-05", klines([], "3d"), "3d")
    found = collect(world, "ohlcv_3d", "2024-05-01", "2024-05-31")
    assert states(found) == {State.MISSING: list(range(1, 32))}
    assert found[0].reason.endswith("no 3d bar of the symbol is known, from which every third day would follow")


def test_a_monday_without_a_bar_from_rest_is_missing_and_a_tuesday_is_no_data_without_a_question(world):
    world.set_clock("2024-06-05 12:00")
    world.monthly("AAAUSDT", "2024-04", weeks(first="2024-04-01", last="2024-05-01"), "1w")
    world.lives_from("AAAUSDT", ("2024-04-01", "2024-05-13"), ("2024-05-20", "2024-06-05"))
    found = collect(world, "ohlcv_1w", "2024-05-06", "2024-05-28", rest=True)
    assert states(found)[State.PENDING] == [13]
    assert states(found)[State.PROVISIONAL] == [6, 20, 27]
    assert len(states(found)[State.NO_DATA]) == 19
    assert "REST: it has no bar of this day; 1w bars open on Mondays, 2024-05-13 is a Monday" in found[7].reason
    assert sorted(query["startTime"] for name, query in world.asked if name == "klines") == [
        str(int(at(f"2024-05-{day:02}").timestamp() * 1000)) for day in (6, 13, 20, 27)
    ]


def test_a_weekly_bar_that_opens_on_a_tuesday_is_stored_and_said(world):
    tuesday = at("2024-05-14")
    bars = [one if one.day != 13 else tuesday for one in opens("1w", at("2024-05-01"), at("2024-06-01"))]
    world.monthly("AAAUSDT", "2024-05", klines(bars, "1w"), "1w")
    found = collect(world, "ohlcv_1w", "2024-05-13", "2024-05-14")
    assert [outcome.state for outcome in found] == [State.MISSING, State.AVAILABLE]
    assert found[1].failed_checks == ["opens_when_due"]
    assert found[1].findings["opens_when_due"].evidence["expected"].endswith("2024-05-14 is a Tuesday")


# ---- days without trades -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty_file", [False, True])
@pytest.mark.parametrize("order", [["2024-05-01", "2024-05-05"], ["2024-05-02", "2024-05-04"]])
def test_days_that_the_ids_run_over_had_no_trade_also_where_their_neighbours_come_later(world, empty_file, order):
    text, following = of_day(1000, "2024-05-01")
    publish_trades(world, "2024-05-01", text)
    publish_trades(world, "2024-05-05", of_day(following, "2024-05-05")[0])
    if empty_file:
        publish_trades(world, "2024-05-03", "")
    found = collect(world, "trades", *order)
    if order[0] == "2024-05-02":
        assert [outcome.state for outcome in found] == [State.MISSING] * 3
        collect(world, "trades", "2024-05-01", "2024-05-01")
        assert record(world, "2024-05-03", "trades").state is State.MISSING
        collect(world, "trades", "2024-05-05", "2024-05-05")
    for day in ("2024-05-02", "2024-05-03", "2024-05-04"):
        kept = record(world, day, "trades")
        assert kept.state is State.NO_DATA
        assert kept.reason == "nothing traded: ids continue from 1023 (2024-05-01) to 1024 (2024-05-05)"
        assert kept.evidence["ids"]["first_id_after"] == 1024
        assert "error" not in kept.evidence
    again = collect(world, "trades", "2024-05-01", "2024-05-05")
    assert states(again) == {State.AVAILABLE: [1, 5], State.NO_DATA: [2, 3, 4]}


def test_a_day_without_a_file_between_ids_that_do_not_run_on_stays_missing(world):
    text, following = of_day(1000, "2024-05-01")
    publish_trades(world, "2024-05-01", text)
    publish_trades(world, "2024-05-03", of_day(following + 1, "2024-05-03")[0])
    found = collect(world, "trades", "2024-05-01", "2024-05-03")
    assert found[1].state is State.MISSING


@pytest.mark.parametrize(("skipped", "state"), [(0, State.NO_DATA), (1, State.MISSING)])
def test_a_day_without_rows_inside_a_file_of_a_month_is_judged_by_the_ids_beside_it(world, skipped, state):
    text, following = "", 1
    for day in days_between(on("2024-05-01"), on("2024-05-31")):
        if day.day == 17:
            following += skipped
        else:
            rows, following = of_day(following, str(day))
            text += rows
    world.monthly("AAAUSDT", "2024-05", text, "trades")
    found = collect(world, "trades", "2024-05-15", "2024-05-19")
    assert [outcome.state for outcome in found if outcome.partition.day.day == 17] == [state]
    if not skipped:
        assert found[2].reason == "nothing traded: ids continue from 384 to 385"


def aggregates(first_id: int, first_trade: int, day: str, count: int = 24) -> str:
    times = (at(day) + timedelta(hours=24) / count * n for n in range(count))
    return "".join(
        f"{first_id + n},1.0,2.0,{first_trade + n},{first_trade + n},{ms(time)},True,True\n"
        for n, time in enumerate(times)
    )


@pytest.mark.parametrize(("jump", "state"), [(0, State.NO_DATA), (5000, State.MISSING)])
@pytest.mark.parametrize("monthly", [False, True])
def test_aggregates_whose_ids_run_on_prove_an_empty_day_only_where_their_trades_run_on_too(world, monthly, jump, state):
    before, after = aggregates(1, 1, "2024-05-01"), aggregates(25, 25 + jump, "2024-05-03")
    if monthly:
        world.monthly("AAAUSDT", "2024-05", before + after, "aggTrades")
    else:
        for day, text in (("2024-05-01", before), ("2024-05-03", after)):
            world.publish(f"data/spot/daily/aggTrades/AAAUSDT/AAAUSDT-aggTrades-{day}.zip", text)
    found = collect(world, "agg_trades", "2024-05-01", "2024-05-03")
    assert found[1].state is state


def test_a_day_without_bars_inside_a_file_of_a_month_is_missing(world):
    text = minutes("2024-05-01", "2024-05-17") + minutes("2024-05-18", "2024-06-01")
    world.monthly("AAAUSDT", "2024-05", text, "1m")
    assert states(collect(world, "ohlcv_1m", "2024-05-16", "2024-05-18")) == {
        State.AVAILABLE: [16, 18],
        State.MISSING: [17],
    }


# ---- first and last days ------------------------------------------------------------------------------------------------


def test_the_first_day_of_a_symbol_is_complete_from_its_first_row_on_whatever_is_collected_first(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 04:00", "2024-05-11"))
    world.daily("AAAUSDT", "2024-05-11")
    for first in ("2024-05-10", "2024-05-08"):
        found = {outcome.partition.day.day: outcome for outcome in collect(world, "ohlcv_1m", first, "2024-05-11")}
        assert found[10].state is State.AVAILABLE
        assert found[10].findings["complete"].evidence["expected"] == 1200
        assert found[10].evidence["listed_from"]["time"] == "2024-05-10T04:00:00+00:00"
        assert found[10].evidence["listed_from"]["source"] == "archive"
    assert found[9].state is State.NO_DATA
    assert found[9].evidence["inferred"] is True
    # When the day is checked again, the answer is in the ledger.
    with Ledger(world.work.url) as ledger:
        tally = Validator(world.work.lake, ledger).run(world.work.targets(on("2024-05-08"), on("2024-05-11")))
    assert tally.problems == []
    assert record(world, "2024-05-10").state is State.AVAILABLE


def test_longer_bars_of_a_first_day_are_built_from_its_first_row_on_and_are_no_gap_in_the_warehouse(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 10:30", "2024-05-11"))
    world.daily("AAAUSDT", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-11")
    with psycopg.connect(world.work.url) as connection:
        rows = connection.execute(
            "SELECT timeframe, min(open_time AT TIME ZONE 'UTC')::text, count(*), sum(trade_count)::int FROM market.ohlcv "
            "WHERE open_time < '2024-05-11Z' AND timeframe IN ('1h', '4h', '1d') GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [
        ("1d", "2024-05-10 00:00:00", 1, 810 * 3),
        ("1h", "2024-05-10 10:00:00", 14, 810 * 3),
        ("4h", "2024-05-10 08:00:00", 4, 810 * 3),
    ]
    (bars,) = tables_of(world.work.collection, Series.named("binance", "spot", "ohlcv_1m"), A)
    with Database(world.work.url) as database:
        found = judge(database, bars, [on("2024-05-10"), on("2024-05-11")])
    assert [(finding.passed, finding.judged) for finding in found.values()] == [(True, True)] * 2


def test_a_gap_on_a_first_day_is_still_a_gap(world):
    text = minutes("2024-05-10 04:00", "2024-05-10 09:00") + minutes("2024-05-10 09:30", "2024-05-11")
    world.daily("AAAUSDT", "2024-05-10", text)
    world.daily("AAAUSDT", "2024-05-11")
    (first, _) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-11")
    assert first.state is State.DEGRADED
    assert "30 of 1,200 bars are missing (09:00–09:29)" in first.reason


def test_a_file_that_is_cut_in_the_middle_of_a_life_stays_degraded(world):
    world.daily("AAAUSDT", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 04:00", "2024-05-10 20:00"))
    world.daily("AAAUSDT", "2024-05-11")
    (day,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")
    assert day.state is State.DEGRADED
    assert "(00:00–03:59, 20:00–23:59)" in day.reason


def test_an_ordinary_day_asks_nothing_more_than_its_listing_and_its_file(world):
    world.days("AAAUSDT", "2024-05-09", "2024-05-11")
    world.work.sandbox.forget_requests()
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    listings = [path for _, path in world.work.sandbox.requests() if path == "/listing"]
    assert len(listings) == 1
    assert world.asked == []


def test_a_first_day_is_judged_whole_once_an_earlier_file_appears(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 04:00", "2024-05-11"))
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")
    assert record(world, "2024-05-10").state is State.AVAILABLE
    world.daily("AAAUSDT", "2024-05-09")
    collect(world, "ohlcv_1m", "2024-05-09", "2024-05-09")
    kept = record(world, "2024-05-10")
    assert kept.state is State.DEGRADED
    assert "240 of 1,440 bars are missing (00:00–03:59)" in kept.reason
    assert "listed_from" not in kept.evidence


def test_a_contract_ends_at_eight_o_clock_of_the_day_in_its_name_and_nothing_is_asked_of_later_days(world):
    world.daily("AAAUSDT_240628", "2024-06-27", market="linear")
    world.daily("AAAUSDT_240628", "2024-06-28", minutes("2024-06-28", "2024-06-28 08:00"), market="linear")
    found = collect(world, "ohlcv_1m", "2024-06-27", "2024-06-28", DATED, rest=True)
    assert [outcome.state for outcome in found] == [State.AVAILABLE] * 2
    assert found[1].findings["complete"].evidence == {"expected": 480, "found": 480}
    assert found[1].evidence["listed_until"] == {"time": "2024-06-28T08:00:00+00:00", "source": "name"}
    world.work.sandbox.forget_requests()
    (later,) = collect(world, "ohlcv_1m", "2024-06-29", "2024-06-29", DATED, rest=True)
    assert later.state is State.NO_DATA
    assert later.reason == "expired: the contract ended on 2024-06-28 08:00 UTC, as its name says"
    assert (world.work.sandbox.requests(), world.asked) == ([], [])


def test_a_contract_without_its_last_hour_is_degraded(world):
    world.daily("AAAUSDT_240628", "2024-06-28", minutes("2024-06-28", "2024-06-28 07:00"), market="linear")
    (day,) = collect(world, "ohlcv_1m", "2024-06-28", "2024-06-28", DATED)
    assert day.state is State.DEGRADED
    assert "(07:00–07:59)" in day.reason


def test_the_last_day_of_a_symbol_that_the_exchange_has_taken_down_ends_with_its_last_row(world):
    world.set_clock("2024-05-12 12:00")
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10", "2024-05-10 03:00"))
    (alone,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")
    assert alone.state is State.DEGRADED  # nothing explains the missing rows
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), status="BREAK")
    (told,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    assert told.state is State.AVAILABLE
    assert told.evidence["listed_until"]["exchange_status"] == "BREAK"
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 15:00"), status="BREAK")
    (cut,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    assert cut.state is State.DEGRADED
    assert "(03:00–14:59)" in cut.reason


def test_trades_of_a_first_day_may_be_silent_before_the_first_one(world):
    times = [at("2024-05-10 09:00") + timedelta(minutes=10) * n for n in range(90)]
    publish_trades(world, "2024-05-10", trades(1, times))
    publish_trades(world, "2024-05-11", of_day(91, "2024-05-11")[0])
    (first, _) = collect(world, "trades", "2024-05-10", "2024-05-11")
    assert first.state is State.AVAILABLE
    assert first.findings["complete"].evidence["silent_before_s"] == 0.0
