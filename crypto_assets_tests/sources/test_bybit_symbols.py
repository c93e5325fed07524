"""Bybit's names of symbols, there and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from crypto_assets.sources.bybit.symbols import exchange_name, expires_at, unified


@pytest.mark.parametrize(
    ("market_type", "name", "symbol"),
    [
        ("spot", "BTCUSDT", "BTC/USDT"),
        ("spot", "BTCXUSD", "BTC/XUSD"),
        ("spot", "USDTEUR", "USDT/EUR"),
        ("linear", "BTCUSDT", "BTC/USDT:USDT"),
        ("linear", "1000PEPEUSDT", "1000PEPE/USDT:USDT"),
        ("linear", "BTCPERP", "BTC/USDC:USDC"),
        ("linear", "BTC-14MAR25", "BTC/USDC:USDC-250314"),
        ("linear", "BTC-3JAN25", "BTC/USDC:USDC-250103"),
        ("linear", "BTCUSDT-26DEC25", "BTC/USDT:USDT-251226"),
        ("inverse", "BTCUSD", "BTC/USD:BTC"),
        ("inverse", "BTCUSDZ24", "BTC/USD:BTC-241227"),
        ("inverse", "ETHUSDH25", "ETH/USD:ETH-250328"),
    ],
)
def test_a_name_and_its_symbol_say_the_same(market_type, name, symbol):
    assert unified(market_type, name) == symbol
    assert exchange_name(market_type, symbol) == name


@pytest.mark.parametrize(
    ("market_type", "name"),
    [
        ("spot", "BTC-14MAR25"),
        ("spot", "USDT"),
        ("spot", "btcusdt"),
        ("linear", "BTCUSD"),
        ("linear", "BTCUSDZ24"),
        ("linear", "BTC-31FEB25"),
        ("linear", "BTC-14ABC25"),
        ("linear", "PERP"),
        ("linear", "DATAOLD01USDT"),
        ("inverse", "BTCUSDT"),
        ("inverse", "BTCPERP"),
        ("inverse", "BTC-14MAR25"),
        ("option", "BTC-1SEP26-78500-P-USDT"),
    ],
)
def test_a_name_of_another_market_type_is_no_symbol(market_type, name):
    assert unified(market_type, name) is None


def test_every_recorded_spot_name_is_a_symbol_and_comes_back(realdata):
    answer = json.loads((realdata / "rest/bybit/fetch_tickers_BTC_ETH.json").read_text())["http_response"]
    names = [one["symbol"] for one in answer["result"]["list"]]
    found = [unified("spot", name) for name in names]
    assert len(set(found)) == 640
    assert None not in found
    assert [exchange_name("spot", str(symbol)) for symbol in found] == names


def test_dated_contracts_end_at_their_delivery():
    assert expires_at("BTC/USDC:USDC-250314") == datetime(2025, 3, 14, 8, tzinfo=UTC)
    assert expires_at("BTC/USDT:USDT") is None
    assert expires_at("BTC/USDT:USDT-241399") is None
