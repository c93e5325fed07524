"""Draw candles and volume of any number of bars, over one or several days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.quality.report.charts import drawing
from crypto_assets.quality.report.charts.palette import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CANDLES = 120
_PRICES, _VOLUME = 170, 54


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in time order: `times` (datetime64[us], UTC, opening), prices and volume (float64), of the same length."""

    times: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray

    def __len__(self) -> int:
        return len(self.times)


def merge_bars(bars: Bars, start: np.datetime64, end: np.datetime64, count: int = CANDLES) -> Bars:
    """Return bars of equal length over [start, end), at most `count`; empty ones are left out."""
    edges = start + (end - start) * np.arange(count + 1) // count
    places = np.searchsorted(edges, bars.times, side="right") - 1
    inside = (places >= 0) & (places < count)
    begins = np.flatnonzero(inside & (np.diff(places, prepend=-1) != 0))
    if not len(begins):
        return Bars(bars.times[:0], *(bars.open[:0],) * 5)
    until = int(np.flatnonzero(inside)[-1]) + 1
    ends = np.append(begins[1:], until) - 1
    cut = slice(0, until)
    return Bars(
        edges[places[begins]],
        bars.open[begins],
        np.maximum.reduceat(bars.high[cut], begins),
        np.minimum.reduceat(bars.low[cut], begins),
        bars.close[ends],
        np.add.reduceat(bars.volume[cut], begins),
    )


def candles(
    bars: Bars, start: np.datetime64, end: np.datetime64, title: str, theme: Theme, width: float = drawing.WIDTH / 2
) -> Figure:
    """Return candles above volume for [start, end); missing bars leave a gap.

    Raises:
        ValueError: there are no bars in that time.
    """
    count = min(CANDLES, max(int((end - start) / _shortest(bars)), 1))
    merged = merge_bars(bars, start, end, count)
    if not len(merged):
        raise ValueError(f"candles: expected bars between {start} and {end}, found none")
    from matplotlib.dates import date2num

    step = float(date2num(end) - date2num(start)) / count
    prices = [_number(value) for value in (merged.low.min(), merged.high.max())]
    left, right, top = max(drawing.text_width(prices, drawing.SMALL) + 16, 56), 14, 26
    figure = drawing.new_figure(width, top + _PRICES + 10 + _VOLUME + drawing.AXIS, theme)
    upper = drawing.new_axes(figure, theme, left, top, width - left - right, _PRICES)
    lower = drawing.new_axes(figure, theme, left, top + _PRICES + 10, width - left - right, _VOLUME)
    for axes in (upper, lower):
        drawing.date_axis(axes, theme, _datetime(start), _datetime(end), shown=axes is lower)
    xs = np.asarray(date2num(merged.times), float) + step / 2
    rises = merged.close >= merged.open
    height = float(merged.high.max() - merged.low.min()) or 1.0
    for which, colour in ((rises, theme.rise), (~rises, theme.fall)):
        at = xs[which]
        upper.vlines(at, merged.low[which], merged.high[which], color=colour, linewidth=0.9)
        bottom = np.minimum(merged.open, merged.close)[which]
        body = np.maximum(np.abs(merged.close - merged.open)[which], height / _PRICES)
        # Rising bodies are hollow, falling ones filled: readable without colour too.
        face = theme.background if which is rises else colour
        upper.bar(at, body, step * 0.66, bottom, facecolor=face, edgecolor=colour, linewidth=0.9, zorder=3)
        lower.bar(at, merged.volume[which], step * 0.8, color=colour, alpha=0.75)
    upper.set_ylim(merged.low.min() - height * 0.03, merged.high.max() + height * 0.03)
    upper.set_yticks([merged.low.min(), merged.high.max()], prices)
    most = float(merged.volume.max())
    lower.set_ylim(0, most * 1.05 or 1.0)
    lower.set_yticks([most] if most else [], [_number(most)] if most else [])
    drawing.label(figure, title, 8, 13, theme.text, weight="bold")
    drawing.label(
        figure, "hollow rises, filled falls", width - right, 13, theme.muted, fontsize=drawing.SMALL, ha="right"
    )
    return figure


def _shortest(bars: Bars) -> np.timedelta64:
    """Return the length of a bar: the shortest distance between two, or a day if there is only one."""
    return np.diff(bars.times).min() if len(bars) > 1 else np.timedelta64(1, "D")


def _datetime(at: np.datetime64) -> datetime:
    return datetime.fromisoformat(str(at.astype("datetime64[us]")))


def _number(value: float) -> str:
    """Return a price or volume with about five digits."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.5g}"
