"""The place of each row among the rows of its instant: with the time, the key of rows that an exchange does not number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def places(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each row how many rows before it have its time (int32, from 0); the times may be in any order."""
    us = times.cast(pa.int64()).to_numpy()
    order = np.argsort(us, kind="stable")
    ordered = us[order]
    first = np.ones(len(us), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    ranks = np.arange(len(us))
    found = np.empty(len(us), np.int32)
    found[order] = ranks - np.maximum.accumulate(np.where(first, ranks, 0))
    return pa.chunked_array([pa.array(found)])
