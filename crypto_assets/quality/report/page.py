"""The HTML of the report: facts and pictures into `report.html`, a `string.Template` beside this file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.resources import files
from math import floor
from string import Template
from typing import TYPE_CHECKING

from crypto_assets.engine.problems import word_of
from crypto_assets.model import COMPLETE_STATES, STORED_STATES, State
from crypto_assets.quality.report.charts import DARK, LIGHT, score_text
from crypto_assets.quality.report.charts.coverage import ROWS_SHOWN
from crypto_assets.quality.report.charts.gaps import alarm_order, length_text
from crypto_assets.quality.report.charts.palette import STATE_TITLES, STATES, Theme
from crypto_assets.quality.report.charts.scores import SERIES_SHOWN
from crypto_assets.quality.report.facts import DELAY_DAYS, Facts, Holding, Reason
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.quality.report.build import Picture

ROWS = 200
"""Of the tables of reasons and incidents; the command line has all."""

HOLDINGS = 1_000
SYMBOLS = 4
"""Symbols that a line of the table of reasons names."""


def page(facts: Facts, pictures: Sequence[tuple[Picture, bytes, bytes]]) -> str:
    """Return the whole page; each picture with its PNG for light and for dark surroundings."""
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        colours=f":root{{{_colours(LIGHT)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}",
        title=escape(f"{verdict(facts)}: {facts.first} to {facts.last}"),
        verdict=escape(verdict(facts)),
        tone="incomplete" if facts.lacking else "complete",
        scope=escape(_scope(facts)),
        tiles="".join(_tile(*tile) for tile in _tiles(facts)),
        bar=_bar(facts),
        lacking=_lacking(facts),
        no_data=_no_data(facts),
        pictures=_pictures(facts, pictures),
        holdings=_holdings(facts),
        made=f"{facts.made_at:%Y-%m-%d %H:%M} UTC",
        states="".join(f"<dt>{_chip(state)}</dt><dd>{escape(_MEANINGS[state])}</dd>" for state in reversed(STATES)),
    )


def escape(text: str) -> str:
    """Return a text as it can stand in the page, between tags and in attributes."""
    return html.escape(visible(text))


_MEANINGS = {
    "missing": "should be there and is not, or was refused",
    "not collected yet": "is in collection.yaml, and nobody has asked for it yet: crypto-assets fill",
    "degraded": "stored, but some rows are missing; what is stored is right",
    "corrected": "the exchange has published another version that is not taken yet",
    "pending": "not published yet, and not late",
    "provisional": "complete, from the REST API until the archive has the file",
    "available": "complete, checked, from the archive",
    "no_data": "nothing traded, or the symbol was not listed: nothing is missing",
}


def verdict(facts: Facts) -> str:
    """Return the whole report in one sentence."""
    total = facts.counts.total()
    if not total:
        return "Nothing was collected yet"
    if not facts.lacking:
        return f"Complete: all {total:,} days are there or known to have no data"
    return f"Not complete: {facts.lacking:,} of {total:,} days are missing or partial"


def _scope(facts: Facts) -> str:
    exchanges = ", ".join(sorted({holding.series.exchange for holding in facts.holdings}))
    series = {holding.series for holding in facts.holdings}
    symbols = {holding.symbol for holding in facts.holdings}
    days = (facts.last - facts.first).days + 1
    return (
        f"{exchanges} · {len(series)} series · {len(symbols)} symbols · {facts.first} to {facts.last} "
        f"({days:,} days, UTC), counted for each symbol of each series"
    )


# ---- what stands at the top --------------------------------------------------------------------------------------------


def _tiles(facts: Facts) -> Iterable[tuple[str, str, str, bool]]:
    """Yield name, value, explanation, and whether it alarms."""
    counts, total = facts.counts, facts.counts.total()
    counted = ", ".join(
        f"{counts[s]:,} {word_of(s)}" for s in reversed(STATES) if counts[s] and s not in COMPLETE_STATES
    )
    stored = sum(counts[state] for state in STORED_STATES)
    yield "complete", _percent(total - facts.lacking, total), f"{total - facts.lacking:,} of {total:,} days", False
    yield "not complete", f"{facts.lacking:,}", counted or "nothing is missing", bool(facts.lacking)
    rows, size = sum(h.rows for h in facts.holdings), sum(h.size_bytes for h in facts.holdings)
    yield "rows", f"{rows:,}", f"{_size(size)} in {stored:,} stored days", False
    checks, failed = sum(h.checks for h in facts.holdings), sum(h.failed_checks for h in facts.holdings)
    yield "checks failed", f"{failed:,}", f"of {checks:,} that were run on stored days", bool(failed)
    if facts.score is None:
        yield "score", "–", f"not scored yet (threshold {facts.threshold:g}): crypto-assets quality", False
    else:
        below = f"{facts.below:,} of {facts.scored_days:,} days below the threshold {facts.threshold:g}"
        yield "score", score_text(facts.score), below, bool(facts.below)
    corrections = sum(h.corrections for h in facts.holdings)
    yield "corrections", f"{corrections:,}", "times stored rows were replaced by a later publication", False


def _tile(name: str, value: str, text: str, alarms: bool) -> str:
    tone = " alarm" if alarms else ""
    return f'<div class="tile{tone}"><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><span>{escape(text)}</span></dd></div>'


def _bar(facts: Facts) -> str:
    """Return one bar of all days by state, and its legend with the counts."""
    counts = facts.counts
    shown = [state for state in (State.AVAILABLE, State.PROVISIONAL, State.NO_DATA) if counts[state]]
    states = [*map(str, shown), *(state for state in STATES if counts[state] and state not in COMPLETE_STATES)]
    parts = "".join(f'<i class="{_css(state)}" style="flex-grow:{counts[state]}"></i>' for state in states)
    legend = "".join(f"<li>{_chip(state)} <b>{counts[state]:,}</b></li>" for state in states)
    text = ", ".join(f"{counts[state]:,} {word_of(state)}" for state in states)
    return f'<div class="bar" role="img" aria-label="{escape(text)}">{parts}</div><ul class="legend">{legend}</ul>'


# ---- tables ------------------------------------------------------------------------------------------------------------


def _lacking(facts: Facts) -> str:
    lacking = [reason for reason in facts.reasons if reason.state not in COMPLETE_STATES]
    if not lacking:
        return '<p class="calm">Nothing is missing.</p>'
    lacking.sort(key=lambda reason: (-STATES.index(reason.state), -reason.days, reason.series, reason.first))
    lines = [
        (
            _chip(reason.state),
            f'<td class="n" data-v="{reason.days}">{reason.days:,}</td>',
            escape(str(reason.series)),
            escape(_names(reason.symbols)),
            _days(reason.first, reason.last),
            f'<td class="why">{escape(reason.reason or "no reason is recorded")}{_causes(reason)}</td>',
        )
        for reason in lacking[:ROWS]
    ]
    more = (
        ""
        if len(lacking) <= ROWS
        else f"<p>… and {len(lacking) - ROWS:,} more lines: <code>crypto-assets gaps</code></p>"
    )
    return _table(("state", "days", "series", "symbols", "when", "why"), lines) + more


def _causes(reason: Reason) -> str:
    """Return the causes of these days, as `crypto-assets gaps` has them, and how many are acknowledged."""
    causes = "".join(
        f' <span class="cause" title="{escape(kind.sentence)}">{escape(kind.replace("_", " "))}</span>'
        for kind in reason.causes
    )
    if not reason.acknowledged:
        return causes
    days = "1 day is" if reason.acknowledged == 1 else f"{reason.acknowledged:,} days are"
    return f"{causes} ({days} acknowledged)"


def _no_data(facts: Facts) -> str:
    known = [reason for reason in facts.reasons if reason.state == State.NO_DATA]
    if not known:
        return ""
    lines = [
        (
            f'<td class="n" data-v="{reason.days}">{reason.days:,}</td>',
            escape(str(reason.series)),
            escape(_names(reason.symbols)),
            _days(reason.first, reason.last),
            f'<td class="why">{escape(reason.reason)}</td>',
        )
        for reason in known[:ROWS]
    ]
    days = sum(reason.days for reason in known)
    return _details(f"{days:,} days known to have no data", _table(("days", "series", "symbols", "when", "why"), lines))


def _incidents(facts: Facts) -> str:
    if not facts.incidents:
        return ""
    found = sorted(facts.incidents, key=lambda incident: (alarm_order(incident.kind), incident.start))
    lines = [
        (
            escape(one.kind.replace("_", " ")),
            f"<td>{one.start:%Y-%m-%d %H:%M}</td>",
            f'<td class="n" data-v="{(one.end - one.start).total_seconds():.0f}">{length_text(one.end - one.start)}</td>',
            escape(f"{one.exchange} {one.market_type} {one.dataset or ''}"),
            escape(one.symbol or (_names(one.symbols) if one.symbols else "every symbol")),
            escape(f"{one.source}{', ' + one.reference if one.reference else ''}"),
        )
        for one in found[:ROWS]
    ]
    more = "" if len(found) <= ROWS else f"<p>… and {len(found) - ROWS:,} more</p>"
    head = ("kind", "from, UTC", "length", "market", "symbols", "known from")
    return _details(f"{len(found):,} spans without data, and why", _table(head, lines) + more)


def _holdings(facts: Facts) -> str:
    order = sorted(facts.holdings, key=lambda one: -one.coverage.lacking)[:HOLDINGS]
    head = (
        *(
            "series",
            "symbol",
            "days",
            "stored",
            "no data",
            "not complete",
            "rows",
            "size",
            "failed checks",
            "corrections",
        ),
        *("score", "complete", "accurate", "agrees", "timely"),
    )
    more = (
        ""
        if len(facts.holdings) <= HOLDINGS
        else f"<p>The {HOLDINGS:,} of {len(facts.holdings):,} with the fewest complete days.</p>"
    )
    return _table(head, [_holding(one) for one in order]) + more


def _holding(one: Holding) -> tuple[str, ...]:
    counts = one.coverage.counts()
    stored = sum(counts[state] for state in STORED_STATES)
    lacking = one.coverage.lacking
    numbers = (counts.total(), stored, counts[State.NO_DATA], lacking, one.rows)
    cells = [
        f'<td class="n{" alarm" if place == 3 and lacking else ""}" data-v="{number}">{number:,}</td>'
        for place, number in enumerate(numbers)
    ]
    cells.append(f'<td class="n" data-v="{one.size_bytes}">{_size(one.size_bytes)}</td>')
    cells += [f'<td class="n" data-v="{n}">{n:,}</td>' for n in (one.failed_checks, one.corrections)]
    scores = (one.score, *(one.parts.get(name) for name in ("completeness", "accuracy", "agreement", "timeliness")))
    cells += [
        '<td class="n" data-v="-1">–</td>'
        if score is None
        else f'<td class="n" data-v="{score}">{score_text(score)}</td>'
        for score in scores
    ]
    return (escape(str(one.series)), escape(one.symbol), *cells)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell is HTML, with its own <td> or without."""
    lines = list(lines)
    numbers = [cell.startswith('<td class="n') for cell in lines[0]] if lines else [False] * len(head)
    titles = "".join(
        f'<th scope="col"{" class=n" if number else ""}><button>{escape(name)}</button></th>'
        for name, number in zip(head, numbers, strict=True)
    )
    cells = ("".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in line) for line in lines)
    body = "".join(f"<tr>{line}</tr>" for line in cells)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


