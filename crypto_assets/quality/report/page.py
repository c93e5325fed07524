"""The HTML page of the report, from the Jinja2 templates in `templates/`.

Texts and layout are in the templates. This module orders the lines and formats values.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crypto_assets.engine.problems import word_of
from crypto_assets.model import COMPLETE_STATES, STORED_STATES, State
from crypto_assets.quality.report.charts import DARK, LIGHT, score_text
from crypto_assets.quality.report.charts.coverage import ROWS_SHOWN
from crypto_assets.quality.report.charts.gaps import alarm_order, length_text
from crypto_assets.quality.report.charts.palette import STATE_TITLES, STATES
from crypto_assets.quality.report.charts.scores import SERIES_SHOWN
from crypto_assets.quality.report.facts import DELAY_DAYS, Facts
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.quality.report.build import Picture

LINES = 200
"""Of the tables of reasons and incidents; the command line has all."""

HOLDINGS = 1_000
SYMBOLS = 4
"""Symbols that a line of the table of reasons names."""


def page(facts: Facts, pictures: Sequence[tuple[Picture, bytes, bytes]], *, synthetic: bool = False) -> str:
    """Return the whole page; each picture with its PNG for light and for dark surroundings.

    Args:
        synthetic: the data is a demo's, and the page says so.
    """
    incomplete = [reason for reason in facts.reasons if reason.state not in COMPLETE_STATES]
    return (
        _environment()
        .get_template("report.html")
        .render(
            facts=facts,
            synthetic=synthetic,
            counts=facts.counts,
            exchanges=sorted({holding.series.exchange for holding in facts.holdings}),
            series={holding.series for holding in facts.holdings},
            symbols={holding.symbol for holding in facts.holdings},
            complete=[State.AVAILABLE, State.PROVISIONAL, State.NO_DATA],
            incomplete=[state for state in STATES if state not in COMPLETE_STATES],
            missing=sorted(incomplete, key=lambda one: (-STATES.index(one.state), -one.days, one.series, one.first)),
            no_data=[reason for reason in facts.reasons if reason.state == State.NO_DATA],
            incidents=sorted(facts.incidents, key=lambda one: (alarm_order(one.kind), one.start)),
            holdings=sorted(facts.holdings, key=lambda one: -one.coverage.incomplete),
            pictures={shown[0].name: shown for shown in pictures},
            candles=[shown for shown in pictures if shown[0].name.startswith("candles")],
            light=LIGHT,
            dark=DARK,
            lines=LINES,
            holdings_shown=HOLDINGS,
            rows_shown=ROWS_SHOWN,
            series_shown=SERIES_SHOWN,
            delay_days=DELAY_DAYS,
        )
    )


def _environment() -> Environment:
    """Return an environment that escapes every text, makes control characters visible and refuses unknown names."""
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["titles"] = STATE_TITLES
    made.filters |= {
        "base64": lambda content: b64encode(content).decode(),
        "css": lambda state: state.replace(" ", "-").replace("_", "-"),
        "duration": length_text,
        "grouped": lambda number: f"{number:,}",
        "names": _names,
        "score": score_text,
        "share": _share,
        "size": _size,
        "spaced": lambda kind: kind.replace("_", " "),
        "stored": _stored,
        "word": word_of,
    }
    return made


def _visible(value: Any) -> Any:
    """Return a text with visible control characters; numbers and escaped texts (`Markup`) as they are."""
    return value if hasattr(value, "__html__") or isinstance(value, int | float) else visible(str(value))


def _names(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SYMBOLS} more" if len(symbols) > SYMBOLS else ""
    return ", ".join(symbols[:SYMBOLS]) + more


def _stored(counts: Counter[str]) -> int:
    return sum(counts[state] for state in STORED_STATES)


def _share(part: int, whole: int) -> str:
    """Return a share, cut off: only what is whole is 100 %."""
    if not whole:
        return "–"
    return "100 %" if part == whole else f"{floor(part / whole * 10_000) / 100:.2f} %"


def _size(size_bytes: int) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e3:.1f} kB"
