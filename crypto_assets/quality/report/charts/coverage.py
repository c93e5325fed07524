"""Draw the coverage calendar: symbols down, days across, coloured by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.engine.problems import word_of
from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.quality.report.charts import drawing
from crypto_assets.quality.report.charts.palette import NEVER, STATES, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_SHOWN = 60
_NARROWEST = 3.0  # CSS pixels; a narrower cell is invisible
_EDGED = 7.0
_OUTSIDE = -1
_RANKS = {state: rank for rank, state in enumerate(STATES)}
_SHORT = {state: word_of(state) for state in STATES}


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive days, `first` to `last` included, with one state: one of `palette.STATES`."""

    state: str
    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """The days of one symbol; days outside its spans stay blank. `group` is the series' name."""

    group: str
    label: str
    spans: Sequence[Span]

    def counts(self) -> Counter[str]:
        """Return the number of days of each state."""
        counts: Counter[str] = Counter()
        for span in self.spans:
            counts[span.state] += span.days
        return counts

    @property
    def incomplete(self) -> int:
        return sum(days for state, days in self.counts().items() if state not in COMPLETE_STATES)


def worst_rows(rows: Sequence[CoverageRow], count: int = ROWS_SHOWN) -> list[CoverageRow]:
    """Return the rows with the most incomplete days, at most `count`, in their original order."""
    if len(rows) <= count:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda place: (-rows[place].incomplete, place))
    return [rows[place] for place in sorted(order[:count])]


def bin_edges(first: date, last: date, width: float) -> list[date]:
    """Return the first days of the cells between two days, both included, and the day after the last one.

    Cells are days, weeks from Monday on, or months: the finest that leaves 3 CSS pixels for each.
    """
    days = (last - first).days + 1
    end = last + timedelta(days=1)
    every = [first + timedelta(days=n) for n in range(days)]
    if width / days >= _NARROWEST:
        return [*every, end]
    weeks = [day for day in every if day.weekday() == 0 or day == first]
    if width / len(weeks) >= _NARROWEST:
        return [*weeks, end]
    return [*(day for day in every if day.day == 1 or day == first), end]


def cells(row: CoverageRow, edges: Sequence[date]) -> np.ndarray:
    """Return the worst state in each cell as its index in STATES (int8); -1 for cells without a requested day."""
    first, days = edges[0], (edges[-1] - edges[0]).days
    ranks = np.full(days, _OUTSIDE, np.int8)
    for span in row.spans:
        begin, end = max((span.first - first).days, 0), min((span.last - first).days + 1, days)
        if begin < end:
            ranks[begin:end] = np.maximum(ranks[begin:end], _RANKS[span.state])
    return np.maximum.reduceat(ranks, [(edge - first).days for edge in edges[:-1]])


def coverage(
    rows: Sequence[CoverageRow], first: date, last: date, theme: Theme, width: float = drawing.WIDTH
) -> Figure:
    """Return the calendar of some rows from first to last, both included.

    The axes have days as x; row n, headings included, is at y from n to n + 1. If days would be too narrow, weeks or
    months are drawn in the colour of their worst day.

    Raises:
        ValueError: no rows, or the last day before the first.
    """
    if not rows or last < first:
        raise ValueError(f"coverage: expected rows and days, found {len(rows)} rows and {first} … {last}")
    from matplotlib.colors import ListedColormap
    from matplotlib.dates import date2num
    from matplotlib.patches import Rectangle

    names = [drawing.shorten(row.label) for row in rows]
    notes = [_note(row) for row in rows]
    groups = list(dict.fromkeys(row.group for row in rows))
    left = max(drawing.text_width(names) + 22, 96)
    right = max(drawing.text_width(notes, drawing.SMALL) + 20, 60)
    pitch = 22 if len(rows) <= 30 else 17
    lines = len(rows) + len(groups)
    across = width - left - right
    top = drawing.LEGEND + 2
    figure = drawing.new_figure(width, top + lines * pitch + drawing.AXIS, theme)
    axes = drawing.new_axes(figure, theme, left, top, across, lines * pitch)
    axes.set_ylim(lines, 0)
    axes.set_yticks([])

    edges = bin_edges(first, last, across)
    xs = np.asarray(date2num(edges), float)
    palette = ListedColormap([theme.states[state] for state in STATES])
    edged = across / (len(edges) - 1) >= _EDGED
    present: set[int] = set()
    place = 0
    for group in groups:
        drawing.label(
            figure, group, 8, top + (place + 0.58) * pitch, theme.muted, fontsize=drawing.SMALL, weight="bold"
        )
        place += 1
        for row, name, note in zip(rows, names, notes, strict=True):
            if row.group != group:
                continue
            ranks = cells(row, edges)
            present.update(ranks.tolist())
            axes.pcolormesh(
                xs,
                [place + 0.12, place + 0.88],
                np.ma.masked_where((ranks < 0) | (ranks == _RANKS[NEVER]), ranks)[np.newaxis, :],
                cmap=palette,
                vmin=-0.5,
                vmax=len(STATES) - 0.5,
                edgecolors=theme.background if edged else "none",
                linewidth=0.75 if edged else 0,
                antialiased=edged,
            )
            for begin, end in _runs(ranks == _RANKS[NEVER]):
                hole = Rectangle((xs[begin], place + 0.12), xs[end] - xs[begin], 0.76, **drawing.hole_style(theme))
                axes.add_patch(hole)
            middle = top + (place + 0.5) * pitch
            drawing.label(figure, name, 16, middle, theme.text)
            colour = theme.states["missing"] if row.incomplete else theme.muted
            drawing.label(figure, note, width - right + 10, middle, colour, fontsize=drawing.SMALL)
            place += 1
    drawing.date_axis(axes, theme, drawing.instant(first), drawing.instant(edges[-1]))
    axes.grid(visible=False)
    drawing.legend(figure, theme, _entries(present, theme), 8)
    unit = {1: "day", 7: "week"}.get(max((b - a).days for a, b in pairwise(edges)), "month")
    if unit != "day":
        drawing.label(
            figure,
            f"a cell is a {unit}, its worst day counts",
            width - 8,
            drawing.LEGEND / 2,
            theme.muted,
            fontsize=drawing.SMALL,
            ha="right",
        )
    return figure


def _runs(which: np.ndarray) -> list[tuple[int, int]]:
    """Return the [begin, end) of the runs of True."""
    turns = np.flatnonzero(np.diff(which.astype(np.int8), prepend=0, append=0))
    return list(zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True))


def _entries(present: set[int], theme: Theme) -> list[tuple[str, str]]:
    """Return the legend of the states that occur, the worst first."""
    shown = [STATES[rank] for rank in sorted(present - {_OUTSIDE}, reverse=True)]
    return [(theme.states[state], _SHORT[state]) for state in shown]


def _note(row: CoverageRow) -> str:
    """Return the text to the right of a row: `2 missing`, `complete`, `complete or no data`."""
    counts = row.counts()
    incomplete = [state for state in reversed(STATES) if counts[state] and state not in COMPLETE_STATES]
    if not incomplete:
        return ("complete or no data" if counts[State.NO_DATA] else "complete") if counts else "nothing asked"
    texts = [f"{counts[state]:,} {_SHORT[state]}" for state in incomplete]
    return texts[0] + (f", {row.incomplete - counts[incomplete[0]]:,} other" if len(incomplete) > 1 else "")
