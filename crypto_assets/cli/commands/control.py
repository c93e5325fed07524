"""`pause`, `resume`, `cancel` and `runs`: watch and control running collections."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import counted, err, out, print_line
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import once, with_ledger

if TYPE_CHECKING:
    from crypto_assets.ledger.progress import Progress

FOLLOW_S = 1.0


def _scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--run", help="Only this run; the start of its id is enough.")(command)
    return click.option("--exchange", multiple=True, callback=once, help="Only this exchange.")(command)


@click.command(
    cls=Help, examples=(("pause --exchange binance --reason maintenance", "Request nothing of one exchange"),)
)
@_scope_options
@click.option("--reason", default="", help="Why; shown with the pause.")
def pause(exchange: str | None, run: str | None, reason: str) -> None:
    """Pause everything, an exchange or a run. Started days are finished, then nothing is requested until `resume`."""
    from crypto_assets.ledger.pauses import Controls, me

    def change(ledger: Any) -> list[str]:
        scope = _scope(ledger, exchange, run)
        Controls(ledger).pause(scope, me(), reason)
        return _paused(ledger)

    _print_lines("paused: ", with_ledger(change, make=True))


def _print_lines(title: str, lines: Sequence[str]) -> None:
    """Print a title and aligned lines after it."""
    out.print(
        *(f"{title if not n else ' ' * len(title)}{line}" for n, line in enumerate(lines)), sep="\n", markup=False
    )


@click.command(cls=Help, examples=(("resume --exchange binance", "Collect from it again"),))
@_scope_options
def resume(exchange: str | None, run: str | None) -> None:
    """Resume a paused scope. Use the same options as for `pause`."""
    from crypto_assets.ledger.pauses import Controls

    def change(ledger: Any) -> tuple[str, bool, list[str]]:
        scope = _scope(ledger, exchange, run)
        return scope, Controls(ledger).resume(scope), _paused(ledger)

    scope, there, still = with_ledger(change)
    out.print(f"{scope}: {'resumed' if there else 'was not paused'}", markup=False)
    if still:
        _print_lines("still paused: ", still)


@click.command()
@click.argument("run")
@click.option("--reason", default="", help="Why; it is in the run's log.")
def cancel(run: str, reason: str) -> None:
    """Stop a run, named by its id or the start of it. Stored days stay."""
    from crypto_assets.defs.cancellation import cancel as ask
    from crypto_assets.ledger.pauses import me

    def change(ledger: Any) -> str:
        found = _run(ledger, run)
        if not ask(ledger, found, me(), reason):
            _run(ledger, run)  # raises ConfigError with the run's end
        return found.run_id

    out.print(f"{with_ledger(change)}: asked to stop", markup=False)


@click.command(cls=Help, examples=(("runs --follow", "Progress until Ctrl-C"),))
@click.option("--all", "everything", is_flag=True, help="Runs that have ended too.")
@click.option("--follow", is_flag=True, help="Repeat every second until nothing is running.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow one array on each line.")
def runs(everything: bool, follow: bool, as_json: bool) -> None:
    """Show what is running, how far it is and what is paused."""
    from crypto_assets.ledger.progress import ACTIVE_STATES, read_progress

    def show(ledger: Any) -> None:
        while True:
            active = read_progress(ledger, states=ACTIVE_STATES)
            found = read_progress(ledger) if everything else active
            if as_json:
                click.echo(json.dumps([run.as_json() for run in found], indent=None if follow else 1))
            else:
                for run in found:
                    print_line(_line(run))
                if not found and not follow:
                    out.print("nothing is running" + ("" if everything else "; --all shows what has ended"))
            if not (follow and active):
                break
            sys.stdout.flush()
            time.sleep(FOLLOW_S)
        if not as_json:
            for pause in _paused(ledger):
                err.print(f"paused: {pause}", markup=False)

    with_ledger(show)


def _line(run: Progress) -> str:
    parts = [f"{run.run_id[:8]} {run.state}", run.what, f"{run.done} of {counted(run.total, 'day')}"]
    if run.failed:
        parts.append(f"{run.failed} not complete")
    parts.append(f"{counted(run.rows, 'row')}, {run.bytes / 1e6:.1f} MB")
    if run.days_per_s:
        parts.append(f"{run.days_per_s:.1f} days/s")
    if run.eta_s is not None:
        minutes, seconds = divmod(round(run.eta_s), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if run.reason:
        parts.append(run.reason)
    return " · ".join(parts)


def _paused(ledger: Any) -> list[str]:
    from crypto_assets.ledger.pauses import Controls

    return [str(one) for one in Controls(ledger).read() if one.action == "pause"]


def _scope(ledger: Any, exchange: str | None, run: str | None) -> str:
    from crypto_assets import sources
    from crypto_assets.errors import ConfigError
    from crypto_assets.ledger import pauses

    if exchange and run:
        raise ConfigError("expected --exchange or --run, found both")
    if exchange and exchange not in sources.names():
        raise ConfigError(f"--exchange {exchange}: unknown; expected one of: {', '.join(sources.names())}")
    if exchange:
        return pauses.of_exchange(exchange)
    return pauses.of_run(_run(ledger, run).run_id) if run else pauses.ALL


def _run(ledger: Any, beginning: str) -> Progress:
    from crypto_assets.errors import ConfigError
    from crypto_assets.ledger.progress import ACTIVE_STATES, read_progress

    found = read_progress(ledger, run_id=beginning, limit=2)
    if len(found) != 1:
        what = f"several ids start with this, such as {found[0].run_id}" if found else "no run has this id"
        raise ConfigError(f"run {beginning}: {what}; `crypto-assets runs --all` shows them")
    if found[0].state not in ACTIVE_STATES:
        raise ConfigError(f"run {beginning}: expected a running one, found that it has ended: {_end(found[0])}")
    return found[0]


def _end(run: Progress) -> str:
    return f"{run.state}, {run.reason}" if run.reason else str(run.state)


SECTION = "Control"
COMMANDS = (pause, resume, cancel, runs)
