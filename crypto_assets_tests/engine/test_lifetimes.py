"""A symbol that is not listed yet, delisted, or listed again: who says so, and that it is checked again later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from crypto_assets.cli import cli
from crypto_assets.engine.archive.review import Review, review
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets_tests.engine.one_symbol import A, collect, funding, of_day, publish_trades, record, states
from crypto_assets_tests.engine.world import World, at, eight_hours, minutes, not_looked_at, on
from crypto_assets_tests.workbench import entry

PERPETUAL = "AAA/USDT:USDT"


@pytest.fixture
def world(world: World) -> World:
    world.set_clock("2024-07-01 12:00")
    return world


def look(world: World, **more: Any) -> Review:
    """Check the entry of the last `collect` again."""
    collection = world.work.collection
    pairs = [
        (part, [(series, symbol) for series in part.series for symbol in part.symbols]) for part in collection.series
    ]
    with Ledger(world.work.url) as ledger:
        return review(collection, ledger, pairs, now=world.now, **more)


def open_days(world: World, first: str) -> list[str]:
    collection = world.work.collection
    with Ledger(world.work.url) as ledger:
        found = list(gaps(collection, ledger, world.now.date()))
    return [str(gap.day) for gap in found if gap.state is not None and gap.day >= on(first)]


def others_go_on(world: World) -> None:
    for symbol in ("BBBUSDT", "CCCUSDT"):
        world.days(symbol, str(world.now.date() - timedelta(days=4)), str(world.now.date() - timedelta(days=1)))


# ---- delisted -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["BREAK", None])
def test_a_symbol_is_delisted_where_the_exchange_says_so_and_its_last_day_ends_with_it(world, status):
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10", "2024-05-10 03:00"))
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), status=status)
    found = collect(world, "ohlcv_1m", "2024-05-08", "2024-05-14", rest=True)
    assert states(found) == {State.AVAILABLE: [8, 9, 10], State.NO_DATA: [11, 12, 13, 14]}
    said = f"{status or 'the exchange does not know the symbol'}, its last row is of 2024-05-10 02:59 UTC"
    assert found[3].reason == f"delisted: the archive's last file is of 2024-05-10; the exchange says {said}"
    assert found[3].evidence["exchange_asked"] == world.now.isoformat()
    assert "inferred" not in found[3].evidence
    assert [name for name, _ in world.asked].count("exchangeInfo") == 1


@pytest.mark.parametrize("clock", ["2024-07-01 12:00", "2024-12-01 12:00"])
def test_a_symbol_that_the_exchange_does_not_know_is_delisted_after_half_a_year_by_inference(world, clock):
    """Another site, and a new name of the symbol, look the same as a delisting."""
    world.set_clock(clock)
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=True)
    assert found[2].evidence["exchange_status"] == "the exchange does not know the symbol"
    assert "exchange_asked" not in found[2].evidence
    if clock < "2024-08":
        assert states(found) == {State.AVAILABLE: [10], State.MISSING: [11, 12]}
        assert "2024-05-10 (52 days ago); the exchange does not know the symbol" in found[2].reason
        assert "it may be delisted, or late" in found[2].reason
    else:
        assert states(found) == {State.AVAILABLE: [10], State.NO_DATA: [11, 12]}
        assert found[2].evidence["inferred"] is True


def test_what_an_exchange_said_stays_said_once_it_has_forgotten_the_symbol(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10", "2024-05-10 03:00"))
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), status="BREAK")
    collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=True)
    world.lives.clear()
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=True)
    assert states(found) == {State.AVAILABLE: [10], State.NO_DATA: [11, 12]}
    assert look(world).reopened == []


def test_a_symbol_that_trades_is_not_delisted_and_its_late_days_come_from_rest(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-07-01 12:00"))
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12", rest=True)
    assert states(found) == {State.AVAILABLE: [10], State.PROVISIONAL: [11, 12]}
    assert found[1].evidence["archive"]["exchange_status"] == "TRADING"
    assert "the exchange says TRADING" in found[1].reason


def test_days_between_the_last_file_and_the_exchange_s_last_row_are_asked_of_it(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-12 06:00"), status="BREAK")
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-14", rest=True)
    assert states(found) == {State.AVAILABLE: [10], State.PROVISIONAL: [11, 12], State.NO_DATA: [13, 14]}
    assert found[2].evidence["listed_until"]["time"] == "2024-05-12T06:00:00+00:00"


def test_an_exchange_that_does_not_answer_delists_nobody(world, no_waits):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.broken = True
    (day,) = collect(world, "ohlcv_1m", "2024-05-12", "2024-05-12", rest=True)
    assert day.state is State.MISSING
    assert "503" in day.evidence["exchange_problem"]
    assert "it may be delisted, or late" in day.reason


def test_what_the_exchange_said_once_stays_said_where_it_does_not_answer(world, no_waits):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-11"), status="BREAK")
    collect(world, "ohlcv_1m", "2024-05-11", "2024-05-12", rest=True)
    world.broken = True
    found = collect(world, "ohlcv_1m", "2024-05-11", "2024-05-12", rest=True)
    assert {outcome.state for outcome in found} == {State.NO_DATA}
    looked = look(world)
    assert (looked.reopened, not_looked_at(looked)) == ([], 2)
    assert "503" in looked.in_words()[0]
    world.broken = False
    assert states(collect(world, "ohlcv_1m", "2024-05-11", "2024-05-12")) == {State.NO_DATA: [11, 12]}


# ---- not listed before --------------------------------------------------------------------------------------------------


def test_days_before_the_archive_s_first_file_have_no_data_only_before_the_exchange_s_first_row(world):
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    world.lives_from("AAAUSDT", ("2024-05-08 10:00", "2024-07-01 12:00"))
    found = collect(world, "ohlcv_1m", "2024-05-06", "2024-05-11", rest=True)
    assert states(found) == {State.NO_DATA: [6, 7], State.PROVISIONAL: [8, 9], State.AVAILABLE: [10, 11]}
    assert found[0].reason.startswith("not listed before 2024-05-08 10:00 UTC: the exchange's first row")
    assert found[0].evidence["exchange_first"] == "2024-05-08T10:00:00+00:00"
    assert "but the exchange has rows from 2024-05-08 10:00 UTC on" in found[2].reason
    assert found[2].evidence["listed_from"]["time"] == "2024-05-08T10:00:00+00:00"
    assert len([query for name, query in world.asked if query.get("startTime") == "0"]) == 1


def test_a_first_file_that_begins_later_than_the_exchange_misses_rows(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 06:00", "2024-05-11"))
    world.days("AAAUSDT", "2024-05-11", "2024-05-12")
    world.lives_from("AAAUSDT", ("2024-05-10 04:00", "2024-07-01 12:00"))
    (first,) = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-10", rest=True)
    assert first.state is State.DEGRADED
    assert "(04:00–05:59)" in first.reason


def test_a_symbol_listed_yesterday_that_the_archive_does_not_have_yet_is_complete_from_its_first_row(world):
    world.days("BBBUSDT", "2024-06-25", "2024-06-30")
    world.lives_from("AAAUSDT", ("2024-06-30 09:30", "2024-07-01 12:00"))
    (day,) = collect(world, "ohlcv_1m", "2024-06-30", "2024-06-30", rest=True)
    assert day.state is State.PROVISIONAL
    assert day.findings["complete"].evidence["expected"] == 870
    assert record(world, "2024-06-30").evidence["listed_from"]["source"] == "exchange"


# ---- listed again -------------------------------------------------------------------------------------------------------


def listed_again(world: World) -> None:
    world.set_clock("2024-12-01 12:00")
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10", "2024-05-10 03:00"))
    world.daily("AAAUSDT", "2024-08-01", minutes("2024-08-01 10:00", "2024-08-02"))
    world.days("AAAUSDT", "2024-08-02", "2024-08-03")


def test_between_two_listings_there_is_no_data_where_the_exchange_has_none(world):
    listed_again(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 03:00"), ("2024-08-01 10:00", "2024-12-01 12:00"))
    found = collect(world, "ohlcv_1m", "2024-05-09", "2024-08-02", rest=True)
    assert {outcome.state for outcome in (found[0], found[1], *found[-2:])} == {State.AVAILABLE}
    assert {outcome.state for outcome in found[2:-2]} == {State.NO_DATA}
    assert found[2].reason == (
        "between two listings: the archive has files up to 2024-05-10 and again from 2024-08-01 on; the exchange has no rows "
        "in between"
    )
    assert found[1].evidence["listed_until"]["time"] == "2024-05-10T03:00:00+00:00"
    assert found[-2].evidence["listed_from"]["listed_again"] == "2024-08-01"
    # The same from either side.
    assert collect(world, "ohlcv_1m", "2024-06-01", "2024-06-01", rest=True)[0].state is State.NO_DATA
    assert collect(world, "ohlcv_1m", "2024-08-01", "2024-08-01", rest=True)[0].state is State.AVAILABLE


def test_a_hole_of_months_is_missing_where_nobody_can_be_asked_and_where_the_exchange_has_rows(world):
    listed_again(world)
    alone = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-12")
    assert states(alone) == {State.DEGRADED: [10], State.MISSING: [11, 12]}
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-20"), ("2024-08-01 10:00", "2024-12-01 12:00"))
    found = collect(world, "ohlcv_1m", "2024-05-11", "2024-05-21", rest=True)
    assert states(found)[State.PROVISIONAL] == list(range(11, 20))
    assert states(found)[State.MISSING] == [20, 21]


def test_an_empty_answer_for_days_in_the_middle_of_a_life_proves_nothing(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    world.days("AAAUSDT", "2024-05-13", "2024-05-15")
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-11"), ("2024-05-13", "2024-07-01 12:00"))
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-13", rest=True)
    assert states(found) == {State.AVAILABLE: [10, 13], State.MISSING: [11, 12]}
    assert "REST: it has no rows of this day" in found[1].reason


# ---- second looks -------------------------------------------------------------------------------------------------------


def test_files_that_appear_before_the_first_one_open_their_days_again_and_the_first_day_is_judged_again(world):
    world.daily("AAAUSDT", "2024-05-10", minutes("2024-05-10 04:00", "2024-05-11"))
    world.days("AAAUSDT", "2024-05-11", "2024-06-30")
    collect(world, "ohlcv_1m", "2024-05-06", "2024-05-11")
    assert open_days(world, "2024-05-06") == []
    assert look(world, older_than=timedelta(days=1)).looked_at == 0
    assert look(world).looked_at == 4
    world.days("AAAUSDT", "2024-05-08", "2024-05-09")
    found = look(world)
    assert [str(one.partition.day) for one in found.reopened] == ["2024-05-08", "2024-05-09"]
    assert found.in_words() == ["2 days of no data are no longer explained; they are gaps now"]
    assert open_days(world, "2024-05-06")[:2] == ["2024-05-08", "2024-05-09"]
    reason = record(world, "2024-05-09").reason
    assert "AAAUSDT-1m-2024-05-09.zip has appeared since 2024-07-01" in reason
    assert reason.endswith("`crypto-assets fill` collects it")
    assert record(world, "2024-05-07").reason == "not listed before 2024-05-08: the archive's first file"
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-09")
    assert record(world, "2024-05-10").state is State.DEGRADED


def test_a_look_that_is_young_enough_asks_nothing_and_a_later_one_does(world):
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-11")
    world.work.sandbox.forget_requests()
    world.set_clock("2024-07-02 11:00")
    assert look(world, older_than=timedelta(days=1)) == Review()
    assert world.work.sandbox.requests() == []
    world.set_clock("2024-07-02 13:00")
    assert look(world, older_than=timedelta(days=1)).looked_at == 2
    assert record(world, "2024-05-08").evidence["looked_at"] == world.now.isoformat()


def test_a_symbol_that_was_delisted_and_trades_again_opens_its_days(world):
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-11"), status="BREAK")
    collect(world, "ohlcv_1m", "2024-05-11", "2024-05-13", rest=True)
    assert look(world).reopened == []
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-11"), ("2024-05-12", "2024-07-01 12:00"))
    assert [one.partition.day.day for one in look(world).reopened] == [11, 12, 13]
    assert record(world, "2024-05-12").state is State.MISSING


def test_an_inferred_delisting_ends_with_a_file_that_comes_late(world):
    world.set_clock("2024-12-01 12:00")
    world.days("AAAUSDT", "2024-05-08", "2024-05-10")
    others_go_on(world)
    found = collect(world, "ohlcv_1m", "2024-05-10", "2024-05-16")
    assert states(found) == {State.AVAILABLE: [10], State.NO_DATA: list(range(11, 17))}
    world.daily("AAAUSDT", "2024-05-14")
    opened = [one.partition.day.day for one in look(world).reopened]
    assert opened == [11, 12, 13, 14]  # the days after the new last file are still explained
    assert record(world, "2024-05-16").state is State.NO_DATA


def test_days_inside_a_first_or_last_month_are_looked_at_again_too(world):
    world.set_clock("2024-12-01 12:00")
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-12 16:00", "2024-06-01"))
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-06-15 16:00"))
    found = collect(world, "funding_rates", "2024-05-10", "2024-06-20", PERPETUAL)
    assert {outcome.state for outcome in found} == {State.AVAILABLE, State.NO_DATA}
    assert look(world).reopened == []
    funding(world, "AAAUSDT", "2024-04", eight_hours("2024-04-01", "2024-05-01"))
    assert [str(one.partition.day) for one in look(world).reopened] == ["2024-05-10", "2024-05-11"]
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-07-01"))
    assert [str(one.partition.day) for one in look(world).reopened] == [f"2024-06-{day}" for day in range(16, 21)]
    again = collect(world, "funding_rates", "2024-05-10", "2024-06-20", PERPETUAL)
    assert [str(one.partition.day) for one in again if one.state is State.MISSING] == ["2024-05-10", "2024-05-11"]
    # The first day is no longer the first, so its morning is missing.
    assert [str(one.partition.day) for one in again if one.state is State.DEGRADED] == ["2024-05-12"]


def test_a_host_that_cannot_be_reached_is_said_once_with_the_last_look_and_changes_nothing(world):
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-11")
    world.work.listing_url = "http://127.0.0.1:9/nobody"
    (line,) = look(world, timeout_s=2.0).in_words()
    assert line.startswith(
        "binance: could not look again at 2 days of no data that was inferred, or reported by the exchange; "
        "the last look was at 2024-07-01 12:00 UTC: "
    )
    assert record(world, "2024-05-08").state is State.NO_DATA


def test_a_contract_that_the_exchange_has_forgotten_is_looked_at_without_a_word(world):
    world.set_clock("2024-12-01 12:00")
    world.days("AAAUSDT", "2024-05-08", "2024-05-10", market="linear")
    world.days("AAAUSDT", "2024-08-10", "2024-08-10", market="linear")
    world.days("BBBUSDT", "2025-03-28", "2025-03-30", market="linear")
    world.set_clock("2025-04-01 12:00")
    found = collect(world, "ohlcv_1m", "2024-05-06", "2024-08-12", PERPETUAL, rest=True)
    assert [outcome.state for outcome in found[:5]] == [State.NO_DATA] * 2 + [State.AVAILABLE] * 3
    assert found[0].evidence["inferred"] is True
    assert {outcome.state for outcome in found[5:-3]} == {State.MISSING}  # nothing explains these days
    assert [outcome.state for outcome in found[-3:]] == [State.AVAILABLE] + [State.NO_DATA] * 2
    assert found[-1].evidence["exchange_status"] == "the exchange does not know the symbol"
    looked = look(world)
    assert (looked.looked_at, looked.in_words()) == (4, [])


def test_gaps_says_in_one_line_that_it_could_not_look_again_and_fill_collects_what_appeared(
    world, monkeypatch, tmp_path
):
    world.days("AAAUSDT", "2024-05-10", "2024-05-11")
    collect(world, "ohlcv_1m", "2024-05-08", "2024-05-11")
    urls = {"archive_url": world.work.archive_url, "listing_url": world.work.listing_url}
    series = entry("spot", ["ohlcv_1m"], [A], on("2024-05-08"), end=on("2024-05-11"))
    (tmp_path / "collection.yaml").write_text(yaml.safe_dump({"exchanges": {"binance": urls}, "series": [series]}))
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", world.work.url)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(world.work.folder))
    complete = CliRunner().invoke(cli, ["gaps"])
    assert (complete.exit_code, complete.stdout) == (0, "nothing is missing\n")
    assert complete.stderr == ""
    world.days("AAAUSDT", "2024-05-09", "2024-05-09")
    with psycopg.connect(world.work.url) as connection:
        connection.execute('UPDATE collection.partitions SET evidence = evidence || \'{"looked_at": "2024-05-20"}\'')
    found = CliRunner().invoke(cli, ["gaps"])
    assert found.exit_code == 1
    assert "AAAUSDT-1m-2024-05-09.zip has appeared since 2024-05-20" in found.stdout
    assert found.stderr == "1 day of no data is no longer explained; it is a gap now\n"


def test_days_that_ids_prove_to_be_empty_are_not_asked_again(world):
    text, following = of_day(1, "2024-05-01")
    publish_trades(world, "2024-05-01", text)
    publish_trades(world, "2024-05-03", of_day(following, "2024-05-03")[0])
    collect(world, "trades", "2024-05-01", "2024-05-03")
    assert record(world, "2024-05-02", "trades").state is State.NO_DATA
    assert look(world) == Review()


def test_a_contract_in_files_of_months_that_the_exchange_has_forgotten_stays_as_it_said(world):
    """Looks and collections alternate: none of them finds anything new."""
    world.monthly("AAAUSDT", "2024-05", minutes("2024-05-01", "2024-05-10 08:00"), "1m", market="linear")
    world.lives_from("AAAUSDT", ("2024-05-01", "2024-05-10 08:00"), status="SETTLING")
    whole = {State.AVAILABLE: [9, 10], State.NO_DATA: [11, 12, 13, 14]}
    assert states(collect(world, "ohlcv_1m", "2024-05-09", "2024-05-14", PERPETUAL, rest=True)) == whole
    world.lives.clear()
    for _ in range(2):
        assert look(world).reopened == []
        assert states(collect(world, "ohlcv_1m", "2024-05-09", "2024-05-14", PERPETUAL, rest=True)) == whole


def test_a_month_that_ends_a_life_ends_it_also_where_the_exchange_may_be_asked_and_has_forgotten_it(world):
    world.set_clock("2024-12-01 12:00")
    world.monthly("AAAUSDT", "2024-05", minutes("2024-05-01", "2024-05-10 08:00"), "1m", market="linear")
    alone = states(collect(world, "ohlcv_1m", "2024-05-09", "2024-05-12", PERPETUAL))
    assert alone == {State.AVAILABLE: [9, 10], State.NO_DATA: [11, 12]}
    assert states(collect(world, "ohlcv_1m", "2024-05-09", "2024-05-12", PERPETUAL, rest=True)) == alone


def test_the_last_row_of_a_contract_is_asked_of_the_exchange_before_the_next_month_is_overdue(world):
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-01", "2024-05-15 16:00"))
    alone = collect(world, "funding_rates", "2024-05-14", "2024-05-17", PERPETUAL)
    assert states(alone) == {State.AVAILABLE: [14], State.DEGRADED: [15], State.MISSING: [16, 17]}
    world.lives_from("AAAUSDT", ("2024-04-01", "2024-05-15 16:00"), status=None)
    told = collect(world, "funding_rates", "2024-05-14", "2024-05-17", PERPETUAL, rest=True)
    assert states(told) == {State.AVAILABLE: [14, 15], State.NO_DATA: [16, 17]}
    assert told[2].evidence["exchange_asked"]
    assert at(told[1].evidence["listed_until"]["time"][:16]) == at("2024-05-15 08:00")
    assert record(world, "2024-05-16", "funding_rates", PERPETUAL).state is State.NO_DATA
