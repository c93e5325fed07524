"""`config check`: check the environment, collection.yaml and dagster.yaml before anything is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import click

from crypto_assets.cli.console import counted, out, print_error, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import ENVIRONMENT, today


@click.group()
def config() -> None:
    """Look at the configuration: `config check`."""


@config.command(cls=Help, examples=(("config check", "Where everything is, and what will be collected"),))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: places, entries, problems.")
def check(as_json: bool) -> None:
    """Read the environment, collection.yaml and dagster.yaml; say what is wrong, or what will be collected.

    Exit code 2 if something is wrong. No exchange is asked and nothing is created.
    """
    problems: list[str] = []
    now = _tried(problems, _settings)
    collection = _tried(problems, lambda: _load(now)) if now else None
    dagster = _tried(problems, _dagster)
    places = _places(now, dagster) if now else {}
    entries = _entries(collection) if collection else []
    notes = _other_origins(now, collection) if collection else []
    if as_json:
        click.echo(
            json.dumps(
                {"places": places, "entries": entries, "notes": notes, "problems": problems}, indent=1, default=str
            )
        )
    else:
        width = max(map(len, places), default=0)
        for name, place in places.items():
            out.print(f"{name:<{width}}  {place}", markup=False)
        if entries:
            _print(entries)
            for line in notes:
                out.print(line, markup=False)
        for problem in problems:
            print_error(problem)
    sys.exit(2 if problems else 0)


def _tried(problems: list[str], look: Callable[[], Any]) -> Any:
    """Return the result of a step; None if it fails, with its error added to the problems."""
    from crypto_assets.errors import ConfigError

    try:
        return look()
    except ConfigError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _settings() -> Any:
    from crypto_assets.config.environment import check_certificates, settings

    now = settings()
    check_certificates()
    return now


def _load(now: Any) -> Any:
    from crypto_assets.ledger.symbol_rules import load_known_collection

    return load_known_collection(now.config)


def _dagster() -> Any:
    from crypto_assets.config.dagster_home import use_dagster_home

    return use_dagster_home() / "dagster.yaml"


def _places(now: Any, dagster: Any) -> dict[str, str]:
    from crypto_assets.config.environment import PREFIX
    from crypto_assets.text.urls import postgres_place

    # Not `os.environ`: --config, --demo and the search for dagster.yaml have set variables by now, which nobody typed.
    before = click.get_current_context().meta.get(ENVIRONMENT, ())
    named = [name for name in before if name.startswith((PREFIX, "DAGSTER_HOME"))]
    return {
        "home": now.home_in_words.removeprefix("home "),
        "collection": str(now.config),
        "dagster.yaml": str(dagster or "–"),
        "lake": now.lake,
        "Postgres": postgres_place(now.postgres_url) if now.postgres_url else f"embedded, in {now.home}",
        "environment": ", ".join(named) or "nothing is set",
    }


def _other_origins(now: Any, collection: Any) -> list[str]:
    """Return what the database, if there is one, says about the archives of stored days; none is made."""
    from crypto_assets.errors import CryptoAssetsError
    from crypto_assets.ledger.day_records import database_that_is_there
    from crypto_assets.ledger.origins import other_origins
    from crypto_assets.storage.database import Database

    try:
        if url := database_that_is_there(now):
            with Database(url, connections=1, waits_s=1.0) as database:
                return other_origins(database, collection)
    except CryptoAssetsError:
        pass  # the commands that need the database say what is wrong with it
    return []


def _entries(collection: Any) -> list[dict[str, Any]]:
    from crypto_assets.config.automation import automation_of

    ended: date = today() - timedelta(days=1)
    return [
        {
            "entry": collection.name_of(entry),
            "exchange": entry.exchange,
            "market_type": entry.market_type,
            "datasets": entry.datasets,
            "symbols": entry.symbols,
            "rule": str(entry.rule) if entry.rule else None,
            "waits_for_symbols": entry.waits_for_symbols,
            "first_day": str(entry.start),
            "last_day": str(entry.end) if entry.end else None,
            "days": max((entry.until(ended) - entry.start).days + 1, 0) * len(entry.symbols) * len(entry.datasets),
            "rest": collection.asks_rest(entry),
            "warehouse": sorted({table for series in entry.series for table in entry.tables_of(series)}),
            "derived_timeframes": _built(collection, entry),
            "automation": _kinds(automation_of(collection, entry)),
        }
        for entry in collection.entries
    ]


def _built(collection: Any, entry: Any) -> list[str]:
    """Return the timeframes that are built for any symbol of an entry."""
    from crypto_assets.rows.timeframes import BUILT_FROM

    if "ohlcv_1m" not in entry.datasets:
        return []
    market = entry.exchange, entry.market_type
    mine = {name for symbol in entry.symbols for name in collection.built_timeframes(*market, symbol)}
    return [name for name in BUILT_FROM if name in mine]


def _kinds(automation: Any) -> dict[str, Any]:
    return {kind: value or False for kind, value in automation.model_dump().items()}


def _automation(entry: dict[str, Any]) -> str:
    """Return what `up` collects of an entry without anybody asking."""
    kinds = {kind: on for kind, on in entry["automation"].items() if kind != "today" or entry["rest"]}
    on = [kind for kind, is_on in kinds.items() if is_on]
    return "everything" if len(on) == len(kinds) else ", ".join(on) or "nothing"


_SHOWN = 5


def _symbols(entry: dict[str, Any]) -> str:
    """Return the first symbols of an entry; after its rule, if it has one: `*/USDT: symbols not listed yet`."""
    more = len(entry["symbols"]) - _SHOWN
    names = ", ".join(entry["symbols"][:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    if not entry["rule"]:
        return names
    found = [names] if names else [] if entry["waits_for_symbols"] else ["in other entries"]
    return f"{entry['rule']}: " + "; ".join(
        [*found, *(["symbols not listed yet"] if entry["waits_for_symbols"] else [])]
    )


def _print(entries: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in (
        "entry",
        "market",
        "datasets",
        "symbols",
        "days",
        "days up to yesterday",
        "REST",
        "in Postgres",
        "by itself",
    ):
        table.add_column(title, no_wrap=True, justify="right" if title.startswith("days up") else "left")
    for one in entries:
        span = f"{one['first_day']} to {one['last_day']}" if one["last_day"] else f"from {one['first_day']} on"
        market = f"{one['exchange']} {one['market_type']}"
        cells = (one["entry"], market, ", ".join(one["datasets"]), _symbols(one), span, f"{one['days']:,}")
        built = f" (builds {', '.join(one['derived_timeframes'])})" if one["derived_timeframes"] else ""
        stored = (", ".join(one["warehouse"]) or "lake only") + built
        table.add_row(*cells, "yes" if one["rest"] else "no", stored, _automation(one))
    print_table(table)
    days = sum(one["days"] for one in entries)
    out.print(f"up to yesterday {counted(days, 'day')} of single symbols and datasets", markup=False)


SECTION = "Run"
COMMANDS = (config,)
