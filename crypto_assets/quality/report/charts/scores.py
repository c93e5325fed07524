"""Draw the quality trend: the score of each series day by day, against the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.quality.report.charts import drawing
from crypto_assets.quality.report.charts.palette import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES_SHOWN = 12
_HEIGHT, _BETWEEN = 62, 14


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """The scores of one series, each from 0 to 1: for each day the mean over its symbols, and the worst.

    `days` are ascending; `mean` and `worst` have the same length.
    """

    label: str
    days: Sequence[date]
    mean: Sequence[float]
    worst: Sequence[float]


def score_trend(
    series: Sequence[ScoreLine], threshold: float, first: date, last: date, theme: Theme, width: float = drawing.WIDTH
) -> Figure:
    """Return one line for each series, over [first, last], on one scale; points below the threshold have an alarm colour.

    Raises:
        ValueError: no series, or a series without scores.
    """
    if not series or not all(one.days for one in series):
        raise ValueError(f"score_trend: expected series with scores, found {[len(one.days) for one in series]} days")
    from matplotlib.dates import date2num

    names = [drawing.shorten(one.label) for one in series]
    notes = [_note(one, threshold) for one in series]
    left = max(drawing.text_width(names) + 62, 110)
    right = max(drawing.text_width(notes, drawing.SMALL) + 20, 80)
    top = drawing.LEGEND + 4
    height = top + len(series) * (_HEIGHT + _BETWEEN) - _BETWEEN + drawing.AXIS
    figure = drawing.new_figure(width, height, theme)
    lowest = min(threshold, *(min(one.worst) for one in series))
    floor = max(np.floor((lowest - 0.03) * 20) / 20, 0.0)
    alarm, calm = theme.states["missing"], theme.states["available"]
    end = drawing.instant(date.fromordinal(last.toordinal() + 1))
    for number, (one, name, note) in enumerate(zip(series, names, notes, strict=True)):
        y = top + number * (_HEIGHT + _BETWEEN)
        axes = drawing.new_axes(figure, theme, left, y, width - left - right, _HEIGHT)
        axes.set_ylim(floor, 1 + (1 - floor) * 0.08)
        axes.set_yticks([floor, 1.0], [f"{floor:.2f}", "1.00"])
        drawing.date_axis(axes, theme, drawing.instant(first), end, shown=one is series[-1])
        # The middle of the day: a single day is then inside the axes.
        days = np.asarray(date2num(list(one.days)), float) + 0.5
        mean, worst = np.asarray(one.mean, float), np.asarray(one.worst, float)
        axes.axhspan(floor, threshold, color=alarm, alpha=0.07, linewidth=0)
        axes.axhline(threshold, color=alarm, linewidth=1, linestyle=(0, (4, 3)))
        axes.fill_between(days, worst, mean, color=calm, alpha=0.25, linewidth=0)
        few = len(days) <= 40
        axes.plot(days, mean, color=calm, linewidth=1.8, marker="o" if few else "", markersize=3.5, clip_on=False)
        low = worst < threshold
        axes.plot(days[low], worst[low], "o", color=alarm, markersize=4.5, clip_on=False)
        drawing.label(figure, name, 8, y + _HEIGHT / 2, theme.text)
        drawing.label(
            figure,
            note,
            width - right + 12,
            y + _HEIGHT / 2,
            alarm if low.any() else theme.muted,
            fontsize=drawing.SMALL,
            linespacing=1.5,
        )
    entries = [
        (calm, "mean over symbols, shaded to the worst"),
        (alarm, f"a symbol below the threshold {threshold:g} (dashed)"),
    ]
    drawing.legend(figure, theme, entries, 8)
    return figure


def score_text(score: float) -> str:
    """Return a score with four digits, cut off: a score below the threshold must never look equal to it."""
    return f"{np.floor(score * 10_000 + 1e-9) / 10_000:.4f}"


def _note(one: ScoreLine, threshold: float) -> str:
    low = sum(worst < threshold for worst in one.worst)
    below = f"{low} day{'s' * (low != 1)} below" if low else "never below"
    return f"mean {score_text(float(np.mean(one.mean)))}\n{below}"
