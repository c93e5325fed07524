"""Draw the coverage of some symbols as a Markdown image below 1,000 characters, which Dagster shows without a click."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from crypto_assets.quality.report.charts.coverage import CoverageRow, cells
from crypto_assets.quality.report.charts.palette import LIGHT, NEVER, STATES, Theme

INLINE = 1_000
"""Dagster shows shorter Markdown in place, longer Markdown behind a link."""

_CELLS = 60


def strip(rows: Sequence[CoverageRow], first: date, last: date, theme: Theme = LIGHT) -> str | None:
    """Return a Markdown image of at most 60 cells from first to last, both included, each with the worst state of all rows.

    It has fewer cells if the text would reach 1,000 characters; None if there is nothing to show.
    """
    if not rows or last < first:
        return None
    days = (last - first).days + 1
    count = min(_CELLS, days)
    while count:
        places = np.linspace(0, days, count + 1).astype(int)
        edges = [first + timedelta(days=int(place)) for place in places]
        ranks = np.max([cells(row, edges) for row in rows], axis=0)
        text = _image(ranks, theme, first, last)
        if len(text) < INLINE:
            return text
        count = count * 2 // 3
    return None


def _image(ranks: np.ndarray, theme: Theme, first: date, last: date) -> str:
    count = len(ranks)
    starts = np.flatnonzero(np.diff(ranks, prepend=-2))
    ends = np.append(starts[1:], count)
    paths: dict[int, str] = {}
    for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rank = int(ranks[begin])
        if rank >= 0:
            paths[rank] = paths.get(rank, "") + f"M{begin} 1H{end}"
    drawing = "".join(f"<path {_style(STATES[rank], theme)} d='{path}'/>" for rank, path in sorted(paths.items()))
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='460' height='22' viewBox='0 0 {count} 2' "
        f"preserveAspectRatio='none' stroke-width='2'>{drawing}</svg>"
    )
    data = base64.b64encode(svg.encode()).decode()
    return f"![coverage](data:image/svg+xml;base64,{data})\n\n{first} to {last}; the worst symbol of each day counts"


def _style(state: str, theme: Theme) -> str:
    """Return the style of a state: its colour; days never collected are a thin line."""
    if state == NEVER:
        return f"stroke='{theme.muted}' stroke-width='.2'"
    return f"stroke='{theme.states[state]}'"
