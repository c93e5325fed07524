"""Draw the gap timeline: spans without data, and incomplete days, one lane for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.engine.problems import word_of
from crypto_assets.quality.report.charts import drawing
from crypto_assets.quality.report.charts.palette import KIND_STATES, NEVER, STATES, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LANE = 30
_NARROWEST = 4.0  # CSS pixels; keeps an outage of a minute in three years visible


@dataclass(frozen=True, slots=True)
class Lane:
    """The spans [start, end), UTC, of one kind: one of `palette.KIND_STATES`, or a state that is not complete.

    They may overlap, for example with many symbols; `note` is written next to them.
    """

    kind: str
    spans: Sequence[tuple[datetime, datetime]]
    note: str = ""

    @property
    def name(self) -> str:
        """The kind as people read it: `partial`, `exchange outage`."""
        return word_of(self.kind).replace("_", " ")


def alarm_order(kind: str) -> tuple[int, str]:
    """Return a key that sorts kinds and states from the most alarming to the harmless; states before kinds."""
    return (-2 * STATES.index(KIND_STATES.get(kind, kind)) + (kind in KIND_STATES), kind)


def merged(spans: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Return the union of spans as separate spans, ascending."""
    result: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def length_text(length: timedelta) -> str:
    """Return a length in words: `12 min`, `3.5 h`, `41 days`."""
    hours = length.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 24 else f"{hours / 24:,.1f} days".replace(".0 ", " ")


def gap_timeline(
    lanes: Sequence[Lane], start: datetime, end: datetime, theme: Theme, width: float = drawing.WIDTH
) -> Figure:
    """Return the lanes over [start, end), the most alarming at the top; a span is at least 4 CSS pixels wide.

    The axes have instants as x; lane n is at y from n to n + 1.

    Raises:
        ValueError: no lanes, or no time.
    """
    if not lanes or end <= start:
        raise ValueError(f"gap_timeline: expected lanes and time, found {len(lanes)} lanes and {start} … {end}")
    from matplotlib.dates import date2num

    lanes = sorted(lanes, key=lambda lane: alarm_order(lane.kind))
    names = [lane.name for lane in lanes]
    left = max(drawing.text_width(names) + 24, 96)
    right = max(drawing.text_width([lane.note for lane in lanes], drawing.SMALL) + 20, 60)
    across, top = width - left - right, 8
    figure = drawing.new_figure(width, top + len(lanes) * _LANE + drawing.AXIS, theme)
    axes = drawing.new_axes(figure, theme, left, top, across, len(lanes) * _LANE)
    axes.set_ylim(len(lanes), 0)
    axes.set_yticks([])
    drawing.date_axis(axes, theme, start, end)
    least = float(date2num(end) - date2num(start)) / across * _NARROWEST
    for place, (lane, name) in enumerate(zip(lanes, names, strict=True)):
        spans = merged([(max(a, start), min(b, end)) for a, b in lane.spans if a < end and b > start])
        begins = np.array([date2num(a) for a, _ in spans], float)
        lengths = np.array([date2num(b) for _, b in spans], float) - begins
        begins -= np.maximum(least - lengths, 0) / 2
        colour = theme.colour(lane.kind)
        style = drawing.hole_style(theme) if lane.kind == NEVER else {"facecolor": colour, "linewidth": 0}
        axes.broken_barh(list(zip(begins, np.maximum(lengths, least), strict=True)), (place + 0.2, 0.6), **style)
        axes.axhline(place + 0.5, color=theme.grid, linewidth=0.8, zorder=0.5)
        middle = top + (place + 0.5) * _LANE
        drawing.label(figure, name, 8, middle, theme.text)
        drawing.label(figure, lane.note, width - right + 12, middle, theme.muted, fontsize=drawing.SMALL)
    return figure
