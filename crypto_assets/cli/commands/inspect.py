"""`status` and `gaps`: complete days, and missing days with their causes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.commands import acknowledge
from crypto_assets.cli.commands.warehouse import unlisted_days, unlisted_in_words
from crypto_assets.cli.console import out, print_line, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import (
    DAY,
    coverage_of,
    filters,
    gaps_by_entry,
    load_configured,
    look_again,
    today,
    with_ledger,
)
from crypto_assets.cli.run_outcome import print_unchosen
from crypto_assets.engine.problems import Problem, spans
from crypto_assets.ledger.coverage_tables import status_json, status_table, unchosen_json
from crypto_assets.model import State, TrackDay, days_between

if TYPE_CHECKING:
    from crypto_assets.causes.rules import MinuteSpan
    from crypto_assets.quality.gap_causes import Explained


@click.group(invoke_without_command=True)
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@click.option("--all", "everything", is_flag=True, help="Include acknowledged days.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, one object for each day, acknowledged ones included; without day and symbol: an entry has none yet.",
)
@click.pass_context
def gaps(
    context: click.Context, first: date | None, last: date | None, everything: bool, as_json: bool, **filters: Any
) -> None:
    """Show what is missing, and why.

    Exit code 1 if something is missing that nobody has acknowledged, or an entry has no symbol yet. Each line ends with
    the cause in brackets (docs/concepts/incidents.md), then the minutes that are missing inside a stored day.
    """
    if context.invoked_subcommand:
        if given := [name for name, value in context.params.items() if value]:
            raise click.UsageError(
                f"expected the options after {context.invoked_subcommand}, found {', '.join(given)} before it"
            )
        return
    from crypto_assets.config.selection import without_symbols
    from crypto_assets.errors import ConfigError
    from crypto_assets.ledger import symbol_rules
    from crypto_assets.quality.gap_causes import as_json as json_of
    from crypto_assets.quality.gap_causes import explain
    from crypto_assets.quality.gap_causes import unchosen_json as gap_without_symbol

    collection = load_configured()
    waiting = without_symbols(collection, first, last or _yesterday(), **filters)
    unchosen = symbol_rules.hints(collection, waiting)
    found = []
    try:
        look_again(collection, filters, older_than=timedelta(days=1), timeout_s=5.0)
        found = [gap for _, of_entry in gaps_by_entry(collection, first, last, filters) for gap in of_entry]
    except ConfigError:
        if not unchosen:  # else the filters match an entry without symbols
            raise
    explained = with_ledger(lambda ledger: explain(ledger, found)) if found else []
    open_ = [one for one in explained if one.gap.is_open]
    if as_json:
        nothing = map(gap_without_symbol, symbol_rules.unchosen(collection, waiting))
        click.echo(json.dumps([*nothing, *map(json_of, explained)], indent=1))
    else:
        _echo(explained if everything else open_)
        print_unchosen(unchosen)
        if not open_ and not unchosen:
            out.print("nothing is missing" + (" that nobody has acknowledged" if explained else ""))
        if count := len(explained) - len(open_):
            days = "1 day is" if count == 1 else f"{count} days are"
            print_line(f"{days} acknowledged" + ("" if everything else "; --all lists them"))
    sys.exit(1 if open_ or unchosen else 0)


def _yesterday() -> date:
    return today() - timedelta(days=1)


def _echo(explained: Sequence[Explained]) -> None:
    """Print days, equal neighbours as one line, each with the minutes that are missing in it."""
    days = {one.gap.track_day: one for one in explained}
    problems = []
    for one in explained:
        gap = one.gap
        cause = one.cause.kind.value if gap.state is not None else ""  # "not collected yet" needs no cause
        noted = str(gap.acknowledged or "")
        reason = "" if gap.state is None else gap.reason
        state = State.MISSING if gap.lost else gap.state
        problems.append(Problem(gap.series, gap.symbol, gap.day, state, reason, cause, noted))
    for span in spans(problems):
        print_line(str(span))
        for day in days_between(span.first, span.last):
            for missing in days[TrackDay(*span.track, day)].spans:
                print_line(f"  {_minutes(missing)}: {in_words(missing)}")


def _minutes(span: MinuteSpan) -> str:
    """Return the first and the last minute, as the reasons of days name bars: `2024-01-05 08:00–08:02`."""
    last = span.end - timedelta(minutes=1)
    return f"{span.start:%Y-%m-%d %H:%M}" + (f"–{last:%H:%M}" if last > span.start else "")


def in_words(span: MinuteSpan) -> str:
    """Return why minutes are missing, in one line: `missing [exchange_outage]: known …, source https://…`."""
    what = "missing" if span.missing else "silent"
    evidence = {name: value for name, value in span.cause.evidence.items() if isinstance(value, str | int | float)}
    return f"{what} [{span.cause.kind}]: " + ", ".join(
        f"{name.replace('_', ' ')} {evidence[name]}" for name in evidence
    )


@click.command(
    cls=Help,
    examples=(
        ("status", "One line for each series"),
        ("status --json", "The same for programs"),
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each asset.")
def status(as_json: bool) -> None:
    """Show how many days of everything in collection.yaml are complete.

    Exit code 1 if `gaps` shows something. A day is one symbol of a dataset over one UTC day, from the entry's start
    to its end or yesterday.
    """
    from crypto_assets.config.selection import without_symbols
    from crypto_assets.ledger import symbol_rules

    collection = load_configured()
    found_gaps, found = coverage_of(collection)
    waiting = without_symbols(collection, last=_yesterday())
    unchosen = symbol_rules.hints(collection, waiting)
    if as_json:
        nothing = map(unchosen_json, symbol_rules.unchosen(collection, waiting))
        click.echo(json.dumps([*map(status_json, found), *nothing], indent=1))
    else:
        print_table(status_table(found))
        if not any(one.states for one in found):
            out.print("nothing has been collected yet; start with `crypto-assets collect` or `crypto-assets demo`")
        elif any(not one.is_complete for one in found if one.in_collection):
            out.print("`crypto-assets gaps` shows what is missing, and why; `crypto-assets fill` collects it")
        if any(one.failed_checks for one in found):
            out.print("`crypto-assets validate` runs the checks again and names those that fail, with their days")
        if days := with_ledger(lambda ledger: unlisted_days(collection, ledger)):
            out.print(unlisted_in_words(days))
        print_unchosen(unchosen)
    sys.exit(1 if unchosen or any(gap.is_open for gap in found_gaps) else 0)


for _command in acknowledge.SUBCOMMANDS:
    gaps.add_command(_command)

SECTION = "Look"
COMMANDS = (status, gaps)
