"""Kraken's answers name their pair: rows of another one are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from crypto_assets import datasets
from crypto_assets.errors import BadContent
from crypto_assets.model import Partition, Series
from crypto_assets.sources.kraken.rest import KrakenRest
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


@pytest.mark.parametrize("dataset", ["trades", "ohlcv_1m"])
def test_a_walk_refuses_rows_of_another_pair(dataset: str) -> None:
    series = Series.named("kraken", "spot", dataset)
    day, now = date(2024, 1, 1), datetime(2024, 1, 1, 1, tzinfo=UTC)
    nothing = datasets.get(series.table).schema.empty_table()
    walk = KrakenRest(series).walk(Partition("BTC/USDT", day), nothing, None, now)
    assert next(walk).params["pair"] == "XBTUSDT"
    with pytest.raises(BadContent, match="expected rows of BTC/USDT, found those of XETHZUSD"):
        walk.send(answer("XETHZUSD"))
