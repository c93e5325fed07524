"""A `Dataset` declares one kind of row, each `Column` once; Arrow schema and Pandera contract are derived from it.

The warehouse table is derived in `crypto_assets.storage.market_tables`, the data dictionary of the docs in
`docs_site.datasets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera
    import pyarrow as pa

Leaf = Literal["day", "month", "year"]

RESERVED = frozenset({"exchange", "market_type", "symbol", "timeframe", "source", "dataset", "date"})
"""Names that no dataset may declare: the path gives these columns, or the warehouse adds them."""

_TYPES = frozenset(
    {
        "timestamp[us, tz=UTC]",
        "dictionary<values=string, indices=int8, ordered=0>",
        *("string", "int16", "int32", "int64", "float", "double", "bool"),
    }
)
"""Arrow types of columns, besides decimals; files, check frames and Postgres tables support all of them."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, Arrow type, unit, bounds and meaning.

    `unit` is empty for a value without unit. `above`, `at_least` and `at_most` bound numbers; `words` are the values allowed
    in a column of words. `optional`: some exchanges do not publish the column; it is null in every row of their series,
    and in no row of others (`Dataset.published`). `nullable`: single rows may have no value. `built_from` names the columns
    from which a built dataset computes the value (`Dataset.built_from`).
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
    built_from: tuple[str, ...] = ()

    @property
    def may_be_null(self) -> bool:
        """Whether files and tables allow null."""
        return self.nullable or self.optional

    @property
    def meaning(self) -> str:
        """The meaning and the unit in one line, and whether some exchanges leave the column out."""
        where = "null where the exchange does not publish it" if self.optional and "null" not in self.doc else ""
        return "; ".join(filter(None, (self.doc, self.unit, where)))

    @property
    def bounds(self) -> str:
        """The allowed values in one line; empty if all are allowed."""
        if self.words:
            return ", ".join(self.words)
        limits = ((">", self.above), ("≥", self.at_least), ("≤", self.at_most))
        return ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)


@dataclass(frozen=True, slots=True)
class RowRule:
    """A condition between the columns of one row; `holds` takes the check frame and returns True or False for each row."""

    name: str
    holds: Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The contract of one table: what its rows mean, their columns, key and order.

    `columns` are the columns of the row, in the order of the file, without the five keys of the path (exchange, market type,
    dataset, symbol, date). `row` is the word for one row in sentences. `leaf` is the time span of one leaf of the Postgres
    table; None: the dataset has no table there. `to_warehouse`: the table is loaded by default. `has_timeframes`: the dataset
    is collected by timeframe, and its table holds all of them. `built_from` names the dataset that a table is built from;
    such a table is not collected and has no file in the lake.

    `unnumbered_key` is the key of series whose exchange does not number its rows: the time, and the column of a row's place
    among the rows of that time, from 0 in file order. It equals `key` if no source numbers the rows.
    `text_id` is the column of an exchange's own text for a row, unique in the day.

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
    unnumbered_key: tuple[str, ...] = ()
    text_id: str | None = None

    def __post_init__(self) -> None:
        if problem := next(_problems(self), None):
            raise ValueError(f"dataset {self.table}: {problem}")

    def column(self, name: str) -> Column:
        """Return one column; raises KeyError if no column has this name."""
        return self._by_name[name]

    def has(self, names: Iterable[str]) -> bool:
        """Return whether the dataset has all these columns; `timeframe` counts as one if it has timeframes."""
        return all(name in self._by_name or (name == "timeframe" and self.has_timeframes) for name in names)

    def published(self, without: Collection[str], *, numbered: bool = True) -> Dataset:
        """Return the dataset as one series has it: without the columns that its exchange does not publish.

        The other optional columns have a value in every row. The key is that of numbered or unnumbered rows.

        Raises:
            ValueError: a column is not optional.
        """
        if needed := sorted(one.name for one in self.columns if one.name in without and not one.optional):
            raise ValueError(f"dataset {self.table}: expected optional columns, found {', '.join(needed)}")
        return replace(
            self,
            columns=tuple(replace(one, optional=False) for one in self.columns if one.name not in without),
            key=self.key if numbered or not self.unnumbered_key else self.unnumbered_key,
            unnumbered_key=(),
            text_id=None if self.text_id in without else self.text_id,
        )

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema; the metadata of each field has `doc` and, if it has them, `unit` and `optional`."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field(
                    one.name,
                    one.type,
                    one.may_be_null,
                    _metadata(one),
                )
                for one in self.columns
            ]
        )

    @cached_property
    def bare_schema(self) -> pa.Schema:
        """The schema without units and docs, as in files."""
        import pyarrow as pa

        return pa.schema([field.remove_metadata() for field in self.schema])

    def contract(self) -> pandera.DataFrameSchema:
        """Return the Pandera schema that every row of the check frame must meet.

        Built on first use: importing Pandera takes half a second.
        """
        return self._contract

    def is_met(self, frame: pd.DataFrame) -> bool:
        """Return whether every row of a check frame clearly meets the contract: then Pandera would find nothing.

        False says nothing: Pandera finds what is wrong, if anything is. Importing it costs as much as collecting forty days.
        """
        return (
            list(frame.columns) == [column.name for column in self.columns]
            and all(_is_met(column, frame[column.name]) for column in self.columns)
            and all(bool(rule.holds(frame).all()) for rule in self.rules)
        )

    @cached_property
    def _contract(self) -> pandera.DataFrameSchema:
        import pandera.pandas as pandera

        return pandera.DataFrameSchema(
            {
                column.name: pandera.Column(
                    _pandas_type(column), _value_checks(column), nullable=column.nullable, coerce=_may_be_plain(column)
                )
                for column in self.columns
            },
            [pandera.Check(rule.holds, name=rule.name) for rule in self.rules],
            strict=True,
            ordered=True,
        )


