"""Takes rows of a table by their positions, chunk by chunk: memory follows the rows taken.

`Table.take` of a table in several chunks joins each column first (pyarrow 26), which a table over a file must not do.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def take_rows(rows: pa.Table, places: np.ndarray) -> pa.Table:
    """Return the rows at some positions, in the order of the positions."""
    batches = [batch for batch in rows.to_batches() if batch.num_rows]
    if len(batches) < 2 or not len(places):
        return rows.take(pa.array(places, pa.int64()))
    bounds = np.cumsum([0, *(batch.num_rows for batch in batches)])
    of = np.searchsorted(bounds, places, side="right") - 1
    order = np.argsort(of, kind="stable")
    numbers, starts = np.unique(of[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    found = pa.Table.from_batches(
        [
            batches[number].take(pa.array(places[order[start:end]] - bounds[number]))
            for number, start, end in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True)
        ]
    ).cast(rows.schema)
    if (order[1:] > order[:-1]).all():
        return found
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return found.combine_chunks().take(pa.array(back))
