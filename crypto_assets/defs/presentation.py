"""Shows a partition in the Dagster UI: a preview of its rows and, for bars, a candle chart.

The UI shows Markdown below 1,000 characters inline and longer text behind a link, so both stay below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from crypto_assets.model import Series
from crypto_assets.rows.frames import approximate
from crypto_assets.text.visible import visible

_CANDLES = 24
_PRICES, _VOLUME = 60, 16
_HEIGHT = _PRICES + 2 + _VOLUME

_PLAIN = "/:=',.-;"
"""Characters of the drawing that need no quoting in a Markdown URL; base64 would be a third longer."""

# A candle is one unit wide whatever the scale of prices, which keeps the numbers short.
_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='480' height='200' "
    f"viewBox='-.5,0,{{groups}},{_HEIGHT}' preserveAspectRatio='none' stroke-width='.7'>"
    f"<path fill='#aab' d='M-.5,{_HEIGHT}{{bars}}V{_HEIGHT}'/><path stroke='#778' stroke-width='.1' d='{{wicks}}'/>"
    "<path stroke='#185' d='{rises}'/><path stroke='#c33' d='{falls}'/></svg>"
)
_CHART = f"![candles](data:image/svg+xml,{quote(_SVG, safe=_PLAIN + '{}')})"


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

    Green rises, red falls; the height is from the day's lowest to its highest price. Grey below is volume, from 0 to the
    greatest.
    """
    if series.table != "ohlcv" or rows.num_rows < 2:
        return None
    open_, high, low, close, volume = (
        approximate(rows.column(name)) for name in ("open", "high", "low", "close", "volume")
    )
    groups = min(_CANDLES, len(open_))
    edges = np.arange(groups + 1) * len(open_) // groups
    opens, closes = open_[edges[:-1]], close[edges[1:] - 1]
    highs, lows = np.maximum.reduceat(high, edges[:-1]), np.minimum.reduceat(low, edges[:-1])
    volumes = np.add.reduceat(volume, edges[:-1])
    bottom, top = lows.min(), highs.max()
    scale = (_PRICES - 2) / (top - bottom) if top > bottom else 0.0
    heights = (volumes / (volumes.max() or 1.0) * _VOLUME).round().astype(int)

    def y(prices: np.ndarray) -> list[int]:
        return [int(value) for value in (1 + (top - prices) * scale).round()]

    wicks, rises, falls = "", "", ""
    for place, (o, h, lo, c) in enumerate(zip(y(opens), y(highs), y(lows), y(closes), strict=True)):
        wicks += f"M{place},{h}V{lo}"
        body = f"M{place},{max(o, c)}V{min(o, c) - (o == c)}"
        rises, falls = (rises + body, falls) if c <= o else (rises, falls + body)
    bars = "".join(f"V{_HEIGHT - height}h1" for height in heights.tolist())
    # The numbers and letters of a path need no quoting in a URL; quoting all of it would take as long as drawing.
    return _CHART.format(groups=groups, bars=bars, wicks=wicks, rises=rises, falls=falls)
