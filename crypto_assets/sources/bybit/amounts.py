"""Amounts of Bybit's trades in base and in quote.

Spot and linear sizes are base. Inverse sizes are contracts of 1 USD: in base that is size / price, to 18 digits (half even).
"""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.datasets.types import DECIMAL
from crypto_assets.errors import BadContent
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.sources.contracts import base_of_inverse

_ONE_USD = Decimal(1)

_LEFT, _RIGHT = pa.decimal256(38, 18), pa.decimal256(37, 18)
"""Their product has 76 digits, the most that Arrow holds."""


def in_base_and_quote(
    key: str, market_type: str, size: pa.ChunkedArray, price: pa.ChunkedArray
) -> dict[str, pa.ChunkedArray]:
    """Return the columns `amount` and `quote_amount`; spot has no amount in quote.

    Raises:
        BadContent: a price is not above 0, or size x price has more than 18 digits after the point.
    """
    match market_type:
        case "spot":
            return {"amount": size}
        case "linear":
            return {"amount": size, "quote_amount": _product(key, size, price)}
    lowest = pc.min(price).as_py()
    if lowest is not None and lowest <= 0:
        raise BadContent(f"{key}: expected prices above 0, found {lowest.normalize():f}")
    return {"amount": base_of_inverse(key, size, _ONE_USD, price), "quote_amount": size}


def _product(key: str, size: pa.ChunkedArray, price: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return pc.multiply(size.cast(_LEFT), price.cast(_RIGHT)).cast(DECIMAL)
    except pa.ArrowInvalid as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected at most 18 digits after the point in size x price, found more ({str(error)[:200]})"
        ) from None
