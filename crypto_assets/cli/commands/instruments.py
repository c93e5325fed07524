"""`instruments`: what exchanges say about their symbols: contract sizes, steps, lives."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import click

from crypto_assets.cli.console import err, out, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, load_configured, once, with_ledger

_SHOWN = ("exchange", "market_type", "symbol", "exchange_symbol", "contract_size", "tick_size", "lot_size", "status")
_NAMED = 5


@click.command(
    cls=Help,
    examples=(
        ("instruments --refresh", "Ask the exchanges now, and show what they say"),
        ("instruments --market-type inverse --json", "Contract sizes, for programs"),
        ("instruments --symbol BTC/USDT --as-of 2024-01-05", "As it was known of a day"),
    ),
)
@click.option("--exchange", multiple=True, callback=once, help="Only this exchange.")
@click.option("--market-type", help="Only this market type: spot, linear or inverse.")
@click.option("--symbol", "symbols", multiple=True, help="Only this symbol; may be repeated.")
@click.option("--as-of", "day", type=DAY, help="Show what was known of this day.")
@click.option("--refresh", is_flag=True, help="Ask the exchanges of collection.yaml first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each symbol.")
def instruments(
    exchange: str | None,
    market_type: str | None,
    symbols: tuple[str, ...],
    day: date | None,
    refresh: bool,
    as_json: bool,
) -> None:
    """Show the instruments of the exchanges: names, contract sizes, steps of prices and amounts, first and last day.

    A schedule asks the exchanges once a day. Every answer that differs is a new version: --as-of shows earlier ones.
    """
    failed = _refresh(exchange, market_type) if refresh else False
    rows = with_ledger(lambda ledger: _rows(ledger, exchange, market_type, symbols, day), make=refresh)
    if as_json:
        click.echo(json.dumps(rows, indent=1, default=str))
    elif rows:
        print_table(_table(rows))
    else:
        out.print("no exchange was asked for these yet; `crypto-assets instruments --refresh` asks", markup=False)
    if failed:
        raise SystemExit(1)


def _rows(
    ledger: Any, exchange: str | None, market_type: str | None, symbols: tuple[str, ...], day: date | None
) -> list[dict[str, Any]]:
    from crypto_assets.client.instruments import known_rows

    exchanges, market_types = ([name] if name else None for name in (exchange, market_type))
    return known_rows(ledger, exchanges, market_types, list(symbols) or None, day)


def _refresh(exchange: str | None, market_type: str | None) -> bool:
    """Ask the exchanges; return whether one did not answer."""
    from crypto_assets.engine.instruments import markets_with_instruments, refresh_instruments
    from crypto_assets.errors import ConfigError

    collection = load_configured()
    markets = [
        one
        for one in markets_with_instruments(collection)
        if exchange in (None, one[0]) and market_type in (None, one[1])
    ]
    if not markets:
        raise ConfigError(
            "--refresh: expected a market of collection.yaml whose exchange says what its instruments are, found none"
        )
    failed = False
    for looked in with_ledger(lambda ledger: refresh_instruments(collection, ledger, markets), make=True):
        failed |= bool(looked.problem)
        err.print(in_words(looked), markup=False)
    return failed


def in_words(looked: Any) -> str:
    """Return one line about the answer of an exchange."""
    market = f"{looked.exchange} {looked.market_type}"
    if looked.problem:
        return f"{market}: no instruments: {looked.problem}"
    changes = looked.changes
    said = [
        f"{len(names):,} {word}" + (f" ({', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''})")
        for word, names in (("new", changes.added), ("changed", changes.changed), ("gone", changes.gone))
        if names
    ]
    left_out = "".join(
        f"; left out, because {why}: {', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}"
        for why, names in (
            ("two names have it", looked.twice),
            ("it is told twice with two contents", looked.repeated),
            ("it cannot be read", looked.odd),
        )
        if names
    )
    return f"{market}: {changes.total:,} instruments; {', '.join(said) or 'nothing changed'}{left_out}"


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (*_SHOWN, "listed", "delisted", "known since"):
        table.add_column(name.replace("_", " "), no_wrap=True)
    for row in rows:
        days = (row["listed_at"], row["delisted_at"], row["valid_from"])
        table.add_row(*(_cell(row[name]) for name in _SHOWN), *(f"{at:%Y-%m-%d}" if at else "–" for at in days))
    return table


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


SECTION = "Look"
COMMANDS = (instruments,)
