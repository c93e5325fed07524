"""Amounts of contracts in base and quote, exact where a product is, rounded half even to 18 digits where a quotient is."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.datasets.types import DECIMAL

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_STEP = Decimal(1).scaleb(-18)


def times(column: pa.ChunkedArray, size: Decimal) -> pa.ChunkedArray:
    """Return each decimal times a contract's size; raises ArrowInvalid if more than 18 digits follow the point."""
    factor = pa.array([size], pa.decimal128(*_shape(size)))[0]
    return pc.multiply(column.cast(_SHORT), factor).cast(DECIMAL)


def base_of_inverse(contracts: pa.ChunkedArray, size: Decimal, price: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return contracts times size (quote) / price (quote per base), rounded half even to 18 digits."""
    pairs = zip(contracts.to_pylist(), price.to_pylist(), strict=True)
    known: dict[tuple[Decimal, Decimal], Decimal] = {}
    found = []
    for pair in pairs:
        if pair not in known:
            known[pair] = _CONTEXT.divide(_CONTEXT.multiply(pair[0], size), pair[1]).quantize(_STEP, context=_CONTEXT)
        found.append(known[pair])
    return pa.chunked_array([pa.array(found, DECIMAL)])


_SHORT = pa.decimal128(28, 10)
"""Contracts have few digits; the product with a size must fit 38."""


def _shape(size: Decimal) -> tuple[int, int]:
    """Return precision and scale of a number as Arrow counts them."""
    _, digits, exponent = size.as_tuple()
    scale = max(0, -int(exponent))
    return max(len(digits) + max(0, int(exponent)), scale + 1), scale
