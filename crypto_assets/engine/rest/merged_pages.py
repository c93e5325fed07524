"""Joins the pages of a day: a row that was received twice is kept once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import InvalidRows
from crypto_assets.model import Series
from crypto_assets.sources.paging.rows_of_pages import ints


def merged(series: Series, key: str, tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables by key; a row that was received twice is kept once.

    Raises:
        InvalidRows: two rows of one key that differ.
    """
    (column,) = datasets.get(series.table).key
    rows = pa.concat_tables(tables, promote_options="none").combine_chunks()
    values = ints(rows, column)
    if (np.diff(values) < 0).any():
        order = np.argsort(values, kind="stable")
        rows, values = rows.take(pa.array(order)), values[order]
    same = np.flatnonzero(values[1:] == values[:-1])
    if len(same) == 0:
        return rows
    for place in same:
        first, second = rows.slice(place, 1).to_pylist(), rows.slice(place + 1, 1).to_pylist()
        if first != second:
            raise InvalidRows(
                f"{key}: expected one row for {column} {values[place]}, found two that differ: {first[0]} and {second[0]}"
            )
    keep = np.ones(len(values), dtype=bool)
    keep[same + 1] = False
    return rows.filter(pa.array(keep))