def _metadata(column: Column) -> dict[str, str]:
    about = {"doc": column.doc, "unit": column.unit, "optional": "yes" if column.optional else ""}
    return {name: text for name, text in about.items() if text}


def _may_be_plain(column: Column) -> bool:
    """Return whether a check frame may have another type for a column: of integers without null."""
    import pyarrow as pa

    return column.nullable and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))


def _pandas_type(column: Column) -> str:
    """Return the type of a column in a check frame (`crypto_assets.rows.frames`)."""
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
    # pandas writes nullable integers with a capital: Int64.
    return name.capitalize() if column.nullable and pa.types.is_integer(kind) else name


def _is_met(column: Column, values: pd.Series) -> bool:
    """Return whether a column has its type and, in every row, an allowed value."""
    return (
        str(values.dtype) == _pandas_type(column)
        and (column.nullable or not values.hasnans)
        and (not column.words or bool(values.isin(column.words).all()))
        and (column.above is None or bool((values > column.above).all()))
        and (column.at_least is None or bool((values >= column.at_least).all()))
        and (column.at_most is None or bool((values <= column.at_most).all()))
    )


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
    """Yield each fault of a declaration as one line."""
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
    alternative = bool(dataset.unnumbered_key)
    for name in (dataset.time_column, *dataset.key, *dataset.unnumbered_key):
        if name not in by_name:
            yield f"expected time and key among its columns, found no column {name!r}"
        elif by_name[name].nullable or (by_name[name].optional and (not alternative or name == dataset.time_column)):
            yield f"expected a value in every row of {name}, which is time or key"
    if alternative and (len(dataset.unnumbered_key) != 2 or dataset.unnumbered_key[0] != dataset.time_column):
        yield f"expected the time and a place as the key without numbers, found {', '.join(dataset.unnumbered_key)}"
    if dataset.text_id is not None and dataset.text_id not in by_name:
        yield f"expected the text of a row among its columns, found no column {dataset.text_id!r}"
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
    for column in dataset.columns:
        if bool(column.built_from) != bool(dataset.built_from):
            yield f"expected built_from for columns of a built dataset only, found {column.built_from} for {column.name}"
    if dataset.to_warehouse and dataset.leaf is None:
        yield "expected a leaf (day, month or year) for a table that is loaded, found none"
