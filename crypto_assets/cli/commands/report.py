"""`report`: coverage, gaps with their causes and quality, as pictures and one HTML page."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from crypto_assets.cli.console import err, out
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, filters, load_configured, say_other_origins, with_ledger


@click.command(
    cls=Help,
    examples=(
        ("report -o report", "The whole collection"),
        ("report --symbol BTC/USDT --from 2024-01-01", "One symbol from a day on"),
    ),
)
@filters
@click.option("--from", "first", type=DAY, help="First day, UTC, included; default: the first day with a record.")
@click.option("--to", "last", type=DAY, help="Last day, UTC, included; default: yesterday.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("report"),
    show_default=True,
    help="Folder for report.html and the pictures.",
)
@click.option("--open", "opens", type=click.Choice(["yes", "no"]), default="no", help="Open the page in the browser.")
def report(first: date | None, last: date | None, folder: Path, opens: str, **given: Any) -> None:
    """Write a report: what is stored, what is missing and why, and the quality scores.

    The result is one HTML page with pictures; it needs no network.
    """
    from crypto_assets.config.environment import settings
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.quality.query import Query
    from crypto_assets.quality.report.build import bars_of, write_report
    from crypto_assets.quality.report.facts import read_facts

    query = Query(**given, first=first, last=last)
    with err.status("reading"):
        collection = load_configured()
        lake = configured_lake()
        with_ledger(lambda ledger: say_other_origins(ledger, collection))
        facts = with_ledger(lambda ledger: read_facts(ledger, collection, query, lake=lake))
        files = write_report(facts, bars_of(lake, facts), folder, synthetic=settings().is_demo)
    if facts.lost.other and facts.lost.notice:
        err.print(facts.lost.notice, markup=False)
    out.print(facts.verdict, markup=False)
    out.print(f"{files[0]}  and {len(files) - 1} pictures", markup=False)
    if opens == "yes":
        click.launch(files[0].resolve().as_uri())


SECTION = "Quality"
COMMANDS = (report,)
