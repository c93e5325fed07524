"""Write the report: pictures as PNG files, and one HTML page that contains everything and needs no network.

facts = read_facts(ledger, collection, Query(exchange="binance"))
write_report(facts, bars_of(lake, facts), Path("report"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets.engine.problems import word_of
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import COMPLETE_STATES, STORED_STATES, Series, bar_length
from crypto_assets.quality.report import charts
from crypto_assets.quality.report.charts import drawing, palette
from crypto_assets.quality.report.charts.gaps import length_text, merged
from crypto_assets.quality.report.charts.scores import SERIES_SHOWN
from crypto_assets.quality.report.facts import Facts, Holding
from crypto_assets.rows.frames import approximate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crypto_assets.storage.lake import Lake

CANDLE_DAYS = 30
CANDLE_CHARTS = 4
PAGE = "report.html"


@dataclass(frozen=True, slots=True)
class DrawnBars:
    """The bars to draw of one symbol, over the days from `first` to `last`, both included."""

    series: Series
    symbol: str
    first: date
    last: date
    bars: charts.Bars


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, saved as `{name}.png`; `alt` describes it in words. `draw` draws it in a theme."""

    name: str
    title: str
    alt: str
    draw: Callable[[palette.Theme], Figure]
    width: float = drawing.WIDTH


