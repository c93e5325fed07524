"""Second looks at days of no data and at edges of lives: uncontradicted days stay, and one fault costs one symbol."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from crypto_assets.defs.asset_checks import tables_of
from crypto_assets.engine.archive import review as reviewing
from crypto_assets.engine.archive.edges import Edges
from crypto_assets.engine.publication.warehouse_rows import judge
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import DAY, Outcome, Partition, Series, State, days_between
from crypto_assets.storage.database import Database
from crypto_assets_tests.engine.one_symbol import A, B, collect, funding, record, states
from crypto_assets_tests.engine.test_lifetimes import look, others_go_on
from crypto_assets_tests.engine.world import World, at, eight_hours, klines, minutes, not_looked_at, on, opens
from crypto_assets_tests.published import key
from crypto_assets_tests.workbench import entry

PERPETUAL = "AAA/USDT:USDT"
MINUTE_BARS = Series.named("binance", "spot", "ohlcv_1m")


@pytest.fixture
def world(world: World) -> World:
    world.set_clock("2024-07-01 12:00")
    return world


def files(world: World, prefix: str = "") -> list[str]:
    """Return the names of the zip files downloaded since the requests were cleared."""
    paths = [path for _, path in world.work.sandbox.requests()]
    return [path.rpartition("/")[2] for path in paths if path.endswith(".zip") and prefix in path]


# ---- outages of the exchange ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_month", [False, True], ids=["files of days", "a file of the month"])
def test_a_day_in_an_outage_stays_without_data_when_it_is_looked_at_again_and_not_without_the_outage(world, of_month):
    hours = [one for one in opens("1h", at("2024-05-01"), at("2024-06-01")) if one.day != 15]
    if of_month:
        world.monthly("AAAUSDT", "2024-05", klines(hours, "1h"), "1h")
    else:
        world.days("AAAUSDT", "2024-05-13", "2024-05-14", timeframe="1h")
        world.days("AAAUSDT", "2024-05-16", "2024-05-17", timeframe="1h")
    with Ledger(world.work.url) as ledger, ledger.transaction() as connection:
        connection.execute(
            """INSERT INTO collection.incidents (exchange, market_type, kind, start_time, end_time, symbols, source)
            VALUES ('binance', 'spot', 'exchange_outage', '2024-05-15 00:00Z', '2024-05-16 00:00Z', '{AAA/USDT}', 'found')"""
        )
    found = collect(world, "ohlcv_1h", "2024-05-14", "2024-05-16")
    assert states(found) == {State.AVAILABLE: [14, 16], State.NO_DATA: [15]}
    assert found[1].evidence["looked_at"] == world.now.isoformat()
    for clock in ("2024-07-02 12:00", "2024-07-03 12:00"):
        world.set_clock(clock)
        looked = look(world)
        assert (looked.looked_at, looked.reopened, looked.in_words()) == (1, [], [])
        kept = record(world, "2024-05-15", "ohlcv_1h")
        assert (kept.state, kept.evidence["looked_at"]) == (State.NO_DATA, world.now.isoformat())
        assert kept.reason.startswith("the exchange was down all day")
    assert states(collect(world, "ohlcv_1h", "2024-05-14", "2024-05-16"))[State.NO_DATA] == [15]
    with Ledger(world.work.url) as ledger, ledger.transaction() as connection:
        connection.execute("DELETE FROM collection.incidents")
    assert [one.partition.day for one in look(world).reopened] == [on("2024-05-15")]
    assert record(world, "2024-05-15", "ohlcv_1h").state is State.MISSING
    assert states(collect(world, "ohlcv_1h", "2024-05-14", "2024-05-16"))[State.MISSING] == [15]


# ---- one fault costs one symbol, and a used-up time budget is reported -------------------------------------------------


def two_symbols(world: World) -> None:
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    world.days("BBBUSDT", "2024-05-10", "2024-05-11")
    for symbol in (A, B):
        collect(world, "ohlcv_1m", "2024-05-08", "2024-05-11", symbol)
    world.work.entries = [entry("spot", ["ohlcv_1m"], [A, B], on("2017-01-01"))]


def test_a_symbol_whose_files_were_removed_does_not_stop_the_look_at_others(world):
    two_symbols(world)
    for day in ("2024-05-10", "2024-05-11"):
        world.hide(key("spot", "klines", "AAAUSDT", "1m", on(day)))
    world.days("BBBUSDT", "2024-05-09", "2024-05-09")
    world.set_clock("2024-07-02 12:00")
    looked = look(world)
    assert [(one.partition.symbol, str(one.partition.day)) for one in looked.reopened] == [(B, "2024-05-09")]
    assert (looked.looked_at, not_looked_at(looked)) == (2, 2)
    words = looked.in_words()
    assert words[1].startswith(
        "binance: could not look again at 2 days of no data that was inferred, or reported by the exchange (AAA/USDT); "
        "the last look was at 2024-07-01 12:00 UTC: binance spot ohlcv_1m: the archive lists nothing for AAA/USDT"
    )
    kept = record(world, "2024-05-08").evidence
    assert kept["looked_at"] == at("2024-07-01 12:00").isoformat()
    assert kept["tried_at"] == world.now.isoformat()
    assert "lists nothing for AAA/USDT" in kept["look_problem"]
    # A failed look does not count: it is tried again, and its problem is removed after a success.
    assert not_looked_at(look(world, older_than=timedelta(hours=1))) == 2
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    assert not_looked_at(look(world)) == 0
    assert not {"tried_at", "look_problem"} & set(record(world, "2024-05-08").evidence)


def test_symbols_that_time_was_not_enough_for_are_said_and_stay_as_they_were(world):
    two_symbols(world)
    looked = look(world, budget_s=0.0)
    assert (looked.looked_at, not_looked_at(looked)) == (0, 4)
    (line,) = looked.in_words()
    assert line.startswith(
        "binance: could not look again at 4 days of no data that was inferred, or reported by the exchange"
    )
    assert line.endswith("; the last look was at 2024-07-01 12:00 UTC: the 0 s for it were over")


def test_where_the_exchange_may_not_be_asked_any_more_the_last_look_stays_the_last_one(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-11"), status="BREAK")
    collect(world, "ohlcv_1m", "2024-05-11", "2024-05-12", rest=True)
    said = world.now.isoformat()
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-10")
    world.set_clock("2024-07-03 12:00")
    assert look(world).reopened == []
    kept = record(world, "2024-05-11").evidence
    assert (kept["exchange_asked"], kept["looked_at"], kept["tried_at"]) == (said, said, world.now.isoformat())
    world.work.sandbox.forget_requests()
    assert look(world, older_than=timedelta(days=1)).looked_at == 0
    assert world.work.sandbox.requests() == []


def test_a_listing_that_fails_in_the_middle_of_a_look_opens_no_day(world, monkeypatch):
    world.set_clock("2024-12-01 12:00")
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    assert states(collect(world, "ohlcv_1m", "2024-05-11", "2024-05-12")) == {State.NO_DATA: [11, 12]}
    from crypto_assets.engine.archive import lifetime
    from crypto_assets.errors import ListingError

    def fails(*_: Any) -> Any:
        raise ListingError("expected a listing, found a page of the gateway")

    for name in ("newest_day", "files_around"):
        with monkeypatch.context() as patch:
            patch.setattr(lifetime, name, fails)
            looked = look(world)
        assert (looked.reopened, not_looked_at(looked)) == ([], 2)
        assert "a page of the gateway" in looked.in_words()[0]


def test_a_day_that_a_run_records_while_it_is_asked_about_stays_as_the_run_left_it(world, monkeypatch):
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-11")
    world.days("AAAUSDT", "2024-05-07", "2024-05-09")
    find = reviewing.Finder.find

    def find_slowly(self: Any, *arguments: Any) -> Any:
        located = find(self, *arguments)
        proven = [
            Outcome(MINUTE_BARS, Partition(A, on("2024-05-08")), State.NO_DATA, "nothing traded", {"ids": {}}),
        ]
        with Ledger(world.work.url) as ledger:
            ledger.record_outcomes(proven)
        return located

    with monkeypatch.context() as patch:
        patch.setattr(reviewing.Finder, "find", find_slowly)
        looked = look(world)
    assert [str(one.partition.day) for one in looked.reopened] == ["2024-05-09"]
    kept = record(world, "2024-05-08")
    assert (kept.state, kept.reason, kept.evidence) == (State.NO_DATA, "nothing traded", {"ids": {}})


# ---- edges that are checked again -------------------------------------------------------------------------------------


def delisted_at_three(world: World) -> None:
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10", "2024-05-10 03:00"))
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), status="BREAK")


@pytest.mark.parametrize("clock", ["2024-07-01 12:00", "2024-05-16 12:00"])
@pytest.mark.parametrize("silent", ["rest fails", "rest is off", "forgotten"])
def test_a_last_day_stays_complete_where_nobody_says_anything_of_it_any_more(world, no_waits, clock, silent):
    world.set_clock(clock)
    delisted_at_three(world)
    first = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=True)
    assert states(first) == {State.AVAILABLE: [10], State.NO_DATA: [11, 12]}
    world.broken = silent == "rest fails"
    if silent == "forgotten":
        world.lives.clear()
    again = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=silent != "rest is off")
    assert states(again) == {State.AVAILABLE: [10], State.NO_DATA: [11, 12]}
    assert again[0].evidence["listed_until"] == first[0].evidence["listed_until"]
    # The day alone is the same: the outcomes of the days beside it are not read again in the same run.
    assert collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=silent != "rest is off")[0].state is (
        State.AVAILABLE
    )


def test_a_last_day_is_judged_whole_where_the_exchange_says_that_the_symbol_trades_or_files_go_on(world):
    delisted_at_three(world)
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), ("2024-05-11", "2024-07-01 12:00"))
    assert collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)[0].state is State.DEGRADED
    delisted_at_three(world)
    assert collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)[0].state is State.AVAILABLE
    world.days("AAAUSDT", "2024-05-11", "2024-05-11")
    assert collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")[0].state is State.DEGRADED


def test_a_first_day_that_the_exchange_said_more_of_is_not_complete_because_it_is_silent(world, no_waits):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 06:00", "2024-05-11"))
    world.days("AAAUSDT", "2024-05-11", "2024-05-12")
    world.lives_from("AAAUSDT", ("2024-05-10 04:00", "2024-07-01 12:00"))
    assert collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)[0].state is State.DEGRADED
    world.broken = True
    (again,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    assert again.state is State.DEGRADED
    assert "(04:00–05:59)" in again.reason


def test_a_listing_that_fails_for_the_day_beside_takes_no_edge_away(world, monkeypatch):
    world.set_clock("2024-12-01 12:00")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 06:00", "2024-05-11"))
    world.days("AAAUSDT", "2024-05-11", "2024-05-12")
    (first,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")
    assert first.evidence["listed_from"]["inferred"] is True
    from crypto_assets.engine.archive.finder import Finder

    def refused(self: Any, series: Series, symbol: str, day: date, toward: timedelta | None = None) -> Outcome:
        return Outcome(series, Partition(symbol, day), State.MISSING, "no listing", {"error": "ListingError"})

    monkeypatch.setattr(Finder, "beside", refused)
    (again,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10")
    assert (again.state, again.evidence) == (State.AVAILABLE, first.evidence)


def test_days_after_a_delisting_have_no_data_as_soon_as_their_files_are_late(world):
    """One rule for the last day and the days after it, from the day a file is expected until long after it is overdue."""
    delisted_at_three(world)
    for clock in ("2024-05-16 12:00", "2024-05-20 12:00", "2024-06-20 12:00"):
        world.set_clock(clock)
        found = collect(world, "ohlcv_1m", "2024-05-09", "2024-05-12", rest=True)
        assert states(found) == {State.AVAILABLE: [9, 10], State.NO_DATA: [11, 12]}
        assert record(world, "2024-05-10").state is State.AVAILABLE


def test_a_last_day_collected_alone_stays_beside_days_that_were_missing_before_the_exchange_spoke(world):
    delisted_at_three(world)
    assert states(collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12")) == {
        State.DEGRADED: [10],
        State.MISSING: [11, 12],
    }
    world.set_clock("2024-07-01 13:00")
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    assert record(world, "2024-05-10").state is State.AVAILABLE
    # Not beside a file that appeared since and was refused: something was traded.
    world.daily("AAAUSDT", "2024-05-11", "no,rows,of,bars\n")
    collect(world, "ohlcv_1m", "2024-05-11", "2024-05-11")
    assert record(world, "2024-05-10").state is State.DEGRADED


def test_bars_built_for_a_refuted_life_leave_the_warehouse(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 04:00", "2024-05-11"))
    world.days("AAAUSDT", "2024-05-11", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-11")
    daily = "SELECT count(*) FROM market.ohlcv WHERE timeframe = '1d' AND open_time::date = '2024-05-10'"
    with psycopg.connect(world.work.url) as connection:
        assert connection.execute(daily).fetchall() == [(1,)]
    world.days("AAAUSDT", "2024-05-09", "2024-05-09")
    collect(world, "ohlcv_1m", "2024-05-09", "2024-05-09")
    assert record(world, "2024-05-10").state is State.DEGRADED
    with psycopg.connect(world.work.url) as connection:
        assert connection.execute(daily).fetchall() == [(0,)]
    table = tables_of(world.work.collection, MINUTE_BARS, A)[0]
    with Database(world.work.url) as database:
        found = judge(database, table, days_between(on("2024-05-09"), on("2024-05-10")))
    assert all(finding.passed for finding in found.values())


# ---- monthly files ----------------------------------------------------------------------------------------------------


def test_a_month_with_partial_days_and_edges_is_not_downloaded_again(world):
    world.set_clock("2024-12-01 12:00")
    events = [one for one in eight_hours("2024-05-12 16:00", "2024-06-01") if one.hour != 8 or one.day != 20]
    funding(world, "AAAUSDT", "2024-05", events)
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-06-15 16:00"))
    first = collect(world, "funding_rates", "2024-05-01", "2024-06-30", PERPETUAL)
    assert {outcome.state for outcome in first} == {State.AVAILABLE, State.NO_DATA, State.DEGRADED}
    world.work.sandbox.forget_requests()
    again = collect(world, "funding_rates", "2024-05-01", "2024-06-30", PERPETUAL)
    assert [(one.state, one.reason) for one in again] == [(one.state, one.reason) for one in first]
    assert files(world) == []
    # When a monthly file beside it appears, the edge is removed; then the object is read again.
    funding(world, "AAAUSDT", "2024-04", eight_hours("2024-04-01", "2024-05-01"))
    found = collect(world, "funding_rates", "2024-05-01", "2024-06-30", PERPETUAL)
    assert [one.partition.day.day for one in found if one.state is State.MISSING] == list(range(1, 12))
    assert set(files(world)) == {"AAAUSDT-fundingRate-2024-05.zip"}


# ---- the memory of a run ----------------------------------------------------------------------------------------------


def test_what_edges_remember_does_not_grow_with_the_days_of_a_run():
    def ask(series: Series, symbol: str, day: date, toward: timedelta | None) -> Outcome | None:
        raise AssertionError(f"{day} was asked about")

    edges = Edges(ask, lambda *_: None, lambda: at("2024-07-01"))
    first = date(2017, 1, 1)
    held = days_between(first, first + 999 * DAY)
    absent = [
        Outcome(MINUTE_BARS, Partition(A, day), State.MISSING, "")
        for day in days_between(held[-1] + DAY, held[-1] + 999 * DAY)
    ]
    edges.remember(MINUTE_BARS, A, held[:500], [], [])
    edges.remember(MINUTE_BARS, A, held[500:], [], absent)
    assert [(len(known.held), len(known.absent)) for known in edges._known.values()] == [(1, 2), (1, 2)]
    assert edges._beside(MINUTE_BARS, A, (held[700], held[700]), DAY) is None
    beside = edges._beside(MINUTE_BARS, A, (held[-1], held[-1]), DAY)
    assert beside is not None
    assert beside.partition.day == held[-1] + DAY
