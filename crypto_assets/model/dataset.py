"""What one kind of row is: a `Dataset` declares each `Column` once; Arrow's schema and Pandera's contract follow from it.

The table of the warehouse follows in `crypto_assets.storage.market_tables`, docs/datasets.md in `crypto_assets.datasets`
(`python -m crypto_assets.datasets`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera
    import pyarrow as pa

Leaf = Literal["day", "month", "year"]

RESERVED = frozenset({"exchange", "market_type", "symbol", "timeframe", "source", "dataset", "date"})
"""Columns that no dataset declares: they come from the path, or the warehouse adds them."""

_TYPES = frozenset(
    {
        "timestamp[us, tz=UTC]",
        "dictionary<values=string, indices=int8, ordered=0>",
        *("string", "int16", "int32", "int64", "float", "double", "bool"),
    }
)
"""Arrow's types of columns, but for decimals; files, check frames and tables of Postgres all have them."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, Arrow type, unit, bounds and meaning.

    `unit` is empty where a value has none. `above`, `at_least` and `at_most` bound numbers, `words` are the only ones that a
    column of words may hold. `optional` says that some exchanges do not publish it: the warehouse takes NULL, while a
    file of the lake that has the column has a value in every row. `nullable` lets single rows be without a value in both.
    """

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    nullable: bool = False
    optional: bool = False
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    words: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """The meaning and the unit in one line."""
        return f"{self.doc}; {self.unit}" if self.unit else self.doc

    @property
    def bounds(self) -> str:
        """Which values may be, in one line; empty where all may."""
        if self.words:
            return ", ".join(self.words)
        limits = ((">", self.above), ("≥", self.at_least), ("≤", self.at_most))
        return ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)


@dataclass(frozen=True, slots=True)
class RowRule:
    """What holds between the columns of one row; `holds` takes the check frame and answers for every row."""

    name: str
    holds: Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The contract of one table: what its rows mean, their columns, key and order.

    `columns` are the row's own, in the order of the file; the five keys of the path (exchange, market type, dataset, symbol,
    date) are not among them. `row` is what one row is called in sentences. `leaf` is the time that one leaf of the table in
    Postgres spans; None: the dataset has no table there. `to_warehouse` loads the table without being asked to.
    `has_timeframes` says that the dataset is collected by timeframe and that its table holds all of them. `built_from` names
    the dataset that a table is built from: such a table is not collected and has no file in the lake.

    Raises:
        ValueError: the declaration contradicts itself.
    """

    table: str
    description: str
    row: str
    columns: tuple[Column, ...]
    time_column: str
    key: tuple[str, ...]
    rules: tuple[RowRule, ...] = ()
    leaf: Leaf | None = None
    to_warehouse: bool = False
    has_timeframes: bool = False
    built_from: str | None = None

    def __post_init__(self) -> None:
        if problem := next(_problems(self), None):
            raise ValueError(f"dataset {self.table}: {problem}")

    def column(self, name: str) -> Column:
        """Return one column; raises KeyError where there is none of this name."""
        return self._by_name[name]

    def has(self, names: Iterable[str]) -> bool:
        """Return whether all of these are columns of the dataset; `timeframe` is one where it has timeframes."""
        return all(name in self._by_name or (name == "timeframe" and self.has_timeframes) for name in names)

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow's schema; the metadata of a field has `doc` and, where there is one, `unit`."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field(one.name, one.type, one.nullable, {"doc": one.doc, **({"unit": one.unit} if one.unit else {})})
                for one in self.columns
            ]
        )

    @cached_property
    def bare_schema(self) -> pa.Schema:
        """The schema without units and docs, as files have it."""
        import pyarrow as pa

        return pa.schema([field.remove_metadata() for field in self.schema])

    def contract(self) -> pandera.DataFrameSchema:
        """Return what holds for every single row of the check frame, as a Pandera schema.

        Made when it is first asked for: Pandera costs a second to import.
        """
        return self._contract

    @cached_property
    def _contract(self) -> pandera.DataFrameSchema:
        import pandera.pandas as pandera

        return pandera.DataFrameSchema(
            {
                column.name: pandera.Column(_pandas_type(column), _value_checks(column), nullable=column.nullable)
                for column in self.columns
            },
            [pandera.Check(rule.holds, name=rule.name) for rule in self.rules],
            strict=True,
            ordered=True,
        )


def _pandas_type(column: Column) -> str:
    """Return the type that a column has in a check frame (`crypto_assets.rows.frames`)."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        return "datetime64[us, UTC]"
    if pa.types.is_dictionary(kind):
        return "category"
    if pa.types.is_string(kind):
        return "str"
    if pa.types.is_decimal(kind):
        return "float64"
    if pa.types.is_boolean(kind):
        return "boolean" if column.nullable else "bool"
    name = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
    # pandas writes integers that may be null with a capital: Int64.
    return name.capitalize() if column.nullable and pa.types.is_integer(kind) else name


def _value_checks(column: Column) -> list[pandera.Check]:
    import pandera.pandas as pandera

    checks = []
    if column.words:
        checks.append(pandera.Check.isin(column.words))
    if column.above is not None:
        checks.append(pandera.Check.gt(column.above))
    if column.at_least is not None and column.at_most is not None:
        return [*checks, pandera.Check.in_range(column.at_least, column.at_most)]
    if column.at_least is not None:
        checks.append(pandera.Check.ge(column.at_least))
    if column.at_most is not None:
        checks.append(pandera.Check.le(column.at_most))
    return checks


def _problems(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with a declaration, one line each."""
    import pyarrow as pa

    names = [column.name for column in dataset.columns]
    for name in (dataset.table, *names):
        if not _NAME.fullmatch(name):
            yield f"expected a name of small letters, digits and _, found {name!r}"
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        yield f"expected each column once, found {', '.join(doubles)} twice"
    if reserved := sorted(RESERVED & set(names)):
        yield f"expected columns of the row only, found {', '.join(reserved)}, which every table has"
    by_name = dict(zip(names, dataset.columns, strict=True))
    for name in (dataset.time_column, *dataset.key):
        if name not in by_name:
            yield f"expected time and key among its columns, found no column {name!r}"
        elif by_name[name].nullable or by_name[name].optional:
            yield f"expected a value in every row of {name}, which is time or key"
    if not dataset.key:
        yield "expected a key of one column at least, found none"
    if dataset.time_column in by_name and not pa.types.is_timestamp(by_name[dataset.time_column].type):
        yield f"expected an instant as the time column, found {by_name[dataset.time_column].type} in {dataset.time_column}"
    for name in dataset.key:
        kind = by_name[name].type if name in by_name else pa.int64()
        if not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_dictionary(kind)):
            yield f"expected integers, instants or words as a key, found {kind} in {name}"
    for column in dataset.columns:
        if str(column.type) not in _TYPES and not pa.types.is_decimal128(column.type):
            yield f"expected a type that Postgres has too, found {column.type} for {column.name}"
        if bool(column.words) != pa.types.is_dictionary(column.type):
            yield f"expected words for a column of words and for no other, found {column.words} for {column.name}"
    if dataset.to_warehouse and dataset.leaf is None:
        yield "expected a leaf (day, month or year) for a table that is loaded, found none"
