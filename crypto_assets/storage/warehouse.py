"""The warehouse: schema `market` in Postgres, loaded by COPY, one day replaced in one transaction.

Tables are partitioned natively by time; leaves are made at their first row. `collection.warehouse_loads` has a content id for
each loaded day, so loading the same day again is one lookup. Upserts are not used: they cost five times a fresh COPY and
double the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa

from crypto_assets.datasets.types import KEYS
from crypto_assets.errors import ConfigError
from crypto_assets.model import DAY, Series, Track
from crypto_assets.rows.loads import Load, LoadPlan
from crypto_assets.rows.on_disk import pieces_of
from crypto_assets.sources.published import unpublished
from crypto_assets.storage.database import Database
from crypto_assets.storage.market_tables import TABLES
from crypto_assets.storage.sessions import lock_wait, of_connection
from crypto_assets.storage.warehouse_loads import (
    Held,
    Identity,
    contents_of_days,
    emptied_by_hand,
    forget_leaf,
    forget_replaced,
    held,
    identity,
    is_alone,
    remember,
)

if TYPE_CHECKING:
    import pandas as pd

_KEYS = tuple(column.name for column in KEYS)


class Warehouse(Database):
    """Loads and reads the tables of `market`; safe to use from many threads and processes."""

    def replace(self, loads: Sequence[Load], connection: psycopg.Connection[Any] | None = None) -> list[int]:
        """Store the rows of each load as its table's content of its day; return the row count of each, in order.

        All loads are one transaction: readers see every day before or after it, never a part. Loads whose content is stored
        already are skipped. Days that other loads put into the same table (bars of another timeframe) stay.

        Args:
            connection: run in its transaction; default: in a new one.

        Raises:
            PostgresUnavailable: the server does not answer; nothing was changed.
        """
        if not loads:
            return []
        with nullcontext(connection) if connection else self.transaction() as connection:
            present = _present(connection, loads)
            changed = [load for load in loads if not _is_held(load, present)]
            for table in dict.fromkeys(load.table for load in changed):
                mine = [load for load in changed if load.table == table]
                _make_leaves(connection, table, {load.day for load in mine})
                _delete(connection, table, mine, known={key for key in present if key[0] == table})
                _copy(connection, table, mine)
            if changed:
                forget_replaced(connection, changed, present)
                remember(connection, changed)
        return [load.rows.num_rows for load in loads]

    def rows_held(self, plans: Sequence[LoadPlan], connection: psycopg.Connection[Any]) -> dict[LoadPlan, int]:
        """Return the loads whose content their table has already, with their row counts.

        Loads of leaves emptied by hand are left out. Nobody else changes these rows until the transaction ends.
        """
        if not plans:
            return {}
        present = _present(connection, plans)
        return {plan: present[identity(plan)].rows for plan in plans if _is_held(plan, present)}

    def contents(self, table: str, track: Track, first: date, last: date) -> dict[date, str]:
        """Return the content id of each day of a track in the table; both days are included."""
        series, symbol = track
        with self.transaction() as connection:
            names = series.exchange, series.market_type, symbol
            return contents_of_days(connection, table, names, series.dataset, first, last)

    def read(
        self,
        table: str,
        track: Track,
        start: date | datetime,
        end: date | datetime,
        *,
        exact: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return the rows of [start, end) in time order, UTC.

        Args:
            track: the rows' track; for `ohlcv` without a timeframe: all timeframes.
            start, end: instants, or days meant as their first instant, UTC.
            exact: decimals instead of float64.
            columns: of the table, without the three keys; default: all.

        Raises:
            ConfigError: an unknown table or column.
        """
        import pandas as pd

        if table not in TABLES:
            raise ConfigError(f"table {table!r}: expected one of {', '.join(TABLES)}")
        layout = TABLES[table]
        known = [name for name in layout.columns if name not in _KEYS]
        names = known if columns is None else list(columns)
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"columns {', '.join(unknown)}: expected some of {', '.join(known)}")
        conditions = [*(f"{key} = %s" for key in _KEYS), f"{layout.time_column} >= %s", f"{layout.time_column} < %s"]
        series, symbol = track
        values: list[Any] = [series.exchange, series.market_type, symbol, instant(start), instant(end)]
        if series.timeframe:
            conditions.append("timeframe = %s")
            values.append(series.timeframe)
        # The server rounds to float64 correctly, many times faster than Decimal objects can be made here.
        selected = [f"{name}::float8" if name in layout.numeric and not exact else name for name in names]
        where = " AND ".join(conditions)
        query = f"SELECT {', '.join(selected)} FROM market.{table} WHERE {where} ORDER BY {', '.join(layout.order)}"
        with self.transaction() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(query, values)
            kinds = [column.type_code for column in cursor.description or ()]
            rows = cursor.fetchall()
        frame = pd.DataFrame(rows, columns=names)
        nullable = layout.nullable_integers | unpublished(series)
        for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            if kind in _INTEGERS and (name in nullable or frame[name].hasnans):
                frame[name] = pd.array([row[place] for row in rows], dtype=_INTEGERS[kind].capitalize())
            elif kind == _FLOAT8:
                frame[name] = frame[name].astype("float64")
            elif kind in _INTEGERS:
                frame[name] = frame[name].astype(_INTEGERS[kind])
            elif kind == _TEXT:
                frame[name] = frame[name].astype("str")
            elif kind == _TIMESTAMPTZ:
                frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
        return frame


