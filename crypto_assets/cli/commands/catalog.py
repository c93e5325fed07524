"""`catalog`, `symbols` and `datasets`: stored data, configured data, and everything that can be collected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from crypto_assets.cli.console import out, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, coverage_of, filters, with_ledger


def _table(*titles: str, numbers: Sequence[str] = ()) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in numbers else "left")
    return table


def _collection() -> Any:
    from crypto_assets.config.collection import Collection, load_collection
    from crypto_assets.config.environment import settings

    path = settings().config
    return load_collection(path) if path.exists() else Collection.empty()


def _found(given: Any) -> list[Any]:
    """Return the coverage of stored or configured data that matches the filters."""
    from crypto_assets.config.environment import settings
    from crypto_assets.ledger.coverage_filter import chosen

    one = {name: [value] if (value := given[name]) else None for name in ("exchange", "market_type")}
    return chosen(
        coverage_of(_collection())[1],
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
    from crypto_assets.ledger.coverage_tables import status_json

    found = _found(given)
    if as_json:
        click.echo(json.dumps([status_json(one) for one in found], indent=1))
        return
    numbers = ("days", "complete", "rows", "size")
    table = _table(
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
            *(f"{one.days:,}", f"{one.complete:,}", f"{one.rows:,}", f"{one.size_bytes / 1e6:.1f} MB"),
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
    ),
)
@filters
@click.option("--on", "day", type=DAY, help="Show which symbols traded on this day, from stored data.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each symbol.")
def symbols(day: date | None, as_json: bool, **given: Any) -> None:
    """Show the symbols that are stored or in collection.yaml.

    With --on: the symbols that were listed and traded on that day. Symbols that were never collected are unknown here.
    """
    rows = _by_symbol(_found(given)) if day is None else _on(day, _found(given))
    if as_json:
        click.echo(json.dumps(rows, indent=1, default=str))
        return
    names = {"market_type": "market type", "first_stored": "first day", "last_stored": "last day"}
    shown = [name for name in (rows[0] if rows else ()) if name not in ("listed_from", "listed_until")]
    table = _table(*(names.get(name, name) for name in shown))
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in shown))
    print_table(table)


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


@click.command(
    cls=Help,
    examples=(
        ("datasets", "Everything that can be collected"),
        ("datasets ohlcv_1m", "The columns of one dataset, with units"),
    ),
)
@click.argument("name", required=False)
@click.option("--exchange", help="Only of this exchange.")
@click.option("--market-type", help="Only of this market type: spot or linear.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each dataset or column.")
def datasets(name: str | None, exchange: str | None, market_type: str | None, as_json: bool) -> None:
    """Show the datasets that can be collected; with NAME the columns of one, their units and meanings."""
    rows = _columns(name) if name else _datasets(exchange, market_type)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = _table(*(title.replace("_", " ") for title in rows[0]), numbers=("symbols",))
    for row in rows:
        table.add_row(*map(str, row.values()))
    print_table(table)


def _datasets(exchange: str | None, market_type: str | None) -> list[dict[str, Any]]:
    from crypto_assets import datasets as declared
    from crypto_assets import sources
    from crypto_assets.errors import ConfigError
    from crypto_assets.model import MARKET_TYPES, Series

    configured = [
        (series, symbol) for entry in _collection().series for series in entry.series for symbol in entry.symbols
    ]
    rows = []
    for one in sources.names():
        for kind in MARKET_TYPES:
            for name in sources.get(one).dataset_names(kind):
                if exchange not in (None, one) or market_type not in (None, kind):
                    continue
                series = Series.named(one, kind, name)
                about = declared.get(series.table)
                rows.append(
                    {
                        "exchange": one,
                        "market_type": kind,
                        "dataset": name,
                        "symbols": sum(series == mine for mine, _ in configured),
                        "what": about.description.splitlines()[0],
                    }
                )
    if not rows:
        there = [
            (one, kind) for one in sources.names() for kind in MARKET_TYPES if sources.get(one).dataset_names(kind)
        ]
        known = "; ".join(f"{one} {kind}" for one, kind in there)
        raise ConfigError(
            f"expected an exchange and a market type that publish datasets, found none; there are: {known}"
        )
    return rows


def _columns(name: str) -> list[dict[str, Any]]:
    from difflib import get_close_matches

    from crypto_assets import datasets as declared
    from crypto_assets.errors import ConfigError
    from crypto_assets.model import Series

    try:
        table = Series.named("", "", name).table
        about = declared.get(table)
    except (ValueError, KeyError):
        known = [*(one for one in declared.all_datasets() if one != "ohlcv"), "ohlcv_1m"]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"such as {', '.join(known)}"
        raise ConfigError(f"dataset {name!r} is unknown; {hint}; `crypto-assets datasets` lists all") from None
    return [
        {"column": one.name, "type": str(one.type), "unit": one.unit, "bounds": one.bounds, "what": one.doc}
        for one in about.columns
    ]


SECTION = "Look"
COMMANDS = (catalog, symbols, datasets)
