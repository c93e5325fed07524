"""Draw the coverage of a series' symbols as a Markdown image below 1,000 characters, which Dagster shows without a click.

Symbols down, days across, coloured by state; the symbols with the most incomplete days come first. `coverage` draws the same
for a page, with matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np

from crypto_assets.quality.report.charts.coverage import CoverageRow, cells
from crypto_assets.quality.report.charts.palette import LIGHT, NEVER, STATE_TITLES, STATES, Theme
from crypto_assets.quality.report.charts.strip import INLINE
from crypto_assets.text.markdown_image import svg_image, svg_text

ROWS = 8
"""The most symbols of a picture; fewer if it would be too long."""

_CELLS = 62, 40, 24
_WIDTH, _LEFT, _ACROSS = 460, 92, 250
"""CSS pixels: the picture, the symbols, the days. Dagster cuts off what is wider than its column."""

_PITCH, _BAR, _LETTERS = 18, 12, 15


def small_calendar(rows: Sequence[CoverageRow], first: date, last: date, theme: Theme = LIGHT) -> str | None:
    """Return the picture of some rows from first to last, both included; None if there is nothing to show.

    Right of a row are its incomplete days. What is left out is counted in the line below.
    """
    if not rows or last < first:
        return None
    worst = sorted(rows, key=lambda row: (-row.incomplete, row.label))
    for count in range(min(ROWS, len(worst)), 0, -1):
        for most in _CELLS:
            text = _image(worst[:count], first, last, most, theme) + _below(worst[count:], first, last)
            if len(text) < INLINE:
                return text
    return None


def legend(states: Iterable[str], theme: Theme = LIGHT) -> str:
    """Return a picture of the colours of some states, the alarming ones first."""
    shown = [state for state in reversed(STATES) if state in set(states)]
    paths = "".join(
        _path(STATES.index(state), f"M0 {_PITCH * place + 9}h14", theme) for place, state in enumerate(shown)
    )
    texts = "".join(
        f"<text x='22' y='{_PITCH * place + 13}'>{STATE_TITLES[state]}</text>" for place, state in enumerate(shown)
    )
    return svg_image("colours", _svg(len(shown), f"<g stroke-width='{_BAR}'>{paths}</g>{texts}"))


def _image(rows: Sequence[CoverageRow], first: date, last: date, most: int, theme: Theme) -> str:
    days = (last - first).days + 1
    count = min(most, days)
    edges = [first + timedelta(days=int(place)) for place in np.linspace(0, days, count + 1).astype(int)]
    paths: dict[int, str] = {}
    texts = ""
    for place, row in enumerate(rows):
        middle = _PITCH * place + 9
        for rank, begin, end in _runs(cells(row, edges)):
            paths[rank] = paths.get(rank, "") + f"M{begin} {middle}H{end}"
        texts += f"<text y='{middle + 4}'>{svg_text(_shortened(row.label))}</text>"
        if row.incomplete:
            due = row.counts().total()
            texts += f"<text x='{_LEFT + _ACROSS + 6}' y='{middle + 4}'>{row.incomplete:,} of {due:,} days</text>"
    drawing = "".join(_path(rank, path, theme) for rank, path in sorted(paths.items()))
    across = f"matrix({round(_ACROSS / count, 2)} 0 0 1 {_LEFT} 0)"
    return svg_image("coverage", _svg(len(rows), f"<g transform='{across}' stroke-width='{_BAR}'>{drawing}</g>{texts}"))


def _svg(rows: int, drawing: str) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_PITCH * rows}' style='font:11px Arial' "
        f"fill='gray'>{drawing}</svg>"
    )


def _path(rank: int, path: str, theme: Theme) -> str:
    """Return the bars of a state in its colour; days never collected are a thin line."""
    state = STATES[rank]
    if state == NEVER:
        return f"<path stroke='{theme.muted}' stroke-width='2' d='{path}'/>"
    return f"<path stroke='{theme.states[state]}' d='{path}'/>"


def _runs(ranks: np.ndarray) -> Iterable[tuple[int, int, int]]:
    """Yield state, begin and end of equal cells in a row, without those outside the row's days."""
    starts = np.flatnonzero(np.diff(ranks, prepend=-2))
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(ranks)], strict=True):
        if ranks[begin] >= 0:
            yield int(ranks[begin]), begin, end


def _shortened(label: str) -> str:
    return label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"


def _below(others: Sequence[CoverageRow], first: date, last: date) -> str:
    """Return the line below the picture: its days, and the symbols that it leaves out."""
    text = f"\n\n{first} to {last}"
    if not others:
        return text
    incomplete = sum(row.incomplete > 0 for row in others)
    what = f"{incomplete:,} of them incomplete" if incomplete else "all complete"
    return f"{text}; {len(others):,} more symbols, {what}"
