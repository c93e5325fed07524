"""`incidents`: spans of minutes without data or trades, and their causes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import click

from crypto_assets.cli.commands.corrections import spellings
from crypto_assets.cli.console import out, print_line
from crypto_assets.cli.options import DAY, filters, with_ledger
from crypto_assets.model.kinds import Kind


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only incidents that end on this day or later.")
@click.option("--to", "last", type=DAY, help="Only incidents that begin on this day or earlier.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="Only this kind; may be repeated.",
)
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="Most incidents to print.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each incident.")
def incidents(
    as_json: bool, symbols: tuple[str, ...], datasets: tuple[str, ...], kinds: tuple[str, ...], **given: Any
) -> None:
    """Show outages of exchanges and other spans of minutes without data.

    They are sorted by time; docs/concepts/incidents.md explains them. An incident of a whole market is shown for each of its
    symbols.
    """
    from crypto_assets.causes.incidents import Incident, read_incidents

    def read(ledger: Any) -> list[Incident]:
        with ledger.transaction() as connection:
            return read_incidents(
                connection,
                symbols=spellings(symbols),
                datasets=datasets or None,
                kinds=[Kind(kind) for kind in kinds] or None,
                **given,
            )

    found = with_ledger(read)
    if as_json:
        click.echo(json.dumps([{n: _json(v) for n, v in asdict(one).items()} for one in found], indent=1))
        return
    for one in found:
        about = " ".join(filter(None, (one.exchange, one.market_type, one.symbol, one.dataset)))
        print_line(f"{about} {_span(one.start_time, one.end_time)}: {one.kind}, {one.source}: {_words(one)}")
    if not found:
        out.print("no incidents are known in the stored days; `crypto-assets gaps` shows what is missing")


def _span(start: datetime, end: datetime) -> str:
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M}"
    minutes = (end - start).total_seconds() / 60
    return f"{start:%Y-%m-%d %H:%M} – {until} UTC ({minutes:,.0f} min)"


def _words(one: Any) -> str:
    if one.source == "known":
        shown = f"; {len(one.symbols)} stored symbols show it" if one.symbols else ""
        return f"{one.evidence['known']}, {one.reference}{shown}"
    return evidence_in_words(one.evidence)


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """Return evidence in one line: `expected once in 40,414 days by the symbol's own rates, symbols trading meanwhile 0`."""
    plain = {name: value for name, value in evidence.items() if isinstance(value, str | int | float)}
    texts = []
    if (days := plain.pop("once_in_days", None)) is not None:
        plain.pop("chance", None)
        texts.append(f"expected once in {days:,} days by the symbol's own rates")
    if (chance := plain.pop("chance", None)) is not None:
        texts.append(f"chance {chance:.2g} a day")
    if isinstance(plain.get("missing"), bool) and plain.pop("missing"):
        texts.append("rows are missing")
    return ", ".join([*texts, *(f"{name.replace('_', ' ')} {value}" for name, value in plain.items())])


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value


SECTION = "Quality"
COMMANDS = (incidents,)