def write_report(facts: Facts, bars: Sequence[DrawnBars], folder: Path, *, synthetic: bool = False) -> list[Path]:
    """Write the pictures and the page into a folder, created if needed; return the files, the page first.

    Args:
        synthetic: the data is a demo's, and the page says so.

    Raises:
        ConfigError: the folder is not writable.
    """
    from crypto_assets.quality.report.page import page

    drawn = [(picture, charts.png(picture.draw(charts.LIGHT))) for picture in pictures(facts, bars)]
    dark = [charts.png(picture.draw(charts.DARK)) for picture, _ in drawn]
    shown = [(picture, light, night) for (picture, light), night in zip(drawn, dark, strict=True)]
    text = page(facts, shown, synthetic=synthetic)
    files = [folder / PAGE, *(folder / f"{picture.name}.png" for picture, _ in drawn)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Pictures of an earlier report would look current if they stayed.
        for old in folder.glob("*.png"):
            if old not in files and old.stem.split("-")[0] in _NAMES:
                old.unlink()
        files[0].write_text(text, encoding="utf-8")
        for file, (_, content) in zip(files[1:], drawn, strict=True):
            file.write_bytes(content)
    except OSError as error:
        raise_if_ours(error)
        raise ConfigError(f"-o {folder}: expected a writable folder, found: {error}") from None
    return files


_NAMES = ("coverage", "gaps", "quality", "delays", "candles")


def pictures(facts: Facts, bars: Sequence[DrawnBars] = ()) -> list[Picture]:
    """Return the pictures that have something to show, in the order of the page."""
    found = []
    rows = charts.worst_rows([holding.coverage for holding in facts.holdings])
    if rows:
        found.append(
            Picture(
                "coverage",
                "Coverage",
                _coverage_alt(facts, len(rows)),
                lambda theme: charts.coverage(rows, facts.first, facts.last, theme),
            )
        )
    lanes = gap_lanes(facts)
    if lanes:
        start, end = drawing.instant(facts.first), drawing.instant(facts.last + timedelta(days=1))
        alt = "Gap timeline: " + "; ".join(f"{lane.name}: {lane.note}" for lane in lanes)
        found.append(Picture("gaps", "Gaps", alt, lambda theme: charts.gap_timeline(lanes, start, end, theme)))
    lines = sorted(facts.scores, key=lambda line: min(line.worst))[:SERIES_SHOWN]
    if lines:
        alt = f"Quality by day against the threshold {facts.threshold:g}: " + "; ".join(
            f"{line.label} mean {charts.score_text(float(np.mean(line.mean)))}, worst {charts.score_text(min(line.worst))}"
            for line in lines
        )
        found.append(
            Picture(
                "quality",
                "Quality",
                alt,
                lambda theme: charts.score_trend(lines, facts.threshold, facts.first, facts.last, theme),
            )
        )
    if facts.delays:
        alt = "Publication delay: " + "; ".join(
            f"{one.label} p50 {_hours(one.percentile(0.5))}, p95 {_hours(one.percentile(0.95))}, latest {_hours(one.latest)}"
            for one in facts.delays
        )
        found.append(Picture("delays", "Publication delay", alt, lambda theme: charts.delay(facts.delays, theme)))
    return found + [_candles(one, number) for number, one in enumerate(bars, 1)]


def _hours(hours: float) -> str:
    from crypto_assets.quality.report.charts.delay import hours_text

    return hours_text(hours)


def _coverage_alt(facts: Facts, shown: int) -> str:
    counts = ", ".join(f"{days:,} {word_of(state)}" for state in palette.STATES if (days := facts.counts[state]))
    return (
        f"Coverage calendar of {shown} of {len(facts.holdings)} symbols, {facts.first} to {facts.last}: {counts} days"
    )


def gap_lanes(facts: Facts) -> list[charts.Lane]:
    """Return a lane for each incomplete state, and for each kind of incident, that occurs."""
    day = timedelta(days=1)
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    symbols: dict[str, set[str]] = {}
    days: dict[str, int] = {}
    for holding in facts.holdings:
        for span in holding.spans:
            if span.state not in COMPLETE_STATES:
                spans.setdefault(span.state, []).append((drawing.instant(span.first), drawing.instant(span.last) + day))
                symbols.setdefault(span.state, set()).add(holding.symbol)
                days[span.state] = days.get(span.state, 0) + span.days
    notes = {state: f"{_plural(days[state], 'day')} of {_plural(len(symbols[state]), 'symbol')}" for state in spans}
    for incident in facts.incidents:
        spans.setdefault(incident.kind, []).append((incident.start, incident.end))
    for kind in spans.keys() - notes.keys():
        together = sum((end - start for start, end in merged(spans[kind])), timedelta())
        notes[kind] = f"{_plural(len(spans[kind]), 'span')}, {length_text(together)}"
    return [charts.Lane(kind, of_kind, notes[kind]) for kind, of_kind in spans.items()]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


# ---- candles ----------------------------------------------------------------------------------------------------------


def bars_of(lake: Lake, facts: Facts) -> list[DrawnBars]:
    """Return the bars of the last stored days, at most 30, of the first symbols that have bars, at most 4.

    A symbol with several timeframes is drawn from the longest that has 48 bars in that time. A symbol with unreadable files
    is left out: `crypto-assets status` and the checks report it.
    """
    by_symbol: dict[tuple[str, str, str], list[Holding]] = {}
    for holding in facts.holdings:
        if holding.series.table == "ohlcv" and holding.series.timeframe != "1mo" and _stored(holding):
            by_symbol.setdefault((holding.series.exchange, holding.series.market_type, holding.symbol), []).append(
                holding
            )
    found: list[DrawnBars] = []
    for holdings in by_symbol.values():
        last = max(span.last for holding in holdings for span in _stored(holding))
        first = max(min(_stored(holding)[0].first for holding in holdings), last - timedelta(days=CANDLE_DAYS - 1))
        enough = [one for one in holdings if (last - first + timedelta(days=1)) // _length(one) >= 48]
        chosen = max(enough, key=_length, default=min(holdings, key=_length))
        bars = _read(lake, chosen, first, last)
        if bars is not None and len(bars):
            found.append(DrawnBars(chosen.series, chosen.symbol, first, last, bars))
        if len(found) == CANDLE_CHARTS:
            break
    return found


def _stored(holding: Holding) -> list[charts.Span]:
    return [span for span in holding.spans if span.state in STORED_STATES]


def _length(holding: Holding) -> timedelta:
    return bar_length(holding.series.timeframe or "1d")


def _read(lake: Lake, holding: Holding, first: date, last: date) -> charts.Bars | None:
    names = ("open", "high", "low", "close", "volume")
    try:
        rows = lake.read(holding.series, holding.symbol, first, last, ("open_time", *names))
    except StoredDataError:
        return None
    times = np.asarray(rows.column("open_time").cast("int64")).astype("datetime64[us]")
    return charts.Bars(times, *(approximate(rows.column(name)) for name in names))


def _candles(one: DrawnBars, number: int) -> Picture:
    start, end = np.datetime64(one.first, "us"), np.datetime64(one.last + timedelta(days=1), "us")
    title = f"{one.symbol}, {one.series.exchange} {one.series.market_type}"
    bars = one.bars
    alt = (
        f"Candles and volume of {title}, {one.first} to {one.last}: opened at {bars.open[0]:g}, "
        f"closed at {bars.close[-1]:g}, between {bars.low.min():g} and {bars.high.max():g}"
    )
    width = drawing.WIDTH / 2 - 8
    return Picture(
        f"candles-{number}", title, alt, lambda theme: charts.candles(bars, start, end, title, theme, width), width
    )
