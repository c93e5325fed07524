"""`warehouse`: what Postgres has of every dataset, what it costs, and rows that collection.yaml does not load any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from crypto_assets.cli.console import counted, out, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import load_configured, with_ledger


def unlisted_days(collection: Any, ledger: Any) -> int:
    """Return how many days of symbols and datasets have rows in Postgres that collection.yaml does not load."""
    from crypto_assets.storage.warehouse_loads import loaded_rows

    with ledger.transaction() as connection:
        found = loaded_rows(connection)
    return sum(one.days for one in found if one.table not in collection.tables_of(*one.track))


def unlisted_in_words(days: int) -> str:
    """Return what unlisted days are, and what to do, in one line."""
    return (
        f"Postgres has {counted(days, 'day')} with rows that collection.yaml does not load: `crypto-assets warehouse` shows "
        "them, `crypto-assets warehouse --remove-unlisted` removes them"
    )


@click.command(
    cls=Help,
    examples=(
        ("warehouse", "Each dataset in Postgres, and the size of each table"),
        ("warehouse --remove-unlisted", "Remove what collection.yaml does not load any more"),
    ),
)
@click.option("--remove-unlisted", is_flag=True, help="Remove rows that collection.yaml does not load any more.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: tables with sizes, and datasets with days and rows.")
def warehouse(remove_unlisted: bool, as_json: bool) -> None:
    """Show what Postgres has of each dataset, and the size of its tables.

    `warehouse` and `derived_timeframes` in collection.yaml say what is loaded. Rows of an entry that is not loaded any more
    stay until --remove-unlisted; the lake keeps their days. `crypto-assets fill` loads what is missing, from the lake.
    """
    from crypto_assets.storage.unlisted_rows import remove
    from crypto_assets.storage.warehouse_loads import loaded_rows
    from crypto_assets.storage.warehouse_sizes import table_sizes

    collection = load_configured()

    def look(ledger: Any) -> tuple[list[Any], list[Any]]:
        with ledger.transaction() as connection:
            return loaded_rows(connection), table_sizes(connection)

    found, sizes = with_ledger(look)
    unlisted = [one for one in found if one.table not in collection.tables_of(*one.track)]
    if remove_unlisted:
        with_ledger(lambda ledger: remove(ledger, unlisted, _say))
        found, sizes = with_ledger(look)
        unlisted = []
    if as_json:
        datasets = [{**_names(one), "loaded": one not in unlisted} for one in found]
        tables = [{"table": f"market.{one.name}", **one.as_json()} for one in sizes]
        click.echo(json.dumps({"tables": tables, "datasets": datasets}, indent=1, default=str))
    else:
        _print(found, unlisted, sizes)


def _say(one: Any) -> None:
    from crypto_assets.cli.console import err

    what = f"{one.track.series} {one.track.symbol}"
    err.print(f"removed from market.{one.table}: {what}, {counted(one.days, 'day')}", markup=False)


def _names(one: Any) -> dict[str, Any]:
    series = one.track.series
    return {
        "table": f"market.{one.table}",
        "exchange": series.exchange,
        "market_type": series.market_type,
        "dataset": series.dataset,
        "symbol": one.track.symbol,
        "days": one.days,
        "rows": one.rows,
        "first_day": one.first,
        "last_day": one.last,
    }


def _print(found: Sequence[Any], unlisted: Sequence[Any], sizes: Sequence[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("table", "market", "dataset", "symbols", "days", "rows", "loaded"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("symbols", "days", "rows") else "left")
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for one in found:
        series = one.track.series
        market = f"{series.exchange} {series.market_type}"
        groups.setdefault((f"market.{one.table}", market, series.dataset, one in unlisted), []).append(one)
    for (name, market, dataset, left), mine in groups.items():
        days, rows = sum(one.days for one in mine), sum(one.rows for one in mine)
        table.add_row(name, market, dataset, f"{len(mine):,}", f"{days:,}", f"{rows:,}", "no longer" if left else "yes")
    if not found:
        out.print("Postgres has no rows of any dataset")
        return
    print_table(table)
    for one in sizes:
        out.print(f"market.{one.name}: {one.in_words}", markup=False)
    if unlisted:
        out.print(unlisted_in_words(sum(one.days for one in unlisted)))


SECTION = "Look"
COMMANDS = (warehouse,)
