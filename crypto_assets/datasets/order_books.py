"""Order books: snapshots of what is offered, one row for each level of a side.

A snapshot is the rows of one `book_time` and `update_id`. They stand together: the bids from the best down, then the asks
from the best up.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.datasets.types import BOOK_SIDE, BOOK_SIDES, DECIMAL, INSTANT, columns
from crypto_assets.model import Dataset

if TYPE_CHECKING:
    import pandera.pandas as pandera


@cache
def contract() -> pandera.DataFrameSchema:
    """Return what holds for every single level; how levels stand to each other are checks of their own."""
    import pandera.pandas as pandera

    positive = pandera.Column(float, pandera.Check.gt(0))
    return pandera.DataFrameSchema(
        {
            "book_time": pandera.Column("datetime64[us, UTC]"),
            "update_id": pandera.Column("int64", pandera.Check.ge(0)),
            "side": pandera.Column("category", pandera.Check.isin(BOOK_SIDES)),
            "level": pandera.Column("int16", pandera.Check.ge(0)),
            "price": positive,
            "amount": positive,
        },
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="order_books",
    description="Snapshots of order books, as they were recorded.",
    schema=columns(
        ("book_time", INSTANT),
        ("update_id", pa.int64()),
        ("side", BOOK_SIDE),
        ("level", pa.int16()),
        ("price", DECIMAL),
        ("amount", DECIMAL),
    ),
    time_column="book_time",
    key=("book_time", "update_id", "side", "level"),
    contract=contract,
    to_warehouse=False,
    column_docs={
        "book_time": "instant of the last change that the snapshot holds, by the exchange's clock, UTC, microseconds",
        "update_id": "the exchange's own number of that change",
        "side": "bid or ask",
        "level": "place on its side: 0 is the best price, then without holes",
        "price": "quote per base",
        "amount": "base that is offered at this price",
    },
)
