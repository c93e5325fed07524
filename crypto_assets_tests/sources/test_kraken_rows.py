"""Kraken's answers name their pair: rows of another one are refused."""

from __future__ import annotations

from typing import Any

import pytest

from crypto_assets.errors import BadContent
from crypto_assets.sources.kraken.rows import rows_of

BAR = [1704067200, "1", "2", "1", "2", "1.5", "3", 4]


def answer(name: str, *rows: Any) -> dict[str, Any]:
    return {"error": [], "result": {name: list(rows), "last": 1704067200}}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("BTC/USDT", "XBTUSDT"), ("BTC/USD", "XXBTZUSD"), ("BTC/USD", "XBTUSD"), ("DOGE/USD", "XDGUSD")],
)
def test_each_spelling_of_a_pair_is_taken(symbol: str, name: str) -> None:
    assert rows_of("key", answer(name, BAR), (8,), symbol) == ([BAR], "1704067200")


@pytest.mark.parametrize(
    ("symbol", "name"), [("BTC/USDT", "XETHZUSD"), ("BTC/USDT", "XXBTZUSD"), ("ETH/USD", "AAPLxUSD")]
)
def test_rows_of_another_pair_are_refused(symbol: str, name: str) -> None:
    with pytest.raises(BadContent, match=f"key: expected rows of {symbol}, found those of {name}"):
        rows_of("key", answer(name, BAR), (8,), symbol)
    with pytest.raises(BadContent, match="found those of"):
        rows_of("key", answer(name), (8,), symbol)
