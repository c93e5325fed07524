"""`status` and `gaps`: what is there, and what is not."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import Any

import click

from crypto_assets.commands.console import out
from crypto_assets.commands.options import DAY, filters, gaps_by_entry, load_configured, with_ledger
from crypto_assets.tables import names, summary_json, summary_table


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each day.")
def gaps(first: date | None, last: date | None, as_json: bool, **filters: Any) -> None:
    """Show what is missing, and why; exit code 1 if anything is."""
    from crypto_assets.partitions import ranges

    collection = load_configured()
    found = [gap for _, of_entry in gaps_by_entry(collection, first, last, filters) for gap in of_entry]
    if as_json:
        rows = [
            {**names(gap.series, gap.symbol), "day": str(gap.day), "state": gap.state, "reason": gap.reason}
            for gap in found
        ]
        click.echo(json.dumps(rows, indent=1))
    elif not found:
        out.print("nothing is missing")
    else:
        alike: dict[tuple[Any, ...], list[Any]] = {}
        for gap in found:
            # Reasons name the file of their day; without the day, equal reasons are one line.
            alike.setdefault((gap.series, gap.symbol, gap.state, gap.reason.replace(str(gap.day), "…")), []).append(gap)
        for (series, symbol, state, _), same in alike.items():
            reasons = {gap.day: gap.reason for gap in same}
            for begin, end in ranges(reasons):
                span = str(begin) if begin == end else f"{begin} … {end} ({(end - begin).days + 1} days)"
                asset = " ".join(names(series, symbol).values())
                click.echo(f"{asset} {span}: {state or 'absent'}: {reasons[begin]}")
    sys.exit(1 if found else 0)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the coverage of every series: states by day, rows, failed checks."""
    summaries = with_ledger(lambda ledger: ledger.summary())
    if as_json:
        click.echo(json.dumps([summary_json(summary) for summary in summaries], indent=1))
        return
    if not summaries:
        out.print("nothing was collected yet; start with `crypto-assets collect` or `crypto-assets demo`")
        return
    out.print(summary_table(summaries))


COMMANDS = (gaps, status)