_TEXT, _FLOAT8, _TIMESTAMPTZ = 25, 701, 1184  # pg_type.oid
_INTEGERS: Mapping[int, Any] = {20: "int64", 21: "int16", 23: "int32"}


def instant(moment: date | datetime) -> datetime:
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.combine(moment, time(), UTC)


def _present(connection: psycopg.Connection[Any], loads: Sequence[LoadPlan]) -> dict[Identity, Held]:
    """Lock the rows of some loads and return their tables' content of these days; emptied leaves have no content."""
    _lock(connection, loads)
    present = held(connection, loads)
    if emptied := _forget_emptied(connection, {(key[0], *leaf_of(key[0], key[5])) for key in present}):
        gone = {key for key in present if leaf_of(key[0], key[5])[0] in emptied}
        present |= {key: replace(present[key], content="") for key in gone}
    return present


def _is_held(load: LoadPlan, present: Mapping[Identity, Held]) -> bool:
    found = present.get(identity(load))
    return found is not None and found.content == load.content


def _lock(connection: psycopg.Connection[Any], loads: Iterable[LoadPlan]) -> None:
    """Lock out other writers of the same rows until the end of the transaction; sorted, so there is no deadlock.

    The locks are the symbol and, if a leaf is one day, the leaf: TRUNCATE waits for other transactions, then removes the rows
    they stored for other symbols; `is_alone` could not see those before their commit.
    """
    symbols = {f"{load.table} {load.exchange} {load.market_type} {load.symbol}" for load in loads}
    leaves = {leaf_of(load.table, load.day)[0] for load in loads if TABLES[load.table].leaf == "day"}
    names = sorted(symbols | leaves)
    with lock_wait(of_connection(connection), f"the lock on the rows of {names[0] if names else 'nothing'}"):
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(n, 0)) FROM (SELECT unnest(%s::text[]) AS n ORDER BY 1) s",
            (names,),
        )


def lock_symbol(connection: psycopg.Connection[Any], table: str, exchange: str, market_type: str, symbol: str) -> None:
    """Lock out writers of a symbol's rows in a table until the end of the transaction."""
    name = f"{table} {exchange} {market_type} {symbol}"
    with lock_wait(of_connection(connection), f"the lock on the rows of {name}"):
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def leaf_of(table: str, day: date) -> tuple[str, date, date]:
    """Return the name, first day and day after the last of the leaf with this day."""
    match TABLES[table].leaf:
        case "day":
            return f"{table}_{day:%Y%m%d}", day, day + DAY
        case "month":
            first = day.replace(day=1)
            return f"{table}_{day:%Y%m}", first, (first + timedelta(days=32)).replace(day=1)
        case "year":
            return f"{table}_{day:%Y}", date(day.year, 1, 1), date(day.year + 1, 1, 1)


def _forget_emptied(connection: psycopg.Connection[Any], leaves: Collection[tuple[str, str, date, date]]) -> set[str]:
    """Return the names of leaves that were emptied or dropped by hand; forget their loads, for all symbols.

    The leaf's size shows it, no row is read. A forgotten load has no content id, so it is loaded again.

    Args:
        leaves: for each its table, its name, its first day and the day after its last.
    """
    rows = connection.execute(
        """SELECT name FROM unnest(%s::text[]) AS name
        WHERE coalesce(pg_relation_size(to_regclass('market.' || name)), 0) = 0""",
        ([name for _, name, _, _ in leaves],),
    ).fetchall()
    names = {row[0] for row in rows}
    for table, name, first, after in sorted(leaves):
        if name in names:
            with lock_wait(of_connection(connection), f"the lock under which {table} grows"):
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"leaves of {table}",))
            forget_leaf(connection, table, first, after)
    return names


