"""Bybit's names of symbols, there and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from crypto_assets.engine.archive.listed_names import read_names
from crypto_assets.sources.bybit import SOURCE
from crypto_assets.sources.bybit.symbols import exchange_name, symbols_of


@pytest.mark.parametrize(
    ("market_type", "name", "symbol"),
    [
        ("spot", "BTCUSDT", "BTC/USDT"),
        ("spot", "币安人生USDT", "币安人生/USDT"),
        ("spot", "USDTEUR", "USDT/EUR"),
        ("linear", "BTCUSDT", "BTC/USDT:USDT"),
        ("linear", "币安人生USDT", "币安人生/USDT:USDT"),
        ("linear", "币安人生-14MAR25", "币安人生/USDC:USDC-250314"),
        ("inverse", "币安人生USDZ24", "币安人生/USD:币安人生-241227"),
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
    assert symbols_of(market_type, name) == (symbol,)
    assert exchange_name(market_type, symbol) == name


@pytest.mark.parametrize(
    ("market_type", "name"),
    [
        ("spot", "BTC-14MAR25"),
        ("spot", "USDT"),
        ("spot", "btcusdt"),
        ("linear", "BTCUSD"),
        ("linear", "BTCUSDC"),  # BTC/USDC:USDC is BTCPERP
        ("spot", "BTC_USDT"),
        ("spot", "🚀USDT"),
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
    assert symbols_of(market_type, name) == ()


def test_a_name_whose_base_has_no_certain_end_stands_for_each_symbol_that_has_it():
    assert symbols_of("spot", "AVAXUSD") == ("AVA/XUSD", "AVAX/USD")
    assert symbols_of("spot", "BTCRLUSD") == ("BTC/RLUSD", "BTCRL/USD")


def test_every_recorded_spot_name_is_read_as_its_symbol_with_the_others_as_evidence(realdata):
    answer = json.loads((realdata / "rest/bybit/fetch_tickers_BTC_ETH.json").read_text())["http_response"]
    names = [one["symbol"] for one in answer["result"]["list"]]
    found = read_names(names, {}, lambda name: symbols_of("spot", name))
    assert (len(found.symbols), found.unread, found.undecided) == (640, (), {})
    assert {exchange_name("spot", symbol): name for symbol, name in found.symbols.items()} == {n: n for n in names}
    assert {"BTC/RLUSD", "XRP/RLUSD", "USDT/EUR"} <= set(found.symbols)


def test_dated_contracts_end_at_their_delivery():
    assert SOURCE.expires_at("BTC/USDC:USDC-250314") == datetime(2025, 3, 14, 8, tzinfo=UTC)
    assert SOURCE.expires_at("BTC/USDT:USDT") is None
    assert SOURCE.expires_at("BTC/USDT:USDT-241399") is None
