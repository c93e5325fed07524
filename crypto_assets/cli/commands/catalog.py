"""`catalog` and `symbols`: stored data, configured data, and what exchanges list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from crypto_assets.cli.console import err, out, plain_table, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, coverage_of, filters, known_collection, with_ledger


def _found(given: Any) -> list[Any]:
    """Return the coverage of stored or configured data that matches the filters."""
    from crypto_assets.config.environment import settings
    from crypto_assets.ledger.coverage_filter import chosen

    one = {name: [value] if (value := given[name]) else None for name in ("exchange", "market_type")}
    return chosen(
        coverage_of(known_collection())[1],
        list(given["symbols"]) or None,
        str(settings().config),
        **one,
        dataset=list(given["datasets"]) or None,
    )


@click.command(
    cls=Help,
    examples=(
        ("catalog", "Everything, one line for each symbol of each dataset"),
        ("catalog --dataset ohlcv_1m --json", "The bars, for programs"),
    ),
)
@filters
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each line; the fields of `status`.")
def catalog(as_json: bool, **given: Any) -> None:
    """Show what is stored and what is configured: days, rows and size of each symbol of each dataset.

    `status` counts the days by state, `gaps` shows what is missing.
    """
    from crypto_assets.ledger.coverage_tables import shown_counts, status_json

    found = _found(given)
    if as_json:
        click.echo(json.dumps([status_json(one) for one in found], indent=1))
        return
    counts = {name: title for name, title in shown_counts(found).items() if name in ("complete", "provisional")}
    numbers = ("days", *counts.values(), "rows", "size")
    table = plain_table(
        "exchange",
        "market type",
        "dataset",
        "symbol",
        "first day",
        "last day",
        *numbers,
        "collected by",
        numbers=numbers,
    )
    for one in found:
        table.add_row(
            *(one.exchange, one.market_type, one.dataset, one.symbol),
            *(str(one.first_stored or "–"), str(one.last_stored or "–")),
            *(f"{one.days:,}", *(f"{getattr(one, name):,}" for name in counts)),
            *(f"{one.rows:,}", f"{one.size_bytes / 1e6:.1f} MB"),
            "collection.yaml" if one.in_collection else "–",
        )
    print_table(table)
    if not any(one.rows for one in found):
        out.print("nothing is stored yet; start with `crypto-assets collect` or `crypto-assets demo`")


@click.command(
    cls=Help,
    examples=(
        ("symbols", "Every symbol, with its datasets and stored days"),
        ("symbols --market-type spot --on 2024-01-05", "The symbols that traded on a day"),
        ("symbols --listed --refresh", "Everything that the exchanges list or ever listed, asked for now"),
    ),
)
@filters
@click.option("--on", "day", type=DAY, help="Show which symbols traded on this day, from stored data.")
@click.option("--listed", is_flag=True, help="Show every symbol that the exchanges list or ever listed.")
@click.option(
    "--refresh", is_flag=True, help="List the symbols of the exchanges first, for the rules of collection.yaml."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each symbol.")
def symbols(day: date | None, listed: bool, refresh: bool, as_json: bool, **given: Any) -> None:
    """Show the symbols that are stored or in collection.yaml.

    With --on: the symbols that were listed and traded on that day. With --listed: what the exchanges list, delisted symbols
    included; they are listed four times a day where a rule such as `symbols: all` needs it.
    """
    failed = _refresh(given) if refresh else False
    rows = _listed(given) if listed else _by_symbol(_found(given)) if day is None else _on(day, _found(given))
    if as_json:
        click.echo(json.dumps(rows, indent=1, default=str))
        return
    names = {"market_type": "market type", "first_stored": "first day", "last_stored": "last day"}
    shown = [name for name in (rows[0] if rows else ()) if name not in ("listed_from", "listed_until")]
    table = plain_table(*(names.get(name, name) for name in shown))
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in shown))
    print_table(table)
    if failed:
        raise SystemExit(1)


def _refresh(given: Any) -> bool:
    """List the symbols of the markets that match the filters; return whether one could not be listed."""
    from crypto_assets.config.collection import load_collection
    from crypto_assets.config.environment import settings
    from crypto_assets.engine.universe import refresh_universe
    from crypto_assets.errors import ConfigError

    collection = load_collection(settings().config)
    markets = sorted(
        {
            (entry.exchange, entry.market_type)
            for entry in collection.entries
            if given["exchange"] in (None, entry.exchange) and given["market_type"] in (None, entry.market_type)
        }
    )
    if not markets:
        raise ConfigError("--refresh: expected a market of collection.yaml, found none that matches the filters")
    found = with_ledger(lambda ledger: refresh_universe(collection, ledger, markets), make=True)
    for line in (line for one in found for line in one.in_words()):
        err.print(line, markup=False)
    return any(one.problems for one in found)


def _listed(given: Any) -> list[dict[str, Any]]:
    from crypto_assets.ledger.listed_symbols import ListedSymbol, listed_symbols, markets
    from crypto_assets.model import path_symbol
    from crypto_assets.model.symbols import symbol_text

    wanted = {symbol_text(symbol).replace("/", "-") for symbol in given["symbols"]}

    def read(ledger: Any) -> list[tuple[str, str, ListedSymbol]]:
        with ledger.transaction() as connection:
            return [
                (exchange, market_type, one)
                for exchange, market_type in markets(connection)
                if given["exchange"] in (None, exchange) and given["market_type"] in (None, market_type)
                for one in listed_symbols(connection, exchange, market_type)
                if not wanted or {path_symbol(one.symbol), one.symbol.replace("/", "-")} & wanted
            ]

    collected = {
        (entry.exchange, entry.market_type, symbol) for entry in known_collection().series for symbol in entry.symbols
    }
    return [
        {
            "exchange": exchange,
            "market_type": market_type,
            "symbol": one.symbol,
            "exchange_symbol": one.exchange_symbol,
            "first_listed": one.first_listed,
            "last_listed": one.last_listed,
            "listed_by": list(one.sources),
            "gone_from": list(one.gone),
            "collected": (exchange, market_type, one.symbol) in collected,
        }
        for exchange, market_type, one in with_ledger(read)
    ]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else "–" if value is None else str(value)


def _by_symbol(found: Sequence[Any]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for one in found:
        groups.setdefault((one.exchange, one.market_type, one.symbol), []).append(one)
    return [
        {
            **dict(zip(("exchange", "market_type", "symbol"), key, strict=True)),
            "first_stored": min((one.first_stored for one in mine if one.first_stored), default=None),
            "last_stored": max((one.last_stored for one in mine if one.last_stored), default=None),
            "stored": [one.dataset for one in mine if one.rows],
            "configured": [one.dataset for one in mine if one.in_collection],
        }
        for key, mine in sorted(groups.items())
    ]


def _on(day: date, found: Sequence[Any]) -> list[dict[str, Any]]:
    from crypto_assets.ledger.universe import Traded, universe

    wanted: dict[tuple[str, str], set[str]] = {}
    for one in found:
        wanted.setdefault((one.exchange, one.market_type), set()).add(one.symbol)

    def known(ledger: Any) -> list[tuple[tuple[str, str], Traded]]:
        with ledger.transaction() as connection:
            return [
                (market, one)
                for market, names in sorted(wanted.items())
                for one in universe(connection, *market, day, names)
                if one.symbol in names
            ]

    return [{"exchange": exchange, "market_type": kind, **asdict(one)} for (exchange, kind), one in with_ledger(known)]


SECTION = "Look"
COMMANDS = (catalog, symbols)
