"""Convert decimals to NumPy integers and back, exactly.

Exchanges publish few decimals: a decimal128(38, 18) column is almost always a column of 64-bit integers times a power of
ten. Dividing by that power is one multiplication modulo 2⁶⁴, six times faster than Arrow's cast (3 million prices: 0.04 s).
Columns that do not fit become Python integers: slower, but equally exact.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL

SCALE: int = DECIMAL.scale
_MOST = 1 << 63


def whole(column: pa.Array) -> tuple[np.ndarray, int]:
    """Return whole numbers and their number of decimals, the fewest that all values allow.

    The numbers are int64, or Python integers where they do not fit.

    Args:
        column: decimal128(38, 18) without nulls.
    """
    halves = np.frombuffer(column.buffers()[1], dtype=np.int64)[2 * column.offset : 2 * (column.offset + len(column))]
    high, low = halves[1::2], halves[0::2].view(np.uint64)
    if not len(high):
        return np.empty(0, dtype=np.int64), 0
    if high.min() >= 0:
        top, bits = int(high.max()), int(np.bitwise_or.reduce(low))
        # A multiple of 10**n is also a multiple of 2**n.
        most = min(SCALE, (bits & -bits).bit_length() - 1) if bits else SCALE
        for shift in range(most, -1, -1):
            if (top + 1) << 64 > _MOST * 10**shift and not (shift == top == 0 and bits < _MOST):
                break
            found = _divided(high, low, shift)
            if found is not None:
                return found, SCALE - shift
    return (high.astype(object) << 64) + low.astype(object), SCALE


def _divided(high: np.ndarray, low: np.ndarray, shift: int) -> np.ndarray | None:
    """Return the values over 10**shift as int64, or None if one of them is not a multiple of it.

    Their quotients are below 2⁶³ and their last `shift` bits are 0.
    """
    if shift == 0:
        return low.view(np.int64).copy()
    quotients = low >> np.uint64(shift)
    quotients |= high.view(np.uint64) << np.uint64(64 - shift)
    quotients *= np.uint64(pow(5**shift, -1, 1 << 64))
    # quotient · 10**shift now equals the value modulo 2**(64 + shift). They are the same number exactly if their high
    # halves differ by less than 2**shift, which float64 can decide.
    apart = quotients.astype(np.float64)
    apart *= 10.0**shift / 2.0**64
    apart -= high
    reach = max(0.75, 2.0 ** (shift - 1))
    if apart.min() <= 0.5 - reach or apart.max() >= 0.5 + reach:
        return None
    return quotients.view(np.int64)


def sums(values: np.ndarray, starts: np.ndarray) -> list[int]:
    """Return the sum of each group of neighbours, of any size; `starts` has the first index of each group."""
    if values.dtype == object or int(values.max()) * len(values) < _MOST:
        return np.add.reduceat(values, starts).tolist()
    high, low = np.add.reduceat(values >> 32, starts), np.add.reduceat(values & 0xFFFFFFFF, starts)
    return [(above << 32) + below for above, below in zip(high.tolist(), low.tolist(), strict=True)]


def products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the exact products of two columns of non-negative numbers."""
    if one.dtype == object or other.dtype == object or int(one.max()) * int(other.max()) < _MOST:
        return one * other
    return one.astype(object) * other.astype(object)


def decimals(units: Iterable[int]) -> pa.Array:
    """Return whole numbers of 10⁻¹⁸ as decimals.

    Raises:
        OverflowError: a number has more than 38 digits.
    """
    values = list(units)
    if values and max(map(abs, values)) >= 10**DECIMAL.precision:
        raise OverflowError(f"a number has more than {DECIMAL.precision} digits")
    content = b"".join(value.to_bytes(16, "little", signed=True) for value in values)
    return pa.Array.from_buffers(DECIMAL, len(values), [None, pa.py_buffer(content)])
