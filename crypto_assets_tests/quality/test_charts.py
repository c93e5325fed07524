"""The pictures: they decode, and where something is known to be, there is its colour."""

from __future__ import annotations

import base64
import io
import re
from datetime import UTC, date, datetime, timedelta
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import imread

from crypto_assets.model import State
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.report.charts import (
    DARK,
    LIGHT,
    NEVER,
    Bars,
    CoverageRow,
    Delays,
    Lane,
    ScoreLine,
    Span,
    candles,
    coverage,
    delay,
    gap_timeline,
    merge_bars,
    png,
    score_text,
    score_trend,
    strip,
    worst_rows,
)
from crypto_assets.quality.report.charts.coverage import bin_edges, cells
from crypto_assets.quality.report.charts.drawing import date_texts
from crypto_assets.quality.report.charts.gaps import alarm_order, merged
from crypto_assets.quality.report.charts.palette import KIND_STATES, STATES
from crypto_assets.quality.report.charts.strip import INLINE

FIRST = date(2024, 1, 1)


def day(number: int) -> date:
    """Return the day so many days after 2024-01-01."""
    return FIRST + timedelta(days=number)


def pixels_of(figure: Figure, scale: float = 2.0) -> np.ndarray:
    """Return the decoded PNG, (height, width, 3) bytes."""
    picture = imread(io.BytesIO(png(figure, scale)))
    return (picture[..., :3] * 255).round().astype(int)


def colour_at(figure: Figure, x: float, y: float, axes: int = 0) -> str:
    """Return the colour at a place of the data of some axes, as #rrggbb."""
    pixels = pixels_of(figure)
    across, up = figure.axes[axes].transData.transform((x, y)) * 2
    return "#" + "".join(f"{part:02x}" for part in pixels[pixels.shape[0] - 1 - int(up), int(across)])


def row_of(*states: str, label: str = "BTC/USDT", group: str = "binance spot ohlcv_1m") -> CoverageRow:
    """Return a row with one day of each state, from 2024-01-01 on."""
    return CoverageRow(group, label, [Span(state, day(n), day(n)) for n, state in enumerate(states)])


# ---- coverage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_each_day_of_thirty_has_the_colour_of_its_state(theme):
    states = [state for state in STATES if state != NEVER] * 4
    figure = coverage([row_of(*states)], FIRST, day(len(states) - 1), theme)
    for number, state in enumerate(states[:9]):
        assert colour_at(figure, date2num(day(number)) + 0.5, 1.5) == theme.states[state], state


def test_a_day_that_was_never_collected_is_a_hole_with_lines_across():
    figure = coverage([row_of("available", NEVER, "available")], FIRST, day(2), LIGHT)
    pixels = pixels_of(figure)
    (left, top), (right, bottom) = (
        figure.axes[0].transData.transform((date2num(day(1)) + part, 1.5 + part - 0.5)) * 2 for part in (0.1, 0.9)
    )
    part = pixels[pixels.shape[0] - int(top) : pixels.shape[0] - int(bottom), int(left) : int(right)]
    share = (part == 255).all(axis=2).mean()
    assert 0.3 < share < 0.95


def test_three_years_of_twenty_symbols_are_weeks_and_the_worst_day_of_a_week_is_seen():
    last = date(2026, 12, 31)
    rows = [
        CoverageRow("binance spot trades", f"S{number:02}/USDT", [Span("available", FIRST, last)])
        for number in range(20)
    ]
    bad = date(2025, 6, 18)
    rows[7] = CoverageRow(
        "binance spot trades",
        "BAD/USDT",
        [
            Span("available", FIRST, bad - timedelta(1)),
            Span("missing", bad, bad),
            Span("available", bad + timedelta(1), last),
        ],
    )
    figure = coverage(rows, FIRST, last, LIGHT)
    monday = date(2025, 6, 16)
    assert colour_at(figure, date2num(monday) + 3.5, 8.5) == LIGHT.states["missing"]
    for days, row in ((-3.5, 8.5), (10.5, 8.5), (3.5, 7.5), (3.5, 9.5)):
        assert colour_at(figure, date2num(monday) + days, row) == LIGHT.states["available"], (days, row)
    assert len(png(figure, 1.0)) < 40_000


def test_cells_are_as_fine_as_can_be_seen():
    assert len(bin_edges(FIRST, day(29), 700)) - 1 == 30
    weeks = bin_edges(date(2024, 1, 3), date(2026, 12, 31), 700)
    assert (weeks[0], weeks[1].weekday(), weeks[-1]) == (date(2024, 1, 3), 0, date(2027, 1, 1))
    assert {(b - a).days for a, b in pairwise(weeks[1:-1])} == {7}
    months = bin_edges(date(2017, 8, 17), date(2026, 1, 5), 700)
    assert months[:2] == [date(2017, 8, 17), date(2017, 9, 1)]
    assert months[-2:] == [date(2026, 1, 1), date(2026, 1, 6)]