def emptied_loads(
    connection: psycopg.Connection[Any], first: date | None = None, last: date | None = None
) -> list[tuple[str, str, Series, str, list[date]]]:
    """Return leaf, table, series, symbol and days of all loads whose leaf was emptied or dropped by hand later.

    Rows deleted one by one are not noticed: counting them takes as long as reading them.
    """
    stamps = {name: _STAMPS[table.leaf] for name, table in TABLES.items()}
    return emptied_by_hand(connection, stamps, first, last)


_STAMPS = {"day": "YYYYMMDD", "month": "YYYYMM", "year": "YYYY"}


def _make_leaves(connection: psycopg.Connection[Any], table: str, days: Iterable[date]) -> None:
    leaves = sorted({leaf_of(table, day) for day in days})
    if not _missing_leaves(connection, leaves):
        return
    # Two processes may want the same new leaf: the second waits here, then finds it.
    with lock_wait(of_connection(connection), f"the lock under which {table} grows"):
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"leaves of {table}",))
    for name, first, after in _missing_leaves(connection, leaves):
        # CREATE … PARTITION OF would lock the whole table until the end of the transaction, readers included.
        connection.execute(f"CREATE TABLE market.{name} (LIKE market.{table} INCLUDING ALL)")
        connection.execute(
            f"ALTER TABLE market.{table} ATTACH PARTITION market.{name} "
            f"FOR VALUES FROM ('{first}T00:00:00Z') TO ('{after}T00:00:00Z')"
        )


def _missing_leaves(
    connection: psycopg.Connection[Any], leaves: Sequence[tuple[str, date, date]]
) -> list[tuple[str, date, date]]:
    there = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('market.' || name) IS NOT NULL",
        ([name for name, _, _ in leaves],),
    ).fetchall()
    return [leaf for leaf in leaves if (leaf[0],) not in there]


def _delete(
    connection: psycopg.Connection[Any], table: str, loads: Sequence[Load], known: set[tuple[Any, ...]]
) -> None:
    """Remove the former rows of the days. A day that was never loaded needs no lookup."""
    former = [load for load in loads if any(key[1:4] == identity(load)[1:4] and key[5] == load.day for key in known)]
    column = TABLES[table].time_column
    for load in former:
        conditions = f"exchange = %s AND market_type = %s AND symbol = %s AND {column} >= %s AND {column} < %s"
        values: list[Any] = [load.exchange, load.market_type, load.symbol, instant(load.day), instant(load.day + DAY)]
        if load.timeframes:
            conditions += " AND (timeframe = ANY(%s)" + (" OR source = 'derived')" if load.replaces_derived else ")")
            values.append(list(load.timeframes))
        elif TABLES[table].leaf == "day" and is_alone(connection, load):
            connection.execute(f"TRUNCATE market.{leaf_of(table, load.day)[0]}")
            continue
        connection.execute(f"DELETE FROM market.{table} WHERE {conditions}", values)


def _copy(connection: psycopg.Connection[Any], table: str, loads: Sequence[Load]) -> None:
    from pgpq import ArrowToPostgresBinaryEncoder

    columns = TABLES[table].columns
    batches = _batches(columns, loads)
    first = next(batches, None)
    if first is None:
        return
    encoder = ArrowToPostgresBinaryEncoder(first.schema)
    statement = f"COPY market.{table} ({', '.join(columns)}) FROM STDIN WITH (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in chain([first], batches):
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())


def _batches(columns: Sequence[str], loads: Sequence[Load]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of loads with their keys, at most `_COPY_ROWS` at once."""
    for load in loads:
        keys = {"exchange": load.exchange, "market_type": load.market_type, "symbol": load.symbol}
        for rows in pieces_of(load.rows, _COPY_ROWS):
            arrays = [
                pa.repeat(keys[name], rows.num_rows) if name in keys else _plain(rows.column(name)) for name in columns
            ]
            yield from pa.table(arrays, names=list(columns)).combine_chunks().to_batches()


_COPY_ROWS = 100_000
"""Rows encoded at once, so that a day of millions of trades is not in memory twice."""


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
