"""`up`, `demo` and `sandbox`: servers that run until Ctrl-C, and the demo."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from crypto_assets.cli.commands.collect import collect_all
from crypto_assets.cli.console import counted, err, escape, out, reading_address, without_password
from crypto_assets.cli.options import HOST_OPTION, load_configured, load_listed, today
from crypto_assets.instance.parts import PARTS

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--api-port", type=int, help="Port of the API; default: the one after --port.")
@HOST_OPTION
@click.option("--only", type=click.Choice(PARTS), help="Run one part in the foreground, as a container does.")
def up(port: int, api_port: int | None, host: str, only: str | None) -> None:
    """Run Postgres, the Dagster UI, the daemon and the API until Ctrl-C.

    The first lines print their addresses, and what is collected without anybody asking. With --demo it shows what
    `crypto-assets demo` collected; its exchange runs too.
    """
    import threading

    from crypto_assets.config.environment import settings
    from crypto_assets.instance import up
    from crypto_assets.instance.switches import unreadable

    if only is not None:
        _only(only, port, host)
        return
    # A closed terminal ends it too. A second Ctrl-C changes nothing: the children end in order.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    collection = load_listed(required=False)
    with err.status("starting") as status:

        def say(text: str) -> None:
            status.update(escape(text))
            if not err.is_terminal:
                err.print(text)

        with up.running(port, say, stop, api_port, host) as running:
            status.stop()
            if not stop.is_set():
                out.print(
                    f"Dagster UI  {running.url}",
                    f"API         {running.api}",
                    f"Postgres    {without_password(reading_address(running.postgres))}",
                    f"lake        {settings().lake}",
                    f"logs        {running.logs}",
                    *_by_itself(collection, running.url, running.postgres),
                    "Ctrl-C stops all of them",
                    sep="\n",
                    markup=False,
                )
                sys.stdout.flush()
                running.say = lambda text: err.print(escape(text))
                running.trouble = lambda: unreadable(running.postgres)
                running.outdated = _new_symbols(collection, running.postgres)
                running.watch()
            status.start()
            say("stopping")
    out.print(f"stopped{'' if settings().postgres_url else _end_of_postgres()}")


def _new_symbols(collection: Collection, postgres: str) -> Callable[[], str]:
    """Return a function that says when the rules of the collection may choose more symbols than at the last call."""
    import psycopg

    from crypto_assets.ledger.symbol_rules import universe_stamp

    def read() -> str:
        if not collection.ruled:
            return ""
        with psycopg.connect(postgres, connect_timeout=5, autocommit=True) as connection:
            return universe_stamp(connection, collection)

    known = [read()]

    def outdated() -> str:
        before, known[0] = known[0], read()
        return "" if known[0] == before else "there are new symbols"

    return outdated


def _end_of_postgres() -> str:
    """Return what happens to the embedded server; in a container it is stopped now."""
    from crypto_assets.config.environment import settings
    from crypto_assets.storage.embedded_postgres import stop_if_unused

    # Process 1, or its child, as `tini` makes it: the container ends with it, and the kernel kills all others at once.
    if 1 in (os.getpid(), os.getppid()) and stop_if_unused(settings().home):
        return ", Postgres too"
    return "; Postgres stops by itself when nobody uses it"


def _only(part: str, port: int, host: str) -> None:
    from crypto_assets.config.environment import settings
    from crypto_assets.instance.alone import run_alone
    from crypto_assets.instance.parts import DAEMON, switches_start
    from crypto_assets.instance.switches import stored_switches
    from crypto_assets.storage import postgres_url

    collection = load_configured()

    def ready() -> None:
        if part == DAEMON:
            on = stored_switches(collection, starts=switches_start())
            lines = _lines_of(collection, on, postgres_url(settings()), "the switches in the UI, page Automation")
            out.print(*lines, sep="\n", markup=False, soft_wrap=True)
            sys.stdout.flush()

    run_alone(part, lambda text: err.print(text, markup=False, soft_wrap=True), ready, port, host)


def _by_itself(collection: Collection, url: str, postgres: str) -> list[str]:
    """Return lines about what is collected without anybody asking, as the UI at an address knows it."""
    from crypto_assets.errors import CryptoAssetsError
    from crypto_assets.instance.switches import running_switches

    try:
        on = running_switches(url)
    except CryptoAssetsError as error:
        return [f"automation  {error}"]
    return _lines_of(collection, on, postgres, f"the switches at {url}/automation")


def _lines_of(collection: Collection, on: Mapping[str, bool], postgres: str, clicks: str) -> list[str]:
    """Return lines about what is collected without anybody asking, and how to change that.

    Args:
        collection: what collection.yaml says.
        on: whether each switch runs.
        postgres: URL of the database.
        clicks: where to click, in words.
    """
    from crypto_assets.config.automation import switches
    from crypto_assets.config.environment import settings
    from crypto_assets.instance.parts import switches_start
    from crypto_assets.instance.switches import in_words
    from crypto_assets.ledger.coverage import never_collected
    from crypto_assets.ledger.origins import other_origins
    from crypto_assets.storage.database import Database

    lines = in_words(collection, on, today(), starts=switches_start())
    if any(on.get(switch.kind) for switch in switches(collection)):
        lines.append(f"off: `automation: false` in {settings().config}, or {clicks}")
    watched = [
        entry for one in switches(collection) if one.kind == "new_files" and on.get(one.kind) for entry in one.entries
    ]
    with Database(postgres, connections=1) as database:
        days = never_collected(database, watched, today())
        lines += other_origins(database, collection)
    if days:
        first = min(entry.start for entry in watched)
        lines.append(
            f"{counted(days, 'day')} of single symbols and datasets since {first} are not collected yet; "
            "those that the archive has come by themselves; "
            f"`{_command()} pause` pauses"
        )
    return [f"{'' if number else 'automation':<12}{line}" for number, line in enumerate(lines)]


@click.command()
def demo() -> None:
    """Collect ten days from the sandbox exchange and show what was stored.

    It needs no network. All prices are synthetic.
    """
    from crypto_assets.config import selection
    from crypto_assets.config.environment import settings
    from crypto_assets.sandbox.demo import FIRST, LAST, demo_environment

    with demo_environment():
        collection = load_configured()
        requests, _ = selection.clip(collection, selection.select(collection), FIRST, LAST, today())
        out.print("A synthetic exchange runs on this machine; none of these prices is real.")
        out.print(f"Parquet   {settings().lake}", markup=False)
        code = collect_all(collection, requests, as_json=False)
    command = _command()
    for what, how in (
        ("status", f"{command} --demo status"),
        ("SQL", f'{command} --demo sql "SELECT symbol, count(*) FROM market.ohlcv GROUP BY symbol"'),
        ("Dagster", f"{command} --demo up          the UI, with everything that was collected"),
    ):
        out.print(f"{what:<9} {how}", markup=False)
    sys.exit(code)


def _command() -> str:
    """Return how this command was called."""
    import shutil
    from pathlib import Path

    mine = Path(sys.argv[0])
    if mine.suffix == ".py":
        return "python -m crypto_assets"
    if shutil.which(mine.name) and Path(shutil.which(mine.name) or "").resolve() == mine.resolve():
        return mine.name
    return str(mine.relative_to(Path.cwd())) if mine.is_relative_to(Path.cwd()) else str(mine)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: Sequence[str]) -> None:
    """Run the sandbox exchange, or serve a folder of real archive files (--help)."""
    from crypto_assets.sandbox.__main__ import main as serve

    serve(list(arguments))


SECTION = "Run"
COMMANDS = (up, demo, sandbox)