def test_of_the_days_in_a_cell_the_worst_counts_in_this_order():
    order = ["no_data", "available", "provisional", "pending", "corrected", "degraded", NEVER, "missing"]
    assert list(STATES) == order
    assert {state.value for state in State} == set(order) - {NEVER}
    for number, worst in enumerate(order):
        row = row_of(*reversed(order[: number + 1]))
        assert STATES[cells(row, [FIRST, day(20)])[0]] == worst


def test_days_that_nobody_asked_for_stay_blank():
    row = CoverageRow("g", "l", [Span("available", day(5), day(6))])
    assert cells(row, [day(n) for n in range(9)]).tolist() == [-1] * 5 + [1, 1, -1]
    assert cells(row, [day(7), day(9)]).tolist() == [-1]


def test_where_there_are_too_many_rows_those_that_lack_most_are_shown_in_their_order():
    rows = [row_of(*["missing"] * (number % 5), "available", label=str(number)) for number in range(100)]
    shown = worst_rows(rows, 40)
    assert [row.label for row in shown] == [str(n) for n in range(100) if n % 5 in (3, 4)]
    assert [row.incomplete for row in shown[:2]] == [3, 4]


def test_nothing_to_draw_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="expected rows and days, found 0 rows"):
        coverage([], FIRST, day(1), LIGHT)
    with pytest.raises(ValueError, match="expected lanes"):
        gap_timeline([], at(1), at(2), LIGHT)
    with pytest.raises(ValueError, match="expected series with scores"):
        score_trend([ScoreLine("x", [], [], [])], 0.9, FIRST, day(1), LIGHT)
    with pytest.raises(ValueError, match="expected series with files"):
        delay([], LIGHT)


def test_a_strip_is_shown_in_place_whatever_the_days_are():
    random = np.random.default_rng(1)
    wild = CoverageRow("g", "l", [Span(STATES[int(random.integers(8))], day(n), day(n)) for n in range(1_000)])
    text = strip([wild], FIRST, day(999))
    assert text is not None
    assert len(text) < INLINE
    mixed = row_of(*["available"] * 20, "missing", *["available"] * 9)
    svg = base64.b64decode(
        re.search(r"base64,([^)]+)", strip([mixed, row_of("available")], FIRST, day(29)))[1]
    ).decode()
    assert f"<path stroke='{LIGHT.states['missing']}' d='M20 1H21'/>" in svg
    assert f"<path stroke='{LIGHT.states['available']}' d='M0 1H20M21 1H30'/>" in svg
    assert strip([], FIRST, day(1)) is None


# ---- colours ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen with each kind of colour blindness.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour: str, sight: str = "normal") -> np.ndarray:
    """Return a colour as CIE L*a*b* (D65), as it is seen."""
    srgb = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(SIGHTS[sight]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / [0.95047, 1, 1.08883])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_states_are_told_apart_by_every_eye(theme, sight):
    for one, other in combinations(STATES, 2):
        distance = np.linalg.norm(lab(theme.states[one], sight) - lab(theme.states[other], sight))
        assert distance > 10, (one, other, distance)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_states_are_told_apart_in_grey(theme):
    steps = sorted((lab(theme.states[state])[0], state) for state in STATES)
    for (dark, one), (light, other) in pairwise(steps):
        assert light - dark > 3.5, (one, other)
    contrast = {state: abs(lab(theme.states[state])[0] - lab(theme.background)[0]) for state in STATES}
    assert contrast["missing"] > 2.5 * contrast["no_data"], "missing alarms, a day without data is calm"


def test_every_kind_of_incident_has_a_colour():
    assert {kind.value for kind in Kind} == set(KIND_STATES)
    assert {LIGHT.colour(kind) for kind in KIND_STATES} < set(LIGHT.states.values())


# ---- gaps, scores, delays, candles -------------------------------------------------------------------------------------


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def test_a_lane_has_its_colour_where_its_spans_are_and_what_alarms_is_on_top():
    lanes = [
        Lane("illiquid", [(at(2), at(9))]),
        Lane("missing", [(at(5), at(6)), (at(5, 12), at(8))]),
        Lane("exchange_outage", [(at(20), at(20, 1))]),
    ]
    figure = gap_timeline(lanes, at(1), at(31), LIGHT)
    for place, x, colour in (
        (0, at(7), "missing"),
        (1, at(20), "corrected"),
        (2, at(3), "no_data"),
    ):
        assert colour_at(figure, date2num(x) + 0.01, place + 0.35) == LIGHT.states[colour]
    assert colour_at(figure, date2num(at(9)) + 0.5, 0.35) == LIGHT.background


def test_a_minute_in_three_years_is_seen():
    start, end = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    figure = gap_timeline([Lane("unexplained", [(at(5), at(5) + timedelta(minutes=1))])], start, end, LIGHT)
    assert colour_at(figure, date2num(at(5)), 0.35) == LIGHT.states["missing"]
    red = np.array([int(LIGHT.states["missing"][n : n + 2], 16) for n in (1, 3, 5)])
    assert 3 <= (pixels_of(figure) == red).all(axis=2).any(axis=0).sum() / 2 <= 5


