"""One integer for each text of a column: equal texts have equal ones, different texts nearly always different ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_WORD = 8
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: odd, with its bits spread evenly (Knuth, TAOCP 3, 6.4)."""
_HALF = np.uint64(32)


def text_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return a 64-bit code of each text, which must not be null.

    Texts of one length, as UUIDs are, take 16 bytes a row and a copy of one chunk of the column. Texts of different lengths
    become Python objects first: some 90 bytes a row.
    """
    lengths = {int(length) for chunk in column.chunks if len(chunk) for length in np.unique(np.diff(_places(chunk)))}
    if len(lengths) == 1 and (length := lengths.pop()):
        return np.concatenate([_codes(chunk, length) for chunk in column.chunks])
    import pandas as pd

    found: np.ndarray = pd.util.hash_array(column.to_numpy(), categorize=False)
    return found


def _places(texts: pa.Array) -> np.ndarray:
    offsets = texts.buffers()[1]
    return np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _codes(texts: pa.Array, length: int) -> np.ndarray:
    """Return the codes of texts of one length, above zero."""
    places = _places(texts)
    letters = np.frombuffer(texts.buffers()[2], np.uint8)[places[0] : places[-1]].reshape(len(texts), length)
    padded = np.zeros((len(texts), -(-length // _WORD) * _WORD), np.uint8)
    padded[:, :length] = letters
    codes = np.full(len(texts), length, np.uint64)
    for word in padded.view(np.uint64).T:
        codes = (codes ^ word) * _FACTOR
        codes ^= codes >> _HALF
    return codes
