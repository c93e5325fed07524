"""Read and write profiles: facts about stored days that need no reading of their rows (`collection.profiles`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.model import Profile, Series

_COLUMNS = tuple(Profile.__dataclass_fields__)
_KINDS = {
    "symbol": "text",
    "day": "date",
    "content_sha256": "text",
    "rows": "bigint",
    "first_time": "timestamptz",
    "last_time": "timestamptz",
    "first_id": "bigint",
    "last_id": "bigint",
    "missing_ids": "bigint",
    "first_trade_id": "bigint",
    "last_trade_id": "bigint",
    "first_price": "float8",
    "last_price": "float8",
    "largest_step": "float8",
    "silent": "bytea",
    "absent": "bytea",
    "hours": "bytea",
    "traded": "boolean",
}


def read_profiles(
    connection: psycopg.Connection[Any],
    series: Series,
    first: date,
    last: date,
    symbols: Sequence[str] | None = None,
) -> list[Profile]:
    """Return the profiles of the stored days from first to last, both included, by symbol and day.

    Args:
        symbols: some symbols of the series; default: all.
    """
    query = f"""SELECT {", ".join(_COLUMNS)} FROM collection.profiles
        WHERE exchange = %s AND market_type = %s AND dataset = %s AND day BETWEEN %s AND %s
        {"" if symbols is None else "AND symbol = ANY(%s)"} ORDER BY symbol, day"""
    values: list[Any] = [series.exchange, series.market_type, series.dataset, first, last]
    if symbols is not None:
        values.append(list(symbols))
    with connection.cursor(row_factory=class_row(Profile)) as cursor:
        return cursor.execute(query, values).fetchall()


def write_profiles(connection: psycopg.Connection[Any], series: Series, profiles: Sequence[Profile]) -> None:
    """Replace the profiles of their symbols and days, in the caller's transaction."""
    if not profiles:
        return
    columns = {name: [getattr(profile, name) for profile in profiles] for name in _COLUMNS}
    names = ", ".join(_COLUMNS)
    changed = [name for name in _COLUMNS if name not in ("symbol", "day")]
    connection.execute(
        f"""INSERT INTO collection.profiles (exchange, market_type, dataset, {names})
        SELECT %(exchange)s, %(market_type)s, %(dataset)s, {names}
        FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _KINDS.items())}) AS p ({", ".join(_KINDS)})
        ORDER BY symbol, day
        ON CONFLICT (exchange, market_type, symbol, dataset, day)
        DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in changed)}""",
        {**columns, "exchange": series.exchange, "market_type": series.market_type, "dataset": series.dataset},
    )
