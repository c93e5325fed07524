"""The tables of schema `market`, built from the datasets: columns, keys and comments.

`migrate` creates missing tables, so a new dataset needs no revision. A new column of an existing dataset needs one: old rows
have no value for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.datasets.types import KEYS, SOURCE, TIMEFRAME
from crypto_assets.model import Column, Dataset, Leaf
from crypto_assets.storage.market_views import VIEWS
from crypto_assets.storage.reader import readable


@dataclass(frozen=True)
class MarketTable:
    """One table: its columns in COPY order, and the SQL that creates it."""

    dataset: Dataset
    leaf: Leaf

    @cached_property
    def declared(self) -> tuple[Column, ...]:
        """Every column, with those of the path and of the warehouse."""
        if not self.dataset.has_timeframes:
            return (*KEYS, *self.dataset.columns)
        return (*KEYS, TIMEFRAME, *self.dataset.columns, SOURCE)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.declared)

    @cached_property
    def numeric(self) -> frozenset[str]:
        """The columns of decimals."""
        return frozenset(column.name for column in self.declared if pa.types.is_decimal(column.type))

    @cached_property
    def nullable_integers(self) -> frozenset[str]:
        """The integer columns that may be null in single rows."""
        return frozenset(one.name for one in self.declared if one.nullable and pa.types.is_integer(one.type))

    @property
    def time_column(self) -> str:
        return self.dataset.time_column

    @property
    def order(self) -> tuple[str, ...]:
        """The time, then the rest of the dataset's keys: the order of the rows of one symbol."""
        keys = dict.fromkeys((*self.dataset.key, *self.dataset.unnumbered_key))
        return (self.time_column, *(name for name in keys if name != self.time_column))

    @property
    def key(self) -> tuple[str, ...]:
        """The keys of the path, then the time (the table is partitioned by it), then the rest of the dataset's key."""
        return self._key_of(self.dataset.key)

    def _key_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        timeframe = (TIMEFRAME.name,) if self.dataset.has_timeframes else ()
        rest = (name for name in names if name != self.time_column)
        return (*(column.name for column in KEYS), *timeframe, self.time_column, *rest)

    def statements(self) -> list[str]:
        """Return the SQL that creates the table, with comments on it and on every column."""
        name = f"market.{self.dataset.table}"
        lines = [f"{column.name} {_postgres_type(column)}{_not_null(column)}" for column in self.declared]
        # One index of both keys would have a null in every entry, and COPY would take half as long again.
        unnumbered = self.dataset.unnumbered_key
        kind = "UNIQUE" if unnumbered else "PRIMARY KEY"
        lines.append(f"{kind} ({', '.join(self.key)})")
        return [
            f"CREATE TABLE {name} ({', '.join(lines)}) PARTITION BY RANGE ({self.time_column})",
            *(
                f"CREATE UNIQUE INDEX {self.dataset.table}_unnumbered_key ON {name} ({', '.join(self._key_of(unnumbered))}) "
                f"WHERE {self.dataset.key[0]} IS NULL"
                for _ in unnumbered[:1]
            ),
            f"COMMENT ON TABLE {name} IS {_quoted(self.dataset.description)}",
            *(f"COMMENT ON COLUMN {name}.{one.name} IS {_quoted(one.meaning)}" for one in self.declared),
        ]


TABLES: Mapping[str, MarketTable] = {
    name: MarketTable(dataset, dataset.leaf) for name, dataset in datasets.in_warehouse().items() if dataset.leaf
}
"""The tables by their names."""


def missing_tables(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of the tables and views that a database does not have."""
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('market.' || name) IS NULL ORDER BY name",
        ([*TABLES, *VIEWS],),
    ).fetchall()
    return [row[0] for row in rows]


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Create the missing tables and views, all or none; readers may read them."""
    with connection.transaction():
        missing = missing_tables(connection)
        tables = [statement for name in missing if name in TABLES for statement in TABLES[name].statements()]
        views = [statement for name in missing if name in VIEWS for statement in VIEWS[name]]
        for statement in (*tables, *views):
            connection.execute(statement)
        # Default privileges of a role apply to its own tables only.
        connection.execute(readable("market"))


def _postgres_type(column: Column) -> str:
    kind = column.type
    if pa.types.is_decimal(kind):
        return "numeric"
    if pa.types.is_timestamp(kind):
        return "timestamptz"
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return "text"
    return _POSTGRES_TYPES[str(kind)]


_POSTGRES_TYPES = {
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float": "real",
    "double": "double precision",
    "bool": "boolean",
}


def _not_null(column: Column) -> str:
    return "" if column.may_be_null else " NOT NULL"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
