"""Order books: snapshots of the offers, one row for each level of a side.

A snapshot is the rows with one `book_time` and `update_id`. They are together: the bids from the best down, then the asks
from the best up.
"""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import BOOK_SIDES, DECIMAL, INSTANT, UTC_US, WORD
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="order_books",
    description="Snapshots of order books, as recorded.",
    row="level",
    columns=(
        Column(
            name="book_time",
            type=INSTANT,
            unit=UTC_US,
            doc="instant of the last change in the snapshot, by the exchange's clock",
        ),
        Column(name="update_id", type=pa.int64(), at_least=0, doc="the exchange's own number of that change"),
        Column(name="side", type=WORD, words=BOOK_SIDES, doc="bid or ask"),
        Column(
            name="level",
            type=pa.int16(),
            at_least=0,
            doc="position on its side: 0 is the best price, then without holes",
        ),
        Column(name="price", type=DECIMAL, unit="quote per base", above=0, doc="price of the level"),
        Column(name="amount", type=DECIMAL, unit="base", above=0, doc="amount offered at this price"),
    ),
    time_column="book_time",
    key=("book_time", "update_id", "side", "level"),
)
