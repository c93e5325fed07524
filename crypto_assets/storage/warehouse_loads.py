"""The content id of each day in each table of the warehouse (`collection.warehouse_loads`).

A row is written in the transaction that loads its day's rows. A load without content was forgotten: it is loaded again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_assets.model import Series, Track
from crypto_assets.rows.loads import Load, LoadPlan

Identity = tuple[str, str, str, str, str, date]
"""Table, exchange, market type, symbol, dataset and day."""


def identity(load: LoadPlan) -> Identity:
    """Return the key of a load."""
    return load.table, load.exchange, load.market_type, load.symbol, load.dataset, load.day


@dataclass(frozen=True, slots=True)
class Held:
    """A table's content of a day; `content` is empty if the load was forgotten."""

    content: str
    rows: int


def held(connection: psycopg.Connection[Any], loads: Sequence[LoadPlan]) -> dict[Identity, Held]:
    """Return the tables' content of the days of some loads, with other datasets."""
    rows = connection.execute(
        """SELECT w.table_name, w.exchange, w.market_type, w.symbol, w.dataset, w.day, w.content, w.rows
        FROM collection.warehouse_loads w JOIN (
            SELECT DISTINCT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[])
                AS l (table_name, exchange, market_type, symbol, day)
        ) l USING (table_name, exchange, market_type, symbol, day)""",
        (
            [load.table for load in loads],
            [load.exchange for load in loads],
            [load.market_type for load in loads],
            [load.symbol for load in loads],
            [load.day for load in loads],
        ),
    ).fetchall()
    return {tuple(names): Held(content, count) for *names, content, count in rows}


def contents_of_days(
    connection: psycopg.Connection[Any], table: str, market: tuple[str, str, str], dataset: str, first: date, last: date
) -> dict[date, str]:
    """Return the contents of the days of a dataset from first to last, both included.

    Args:
        market: exchange, market type and symbol.
    """
    rows = connection.execute(
        """SELECT day, content FROM collection.warehouse_loads WHERE table_name = %s AND exchange = %s
        AND market_type = %s AND symbol = %s AND dataset = %s AND day BETWEEN %s AND %s ORDER BY day""",
        (table, *market, dataset, first, last),
    ).fetchall()
    return dict(rows)


def tables_with(connection: psycopg.Connection[Any], series: Series, symbol: str, day: date) -> list[str]:
    """Return the tables that hold a day of a series, by name."""
    rows = connection.execute(
        """SELECT table_name FROM collection.warehouse_loads
        WHERE (exchange, market_type, symbol, dataset, day) = (%s, %s, %s, %s, %s) AND content <> '' ORDER BY 1""",
        (series.exchange, series.market_type, symbol, series.dataset, day),
    ).fetchall()
    return [name for (name,) in rows]


def is_alone(connection: psycopg.Connection[Any], load: Load) -> bool:
    """Return whether the table has no other symbol on the day: then its leaf is truncated at once, not row by row."""
    row = connection.execute(
        """SELECT count(*) FROM collection.warehouse_loads WHERE table_name = %s AND day = %s
        AND (exchange, market_type, symbol) <> (%s, %s, %s)""",
        (load.table, load.day, load.exchange, load.market_type, load.symbol),
    ).fetchone()
    return row == (0,)


def remember(connection: psycopg.Connection[Any], loads: Sequence[Load]) -> None:
    """Remember the contents of loads."""
    connection.execute(
        """INSERT INTO collection.warehouse_loads
            (table_name, exchange, market_type, symbol, dataset, day, content, rows)
        SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::text[], %s::bigint[])
        ON CONFLICT (table_name, exchange, market_type, symbol, dataset, day)
        DO UPDATE SET content = excluded.content, rows = excluded.rows, loaded_at = now()""",
        (
            [load.table for load in loads],
            [load.exchange for load in loads],
            [load.market_type for load in loads],
            [load.symbol for load in loads],
            [load.dataset for load in loads],
            [load.day for load in loads],
            [load.content for load in loads],
            [load.rows.num_rows for load in loads],
        ),
    )


def forget_replaced(connection: psycopg.Connection[Any], loads: Sequence[Load], present: Collection[Identity]) -> None:
    """Forget the loads of published bars whose rows were just replaced by built ones."""
    replaced = {
        (load.table, load.exchange, load.market_type, load.symbol, f"{load.table}_{timeframe}", load.day)
        for load in loads
        for timeframe in load.timeframes
    }
    for key in replaced.intersection(present).difference(map(identity, loads)):
        connection.execute(
            """DELETE FROM collection.warehouse_loads
            WHERE (table_name, exchange, market_type, symbol, dataset, day) = (%s, %s, %s, %s, %s, %s)""",
            key,
        )


def forget_leaf(connection: psycopg.Connection[Any], table: str, first: date, after: date) -> None:
    """Forget the loads of an emptied leaf, for all symbols: the days of [first, after)."""
    connection.execute(
        """UPDATE collection.warehouse_loads SET content = ''
        WHERE table_name = %s AND day >= %s AND day < %s AND rows > 0""",
        (table, first, after),
    )


