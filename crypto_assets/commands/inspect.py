"""`status` and `gaps`: what is there, and what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.commands.console import out
from crypto_assets.commands.options import DAY, filters, gaps_by_entry, load_configured, with_ledger
from crypto_assets.tables import names, summary_json, summary_table

if TYPE_CHECKING:
    from crypto_assets.quality.causes import MinuteSpan
    from crypto_assets.quality.explaining import Explained


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each day.")
def gaps(first: date | None, last: date | None, as_json: bool, **filters: Any) -> None:
    """Show what is missing, and why; exit code 1 if anything is.

    The cause of a day stands in brackets (docs/incidents.md); the minutes that lack inside a stored day follow it.
    """
    from crypto_assets.quality.explaining import as_json as json_of
    from crypto_assets.quality.explaining import explain

    collection = load_configured()
    found = [gap for _, of_entry in gaps_by_entry(collection, first, last, filters) for gap in of_entry]
    explained = with_ledger(lambda ledger: explain(ledger, found)) if found else []
    if as_json:
        click.echo(json.dumps([json_of(one) for one in explained], indent=1))
    elif not found:
        out.print("nothing is missing")
    else:
        _echo(explained)
    sys.exit(1 if found else 0)


def _echo(explained: Sequence[Explained]) -> None:
    """Print days, equal neighbours as one line, each with the minutes that lack in it."""
    from crypto_assets.partitions import ranges

    alike: dict[tuple[Any, ...], list[Explained]] = {}
    for one in explained:
        gap = one.gap
        # Reasons name the file of their day; without the day, equal reasons are one line.
        like = gap.series, gap.symbol, gap.state, one.cause.kind, gap.reason.replace(str(gap.day), "…")
        alike.setdefault(like, []).append(one)
    for (series, symbol, state, kind, _), same in alike.items():
        days = {one.gap.day: one for one in same}
        for begin, end in ranges(days):
            span = str(begin) if begin == end else f"{begin} … {end} ({(end - begin).days + 1} days)"
            asset = " ".join(names(series, symbol).values())
            click.echo(f"{asset} {span}: {state or 'absent'}: {days[begin].gap.reason} [{kind}]")
            for day, one in days.items():
                if begin <= day <= end:
                    for lacking in one.spans:
                        click.echo(f"  {lacking.start:%Y-%m-%d %H:%M}–{lacking.end:%H:%M}: {in_words(lacking)}")


def in_words(span: MinuteSpan) -> str:
    """Return why minutes lack, in one line: `bars absent [exchange_outage]: known: …, https://…`."""
    what = "absent" if span.absent else "silent"
    evidence = {name: value for name, value in span.cause.evidence.items() if isinstance(value, str | int | float)}
    return f"{what} [{span.cause.kind}]: " + ", ".join(
        f"{name.replace('_', ' ')} {evidence[name]}" for name in evidence
    )


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
