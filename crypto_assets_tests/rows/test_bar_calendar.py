"""On which days long bars open."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.rows.bar_calendar import anchor_of, due

DAYS = st.dates(date(2010, 1, 1), date(2035, 12, 31))


def after(day: date, number: int) -> date:
    return day + timedelta(days=number)


@given(DAYS)
def test_of_seven_days_in_a_row_one_opens_a_week_and_it_is_a_monday(day):
    (monday,) = [one for n in range(7) if due("1w", one := after(day, n)).opens]
    assert monday.isoweekday() == 1


@given(DAYS)
def test_a_month_opens_on_its_first_day_and_on_no_other(day):
    found = [one for n in range(31) if due("1mo", one := after(day.replace(day=1), n)).opens]
    assert found[0] == day.replace(day=1)
    assert {one.day for one in found} == {1}
    assert len(found) == (2 if after(day.replace(day=1), 30).month != day.month and found[1:] else 1)


@given(DAYS, DAYS, st.integers(-500, 500))
def test_bars_of_three_days_stand_every_third_day_from_any_of_them(day, anchor, number):
    assert due("3d", day, anchor).opens == due("3d", day, after(anchor, 3 * number)).opens
    assert due("3d", anchor, anchor).opens
    assert sum(bool(due("3d", after(day, n), anchor).opens) for n in range(3)) == 1


@given(DAYS, st.sets(st.integers(-300, 300), min_size=1), st.data())
def test_any_bars_of_one_grid_tell_the_same_and_a_stray_one_does_not_move_it(anchor, steps, data):
    grid = {after(anchor, 3 * n) for n in steps}
    found = anchor_of(grid)
    assert found == max(grid)
    if len(grid) > 1:
        stray = after(data.draw(st.sampled_from(sorted(grid))), 1)
        assert due("3d", anchor, anchor_of({*grid, stray})).opens


@given(DAYS)
def test_without_another_bar_nothing_says_on_which_days_three_days_open(day):
    assert due("3d", day).opens is None
    assert "no 3d bar of the symbol is known" in due("3d", day).because
    assert anchor_of([]) is None


@given(DAYS, st.sampled_from(["1s", "1m", "1h", "12h", "1d"]))
def test_shorter_bars_open_on_every_day(day, timeframe):
    assert due(timeframe, day).opens is True


def test_the_rule_is_said_of_the_day():
    assert due("1w", date(2024, 5, 28)).because == "1w bars open on Mondays, 2024-05-28 is a Tuesday"
    assert due("1mo", date(2024, 5, 22)).because == "1mo bars open on the 1st, 2024-05-22 is the 22nd"
    assert due("1mo", date(2024, 5, 12)).because.endswith("is the 12th")
    said = due("3d", date(2024, 5, 6), date(2024, 5, 1)).because
    assert said == "a 3d bar opens on 2024-05-01 and on every third day, 2024-05-06 is 2 days after one"