# ---- pictures ----------------------------------------------------------------------------------------------------------


def _pictures(facts: Facts, pictures: Sequence[tuple[Picture, bytes, bytes]]) -> str:
    by_name = {picture.name: (picture, light, dark) for picture, light, dark in pictures}
    parts = []
    for name, title in (
        ("coverage", "Coverage"),
        ("gaps", "Gaps"),
        ("quality", "Quality"),
        ("delays", "Publication delay"),
    ):
        parts.append(f'<section id="{name}"><h2>{title}</h2><p>{escape(_caption(facts, name, name in by_name))}</p>')
        parts.append(_figure(*by_name[name]) if name in by_name else "")
        parts.append((_incidents(facts) if name == "gaps" else "") + "</section>")
    candles = [_figure(*by_name[name]) for name in by_name if name.startswith("candles")]
    if candles:
        text = (
            "The last stored days of some symbols. Where bars are missing, the place stays empty: nothing is invented."
        )
        parts.append(
            f'<section id="candles"><h2>Prices and volume</h2><p>{text}</p><div class="pair">{"".join(candles)}</div>'
        )
        parts.append("</section>")
    return "".join(parts)


def _caption(facts: Facts, name: str, there: bool) -> str:
    if name == "coverage":
        some = (
            f" The {ROWS_SHOWN} of {len(facts.holdings):,} with the fewest complete days."
            if len(facts.holdings) > ROWS_SHOWN
            else ""
        )
        return "Every day of every symbol by its state. Blank: not asked for." + some
    if name == "gaps":
        return (
            "Days that are not complete, by state, and spans without data, by cause, of all symbols. The worst is on top."
            if there
            else "Every day is complete, and no span without data is known."
        )
    if name == "quality":
        if not there:
            return "Not scored yet: crypto-assets quality."
        some = (
            f" The {SERIES_SHOWN} of {len(facts.scores)} series with the worst days."
            if len(facts.scores) > SERIES_SHOWN
            else ""
        )
        return "The score of each series day by day, from completeness, accuracy, agreement and timeliness." + some
    if not there:
        return "No file that stored days came from has a time of publication yet."
    return (
        f"How long after the end of its day or month each file was published, of the last {DELAY_DAYS} days. Where files "
        "were seen to appear, percentiles are of these only."
    )


