"""Shows a partition in the Dagster UI: a preview of its rows and, for bars, a candle chart.

The UI shows Markdown below 1,000 characters inline and longer text behind a link, so both stay below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets.model import Series
from crypto_assets.rows.frames import approximate
from crypto_assets.text.markdown_image import svg_image
from crypto_assets.text.visible import visible

INLINE = 1_000
"""From this length on the UI shows Markdown behind a link."""

_CANDLES = 24, 18, 12
"""The most candles of a day; fewer if the chart would be too long: every hour from the lowest to the highest price."""

_PRICES, _VOLUME = 50, 9
_HEIGHT = _PRICES + 2 + _VOLUME
_WIDE, _HIGH = 18, 3
"""Pixels of a candle's place, and of a unit of height."""

_LEFT, _TOP, _BOTTOM = 66, 6, 16
"""Pixels beside the drawing: for the prices, for half a letter, and for the hours."""

_LETTER, _PRICE_LETTERS = 6, 9

_HOUR_US = 3_600_000_000

_LABEL_GAP = 4
"""Units of height between two prices that can be read."""

# In units of a candle's place and of a height; the numbers of the paths are short, because each is the way from the last one.
_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' style='font:11px Arial' fill='gray'>"
    f"<g transform='matrix({_WIDE} 0 0 {_HIGH} {_LEFT} {_TOP})' stroke-width='.7'>"
    f"<path fill='silver' d='M-.5 {_HEIGHT}{{bars}}V{_HEIGHT}'/><path stroke='gray' stroke-width='.1' d='{{wicks}}'/>"
    "<path stroke='teal' d='{rises}'/><path stroke='tomato' d='{falls}'/></g>{labels}</svg>"
)


def preview(rows: pa.Table, count: int = 3) -> str:
    """Return the first and last rows as a Markdown table of the first six columns."""
    names = rows.column_names[:6]
    cut = rows.num_rows > 2 * count
    shown = rows.select(names)
    if cut:
        shown = pa.concat_tables([shown.slice(0, count), shown.slice(rows.num_rows - count)])
    columns = [[_text(value) for value in column.to_pylist()] for column in shown.columns]
    lines = ["|".join(cells) for cells in zip(*columns, strict=True)]
    if cut:
        lines.insert(count, "|".join("…" for _ in names))
    return "\n".join(f"|{line}|" for line in ("|".join(names), "|".join("-" for _ in names), *lines))


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.time().isoformat()
    return str(value)


def shown_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an event without control characters in its texts; Markdown is built from cells without them."""
    return {name: visible(value) if isinstance(value, str) else value for name, value in metadata.items()}


def markdown_cell(text: str) -> str:
    """Return a foreign text for a cell of a Markdown table: no link, no image, no HTML, one line."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(" ".join(text.split())))


_MARKDOWN = re.compile(r"[\\|\[\]<>`!]")


def evidence_text(value: Any) -> str:
    """Return one value of a finding's evidence for people: lists as `a, b`."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def candles(rows: pa.Table, series: Series) -> str | None:
    """Return a chart of the day's bars, merged to at most 24, as a Markdown image; None for a day of fewer than two bars.

    Green rises, red falls. Left are the highest, the lowest and the last price of the day, each at its height; below are the
    hours of the first bar and of each quarter, UTC. Grey is volume, from 0 to the greatest.
    """
    if series.table != "ohlcv" or rows.num_rows < 2:
        return None
    numbers = [approximate(rows.column(name)) for name in ("open", "high", "low", "close", "volume")]
    drawn = (_drawn(rows, numbers, min(groups, rows.num_rows)) for groups in _CANDLES)
    return next((text for text in drawn if len(text) < INLINE), None)


def _drawn(rows: pa.Table, numbers: Sequence[np.ndarray], groups: int) -> str:
    open_, high, low, close, volume = numbers
    edges = np.arange(groups + 1) * len(open_) // groups
    opens, closes = open_[edges[:-1]], close[edges[1:] - 1]
    highs, lows = np.maximum.reduceat(high, edges[:-1]), np.minimum.reduceat(low, edges[:-1])
    volumes = np.add.reduceat(volume, edges[:-1])
    bottom, top = lows.min(), highs.max()
    scale = (_PRICES - 2) / (top - bottom) if top > bottom else 0.0

    def y(prices: np.ndarray) -> list[int]:
        return [int(value) for value in (1 + (top - prices) * scale).round()]

    pens = _Pen(), _Pen(), _Pen()
    wicks, rises, falls = pens
    for place, (o, h, lo, c) in enumerate(zip(y(opens), y(highs), y(lows), y(closes), strict=True)):
        wicks.line(place, h, lo)
        (rises if c <= o else falls).line(place, max(o, c), min(o, c) - (o == c))
    tops = [0, *(volumes / (volumes.max() or 1.0) * _VOLUME).round().astype(int).tolist()]
    bars = "".join(f"v{before - now}h1" if now != before else "h1" for before, now in pairwise(tops))
    times = rows.column("open_time")
    quarters = [groups * quarter // 4 for quarter in range(4)]
    hours = {place: f"{times[int(edges[place])].value // _HOUR_US % 24:02}" for place in quarters}
    prices = {1: _price(rows, "high", int(high.argmax())), y(closes)[-1]: _price(rows, "close", len(close) - 1)}
    svg = _SVG.format(
        width=_LEFT + _WIDE * groups,
        height=round(_TOP + _HIGH * _HEIGHT + _BOTTOM),
        bars=bars,
        wicks=wicks.path,
        rises=rises.path,
        falls=falls.path,
        labels=_labels(prices | {1 + round((top - bottom) * scale): _price(rows, "low", int(low.argmin()))}, hours),
    )
    return svg_image("candles", svg)


class _Pen:
    """A path of vertical lines, each written as the way from the end of the one before."""

    def __init__(self) -> None:
        self.path = ""
        self._at = 0, 0

    def line(self, x: int, begin: int, end: int) -> None:
        across, down = x - self._at[0], begin - self._at[1]
        self.path += f"m{across}{'' if down < 0 else ' '}{down}v{end - begin}"
        self._at = x, end


def _labels(prices: Mapping[int, str], hours: Mapping[int, str]) -> str:
    """Return the texts of the chart: prices by height, of which those too near to an earlier one are left out, and hours."""
    found: dict[int, str] = {}
    for height, text in sorted(prices.items(), key=lambda one: (one[0] not in (1, max(prices)), one[0])):
        if all(abs(height - other) >= _LABEL_GAP for other in found):
            found[height] = text
    texts = [f"<text y='{round(_TOP + _HIGH * height + 4)}'>{text}</text>" for height, text in found.items()]
    # Each letter has its own place, so that all hours are one element.
    places = [str(_LEFT - 6 + _WIDE * place + _LETTER * n) for place, text in hours.items() for n in range(len(text))]
    below = round(_TOP + _HIGH * _HEIGHT + _BOTTOM - 4)
    return "".join([*texts, f"<text x='{' '.join(places)}' y='{below}'>{''.join(hours.values())}</text>"])


def _price(rows: pa.Table, name: str, place: int) -> str:
    """Return one price in at most nine characters: as published, or rounded to six digits."""
    value = rows.column(name)[place].as_py()
    text = _text(value)
    return text if len(text) <= _PRICE_LETTERS else f"{value:.6g}"
