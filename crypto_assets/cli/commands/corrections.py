"""`corrections`: stored days that were replaced by other rows, and the differences."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from crypto_assets.cli.console import out, print_line
from crypto_assets.cli.options import DAY, filters, with_ledger
from crypto_assets.ledger.coverage_tables import record_names


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@click.option("--all", "equal_rows", is_flag=True, help="Include days that were published again with the same rows.")
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="Most corrections to print.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each correction.")
def corrections(as_json: bool, market_type: str | None, symbols: tuple[str, ...], **given: Any) -> None:
    """Show the stored days that were replaced by other rows.

    The latest comes first. The earlier rows stay in the lake: `crypto_assets.read(..., as_of="2024-06-01")`.
    """
    datasets = given.pop("datasets") or None
    found = with_ledger(
        lambda ledger: ledger.corrections(
            market_type=market_type, symbols=spellings(symbols), datasets=datasets, **given
        )
    )
    if as_json:
        click.echo(json.dumps([{n: _json(v) for n, v in asdict(record).items()} for record in found], indent=1))
        return
    for record in found:
        asset = " ".join(record_names(record).values())
        print_line(f"{asset} {record.day}: {record.found_at:%Y-%m-%d %H:%M} UTC: {record.text}")
    if not found:
        out.print("nothing was corrected")


def spellings(symbols: tuple[str, ...]) -> list[str] | None:
    """Return the spellings the ledger may use for the symbols: `BTC-USDT` means BTC/USDT and linear BTC/USDT:USDT."""
    from crypto_assets.config.feed_names import is_feed_name
    from crypto_assets.errors import ConfigError
    from crypto_assets.model import MARKET_TYPES, unified_symbol
    from crypto_assets.model.symbols import symbol_text

    found: list[str] = []
    for symbol in symbols:
        known = []
        for market_type in MARKET_TYPES:
            try:
                known.append(unified_symbol(symbol, market_type))
            except ValueError as error:
                problem = error
        if not known and is_feed_name(symbol_text(symbol)):
            known.append(symbol_text(symbol))
        if not known:
            raise ConfigError(str(problem))
        found += known
    return found or None


def _json(value: Any) -> Any:
    if isinstance(value, float) and value == float("inf"):
        return None  # JSON has no infinity; `price_before` is 0 then
    return value if isinstance(value, int | float | str | list | type(None)) else str(value)


SECTION = "Look"
COMMANDS = (corrections,)
