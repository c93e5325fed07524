"""`postgres` and `sql`: ask the warehouse here, or get an address for another client."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import click

from crypto_assets.cli.console import counted, out, print_table, reading_address, without_password
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import say_other_origins, with_ledger
from crypto_assets.text.visible import visible_in

_SHOWN = 200


@click.command()
def postgres() -> None:
    """Print the address of Postgres and keep the embedded server running until Ctrl-C.

    Use it with psql and other clients. The address is read-only and works for your account only.
    The embedded server starts when a command needs it and stops after half a minute without use.
    """
    from crypto_assets.config.environment import settings
    from crypto_assets.defs.places import configured_url

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    url = configured_url(make=False)
    out.print(without_password(reading_address(url)), markup=False, soft_wrap=True)
    if settings().postgres_url:
        out.print("the address is in CRYPTO_ASSETS_POSTGRES_URL, with its password if it has one")
        return
    out.print("it answers until Ctrl-C")
    sys.stdout.flush()
    stop.wait()


@click.command(
    cls=Help,
    examples=(
        ("sql", "Open psql"),
        ('sql "SELECT * FROM market.latest_prices"', "The newest price of each symbol"),
        ('sql "SELECT symbol, count(*) FROM market.ohlcv GROUP BY 1"', "Rows of each symbol"),
        ('sql --csv "SELECT * FROM market.ohlcv LIMIT 10" > rows.csv', "Rows into a file"),
    ),
)
@click.argument("query", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, all rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each row; decimals as text.")
def sql(query: str | None, as_csv: bool, as_json: bool) -> None:
    """Run one read-only SQL query on the warehouse; without a query, open psql.

    Times are UTC. The schema `market` has the tables and the view `latest_prices`, `collection` the views `coverage` and
    `gaps`. psql reads no psqlrc and is read-only too, until you switch that off: it has the rights of
    the account in the address of Postgres. It ends with its own exit code.
    """
    if query is None:
        if as_csv or as_json:
            raise click.UsageError("--csv and --json need a query")
        sys.exit(_psql())
    names, rows = _ask(query)
    _say_origins()
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        # A file gets the stored text; a terminal would obey control codes in it.
        writer.writerows(map(visible_in, rows) if sys.stdout.isatty() else rows)
    elif as_json:
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1, default=str))
    else:
        _print(names, rows)


def _say_origins() -> None:
    """Warn when stored days came from another archive than the configured one; a query itself needs no collection."""
    from crypto_assets.config.collection import load_collection
    from crypto_assets.config.environment import settings
    from crypto_assets.errors import CryptoAssetsError

    with suppress(CryptoAssetsError):
        if (path := settings().config).exists():
            collection = load_collection(path)
            with_ledger(lambda ledger: say_other_origins(ledger, collection))


_READ_ONLY = "-c default_transaction_read_only=on -c timezone=UTC"


def _psql() -> int:
    """Open psql, wait for its end, and return its exit code; the embedded server runs as long as this process."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from crypto_assets.defs.places import configured_url
    from crypto_assets.errors import ConfigError

    program = shutil.which("psql")
    if program is None:
        raise ConfigError(
            "expected the program psql on the PATH, found none; install it (Debian: `apt install postgresql-client`, macOS: "
            '`brew install libpq`), or give a query: `crypto-assets sql "SELECT …"`'
        )
    address: dict[str, Any] = conninfo_to_dict(reading_address(configured_url(make=False)))
    # Other accounts of this machine can read the arguments of a process, but not its environment.
    password = address.pop("password", None)
    variables = os.environ | ({"PGPASSWORD": str(password)} if password else {})
    options = f"{address.pop('options', '')} {_READ_ONLY}".strip()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends a query in psql, which gets the signal too
    return subprocess.run(
        [program, "--no-psqlrc", make_conninfo(**address, options=options)],
        env=variables,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ).returncode


def _ask(query: str) -> tuple[list[str], Iterator[Sequence[Any]]]:
    import psycopg

    from crypto_assets.defs.places import configured_url
    from crypto_assets.errors import ConfigError

    url = reading_address(configured_url(make=False))
    try:
        with psycopg.connect(url, options=_READ_ONLY) as connection:
            cursor = connection.execute(query)
            if cursor.description is None:
                raise ConfigError("expected a query that returns rows, such as SELECT, found a statement without rows")
            return [column.name for column in cursor.description], iter(cursor.fetchall())
    except psycopg.OperationalError as error:
        from crypto_assets.storage.postgres_faults import unavailable

        raise unavailable(url, error) from error
    except psycopg.Error as error:
        raise ConfigError(f"SQL: {str(error).strip()}".splitlines()) from None


def _print(names: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    found = list(rows)
    for row in found[:_SHOWN]:
        table.add_row(*map(_cell, row))
    print_table(table)
    if len(found) > _SHOWN:
        out.print(f"… and {counted(len(found) - _SHOWN, 'more row')}: --csv")


def _cell(value: Any) -> str:
    """Return a value for people; decimals without the zeros at their end, which `--csv` and `--json` keep."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "" if value is None else str(value)


SECTION = "Look"
COMMANDS = (postgres, sql)
