"""`datasets`: everything that can be collected, from which feeds, and which columns are null."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import err, out, plain_table, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import known_collection, once

if TYPE_CHECKING:
    from crypto_assets.sources.offers import Offer


@click.command(
    cls=Help,
    examples=(
        ("datasets", "Everything that can be collected"),
        ("datasets --exchange bybit", "What one exchange publishes, and how"),
        ("datasets ohlcv_1m", "The columns of one dataset, with units, and where they are null"),
        (
            "datasets trades --exchange bybit",
            "The same as one exchange publishes them, with the reason of null columns",
        ),
    ),
)
@click.argument("names", metavar="[EXCHANGE] [DATASET]", nargs=-1)
@click.option("--exchange", multiple=True, callback=once, help="Only of this exchange.")
@click.option("--market-type", help="Only of this market type: spot, linear, inverse or news.")
@click.option("--dataset", help="Only this dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each dataset or column.")
def datasets(
    names: Sequence[str], exchange: str | None, market_type: str | None, dataset: str | None, as_json: bool
) -> None:
    """Show the datasets that can be collected: from which feeds, since when, and the columns that are null.

    With a DATASET: its columns with units and meanings, and where they are null.
    """
    exchange, described = _named(names, exchange)
    found = _matching(exchange, market_type, dataset or described)
    rows = _columns(described, found) if described else _datasets(found)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if described:
        _print(
            {
                **{name: row[name] for name in ("column", "type", "unit", "bounds")},
                "null": _null_at(row["null"], found) or _NONE,
                "what": row["what"],
            }
            for row in rows
        )
        _print_reasons(rows)
        return
    counts = {(row["exchange"], row["market_type"], row["dataset"]): row["symbols"] for row in rows}
    shown = list(_grouped(found, counts))
    if all(line["symbols"] == _NONE for line in shown):
        shown = [{name: text for name, text in line.items() if name != "symbols"} for line in shown]
    _print(shown)
    err.print(
        "feeds are in order of preference; days of a provisional feed count until a final one has them; "
        "`crypto-assets datasets EXCHANGE DATASET` says why columns are null",
        markup=False,
    )


def _named(names: Sequence[str], exchange: str | None) -> tuple[str | None, str | None]:
    """Return the exchange and the dataset among the arguments.

    Raises:
        ConfigError: a name is neither, or two are of one kind.
    """
    from crypto_assets import sources
    from crypto_assets.errors import ConfigError

    found: dict[str, str] = {"exchange": exchange} if exchange else {}
    for name in names:
        kind = "exchange" if name in sources.names() else "dataset"
        if kind == "dataset":
            _table_of(name)
        if found.setdefault(kind, name) != name:
            raise ConfigError(f"expected one {kind}, found {found[kind]} and {name}")
    return found.get("exchange"), found.get("dataset")


def _table_of(name: str) -> str:
    """Return the table of a dataset; raises ConfigError for an unknown one."""
    from difflib import get_close_matches

    from crypto_assets import datasets as declared
    from crypto_assets import sources
    from crypto_assets.errors import ConfigError
    from crypto_assets.model import Series

    try:
        table = Series.named("", "", name).table
        declared.get(table)
    except (ValueError, KeyError):
        known = [*(one for one in declared.all_datasets() if one != "ohlcv"), "ohlcv_1m", *sources.names()]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"such as {', '.join(known)}"
        raise ConfigError(
            f"expected an exchange or a dataset, found {name!r}; {hint}; `crypto-assets datasets` lists all"
        ) from None
    return table


def _matching(exchange: str | None, market_type: str | None, dataset: str | None) -> list[Offer]:
    """Return what is published of an exchange, market type and dataset, or of a table (`ohlcv`); None is all of it."""
    from crypto_assets.errors import ConfigError
    from crypto_assets.sources.offers import offers

    everything = list(offers())
    wanted = {None, _table_of(dataset) if dataset else None}
    found = [
        one
        for one in everything
        if exchange in (None, one.series.exchange)
        and market_type in (None, one.series.market_type)
        and dataset in (None, one.series.dataset, one.series.table)
    ]
    if not found and dataset and not exchange and not market_type:
        found = [one for one in everything if one.series.table in wanted]  # a timeframe that nobody publishes
    if not found:
        known = "; ".join(
            dict.fromkeys(
                f"{one.series.exchange} {one.series.market_type}"
                for one in everything
                if dataset in (None, one.series.dataset, one.series.table)
            )
        )
        what = f"{dataset}" if dataset else "datasets"
        raise ConfigError(f"expected an exchange and a market type that publish {what}, found none; there are: {known}")
    return found


def _datasets(found: Iterable[Offer]) -> list[dict[str, Any]]:
    from crypto_assets import datasets as declared

    configured = Counter(track.series for entry in known_collection().series for track in entry.tracks)
    return [
        {
            "exchange": one.series.exchange,
            "market_type": one.series.market_type,
            "dataset": one.series.dataset,
            "symbols": configured[one.series],
            "what": declared.get(one.series.table).description.splitlines()[0],
            "feeds": [asdict(feed) | {"since": str(feed.since) if feed.since else None} for feed in one.feeds],
            "since": one.since,
            "null_columns": dict(one.null_columns),
        }
        for one in found
    ]


_NONE = "–"


def _grouped(found: Sequence[Offer], symbols: Mapping[tuple[str, str, str], int]) -> Iterable[dict[str, str]]:
    """Yield the lines of the table: consecutive timeframes that are alike share one."""
    from crypto_assets.sources.offers import alike

    def count(one: Offer) -> int:
        return symbols[one.series.exchange, one.series.market_type, one.series.dataset]

    for first, *more in alike(found, lambda one: (tuple(one.null_columns), count(one))):
        yield {
            "exchange": first.series.exchange,
            "market type": first.series.market_type,
            "dataset": " ".join([first.series.dataset, *(one.series.timeframe or one.series.dataset for one in more)]),
            "feeds": first.feeds_in_words,
            "since": first.since,
            "null columns": ", ".join(first.null_columns) or _NONE,
            "symbols": str(count(first) or _NONE),
        }


def _columns(name: str, found: Sequence[Offer]) -> list[dict[str, Any]]:
    """Return the columns of a dataset, each with the series in which it is null and why."""
    from crypto_assets import datasets as declared

    return [
        {
            "column": one.name,
            "type": str(one.type),
            "unit": one.unit,
            "bounds": one.bounds,
            "what": one.doc,
            "null": {
                f"{offer.series.exchange} {offer.series.market_type}": offer.null_columns[one.name]
                for offer in found
                if one.name in offer.null_columns
            },
        }
        for one in declared.get(_table_of(name)).columns
    ]


def _null_at(null: Mapping[str, str], found: Sequence[Offer]) -> str:
    """Return where a column is null: an exchange alone if it is so in all its market types."""
    markets: dict[str, list[str]] = {}
    for one in found:
        mine = markets.setdefault(one.series.exchange, [])
        mine += [one.series.market_type] if one.series.market_type not in mine else []
    texts = []
    for exchange, kinds in markets.items():
        mine = [kind for kind in kinds if f"{exchange} {kind}" in null]
        texts += [exchange] if mine == kinds else [f"{exchange} {kind}" for kind in mine]
    return ", ".join(texts)


def _print_reasons(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print why columns are null; columns of one reason share a line."""
    where: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in rows:
        for market, why in row["null"].items():
            columns, markets = where.setdefault(why, ({}, {}))
            columns[row["column"]], markets[market] = None, None
    for why, (columns, markets) in where.items():
        out.print(f"{', '.join(columns)}: null at {', '.join(markets)}: {why}", markup=False)


def _print(rows: Iterable[Mapping[str, str]]) -> None:
    lines = list(rows)
    table = plain_table(*lines[0], numbers=("symbols",))
    for line in lines:
        table.add_row(*line.values())
    print_table(table)


SECTION = "Look"
COMMANDS = (datasets,)
