"""`status` and `gaps`: what is there, and what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.commands import acknowledge
from crypto_assets.commands.console import out
from crypto_assets.commands.options import DAY, filters, gaps_by_entry, load_configured, with_ledger
from crypto_assets.tables import names, summary_json, summary_table

if TYPE_CHECKING:
    from crypto_assets.quality.causes import MinuteSpan
    from crypto_assets.quality.explaining import Explained


@click.group(invoke_without_command=True)
@filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--all", "everything", is_flag=True, help="Acknowledged days too.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object for each day, acknowledged ones included."
)
@click.pass_context
def gaps(
    context: click.Context, first: date | None, last: date | None, everything: bool, as_json: bool, **filters: Any
) -> None:
    """Show what is missing, and why; exit code 1 if anything is that nobody has acknowledged.

    The cause of a day stands in brackets (docs/incidents.md); the minutes that are missing inside a stored day follow it.
    """
    if context.invoked_subcommand:
        if given := [name for name, value in context.params.items() if value]:
            raise click.UsageError(
                f"write the options behind {context.invoked_subcommand}, found {', '.join(given)} before it"
            )
        return
    from crypto_assets.quality.explaining import as_json as json_of
    from crypto_assets.quality.explaining import explain

    collection = load_configured()
    found = [gap for _, of_entry in gaps_by_entry(collection, first, last, filters) for gap in of_entry]
    explained = with_ledger(lambda ledger: explain(ledger, found)) if found else []
    open_ = [one for one in explained if one.gap.is_open]
    if as_json:
        click.echo(json.dumps([json_of(one) for one in explained], indent=1))
    else:
        _echo(explained if everything else open_)
        if not open_:
            out.print("nothing is missing" + (" that nobody has acknowledged" if explained else ""))
        if count := len(explained) - len(open_):
            days = "1 day is" if count == 1 else f"{count} days are"
            click.echo(f"{days} acknowledged" + ("" if everything else "; --all lists them"))
    sys.exit(1 if open_ else 0)


def _echo(explained: Sequence[Explained]) -> None:
    """Print days, equal neighbours as one line, each with the minutes that are missing in it."""
    from crypto_assets.partitions import ranges

    alike: dict[tuple[Any, ...], list[Explained]] = {}
    for one in explained:
        gap = one.gap
        # Reasons name the file of their day; without the day, equal reasons are one line.
        noted = str(gap.acknowledged) if gap.acknowledged else ""
        like = gap.series, gap.symbol, gap.state, one.cause.kind, gap.reason.replace(str(gap.day), "…"), noted
        alike.setdefault(like, []).append(one)
    for (series, symbol, state, kind, _, noted), same in alike.items():
        days = {one.gap.day: one for one in same}
        for begin, end in ranges(days):
            span = str(begin) if begin == end else f"{begin} … {end} ({(end - begin).days + 1} days)"
            asset = " ".join(names(series, symbol).values())
            why = f"{state}: {days[begin].gap.reason} [{kind}]" if state else days[begin].gap.reason
            click.echo(f"{asset} {span}: {why}" + (f"; {noted}" if noted else ""))
            for day, one in days.items():
                if begin <= day <= end:
                    for missing in one.spans:
                        click.echo(f"  {missing.start:%Y-%m-%d %H:%M}–{missing.end:%H:%M}: {in_words(missing)}")


def in_words(span: MinuteSpan) -> str:
    """Return why minutes are missing, in one line: `missing [exchange_outage]: known …, source https://…`."""
    what = "missing" if span.absent else "silent"
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


for _command in acknowledge.SUBCOMMANDS:
    gaps.add_command(_command)

COMMANDS = (gaps, status)
