"""`collect` and `fill`: days are collected through Dagster, in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crypto_assets.commands.console import err, escape, out
from crypto_assets.commands.options import DAY, filters, gaps_by_entry, load_configured, today, with_ledger
from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.tables import record_names, record_table


@click.command()
@filters
@click.option("--from", "first", type=DAY, required=True, help="First day, UTC, included.")
@click.option("--to", "last", type=DAY, required=True, help="Last day, UTC, included; today is one up to now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def collect(first: date, last: date, as_json: bool, **filters: Any) -> None:
    """Collect days of symbols that are in collection.yaml; stored ones are verified, not downloaded again."""
    from crypto_assets import runs

    collection = load_configured()
    requests = runs.plan(collection, runs.select(collection, **filters), first, last, today())
    runs.check_symbols(collection, requests)
    run_all(collection, requests, quiet=as_json)
    sys.exit(report(requests, as_json))


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fill(first: date | None, last: date | None, as_json: bool, **filters: Any) -> None:
    """Collect what is missing: every day from each entry's start to yesterday that is not complete."""
    from crypto_assets import runs
    from crypto_assets.collection.records.gaps import group_days
    from crypto_assets.partitions import ranges

    collection = load_configured()
    requests = []
    for entry, found in gaps_by_entry(collection, first, last, filters):
        for days, pairs in group_days(gap for gap in found if gap.is_open).items():
            requests += [runs.Request(entry, tuple(pairs), begin, end) for begin, end in ranges(days)]
    if not requests:
        if as_json:
            click.echo(json.dumps({"days": 0, "states": {}, "rows": 0, "problems": []}))
        else:
            out.print("nothing is missing")
        return
    runs.check_symbols(collection, requests)
    run_all(collection, requests, quiet=as_json)
    sys.exit(report(requests, as_json))


def run_all(collection: Any, requests: Sequence[Any], quiet: bool = False, doing: str = "collecting") -> None:
    from crypto_assets import runs

    with _progress(sum(request.days for request in requests), quiet, doing) as advance:
        runs.execute(collection, requests, advance)


@contextmanager
def _progress(total: int, quiet: bool, doing: str) -> Iterator[Callable[[int, str], None]]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet,
    )
    with bar:
        task = bar.add_task(doing, total=total)

        def advance(count: int, paused: str) -> None:
            text = f"paused: {escape(paused)}" if paused else doing
            if text != bar.tasks[0].description:
                bar.update(task, description=text)
                if paused and not err.is_terminal:
                    err.print(text)
            bar.advance(task, count)

        yield advance


def records_of(ledger: Any, requests: Sequence[Any]) -> list[Any]:
    """Return what the ledger knows of the days of some requests."""
    return [
        record
        for request in requests
        for series, symbol in request.pairs
        for record in ledger.partitions(
            exchange=series.exchange,
            market_type=series.market_type,
            symbols=[symbol],
            datasets=[series.dataset],
            first=request.first,
            last=request.last,
        )
    ]


def report(requests: Sequence[Any], as_json: bool) -> int:
    """Print what became of every day that was asked for; return the exit code."""

    found = with_ledger(lambda ledger: records_of(ledger, requests))
    asked = sum(request.days for request in requests)
    problems = [record for record in found if record.state not in COMPLETE_STATES]
    kept = [record for record in found if record.state in COMPLETE_STATES and record.attempt_error]
    lost = asked - len(found)
    states = {state.value: count for state in State if (count := sum(record.state == state for record in found))}
    if as_json:
        lines = [{**record_names(r), "day": str(r.day), "state": r.state, "reason": r.reason} for r in problems]
        click.echo(
            json.dumps(
                {"days": asked, "states": states, "rows": sum(r.rows or 0 for r in found), "problems": lines}, indent=1
            )
        )
    else:
        out.print(record_table(found))
        for record in problems:
            asset = " ".join(record_names(record).values())
            click.echo(f"{asset} {record.day}: {record.state}: {record.reason}")
        explained = sum(record.state == State.NO_DATA for record in found)
        out.print(f"{asked} days asked for: " + ", ".join(f"{count} {state}" for state, count in states.items()))
        if explained:
            reasons = {record.reason for record in found if record.state == State.NO_DATA}
            out.print(f"no_data: {'; '.join(sorted(reasons)[:5])}")
    for record in kept:
        asset = " ".join(record_names(record).values())
        err.print(
            f"{escape(asset)} {record.day}: what is stored stays, it was not renewed: {escape(record.attempt_error)}"
        )
    if lost:
        err.print(f"[red]error:[/red] {lost} days have no record; the run was stopped. Run the command again")
    return 1 if problems or lost else 0


COMMANDS = (collect, fill)
