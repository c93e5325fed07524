"""Numpy arrays and texts as Arrow arrays and back, by their buffers.

`pa.array` and `to_numpy` import pandas, 0.25 CPU seconds that whoever reads Arrow or polars does not need.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def to_arrow(values: np.ndarray) -> pa.Array:
    """Return numbers or booleans as an Arrow array without null; numbers are not copied."""
    if values.dtype == np.bool_:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def texts(words: Sequence[str]) -> pa.Array:
    """Return words as an Arrow array of text."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(words), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def labels(word: int, count: int, words: pa.Array) -> pa.Array:
    """Return a dictionary array that repeats one of some words, by its place."""
    return pa.DictionaryArray.from_arrays(to_arrow(np.full(count, word, np.int32)), words)


def from_arrow(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of 64-bit numbers or instants without null as numpy integers or floats."""
    kind = np.float64 if pa.types.is_floating(column.type) else np.int64
    parts = [
        np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in column.chunks
        if len(chunk)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, kind)])