def test_spans_that_overlap_or_touch_are_one():
    spans = [(at(5), at(6)), (at(1), at(2)), (at(2), at(3)), (at(5, 12), at(5, 13))]
    assert merged(spans) == [(at(1), at(3)), (at(5), at(6))]
    order = sorted(["before_listing", "pending", "our_failure", "missing", "degraded", NEVER], key=alarm_order)
    assert order == ["missing", "our_failure", NEVER, "degraded", "pending", "before_listing"]


def test_a_score_below_the_threshold_has_a_point_that_alarms_and_is_never_rounded_up():
    days = [day(n) for n in range(20)]
    line = ScoreLine("binance spot trades", days, [0.99] * 20, [0.99] * 9 + [0.8] + [0.99] * 10)
    figure = score_trend([line], 0.95, FIRST, day(19), LIGHT)
    assert colour_at(figure, date2num(day(9)) + 0.5, 0.8) == LIGHT.states["missing"]
    assert colour_at(figure, date2num(day(9)) + 0.5, 0.99) == LIGHT.states["available"]
    assert (score_text(0.99896), score_text(0.9999999), score_text(1.0)) == ("0.9989", "0.9999", "1.0000")


def test_percentiles_are_of_files_that_were_seen_to_appear():
    ends = np.arange(np.datetime64("2024-01-02", "s"), np.datetime64("2024-01-22", "s"), np.timedelta64(1, "D"))
    hours = np.array([100.0] * 10 + [8.0] * 8 + [9.0, 30.0])
    watched = np.arange(20) >= 10
    one = Delays("binance spot trades", ends, hours, watched)
    assert (one.percentile(0.5), one.percentile(0.95), one.latest) == (8.0, 30.0, 30.0)
    assert Delays("x", ends, hours, watched & False).percentile(0.95) == 100.0
    figure = delay([one], LIGHT)
    assert colour_at(figure, date2num(ends[-1]), 30.0) == LIGHT.states["corrected"]


def bars_of(*closes: float, start: str = "2024-01-01T00:00") -> Bars:
    """Return bars of a minute that open at 100."""
    close = np.array(closes)
    times = np.datetime64(start, "us") + np.arange(len(close)) * np.timedelta64(60, "s")
    return Bars(times, np.full(len(close), 100.0), np.maximum(close, 100), np.minimum(close, 100), close, close * 0 + 2)


def test_bars_are_merged_by_time_and_a_hole_stays_a_hole():
    bars = bars_of(101, 99, 104, 90, 100, 105)
    kept = np.array([0, 1, 4, 5])
    bars = Bars(*(getattr(bars, name)[kept] for name in Bars.__dataclass_fields__))
    found = merge_bars(bars, np.datetime64("2024-01-01T00:00", "us"), np.datetime64("2024-01-01T00:06", "us"), 3)
    assert found.times.tolist() == [datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 4)]  # noqa: DTZ001 - as numpy has it
    assert found.close.tolist() == [99.0, 105.0]
    assert found.high.tolist() == [101.0, 105.0]
    assert found.low.tolist() == [99.0, 100.0]
    assert found.volume.tolist() == [4.0, 4.0]
    assert len(merge_bars(bars, np.datetime64("2025-01-01", "us"), np.datetime64("2025-01-02", "us"))) == 0


def test_falling_candles_are_filled_and_rising_ones_hollow_with_volume_below():
    bars = bars_of(90, 110)
    start, end = np.datetime64("2024-01-01T00:00", "us"), np.datetime64("2024-01-01T00:02", "us")
    figure = candles(bars, start, end, "BTC/USDT", LIGHT)
    first, second = (date2num(bars.times[place]) + 0.5 / 1440 for place in (0, 1))
    assert colour_at(figure, first + 0.0001, 95) == LIGHT.fall
    assert colour_at(figure, second + 0.0001, 105) == LIGHT.background
    assert colour_at(figure, first, 1, axes=1) != LIGHT.background
    with pytest.raises(ValueError, match="found none"):
        candles(bars, end, end + np.timedelta64(60, "s"), "BTC/USDT", LIGHT)


def test_a_picture_is_the_same_bytes_again_and_has_the_size_that_was_asked_for():
    def draw() -> Figure:
        return coverage([row_of("available", "missing")], FIRST, day(1), LIGHT)

    assert png(draw()) == png(draw())
    assert pixels_of(draw(), 2.0).shape[1] == 1920
    assert pixels_of(draw(), 1.0).shape[1] == 960


def test_ticks_say_as_much_as_is_new():
    months = [datetime(2023, 11, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]
    assert date_texts(months) == ["Nov\n2023", "Dec", "Jan\n2024"]
    january, february = at(29), datetime(2024, 2, 1, tzinfo=UTC)
    assert date_texts([january, february, february + timedelta(4)]) == ["29", "1\nFeb 2024", "5"]
    assert date_texts([at(30), at(31)]) == ["30\nJan 2024", "31"]
    assert date_texts([at(1, 22), at(1, 23), at(2)]) == ["22:00\n1 Jan 2024", "23:00", "00:00\n2 Jan 2024"]
