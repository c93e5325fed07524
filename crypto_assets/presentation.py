"""What a person sees of a partition in the Dagster UI: a preview of its rows and, for bars, a candle chart.

Markdown below 1,000 characters is shown inline, longer one behind a link, so both are kept below.
"""

from __future__ import annotations

import base64
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets.collection.frames import approximate
from crypto_assets.model import Series

_WIDTH, _HEIGHT, _CANDLES = 192, 60, 24
_SHOWN_WIDTH = 480


def preview(rows: pa.Table, count: int = 3) -> str:
    """Return the first and last rows as a Markdown table, the first six columns."""
    names = rows.column_names[:6]
    parts = [rows] if rows.num_rows <= 2 * count else [rows.slice(0, count), rows.slice(rows.num_rows - count)]
    columns = [[_text(value) for part in parts for value in part.column(name).to_pylist()] for name in names]
    lines = ["|".join(cells) for cells in zip(*columns, strict=True)]
    if len(parts) == 2:
        lines.insert(count, "|".join("…" for _ in names))
    return "\n".join(f"|{line}|" for line in ("|".join(names), "|".join("-" for _ in names), *lines))


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.time().isoformat()
    return str(value)


def evidence_text(value: Any) -> str:
    """Return one value of a finding's evidence for people: lists as `a, b`."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def candles(rows: pa.Table, series: Series) -> str | None:
    """Return a chart of the day's bars, merged to 24 at most, as a Markdown image; None for a day of fewer than two bars.

    Green rises, red falls; the height spans the day's lowest to highest price.
    """
    if series.table != "ohlcv" or rows.num_rows < 2:
        return None
    open_, high, low, close = (approximate(rows.column(name)) for name in ("open", "high", "low", "close"))
    groups = min(_CANDLES, len(open_))
    edges = np.linspace(0, len(open_), groups + 1).astype(int)
    opens, closes = open_[edges[:-1]], close[edges[1:] - 1]
    highs, lows = np.maximum.reduceat(high, edges[:-1]), np.minimum.reduceat(low, edges[:-1])
    bottom, top = lows.min(), highs.max()
    scale = (_HEIGHT - 2) / (top - bottom) if top > bottom else 0.0

    def y(prices: np.ndarray) -> list[int]:
        return [int(value) for value in (1 + (top - prices) * scale).round()]

    paths = {"rise": ["", ""], "fall": ["", ""]}
    for place, (o, h, lo, c) in enumerate(zip(y(opens), y(highs), y(lows), y(closes), strict=True)):
        x = 4 + place * 8
        path = paths["rise" if c <= o else "fall"]
        path[0] += f"M{x} {h}V{lo}"
        path[1] += f"M{x} {max(o, c)}V{min(o, c) - (o == c)}"
    drawing = "".join(
        f'<path stroke="{colour}" d="{wick}"/><path stroke="{colour}" stroke-width="5" d="{body}"/>'
        for (wick, body), colour in zip(paths.values(), ("#185", "#c33"), strict=True)
        if wick
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SHOWN_WIDTH}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{drawing}</svg>'
    return f"![candles](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
