"""A declaration that contradicts itself is refused; schema and contract follow from the declaration."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from crypto_assets import datasets
from crypto_assets.checks import all_rules
from crypto_assets.datasets.types import DECIMAL, INSTANT, TEXT, WORD
from crypto_assets.model import Column, Dataset
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.storage.parquet_writing import encode

TIME = Column(name="time", type=INSTANT, doc="instant")
VALUE = Column(name="value", type=DECIMAL, unit="base", doc="amount", above=0)


def declared(*columns: Column, **more: Any) -> Dataset:
    """Return a dataset with a time and more columns."""
    given = {"table": "things", "description": "Things.", "row": "thing", "time_column": "time", "key": ("time",)}
    return Dataset(columns=(TIME, *columns), **(given | more))


@pytest.mark.parametrize(
    ("columns", "more", "problem"),
    [
        ((VALUE, VALUE), {}, "expected each column once, found value twice"),
        ((replace(VALUE, name="Value"),), {}, "expected a name of small letters, digits and _, found 'Value'"),
        ((), {"table": "things; DROP"}, "expected a name of small letters, digits and _, found 'things; DROP'"),
        ((replace(VALUE, name="symbol"),), {}, "found symbol, which every table has"),
        ((VALUE,), {"key": ()}, "expected a key of one column at least, found none"),
        ((VALUE,), {"key": ("id",)}, "expected time and key among its columns, found no column 'id'"),
        (
            (VALUE,),
            {"time_column": "value"},
            "expected an instant as the time column, found decimal128(38, 18) in value",
        ),
        (
            (VALUE,),
            {"key": ("value",)},
            "expected integers, instants or words as a key, found decimal128(38, 18) in value",
        ),
        (
            (Column(name="id", type=pa.int64(), doc="id", nullable=True),),
            {"key": ("id",)},
            "expected a value in every row of id, which is time or key",
        ),
        ((Column(name="side", type=WORD, doc="side"),), {}, "expected words for a column of words"),
        ((Column(name="side", type=TEXT, doc="side", words=("buy",)),), {}, "expected words for a column of words"),
        ((replace(VALUE, type=pa.date32()),), {}, "expected a type that Postgres has too, found date32[day] for value"),
        (
            (VALUE,),
            {"to_warehouse": True},
            "expected a leaf (day, month or year) for a table that is loaded, found none",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    columns: tuple[Column, ...], more: dict[str, Any], problem: str
) -> None:
    assert declared(VALUE).schema.names == ["time", "value"]
    with pytest.raises(ValueError, match=r"^dataset things") as caught:
        declared(*columns, **more)
    assert problem in str(caught.value)


def test_a_field_of_arrow_says_unit_and_meaning() -> None:
    field = datasets.get("trades").schema.field("price")
    assert field.metadata == {b"doc": b"price of the match", b"unit": b"quote per base"}
    assert b"unit" not in datasets.get("trades").schema.field("side").metadata


def test_every_column_of_every_dataset_says_what_it_is() -> None:
    every = [one for dataset in datasets.all_datasets().values() for one in dataset.columns]
    assert len(every) > 30
    assert [one.name for one in every if not one.doc or one.doc.endswith(".")] == []


def test_other_words_for_a_column_make_no_other_file() -> None:
    dataset = declared(VALUE)
    reworded = declared(replace(VALUE, doc="how much", unit="coins"))
    values = [[datetime(2024, 1, 1, tzinfo=UTC)], [Decimal(1)]]
    one, other = (
        encode(pa.table([pa.array(v, f.type) for v, f in zip(values, d.schema, strict=True)], schema=d.schema), {}, d)
        for d in (dataset, reworded)
    )
    assert one == other
    assert pa.parquet.read_schema(pa.BufferReader(one)).field("value").metadata is None


def test_values_that_may_be_null_keep_their_type_and_digits() -> None:
    dataset = declared(
        replace(VALUE, nullable=True),
        Column(name="count", type=pa.int64(), doc="count", nullable=True, above=0),
        Column(name="seen", type=INSTANT, doc="instant", nullable=True),
        Column(name="open", type=pa.bool_(), doc="open", nullable=True),
        Column(name="note", type=TEXT, doc="note", nullable=True),
    )
    at = datetime(2024, 1, 1, tzinfo=UTC)
    full = {"time": at, "value": Decimal("1.5"), "count": 2**53 + 1, "seen": at, "open": True, "note": "x"}
    frame = to_check_frame(pa.Table.from_pylist([full, {"time": at}], dataset.schema))
    assert frame.loc[0].to_dict() == {**full, "time": pd.Timestamp(at), "value": 1.5, "seen": pd.Timestamp(at)}
    assert frame.loc[1, ["value", "count", "seen", "open", "note"]].isna().all()
    assert dataset.contract().validate(frame).equals(frame)
    wrong = frame.assign(count=pd.array([0, None], "Int64"))
    assert not dataset.is_met(wrong)
    with pytest.raises(Exception, match=r"greater_than\(0\)"):
        dataset.contract().validate(wrong)


def test_a_check_fits_what_has_its_columns_or_others_that_will_do() -> None:
    rules = {rule.name: rule for rule in all_rules()}
    trades = declared(*(replace(VALUE, name=name) for name in ("price", "amount", "quote_amount")))
    assert rules["quote_agrees"].fits(trades)
    assert not rules["quote_agrees"].fits(declared(VALUE))
    assert rules["contract"].fits(declared(VALUE))
    bars = declared(replace(TIME, name="open_time"))
    assert not rules["on_grid"].fits(bars)
    assert rules["on_grid"].fits(declared(replace(TIME, name="open_time"), has_timeframes=True))
    known = datasets.get
    assert [name for name in ("order_books", "tickers", "trades") if rules["book_not_crossed"].fits(known(name))] == [
        "order_books",
        "tickers",
    ]
