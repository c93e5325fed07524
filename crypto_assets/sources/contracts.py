"""Amounts of contracts in base and quote, exact where a product is, rounded half even to 18 digits where a quotient is."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.datasets.types import DECIMAL
from crypto_assets.errors import BadContent
from crypto_assets.machine.shortage import raise_if_ours

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_STEP = Decimal(1).scaleb(-18)


def times(key: str, column: pa.ChunkedArray, size: Decimal) -> pa.ChunkedArray:
    """Return each decimal times a contract's size, exact.

    Raises:
        BadContent: a product has more than 18 digits after the point, or more than 20 before it.
    """
    precision, scale = _shape(size)
    if precision > _MOST_DIGITS:
        raise BadContent(f"{key}: expected a contract size of at most {_MOST_DIGITS} digits, found {str(size)[:60]}")
    try:
        factor = pa.array([size], pa.decimal256(precision, scale))[0]
        return pc.multiply(column.cast(_WIDE), factor).cast(DECIMAL)
    except pa.ArrowInvalid as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected contracts of {size} with at most 20 digits before the point and 18 after it, found more "
            f"({str(error)[:200]})"
        ) from None


def base_of_inverse(key: str, contracts: pa.ChunkedArray, size: Decimal, price: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return contracts times size (quote) / price (quote per base), rounded half even to 18 digits.

    Raises:
        BadContent: a price is 0, or a quotient has more than 20 digits before the point.
    """
    pairs = zip(contracts.to_pylist(), price.to_pylist(), strict=True)
    known: dict[tuple[Decimal, Decimal], Decimal] = {}
    found = []
    try:
        for pair in pairs:
            if pair not in known:
                exact = _CONTEXT.divide(_CONTEXT.multiply(pair[0], size), pair[1])
                known[pair] = exact.quantize(_STEP, context=_CONTEXT)
            found.append(known[pair])
        return pa.chunked_array([pa.array(found, DECIMAL)])
    except (ArithmeticError, pa.ArrowInvalid) as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected contracts of {size} and prices above 0 whose quotient has at most 20 digits before the point, "
            f"found others ({type(error).__name__})"
        ) from None


_WIDE = pa.decimal256(38, 18)
_MOST_DIGITS = 37
"""Their product has 76 digits, the most that Arrow holds."""


def _shape(size: Decimal) -> tuple[int, int]:
    """Return precision and scale of a number as Arrow counts them; zeros at the end do not count after the point."""
    _, digits, exponent = size.as_tuple()
    places = int(exponent)
    while places < 0 and digits and digits[-1] == 0:
        digits, places = digits[:-1], places + 1
    scale = max(0, -places)
    return max(len(digits) + max(0, places), scale + 1), scale
