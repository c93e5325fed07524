"""Ids that lack between two days are found on the day that lacks them, and whole days are proven."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_assets import sources
from crypto_assets.checks.ids_continue import CHECK
from crypto_assets.engine.publication.profile_fold import profile_of
from crypto_assets.model import Finding, Profile, days_between
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources import Facts
from crypto_assets_tests.synthetic import day_of, series_of

DAYS = days_between(date(2024, 2, 27), date(2024, 3, 5))
CASES = [("trades", "spot"), ("trades", "linear"), ("agg_trades", "spot")]


def profile(day: date, dataset: str = "trades", market_type: str = "spot", cut: tuple[int, int] = (0, 0)) -> Profile:
    """The profile of a day of which so many rows lack at the start and at the end."""
    partition, table = day_of(dataset, day, market_type)
    rows = table.slice(cut[0], table.num_rows - sum(cut))
    return profile_of(series_of(dataset, market_type), partition, to_check_frame(rows))


def judge(
    before: Profile | None, day: Profile, after: Profile | None, dataset: str = "trades", market_type: str = "spot"
) -> Finding:
    return CHECK.judge(before, day, after, series_of(dataset, market_type))


@pytest.mark.parametrize(("dataset", "market_type"), CASES)
def test_every_clean_day_between_two_others_is_proven(dataset, market_type):
    profiles = [profile(day, dataset, market_type) for day in DAYS]
    for before, day, after in zip(profiles, profiles[1:], profiles[2:], strict=False):
        found = judge(before, day, after, dataset, market_type)
        assert found == Finding(True, {"ids_before": 0, "ids_after": 0, "proven": True})


@pytest.mark.parametrize(("dataset", "market_type"), CASES)
@pytest.mark.parametrize("cut", [1, 400])
def test_rows_cut_off_at_the_end_are_missed_by_that_day_alone(dataset, market_type, cut):
    if market_type == "linear" and cut == 1:
        return  # a hidden id, below
    one, two, three, four = (
        profile(day, dataset, market_type, (0, cut) if place == 1 else (0, 0)) for place, day in enumerate(DAYS[:4])
    )
    blamed = judge(one, two, three, dataset, market_type)
    assert not blamed.passed
    assert blamed.evidence == {"ids_before": 0, "ids_after": cut, "missing_ids": cut, "proven": False}
    innocent = judge(two, three, four, dataset, market_type)
    assert innocent == Finding(True, {"ids_before": cut, "ids_after": 0, "proven": False})


@pytest.mark.parametrize(("dataset", "market_type"), CASES)
def test_rows_cut_off_at_the_start_are_missed_by_that_day_alone(dataset, market_type):
    one, two, three = (
        profile(day, dataset, market_type, (400, 0) if place == 1 else (0, 0)) for place, day in enumerate(DAYS[:3])
    )
    assert judge(one, two, three, dataset, market_type) == Finding(
        False, {"ids_before": 400, "ids_after": 0, "missing_ids": 400, "proven": False}
    )
    assert judge(None, one, two, dataset, market_type).passed


def test_a_day_cut_at_both_ends_misses_both():
    one, two, three = (profile(day, cut=(300, 200) if place == 1 else (0, 0)) for place, day in enumerate(DAYS[:3]))
    found = judge(one, two, three)
    assert found.evidence == {"ids_before": 300, "ids_after": 200, "missing_ids": 500, "proven": False}


def test_one_neighbour_is_enough_to_judge_by_and_no_proof():
    one, two, three = (profile(day) for day in DAYS[:3])
    assert judge(one, two, None) == Finding(True, {"ids_before": 0, "not_stored": "day after", "proven": False})
    assert judge(None, two, three) == Finding(True, {"ids_after": 0, "not_stored": "day before", "proven": False})
    cut = profile(DAYS[1], cut=(0, 50))
    assert not judge(None, cut, three).passed
    assert judge(one, cut, None).passed


def test_without_neighbours_or_ids_nothing_is_judged():
    two = profile(DAYS[1])
    assert judge(None, two, None).evidence == {"not_judged": "neither the day before nor the day after is stored"}
    assert judge(two, replace(two, first_id=None, last_id=None), None).evidence == {
        "not_judged": "rows have no numbers"
    }


def test_ids_missing_inside_are_no_proof_and_left_to_the_check_of_the_day():
    one, two, three = (profile(day) for day in DAYS[:3])
    assert judge(one, replace(two, missing_ids=3), three) == Finding(
        True, {"ids_before": 0, "ids_after": 0, "proven": False}
    )


def said(found: Finding, dataset: str = "trades", market_type: str = "spot") -> str:
    return CHECK.words(found.evidence, series_of(dataset, market_type))


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_an_id_in_two_days_is_found_on_the_later_one_and_no_gap(market_type):
    one, two, three = (profile(day, market_type=market_type) for day in DAYS[:3])
    double = replace(two, first_id=one.last_id)
    found = judge(one, double, three, market_type=market_type)
    assert found == Finding(
        True, {"ids_before": -1, "repeated_ids": 1, "repeated": str(one.last_id), "ids_after": 0, "proven": False}
    )
    assert said(found) == f"the id {one.last_id} is in both days; they do not say whether a trade is missing"
    assert judge(None, one, double, market_type=market_type) == Finding(
        True, {"ids_after": -1, "not_stored": "day before", "proven": False}
    )


def repeated(trades_between: int) -> tuple[Profile, Profile, Profile]:
    """Three days of aggregates; the second begins with the last id of the first, so many trades after its last one."""
    one, two, three = (profile(day, "agg_trades") for day in DAYS[:3])
    shift = trades_between - (two.first_trade_id - one.last_trade_id - 1)
    one = replace(one, last_id=two.first_id, last_trade_id=one.last_trade_id - shift)
    return one, two, three


def test_trade_ids_prove_that_a_repeated_aggregate_id_is_no_gap():
    one, two, three = repeated(0)
    found = judge(one, two, three, "agg_trades")
    assert found == Finding(
        True,
        {
            "ids_before": -1,
            "trades_before": 0,
            "repeated_ids": 1,
            "repeated": str(two.first_id),
            "ids_after": 0,
            "proven": True,
        },
    )
    expected = f"the id {two.first_id} is in both days, for different trades; no trade is missing"
    assert said(found, "agg_trades") == expected
    earlier = judge(None, one, two, "agg_trades")
    assert earlier.passed
    assert earlier.evidence["trades_after"] == 0


def test_trades_that_are_missing_beside_a_repeated_aggregate_id_count():
    one, two, three = repeated(7)
    both = [judge(one, two, three, "agg_trades"), judge(None, one, two, "agg_trades")]
    assert sorted(found.passed for found in both) == [False, True], "one of the two days is blamed"
    [blamed] = [found for found in both if not found.passed]
    assert blamed.evidence["missing_ids"] == 7
    assert "7 ids are missing at the " in said(blamed, "agg_trades")


def test_an_aggregate_that_both_days_have_is_said_as_such():
    one, two, three = repeated(-1)
    found = judge(one, two, three, "agg_trades")
    assert found.passed
    assert said(found, "agg_trades").startswith(
        f"the id {two.first_id} is in both days, for 1 trade that both days have; no trade is missing"
    )


def test_ids_that_are_left_out_while_trades_run_on_are_no_gap():
    one, two, _ = repeated(0)
    one = replace(one, last_id=two.first_id - 5)
    assert judge(one, two, None, "agg_trades").passed
    assert judge(None, one, two, "agg_trades").passed


def test_ids_that_start_over_are_found_on_the_later_day():
    one, two = (profile(day) for day in DAYS[:2])
    again = replace(two, first_id=1, last_id=two.rows)
    found = judge(one, again, None)
    assert found == Finding(
        True, {"ids_before": -one.last_id, "repeated_ids": 0, "not_stored": "day after", "proven": False}
    )
    assert said(found).startswith("the ids start over after the day before; they do not say whether a trade is missing")


def futures_seam(ids: int, silence: timedelta) -> tuple[Profile, Profile]:
    """Two days with so many ids between them, and so long a silence at the end of the first."""
    one, two = (profile(day, market_type="linear") for day in DAYS[:2])
    midnight = datetime(2024, 2, 28, tzinfo=UTC)
    return (
        replace(one, last_id=two.first_id - 1 - ids, last_time=midnight - silence),
        replace(two, first_time=midnight),
    )


@pytest.mark.parametrize(
    ("ids", "silence", "passed"),
    [
        (100, timedelta(hours=2), True),
        (101, timedelta(seconds=59), True),
        (101, timedelta(seconds=60), False),
        (50_000, timedelta(seconds=1), True),
    ],
)
def test_futures_hide_some_ids_so_only_many_with_a_minute_of_silence_count(ids, silence, passed):
    one, two = futures_seam(ids, silence)
    assert judge(None, one, two, market_type="linear").passed is passed
    later = judge(one, two, None, market_type="linear")
    assert later == Finding(True, {"ids_before": ids, "not_stored": "day after", "proven": False})
    on_spot = judge(None, one, two)
    assert on_spot.evidence["missing_ids"] == ids


@pytest.mark.parametrize(("market_type", "lost", "fails"), [("spot", 7, True), ("linear", 7, False)])
def test_trades_that_are_missing_between_aggregates_whose_ids_run_on_count(market_type, lost, fails):
    one, two, three = (profile(day, "agg_trades") for day in DAYS[:3])
    jumped = [
        replace(day, first_trade_id=day.first_trade_id + lost, last_trade_id=day.last_trade_id + lost)
        for day in (two, three)
    ]
    both = [
        judge(None, one, jumped[0], "agg_trades", market_type),
        judge(one, jumped[0], jumped[1], "agg_trades", market_type),
    ]
    assert any(not found.passed for found in both) is fails
    if fails:
        [blamed] = [found for found in both if not found.passed]
        assert blamed.evidence["missing_ids"] == lost
        assert "7 trades are missing at the " in said(blamed, "agg_trades")
        assert "although the row ids are continuous" in said(blamed, "agg_trades")
        assert not both[1].evidence["proven"]
    # A row of removed trades at midnight leaves open which trades are next to it.
    unknown = replace(jumped[0], first_trade_id=None)
    assert judge(one, unknown, jumped[1], "agg_trades", market_type).passed


def test_the_facts_of_the_source_decide_whether_ids_have_holes_not_the_market_type(monkeypatch):
    one, two = futures_seam(100, timedelta(hours=2))
    assert not judge(None, one, two).passed
    monkeypatch.setattr(type(sources.get("binance")), "facts", lambda self, series: Facts("holes", 100))
    assert judge(None, one, two).passed
