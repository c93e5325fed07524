"""Draw the publication delay: how long after the end of its period each file of a series was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.checks.published_in_time import percentile
from crypto_assets.quality.report.charts import drawing
from crypto_assets.quality.report.charts.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT, _BETWEEN = 66, 16
_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Delays:
    """Files of one series: the ends of their periods (datetime64[s], UTC, ascending), and the delays in hours (float64).

    `watched` marks the files that were seen to appear; for others only the time of a later republication may be known.
    """

    label: str
    ends: np.ndarray
    hours: np.ndarray
    watched: np.ndarray

    def percentile(self, share: float) -> float:
        """Return the delay in hours that this share (0 to 1) of the files seen to appear, or else of all, stays within."""
        return float(percentile(sorted(self.hours[self.watched] if self.watched.any() else self.hours), share))

    @property
    def latest(self) -> float:
        """The delay of the file with the latest period, in hours."""
        return float(self.hours[-1])


def hours_text(hours: float) -> str:
    """Return a delay in words: `40 min`, `8.7 h`, `3.2 d`."""
    if abs(hours) < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if abs(hours) < 72 else f"{hours / 24:.1f} d"


def delay(series: Sequence[Delays], theme: Theme, width: float = drawing.WIDTH) -> Figure:
    """Return the delays of each series over the end of the period, with p50, p95 and the latest file.

    Raises:
        ValueError: no series, or a series without files.
    """
    if not series or not all(len(one.hours) for one in series):
        raise ValueError(f"delay: expected series with files, found {[len(one.hours) for one in series]} files")
    from matplotlib.dates import date2num

    names = [drawing.shorten(one.label) for one in series]
    notes = [_note(one) for one in series]
    left = max(drawing.text_width(names) + 66, 110)
    right = max(drawing.text_width(notes, drawing.SMALL) + 20, 80)
    top = drawing.LEGEND + 4
    figure = drawing.new_figure(width, top + len(series) * (_HEIGHT + _BETWEEN) - _BETWEEN + drawing.AXIS, theme)
    begin: datetime = min(one.ends[0] for one in series).item()
    end: datetime = max(one.ends[-1] for one in series).item()
    margin = max((end - begin) * 0.02, timedelta(hours=12))
    calm, dark = theme.states["available"], theme.text
    for number, (one, name, note) in enumerate(zip(series, names, notes, strict=True)):
        y = top + number * (_HEIGHT + _BETWEEN)
        axes = drawing.new_axes(figure, theme, left, y, width - left - right, _HEIGHT)
        drawing.date_axis(axes, theme, begin - margin, end + margin, shown=one is series[-1])
        _hours_axis(axes, one)
        # Thinned evenly: more points than pixels only cost bytes. The latest stays.
        kept = np.unique(np.linspace(0, len(one.hours) - 1, min(len(one.hours), _POINTS)).round().astype(int))
        xs, ys, watched = np.asarray(date2num(one.ends[kept]), float), one.hours[kept], one.watched[kept]
        axes.plot(xs[~watched], ys[~watched], "o", mfc="none", mec=calm, mew=0.9, markersize=3.6, alpha=0.9, zorder=3)
        axes.plot(xs[watched], ys[watched], "o", color=calm, markersize=3.8, mew=0, alpha=0.9, zorder=3)
        axes.axhline(one.percentile(0.5), color=dark, linewidth=1)
        axes.axhline(one.percentile(0.95), color=dark, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(xs[-1:], ys[-1:], "D", color=theme.states["corrected"], markersize=5, clip_on=False, zorder=4)
        drawing.label(figure, name, 8, y + _HEIGHT / 2, theme.text)
        drawing.label(
            figure, note, width - right + 12, y + _HEIGHT / 2, theme.muted, fontsize=drawing.SMALL, linespacing=1.5
        )
    entries = [
        (calm, "a file (hollow: published before we looked, or again since)"),
        (dark, "p50, dashed p95"),
        (theme.states["corrected"], "the latest period"),
    ]
    drawing.legend(figure, theme, entries, 8)
    return figure


def _hours_axis(axes: Axes, one: Delays) -> None:
    """Let y be hours, from zero to a little above the longest; logarithmic if that is 30 times the median."""
    longest, usual = float(one.hours.max()), one.percentile(0.5)
    if one.hours.min() > 0 and longest > 30 * usual:
        axes.set_yscale("log")
        axes.set_ylim(float(one.hours.min()) / 1.4, longest * 1.4)
        ticks = [usual, longest]
        axes.minorticks_off()
    else:
        axes.set_ylim(min(0.0, float(one.hours.min())), max(longest * 1.12, 0.1))
        ticks = [0.0, longest]
    axes.set_yticks(ticks, ["0" if tick == 0 else hours_text(tick) for tick in ticks])


def _note(one: Delays) -> str:
    return f"p50 {hours_text(one.percentile(0.5))}\np95 {hours_text(one.percentile(0.95))}\nlatest {hours_text(one.latest)}"