def _figure(picture: Picture, light: bytes, dark: bytes) -> str:
    images = "".join(
        f'<img class="{theme}" width="{picture.width:.0f}" alt="{escape(picture.alt)}" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode()}">'
        for theme, content in (("light", light), ("dark", dark))
    )
    return f"<figure>{images}</figure>"


# ---- words -------------------------------------------------------------------------------------------------------------


def _colours(theme: Theme) -> str:
    names = {"bg": theme.background, "text": theme.text, "muted": theme.muted, "grid": theme.grid}
    names |= {f"s-{_css(state)}": colour for state, colour in theme.states.items()}
    return "".join(f"--{name}:{colour};" for name, colour in names.items())


def _css(state: str) -> str:
    return state.replace(" ", "-").replace("_", "-")


def _chip(state: str) -> str:
    title = escape(STATE_TITLES[state])
    return f'<span class="chip" title="{title}"><i class="{_css(state)}"></i>{escape(word_of(state))}</span>'


def _names(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SYMBOLS} more" if len(symbols) > SYMBOLS else ""
    return ", ".join(symbols[:SYMBOLS]) + more


def _days(first: date, last: date) -> str:
    text = str(first) if first == last else f"{first} to {last}"
    return f'<td class="when">{text}</td>'


def _percent(part: int, whole: int) -> str:
    """Return a share, cut off: only what is whole is 100 %."""
    if not whole:
        return "–"
    return "100 %" if part == whole else f"{floor(part / whole * 10_000) / 100:.2f} %"


def _size(size_bytes: int) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e3:.1f} kB"
