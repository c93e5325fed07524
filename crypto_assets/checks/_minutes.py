"""Sets of minutes of a day as bits: 180 bytes; the first minute is the highest bit of the first byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MINUTES = 1_440


def to_bits(minutes: np.ndarray) -> bytes | None:
    """Return 1,440 booleans as 180 bytes, None where no bit is set."""
    return np.packbits(minutes).tobytes() if minutes.any() else None


def from_bits(bits: bytes | None) -> np.ndarray:
    """Return 1,440 booleans."""
    if bits is None:
        return np.zeros(MINUTES, dtype=bool)
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8)).astype(bool)


def spans(minutes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the runs of set minutes as (first, one after the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], minutes.astype(np.int8), [0]))))
    yield from zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True)
