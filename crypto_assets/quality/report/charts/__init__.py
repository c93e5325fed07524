"""Draw coverage, quality, gaps, publication delays and prices: small records in, a matplotlib Figure out.

    figure = coverage(rows, first, last, LIGHT)
    content = png(figure)

Nothing here reads a database or a file. Colours are in `palette`, shared drawing code in `drawing`. matplotlib (1.5 s to
import) is imported with the first picture only, without pyplot, which keeps global state and figures. Sizes are in CSS
pixels, drawn at twice the resolution; instants and days are UTC.
"""

from crypto_assets.quality.report.charts.candles import Bars, candles, merge_bars
from crypto_assets.quality.report.charts.coverage import CoverageRow, Span, coverage, worst_rows
from crypto_assets.quality.report.charts.delay import Delays, delay
from crypto_assets.quality.report.charts.drawing import png
from crypto_assets.quality.report.charts.gaps import Lane, gap_timeline
from crypto_assets.quality.report.charts.palette import DARK, LIGHT, NEVER, Theme
from crypto_assets.quality.report.charts.scores import ScoreLine, score_text, score_trend
from crypto_assets.quality.report.charts.small_calendar import legend, small_calendar
from crypto_assets.quality.report.charts.strip import strip

__all__ = [
    "DARK",
    "LIGHT",
    "NEVER",
    "Bars",
    "CoverageRow",
    "Delays",
    "Lane",
    "ScoreLine",
    "Span",
    "Theme",
    "candles",
    "coverage",
    "delay",
    "gap_timeline",
    "legend",
    "merge_bars",
    "png",
    "score_text",
    "score_trend",
    "small_calendar",
    "strip",
    "worst_rows",
]
