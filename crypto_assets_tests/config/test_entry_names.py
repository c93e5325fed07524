"""The names of entries of collection.yaml: given, or made from what an entry has."""

from __future__ import annotations

import pytest

from crypto_assets.config.collection import parse_collection
from crypto_assets.errors import ConfigError


def one_entry(**more: object) -> dict[str, object]:
    return {"exchange": "binance", "market_type": "spot", "symbols": ["BTC/USDT"], "start": "2024-01-01", **more}


def names(*entries: dict[str, object]) -> list[str]:
    collection = parse_collection({"series": list(entries)})
    return [collection.name_of(one) for one in collection.series]


def test_the_name_of_an_entry_does_not_depend_on_its_place() -> None:
    bars = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": ["ohlcv_1m"],
        "symbols": ["BTC/USDT"],
        "start": "2024-01-01",
    }
    trades, linear = {**bars, "datasets": ["trades"]}, {**bars, "market_type": "linear", "symbols": ["BTC/USDT:USDT"]}
    assert names(bars, linear) == ["binance_spot", "binance_linear"]
    assert names(bars, trades, linear) == ["binance_spot_ohlcv_1m", "binance_spot_trades", "binance_linear"]
    assert names(linear, trades, bars) == ["binance_linear", "binance_spot_trades", "binance_spot_ohlcv_1m"]
    assert names({**bars, "name": "majors"}, trades) == ["majors", "binance_spot"]
    later, other = {**bars, "symbols": ["ETH/USDT"], "start": "2024-03-01"}, {**bars, "symbols": ["SOL/USDT", "A/USDT"]}
    assert names(bars, later) == ["binance_spot_ohlcv_1m_20240101", "binance_spot_ohlcv_1m_20240301"]
    assert names(other, bars) == ["binance_spot_ohlcv_1m_20240101_SOLUSDT", "binance_spot_ohlcv_1m_20240101_BTCUSDT"]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a-b", "spot/btc", "é", "a" * 61, "__x;"])
def test_a_name_that_dagster_cannot_have_is_refused(name: str) -> None:
    entry = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": ["trades"],
        "symbols": ["BTC/USDT"],
        "start": "2024-01-01",
    }
    with pytest.raises(ConfigError, match=r"series\[0\]\.name"):
        parse_collection({"series": [{**entry, "name": name}]})


def test_two_entries_of_one_name_are_refused() -> None:
    entry = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": ["trades"],
        "symbols": ["BTC/USDT"],
        "start": "2024-01-01",
    }
    other = {**entry, "symbols": ["ETH/USDT"]}
    for first, second in (({"name": "a"}, {"name": "A"}), ({}, {"name": "binance_spot"})):
        with pytest.raises(ConfigError, match=r"series\[0\] and series\[1\] are both named"):
            parse_collection({"series": [{**entry, **first}, {**other, **second}]})
