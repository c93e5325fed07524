"""Options that several commands have, and what they choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import click


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


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
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


def today() -> date:
    return datetime.now(UTC).date()


def load_configured() -> Any:
    from crypto_assets.config import load_collection, settings

    return load_collection(settings().config)


def with_ledger(use: Callable[[Any], Any]) -> Any:
    from crypto_assets.resources import PostgresResource

    with PostgresResource().ledger() as ledger:
        return use(ledger)


def gaps_by_entry(
    collection: Any, first: date | None, last: date | None, filters: dict[str, Any]
) -> list[tuple[Any, list[Any]]]:
    """Return the gaps of each entry that the filters leave."""
    from crypto_assets import runs
    from crypto_assets.collection.records.gaps import gaps as find

    def of_entry(ledger: Any) -> Iterator[tuple[Any, list[Any]]]:
        for entry, pairs in runs.select(collection, **filters):
            yield entry, list(find(collection, ledger, today(), [entry], pairs=set(pairs), first=first, last=last))

    return list(with_ledger(lambda ledger: list(of_entry(ledger))))