def forget_days(
    connection: psycopg.Connection[Any],
    table: str,
    market: tuple[str, str, str],
    datasets: Collection[str],
    days: Collection[date],
) -> None:
    """Forget the loads of some days, so that they are loaded again.

    Args:
        market: exchange, market type and symbol.
    """
    connection.execute(
        """UPDATE collection.warehouse_loads SET content = ''
        WHERE table_name = %s AND (exchange, market_type, symbol) = (%s, %s, %s)
            AND dataset = ANY(%s) AND day = ANY(%s)""",
        (table, *market, list(datasets), list(days)),
    )


def emptied_by_hand(
    connection: psycopg.Connection[Any], stamps: Mapping[str, str], first: date | None, last: date | None
) -> list[tuple[str, str, Series, str, list[date]]]:
    """Return leaf, table, series, symbol and days of all loads that were forgotten, or whose leaf has no rows.

    Args:
        stamps: for each table, the date format in the names of its leaves, for `to_char`.
        first, last: only days between these, both included.
    """
    forms = " ".join(f"WHEN '{name}' THEN to_char(day, '{stamp}')" for name, stamp in stamps.items())
    rows = connection.execute(
        f"""WITH loads AS (
            SELECT table_name || '_' || CASE table_name {forms} END AS leaf,
                table_name, exchange, market_type, dataset, symbol, day, content
            FROM collection.warehouse_loads WHERE rows > 0
            AND day BETWEEN coalesce(%s::date, '-infinity') AND coalesce(%s::date, 'infinity')
        ), emptied AS (
            SELECT leaf FROM (SELECT DISTINCT leaf FROM loads) l
            WHERE coalesce(pg_relation_size(to_regclass('market.' || leaf)), 0) = 0
        )
        SELECT leaf, table_name, exchange, market_type, dataset, symbol, array_agg(day ORDER BY day)
        FROM loads WHERE content = '' OR leaf IN (SELECT leaf FROM emptied) GROUP BY 1, 2, 3, 4, 5, 6""",
        (first, last),
    ).fetchall()
    return [
        (leaf, table, Series.named(exchange, market_type, dataset), symbol, days)
        for leaf, table, exchange, market_type, dataset, symbol, days in rows
    ]


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


def other_versions(
    connection: psycopg.Connection[Any], track: Track, versions: Mapping[date, str], tables: Collection[str]
) -> dict[str, list[date]]:
    """Return the days, among some days of a track, that tables other than `tables` have in another version, by table.

    Args:
        versions: the sha256 of the stored file of each day.
    """
    series, symbol = track
    rows = connection.execute(
        """SELECT w.table_name, array_agg(w.day ORDER BY w.day) FROM collection.warehouse_loads w
        JOIN unnest(%s::date[], %s::text[]) AS v (day, sha256) USING (day)
        WHERE (w.exchange, w.market_type, w.symbol, w.dataset) = (%s, %s, %s, %s) AND w.table_name <> ALL(%s)
            AND NOT starts_with(w.content, v.sha256) GROUP BY 1 ORDER BY 1""",
        (
            *(list(versions), list(versions.values())),
            *(series.exchange, series.market_type, symbol, series.dataset, list(tables)),
        ),
    ).fetchall()
    return dict(rows)


def days_of(connection: psycopg.Connection[Any], table: str, track: Track) -> list[date]:
    """Return the days of a track with a load in a table, ascending."""
    series, symbol = track
    rows = connection.execute(
        """SELECT day FROM collection.warehouse_loads
        WHERE (table_name, exchange, market_type, symbol, dataset) = (%s, %s, %s, %s, %s) ORDER BY day""",
        (table, series.exchange, series.market_type, symbol, series.dataset),
    ).fetchall()
    return [day for (day,) in rows]


def delete_days(connection: psycopg.Connection[Any], table: str, track: Track, days: Collection[date]) -> None:
    """Delete the loads of some days of a track: their rows have been removed, and are not loaded again."""
    series, symbol = track
    connection.execute(
        """DELETE FROM collection.warehouse_loads WHERE table_name = %s AND (exchange, market_type, symbol, dataset)
            = (%s, %s, %s, %s) AND day = ANY(%s)""",
        (table, series.exchange, series.market_type, symbol, series.dataset, list(days)),
    )


def is_unused(connection: psycopg.Connection[Any], table: str, leaf: str, first: date, after: date) -> bool:
    """Return whether a leaf is there and no load is in its days [first, after); nobody loads until the transaction ends."""
    connection.execute("LOCK TABLE collection.warehouse_loads IN SHARE MODE")
    row = connection.execute(
        """SELECT to_regclass('market.' || %s) IS NOT NULL AND NOT EXISTS (
            SELECT FROM collection.warehouse_loads WHERE table_name = %s AND day >= %s AND day < %s)""",
        (leaf, table, first, after),
    ).fetchone()
    return row == (True,)
