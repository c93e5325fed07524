"""The small picture of coverage: every day in its colour, the worst symbols first, short enough for Dagster."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from crypto_assets.quality.report.charts import LIGHT, NEVER, CoverageRow, Span, legend, small_calendar
from crypto_assets.quality.report.charts.palette import STATES
from crypto_assets.quality.report.charts.strip import INLINE
from crypto_assets_tests.quality.small_calendars import rows_of

FIRST = date(2024, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def row(label: str, *states: tuple[str, int]) -> CoverageRow:
    """Return a row of consecutive spans, each a state and its number of days."""
    spans, at = [], 0
    for state, days in states:
        spans.append(Span(state, day(at), day(at + days - 1)))
        at += days
    return CoverageRow("binance spot ohlcv_1m", label, spans)


def test_every_day_has_the_colour_of_its_state_and_the_worst_symbol_is_first():
    rows = [
        row("BTC/USDT", ("available", 30)),
        row("ETH/USDT", ("available", 10), ("missing", 2), ("available", 8), ("degraded", 1), (NEVER, 9)),
    ]
    worst, best = rows_of(small_calendar(rows, FIRST, day(29)))
    colour = LIGHT.states
    assert (worst.label, worst.note) == ("ETH/USDT", "12 of 30 days")
    assert worst.bars == [
        (colour["available"], 0, 10),
        (colour["missing"], 10, 12),
        (colour["available"], 12, 20),
        (colour["degraded"], 20, 21),
        (LIGHT.muted, 21, 30),
    ]
    assert (best.label, best.note, best.bars) == ("BTC/USDT", "", [(colour["available"], 0, 30)])


def test_one_missing_day_of_years_is_still_seen():
    rows = [row("BTC/USDT", ("available", 700), ("missing", 1), ("available", 394))]
    (found,) = rows_of(small_calendar(rows, FIRST, day(1094)))
    assert [state for state, *_ in found.bars] == [LIGHT.states[name] for name in ("available", "missing", "available")]


@pytest.mark.parametrize("symbols", [1, 9, 200])
def test_it_is_short_whatever_it_shows_and_counts_what_it_leaves_out(symbols):
    chequered = [("available", 1), ("missing", 1), ("degraded", 1), ("no_data", 1), ("provisional", 1)] * 73
    rows = [row(f"1000000MOG{n}/USDT", *chequered[n % 3 :]) for n in range(symbols)]
    rows += [row(f"OK{n}/USDT", ("available", 365)) for n in range(symbols)]
    text = small_calendar(rows, FIRST, day(364))
    assert len(text) < INLINE
    shown = rows_of(text)
    assert shown
    assert all(len(found.label) <= 15 for found in shown)
    left = 2 * symbols - len(shown)
    incomplete = symbols - sum(bool(found.note) for found in shown)
    what = f"{incomplete} of them incomplete" if incomplete else "all complete"
    assert text.endswith(f"2024-01-01 to 2024-12-30; {left} more symbols, {what}" if left else "to 2024-12-30")


def test_symbols_of_any_letters_are_text():
    names = ["币安人生/USDT", "<b>&#%\\x", "A]B(C)"]
    text = small_calendar([row(name, ("available", 3)) for name in names], FIRST, day(2))
    assert {found.label for found in rows_of(text)} == set(names)


def test_nothing_to_show_is_no_picture():
    assert small_calendar([], FIRST, day(3)) is None
    assert small_calendar([row("BTC/USDT", ("available", 1))], day(3), FIRST) is None


def test_the_legend_of_all_states_is_short():
    text = legend(STATES)
    assert len(text) < INLINE + 400
    assert text.index("missing") < text.index("available")
