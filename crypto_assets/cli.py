"""The command `crypto-assets`.

Exit codes: 0 when every day asked for is available, provisional or known to have no data; 1 when something is missing or
degraded, with one line for each; 2 for bad arguments or configuration.
"""

import gc
import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crypto_assets.errors import ConfigError, CryptoAssetsError
from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.tables import names, record_names, record_table, summary_json, summary_table
from crypto_assets.version import __version__

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)
# Where the output is narrower, or no terminal at all, lines go on in the next one; rich would cut the cells of a table.
out.width = max(out.width, 140)


class _Day(click.ParamType):
    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it like 2024-01-31", param, context)


DAY = _Day()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crypto-assets")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The collection; default: CRYPTO_ASSETS_CONFIG or collection.yaml.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(config: Path | None, debug: bool) -> None:  # noqa: ARG001  read by main()
    """Collect crypto market data: complete, or it says exactly what is missing and why."""
    if config:
        import os

        os.environ["CRYPTO_ASSETS_CONFIG"] = str(config.absolute())


def main() -> None:
    """Run the command; our own errors become one message on stderr and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        err.print("stopped")
        sys.exit(130)
    except CryptoAssetsError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        err.print(f"[red]error:[/red] {_escape(str(error))}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    finally:
        # Python would look through every object once more before it ends: a second of CPU with Dagster loaded.
        gc.freeze()


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option("--exchange", help="Only this exchange."),
            click.option("--market-type", help="Only this market type: spot, linear, inverse."),
            click.option(
                "--symbol", "symbols", multiple=True, help="Only this symbol, e.g. BTC/USDT; may be repeated."
            ),
            click.option(
                "--dataset", "datasets", multiple=True, help="Only this dataset, e.g. ohlcv_1m; may be repeated."
            ),
        )
    ):
        command = option(command)
    return command


@cli.command()
@_filters
@click.option("--from", "first", type=DAY, required=True, help="First day, UTC, included.")
@click.option("--to", "last", type=DAY, required=True, help="Last day, UTC, included.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def collect(first: date, last: date, as_json: bool, **filters: Any) -> None:
    """Collect days of symbols that are in collection.yaml; stored ones are verified, not downloaded again."""
    from crypto_assets import runs

    collection = _collection()
    requests = runs.plan(runs.select(collection, **filters), first, last, _today())
    runs.check_symbols(collection, requests)
    _run(collection, requests, quiet=as_json)
    sys.exit(_report(requests, as_json))


@cli.command()
@_filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fill(first: date | None, last: date | None, as_json: bool, **filters: Any) -> None:
    """Collect what is missing: every day from each entry's start to yesterday that is not complete."""
    from crypto_assets import runs
    from crypto_assets.collection.gaps import group_days
    from crypto_assets.partitions import ranges

    collection = _collection()
    requests = []
    for entry, found in _gaps(collection, first, last, filters):
        for days, pairs in group_days(found).items():
            requests += [runs.Request(entry, tuple(pairs), begin, end) for begin, end in ranges(days)]
    if not requests:
        if as_json:
            click.echo(json.dumps({"days": 0, "states": {}, "rows": 0, "problems": []}))
        else:
            out.print("nothing is missing")
        return
    runs.check_symbols(collection, requests)
    _run(collection, requests, quiet=as_json)
    sys.exit(_report(requests, as_json))


