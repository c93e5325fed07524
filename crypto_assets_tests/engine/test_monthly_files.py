"""Days without rows in files of months: before the first row, after the last one, in a file that is cut or late."""

from __future__ import annotations

from crypto_assets.model import State
from crypto_assets_tests.engine.one_symbol import PERPETUAL, collect, funding, states
from crypto_assets_tests.engine.world import (
    at,
    eight_hours,
    minutes,
)


def test_days_before_the_first_and_after_the_last_row_of_a_contract_have_no_data(world):
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-12 16:00", "2024-06-01"))
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-06-15 16:00"))
    may = collect(world, "funding_rates", "2024-05-01", "2024-05-31", PERPETUAL)
    assert states(may) == {State.NO_DATA: list(range(1, 12)), State.AVAILABLE: list(range(12, 32))}
    assert may[11].partition.first == at("2024-05-12 16:00")
    june = collect(world, "funding_rates", "2024-06-01", "2024-06-30", PERPETUAL)
    assert states(june) == {State.AVAILABLE: list(range(1, 16)), State.NO_DATA: list(range(16, 31))}
    assert june[20].evidence["inferred"] is True
    assert "the file from 2024-07-01 on is overdue and not listed" in june[20].reason
    # The same again, from the stored days.
    assert states(collect(world, "funding_rates", "2024-06-01", "2024-06-30", PERPETUAL)) == states(june)


def test_a_contract_that_has_files_of_months_alone_begins_and_ends_inside_them_though_days_are_preferred(world):
    march = minutes("2020-03-10 08:00", "2020-04-01")
    april = minutes("2020-04-01", "2020-04-07") + minutes("2020-04-08", "2020-04-20 12:00")
    for month, text in (("2020-03", march), ("2020-04", april)):
        world.monthly("AAAUSDT", month, text, "1m", market="linear")
    found = collect(world, "ohlcv_1m", "2020-03-08", "2020-03-11", PERPETUAL)
    assert [outcome.state for outcome in found] == [State.NO_DATA] * 2 + [State.AVAILABLE] * 2
    found = collect(world, "ohlcv_1m", "2020-04-06", "2020-04-22", PERPETUAL)
    assert states(found) == {
        State.AVAILABLE: [6, *range(8, 21)],
        State.MISSING: [7],
        State.NO_DATA: [21, 22],
    }
    assert found[14].partition.last == at("2020-04-20 12:00")


def test_a_month_that_is_cut_in_the_middle_of_a_life_misses_its_days(world):
    funding(world, "AAAUSDT", "2024-04", eight_hours("2024-04-01", "2024-05-01"))
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-05", "2024-05-20 16:00"))
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-07-01"))
    found = states(collect(world, "funding_rates", "2024-05-01", "2024-05-31", PERPETUAL))
    assert found[State.MISSING] == [1, 2, 3, 4, *range(21, 32)]
    assert found[State.DEGRADED] == [20]


def test_the_end_of_the_newest_month_is_missing_until_the_next_one_is_overdue(world):
    world.set_clock("2024-07-05 12:00")
    funding(world, "AAAUSDT", "2024-05", eight_hours("2024-05-01", "2024-06-01"))
    funding(world, "AAAUSDT", "2024-06", eight_hours("2024-06-01", "2024-06-15 16:00"))
    found = collect(world, "funding_rates", "2024-06-01", "2024-06-30", PERPETUAL)
    assert states(found)[State.MISSING] == list(range(16, 31))


def test_late_files_of_months_are_missing_and_not_taken_for_a_delisting(world):
    world.set_clock("2024-07-20 12:00")
    for symbol in ("AAAUSDT", "BBBUSDT"):
        funding(world, symbol, "2024-03", eight_hours("2024-03-01", "2024-04-01"))
    for month in ("2024-04", "2024-05", "2024-06"):
        funding(world, "BBBUSDT", month, eight_hours(f"{month}-01", f"{month}-30"))
    found = collect(world, "funding_rates", "2024-04-01", "2024-05-31", PERPETUAL)
    assert {outcome.state for outcome in found} == {State.MISSING}
    assert "1 other symbol of 1 asked continue to 2024-06-30: it may be delisted, or late" in found[0].reason
