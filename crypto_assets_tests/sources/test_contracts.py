"""Amounts of contracts: every form of a contract size, and what does not fit."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from crypto_assets.datasets.types import DECIMAL
from crypto_assets.errors import BadContent
from crypto_assets.sources.contracts import base_of_inverse, times


def column(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([Decimal(text) for text in texts], DECIMAL)])


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ("1000000000", ["2000000000", "20000000"]),
        ("1E+9", ["2000000000", "20000000"]),
        ("10000000.000", ["20000000", "200000"]),
        ("0.00000000001", ["0.00000000002", "0.0000000000002"]),
        ("1.00", ["2", "0.02"]),
        ("100", ["200", "2"]),
    ],
)
def test_contracts_of_every_size_are_exact(size: str, found: list[str]) -> None:
    amounts = times("key", column("2", "0.02"), Decimal(size))
    assert amounts.type == DECIMAL
    assert amounts.to_pylist() == [Decimal(text) for text in found]


def test_contracts_of_eleven_digits_after_the_point_are_exact() -> None:
    assert times("key", column("0.00000000001"), Decimal(10)).to_pylist() == [Decimal("0.0000000001")]


@pytest.mark.parametrize(
    ("contracts", "size"),
    [("99999999999999999999", "1000"), ("0.000000001", "0.00000000001"), ("1", "1E+40"), ("1", "1E-40")],
)
def test_products_that_do_not_fit_are_refused(contracts: str, size: str) -> None:
    with pytest.raises(BadContent, match=r"key: expected"):
        times("key", column(contracts), Decimal(size))


@pytest.mark.parametrize(
    ("contracts", "size", "price"), [("1", "100", "0"), ("0", "100", "0"), ("99999999999999999999", "1000", "0.5")]
)
def test_quotients_that_do_not_fit_are_refused(contracts: str, size: str, price: str) -> None:
    with pytest.raises(BadContent, match=r"key: expected contracts of"):
        base_of_inverse("key", column(contracts), Decimal(size), column(price))