@cli.command()
@_filters
@click.option("--from", "first", type=DAY, help="Only days from this one on.")
@click.option("--to", "last", type=DAY, help="Only days up to this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each day.")
def gaps(first: date | None, last: date | None, as_json: bool, **filters: Any) -> None:
    """Show what is missing, and why; exit code 1 if anything is."""
    from crypto_assets.partitions import ranges

    collection = _collection()
    found = [gap for _, of_entry in _gaps(collection, first, last, filters) for gap in of_entry]
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


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the coverage of every series: states by day, rows, failed checks."""
    summaries = _ledger(lambda ledger: ledger.summary())
    if as_json:
        click.echo(json.dumps([summary_json(summary) for summary in summaries], indent=1))
        return
    if not summaries:
        out.print("nothing was collected yet; start with `crypto-assets collect` or `crypto-assets demo`")
        return
    out.print(summary_table(summaries))


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@click.option(
    "--demo", "with_demo", is_flag=True, help="Show what `crypto-assets demo` collected; its exchange runs too."
)
def up(port: int, with_demo: bool) -> None:
    """Run Postgres, the Dagster UI and the daemon until Ctrl-C; prints the URLs."""
    import threading
    from contextlib import nullcontext

    from crypto_assets import services
    from crypto_assets.config import settings
    from crypto_assets.demo import demo_environment

    # A closed terminal ends it too. A second Ctrl-C changes nothing: the children are ended in order.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with demo_environment() if with_demo else nullcontext():
        _collection()
        with err.status("starting") as status:

            def say(text: str) -> None:
                status.update(text)
                if not err.is_terminal:
                    err.print(text)

            with services.running(port, say, stop) as running:
                status.stop()
                if not stop.is_set():
                    out.print(
                        f"Dagster UI  {running.url}\nPostgres    {_without_password(running.postgres)}\n"
                        f"lake        {settings().lake}\nlogs        {running.logs}\nCtrl-C ends all of it"
                    )
                    sys.stdout.flush()
                    running.say = err.print
                    running.watch()
                status.start()
                say("stopping")
        ends = "" if settings().postgres_url else "; Postgres ends by itself when nobody uses it"
    out.print(f"stopped{ends}")


@cli.command()
def demo() -> None:
    """Collect from the sandbox exchange, show what was stored and checked, exit."""
    from crypto_assets import runs
    from crypto_assets.config import settings
    from crypto_assets.demo import FIRST, LAST, demo_environment
    from crypto_assets.resources import PostgresResource

    with demo_environment():
        collection = _collection()
        requests = runs.plan(runs.select(collection), FIRST, LAST, _today())
        out.print("A synthetic exchange runs on this machine; none of these prices is real.")
        _run(collection, requests)
        code = _report(requests, as_json=False)
        postgres = _without_password(PostgresResource().resolved_url())
        out.print(f"Parquet   {settings().lake}\nPostgres  {postgres} (runs while it is used)")
        out.print("Look at it in the Dagster UI: [bold]crypto-assets up --demo[/bold]")
    sys.exit(code)


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: Sequence[str]) -> None:
    """Run the sandbox exchange, or serve a folder of real archive files (--help)."""
    from crypto_assets.sandbox.__main__ import main as serve

    serve(list(arguments))


# ---- what the commands share --------------------------------------------------------------------------------------------


def _today() -> date:
    return datetime.now(UTC).date()


def _collection() -> Any:
    from crypto_assets.config import load_collection, settings

    return load_collection(settings().config)


def _ledger(use: Callable[[Any], Any]) -> Any:
    from crypto_assets.resources import PostgresResource

    with PostgresResource().ledger() as ledger:
        return use(ledger)


def _gaps(
    collection: Any, first: date | None, last: date | None, filters: dict[str, Any]
) -> list[tuple[Any, list[Any]]]:
    """Return the gaps of each entry that the filters leave."""
    from crypto_assets import runs
    from crypto_assets.collection.gaps import gaps as find

    def of_entry(ledger: Any) -> Iterator[tuple[Any, list[Any]]]:
        for entry, pairs in runs.select(collection, **filters):
            found = [
                gap
                for gap in find(collection, ledger, _today(), [entry])
                if (gap.series, gap.symbol) in pairs
                and (not first or gap.day >= first)
                and (not last or gap.day <= last)
            ]
            yield entry, found

    return list(_ledger(lambda ledger: list(of_entry(ledger))))


def _run(collection: Any, requests: Sequence[Any], quiet: bool = False) -> None:
    from crypto_assets import runs

    with _progress(sum(request.days for request in requests), quiet) as advance:
        runs.execute(collection, requests, advance)


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    bar = Progress(
        TextColumn("collecting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _report(requests: Sequence[Any], as_json: bool) -> int:
    """Print what became of every day that was asked for; return the exit code."""

    def records(ledger: Any) -> list[Any]:
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

    found = _ledger(records)
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
            f"{_escape(asset)} {record.day}: what is stored stays, it was not renewed: {_escape(record.attempt_error)}"
        )
    if lost:
        err.print(f"[red]error:[/red] {lost} days have no record; the run was stopped. Run the command again")
    return 1 if problems or lost else 0


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
