"""Remove rows from the warehouse that collection.yaml does not load any more.

They stay until somebody removes them. They are never old versions: a day that is collected again loses its rows there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import psycopg

from crypto_assets.model import DAY, Track, day_spans
from crypto_assets.storage.database import Database
from crypto_assets.storage.market_tables import TABLES
from crypto_assets.storage.warehouse import instant, leaf_of, lock_symbol
from crypto_assets.storage.warehouse_loads import LoadedRows, days_of, delete_days, is_unused, other_versions


def unload(
    connection: psycopg.Connection[Any], track: Track, versions: Mapping[date, str], tables: Sequence[str]
) -> None:
    """Remove the rows of some days of a track from all tables but `tables`, if they are of another version.

    Args:
        versions: the sha256 of the stored file of each day.
    """
    for table, days in other_versions(connection, track, versions, tables).items():
        _remove(connection, table, track, days)


def remove(database: Database, unlisted: Iterable[LoadedRows], step: Callable[[LoadedRows], None]) -> None:
    """Remove all rows of some symbols and datasets, each in a transaction; a leaf that nothing else uses is emptied at once.

    Args:
        step: called after each.
    """
    for one in unlisted:
        with database.transaction() as connection:
            days = days_of(connection, one.table, one.track)
            _remove(connection, one.table, one.track, days)
        for leaf, first, after in sorted({leaf_of(one.table, day) for day in days}):
            with database.transaction() as connection:
                if is_unused(connection, one.table, leaf, first, after):  # the server gives its disk back then
                    connection.execute(f"TRUNCATE market.{leaf}")
        step(one)


def _remove(connection: psycopg.Connection[Any], table: str, track: Track, days: Sequence[date]) -> None:
    series, symbol = track
    names = series.exchange, series.market_type, symbol
    lock_symbol(connection, table, *names)
    column = TABLES[table].time_column
    conditions = f"exchange = %s AND market_type = %s AND symbol = %s AND {column} >= %s AND {column} < %s"
    values: list[Any] = []
    if TABLES[table].dataset.has_timeframes:
        built = " OR source = 'derived'" if series.timeframe == "1m" else ""
        conditions += f" AND (timeframe = %s AND source <> 'derived'{built})"
        values = [series.timeframe]
    for first, last in day_spans(days):
        connection.execute(
            f"DELETE FROM market.{table} WHERE {conditions}", (*names, instant(first), instant(last + DAY), *values)
        )
    delete_days(connection, table, track, days)
