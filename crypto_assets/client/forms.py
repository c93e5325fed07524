"""The form of an answer: a pandas DataFrame, a polars DataFrame or an Arrow table.

Everything is built as Arrow; pandas and polars are imported only if requested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pyarrow as pa

from crypto_assets.errors import ConfigError
from crypto_assets.rows.frames import nearest, to_frame
from crypto_assets.rows.numpy_arrays import to_arrow

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Form = Literal["pandas", "polars", "arrow"]
"""The forms of an answer."""

Answer: TypeAlias = "pd.DataFrame | pl.DataFrame | pa.Table"

TEXT, COUNT, FLAG, DAY, INSTANT = pa.string(), pa.int64(), pa.bool_(), pa.date32(), pa.timestamp("us", "UTC")
"""Types of the columns of tables about what is stored."""


def require_form(form: str) -> None:
    """Raise ConfigError for an unknown form, or if its package is not installed."""
    if form not in get_args(Form):
        raise ConfigError(f"as_: expected one of {', '.join(map(repr, get_args(Form)))}, found {form!r}")
    if form == "polars":
        _polars()


def rows_in(form: Form, rows: pa.Table, *, exact: bool) -> Answer:
    """Return rows in a form; decimals become float64, each rounded as `float(text)` rounds it, unless `exact` is set.

    The columns of the Arrow table are those of the polars frame as far as polars holds them alike: nothing passes pandas.
    """
    if form == "pandas":
        return rows.to_pandas() if exact else to_frame(rows)
    if not exact:
        rows = _in_floats(rows)
    return _polars().from_arrow(rows) if form == "polars" else rows


def table_in(form: Form, columns: Mapping[str, pa.DataType], rows: Iterable[Mapping[str, Any]]) -> Answer:
    """Return a table about stored data, with exactly these columns.

    In pandas days are instants of UTC (their midnight), and counts and flags may be `<NA>`.
    """
    table = pa.Table.from_pylist(list(rows), pa.schema(list(columns.items())))
    if form == "arrow":
        return table
    if form == "polars":
        return _polars().from_arrow(table)
    import pandas as pd

    days = [name for name, kind in columns.items() if kind == DAY]
    for name in days:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(place).cast(pa.timestamp("us")).cast(INSTANT))
    kinds = {COUNT: pd.Int64Dtype(), FLAG: pd.BooleanDtype()}
    return table.to_pandas(types_mapper=kinds.get)


def with_facts(answer: Answer, facts: Mapping[str, Any]) -> Answer:
    """Return an answer with facts about it: in `attrs` of a DataFrame, as JSON in Arrow's metadata; polars has no place."""
    if isinstance(answer, pa.Table):
        import json

        told = {f"crypto_assets.{name}": json.dumps(value) for name, value in facts.items()}
        return answer.replace_schema_metadata(told)
    if hasattr(answer, "attrs"):
        answer.attrs.update(facts)
    return answer


def _in_floats(rows: pa.Table) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if pa.types.is_decimal(field.type):
            column = rows.column(place)
            values = to_arrow(nearest(column))
            if column.null_count:
                # NaN is not null: polars and Arrow distinguish them.
                values = pa.Array.from_buffers(
                    values.type, len(values), [column.combine_chunks().is_valid().buffers()[1], values.buffers()[1]]
                )
            rows = rows.set_column(place, field.with_type(pa.float64()), values)
    return rows


def _polars() -> Any:
    try:
        import polars
    except ImportError:
        raise ConfigError(
            "as_='polars': expected the package polars, found none; `pip install crypto_assets[polars]` installs it"
        ) from None
    return polars
