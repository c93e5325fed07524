"""Rows in the warehouse that collection.yaml does not load any more: find them, and remove them.

They stay until somebody removes them. They are never old versions: a day that is collected again loses its rows there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_assets.model import DAY, Series, Track
from crypto_assets.storage.database import Database
from crypto_assets.storage.market_tables import TABLES
from crypto_assets.storage.warehouse import instant, leaf_of, lock_symbol


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """The days of one dataset of one symbol in a table of the warehouse; `rows` includes bars built from them."""

    table: str
    track: Track
    days: int
    rows: int
    first: date
    last: date


def loaded_rows(connection: psycopg.Connection[Any]) -> list[LoadedRows]:
    """Return what every table has of every symbol and dataset."""
    rows = connection.execute(
        """SELECT table_name, exchange, market_type, dataset, symbol, count(*), sum(rows)::bigint, min(day), max(day)
        FROM collection.warehouse_loads WHERE rows > 0 AND content <> ''
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""
    ).fetchall()
    return [
        LoadedRows(table, Track(Series.named(exchange, market_type, dataset), symbol), *numbers)
        for table, exchange, market_type, dataset, symbol, *numbers in rows
    ]


def unload(
    connection: psycopg.Connection[Any], track: Track, versions: Mapping[date, str], tables: Sequence[str]
) -> None:
    """Remove the rows of some days of a track from all tables but `tables`, if they are of another version.

    Args:
        versions: the sha256 of the stored file of each day.
    """
    series, symbol = track
    rows = connection.execute(
        """SELECT w.table_name, w.day FROM collection.warehouse_loads w
        JOIN unnest(%s::date[], %s::text[]) AS v (day, sha256) USING (day)
        WHERE (w.exchange, w.market_type, w.symbol, w.dataset) = (%s, %s, %s, %s) AND w.table_name <> ALL(%s)
            AND NOT starts_with(w.content, v.sha256) ORDER BY 1, 2""",
        (
            *(list(versions), list(versions.values())),
            *(series.exchange, series.market_type, symbol, series.dataset, list(tables)),
        ),
    ).fetchall()
    for table in dict.fromkeys(name for name, _ in rows):
        _remove(connection, table, track, [day for name, day in rows if name == table])


def remove(database: Database, unlisted: Iterable[LoadedRows], step: Callable[[LoadedRows], None]) -> None:
    """Remove all rows of some symbols and datasets, each in a transaction; a leaf that nothing else uses is emptied at once.

    Args:
        step: called after each.
    """
    for one in unlisted:
        with database.transaction() as connection:
            days = connection.execute(
                """SELECT day FROM collection.warehouse_loads
                WHERE (table_name, exchange, market_type, symbol, dataset) = (%s, %s, %s, %s, %s) ORDER BY day""",
                (
                    one.table,
                    one.track.series.exchange,
                    one.track.series.market_type,
                    one.track.symbol,
                    _name(one.track),
                ),
            ).fetchall()
            _remove(connection, one.table, one.track, [day for (day,) in days])
        with database.transaction() as connection:
            _empty_unused(connection, one.table, [day for (day,) in days])
        step(one)


def _name(track: Track) -> str:
    return track.series.dataset


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
    for first, last in _spans(days):
        connection.execute(
            f"DELETE FROM market.{table} WHERE {conditions}", (*names, instant(first), instant(last + DAY), *values)
        )
    connection.execute(
        """DELETE FROM collection.warehouse_loads WHERE table_name = %s AND (exchange, market_type, symbol, dataset)
            = (%s, %s, %s, %s) AND day = ANY(%s)""",
        (table, *names, series.dataset, list(days)),
    )


def _empty_unused(connection: psycopg.Connection[Any], table: str, days: Sequence[date]) -> None:
    """Empty the leaves of some days if no load is in them: the server gives their disk back then."""
    for name, first, after in sorted({leaf_of(table, day) for day in days}):
        # Nobody may load a day between the question and the answer.
        connection.execute("LOCK TABLE collection.warehouse_loads IN SHARE MODE")
        used = connection.execute(
            """SELECT EXISTS (SELECT FROM collection.warehouse_loads WHERE table_name = %s AND day >= %s AND day < %s)
                OR to_regclass('market.' || %s) IS NULL""",
            (table, first, after, name),
        ).fetchone()
        if used == (False,):
            connection.execute(f"TRUNCATE market.{name}")


def _spans(days: Sequence[date]) -> list[tuple[date, date]]:
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][1] == DAY:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans
