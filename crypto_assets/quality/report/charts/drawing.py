"""Shared parts of all pictures: a figure sized in CSS pixels, fonts readable at 100 %, a time axis, a legend."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from crypto_assets.quality.report.charts.palette import NEVER, Theme
from crypto_assets.text.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 960
"""Width of a picture, in CSS pixels."""

TEXT, SMALL = 9.0, 8.25
"""Sizes of text in points: 12 and 11 CSS pixels."""

LEGEND = 30
"""Height of the legend line at the top."""

AXIS = 40
"""Height of the dates below the lowest axes."""

_DPI = 96.0


_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
"""Fonts for letters that matplotlib's own DejaVu does not have; the installed ones are used."""


@cache
def _use_fonts() -> None:
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    mpl.rcParams["font.family"] = ["DejaVu Sans", *(name for name in _FAMILIES if name in installed)]
    # A letter in no font is drawn as a box; the page itself has the name in text.
    warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """Return an empty figure, sized in CSS pixels."""
    from matplotlib.figure import Figure

    _use_fonts()
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=theme.background)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure, theme: Theme, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes at a place in CSS pixels from the top left corner, without a frame."""
    across, down = size_of(figure)
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=theme.muted, colors=theme.muted)
    return axes


def size_of(figure: Figure) -> tuple[float, float]:
    """Return width and height in CSS pixels."""
    across, down = figure.get_size_inches()
    return float(across) * _DPI, float(down) * _DPI


def png(figure: Figure, scale: float = 2.0) -> bytes:
    """Return the picture as PNG, `scale` dots for each CSS pixel; the same figure gives the same bytes.

    It has a palette of 256 colours, a third of the bytes: the most frequent colours are exact, rare shades at the edges of
    letters become the nearest of them.
    """
    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="raw", dpi=_DPI * scale)
    across, down = (round(side * scale) for side in size_of(figure))
    pixels = np.frombuffer(stream.getvalue(), np.uint8).reshape(down, across, 4)[:, :, :3].astype(np.uint32)
    packed, places, counts = np.unique(
        (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2], return_inverse=True, return_counts=True
    )
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.int32)
    kept = np.sort(np.argsort(counts, kind="stable")[-256:])
    nearest = np.array([np.abs(colours[kept] - colour).sum(axis=1).argmin() for colour in colours], np.uint8)
    picture = Image.fromarray(nearest[places].reshape(down, across), "P")
    picture.putpalette(colours[kept].astype(np.uint8).tobytes())
    result = io.BytesIO()
    picture.save(result, "png", optimize=True)
    return result.getvalue()


def text_width(texts: Iterable[str], size: float = TEXT) -> float:
    """Return the width of the widest line, in CSS pixels; 0 without lines."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    measure, font = TextToPath(), FontProperties(size=size)
    lines = {line for text in texts for line in text.split("\n")}
    widths = [measure.get_text_width_height_descent(line, font, ismath=False)[0] for line in lines]
    return max(widths, default=0.0) * _DPI / 72


def shorten(text: str, length: int = 34) -> str:
    """Return a text of at most `length` characters, with an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def label(figure: Figure, text: str, x: float, y: float, colour: str, **more: Any) -> None:
    """Write at a place in CSS pixels from the top left corner; the text's middle is at `y`."""
    across, down = size_of(figure)
    options: dict[str, Any] = {"fontsize": TEXT, "va": "center_baseline", "ha": "left"} | more
    figure.text(x / across, 1 - y / down, visible_lines(text).replace("$", r"\$"), color=colour, **options)


def instant(day: date) -> datetime:
    """Return the first instant of a day, UTC."""
    return datetime.combine(day, time(), UTC)


def date_axis(axes: Axes, theme: Theme, first: datetime, end: datetime, *, shown: bool = True) -> None:
    """Let x be the instants [first, end), with a faint grid and, if `shown`, a few dates below."""
    from matplotlib.dates import AutoDateLocator, date2num, num2date

    left, right = float(date2num(first)), float(date2num(end))
    axes.set_xlim(left, right)
    found = AutoDateLocator(minticks=4, maxticks=9, tz=UTC).tick_values(first, end)
    ticks = [float(tick) for tick in found if left <= tick <= right - 0.02 * (right - left)]
    axes.set_xticks(ticks, date_texts([num2date(tick, tz=UTC) for tick in ticks]) if shown else [""] * len(ticks))
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def date_texts(instants: Sequence[datetime]) -> list[str]:
    """Return tick labels for a time axis: only the parts that change, with the year or the day in a second line."""
    texts = []
    for place, at in enumerate(instants):
        before = instants[place - 1] if place else None
        step = instants[1] - instants[0] if len(instants) > 1 else timedelta(days=1)
        if step >= timedelta(days=360):
            texts.append(f"{at:%Y}")
        elif step >= timedelta(days=27):
            texts.append(f"{at:%b}" + (f"\n{at:%Y}" if before is None or before.year != at.year else ""))
        elif step >= timedelta(days=1):
            new = before is None or (before.year, before.month) != (at.year, at.month)
            texts.append(f"{at.day}" + (f"\n{at:%b %Y}" if new else ""))
        else:
            new = before is None or before.date() != at.date()
            texts.append(f"{at:%H:%M}" + (f"\n{at.day} {at:%b %Y}" if new else ""))
    if len(texts) > 2 and "\n" in texts[1]:  # both would overlap, and the second has all the information
        texts[0] = texts[0].partition("\n")[0]
    return texts


def legend(figure: Figure, theme: Theme, entries: Sequence[tuple[str, str]], left: float) -> None:
    """Draw squares with their texts in one line at the top: (colour, text) for each."""
    from matplotlib.patches import Rectangle

    across, down = size_of(figure)
    x, side = left, 11.0
    for colour, text in entries:
        hole = colour == theme.states[NEVER]
        square = Rectangle(
            (x / across, 1 - (LEGEND / 2 + side / 2) / down), side / across, side / down, fc=colour, lw=0
        )
        if hole:
            square.set(**hole_style(theme))
        figure.add_artist(square)
        label(figure, text, x + side + 5, LEGEND / 2, theme.text, fontsize=SMALL)
        x += side + 5 + text_width([text], SMALL) + 16


def hole_style(theme: Theme) -> dict[str, Any]:
    """Return the style of days that were never collected: an outline with thin lines across."""
    return {"facecolor": theme.states[NEVER], "edgecolor": theme.muted, "linewidth": 0.75, "hatch": "//////"}
