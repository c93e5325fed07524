"""Binance's exchangeInfo, as the exchange answered it, and as it must not answer."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.sources.binance.instruments import BinanceInstruments
from crypto_assets.sources.limits import Endpoint

STEPS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
]
SPOT = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": STEPS}
LINEAR = {
    **SPOT,
    "marginAsset": "USDT",
    "contractType": "PERPETUAL",
    "onboardDate": 1569398400000,
    "deliveryDate": 4133404800000,
}


def read(market_type: str, *symbols: Any) -> list[Instrument]:
    return BinanceInstruments(market_type).read({"symbols": list(symbols)})


def test_the_recorded_answer_of_coin_m_gives_each_contract_its_size_in_usd(realdata):
    routes = json.loads((realdata / "exchanges/binance_coinm/rest/gct_dapi_recorded.json").read_text(), parse_float=str)
    recorded = routes["/dapi/v1/exchangeInfo"][0]["data"]
    found = {one.symbol: one for one in BinanceInstruments("inverse").read(recorded)}
    assert found["BTC/USD:BTC"] == Instrument(
        exchange="binance",
        market_type="inverse",
        symbol="BTC/USD:BTC",
        exchange_symbol="BTCUSD_PERP",
        base="BTC",
        quote="USD",
        settle="BTC",
        contract_size=Decimal(100),
        inverse=True,
        tick_size=Decimal("0.1"),
        lot_size=Decimal(1),
        listed_at=datetime(2020, 8, 10, 7, tzinfo=UTC),
        status="TRADING",
    )
    assert {str(one.contract_size) for name, one in found.items() if name != "BTC/USD:BTC"} == {"10"}
    assert len(found) == len(recorded["symbols"]) == 25
    assert [name for name, one in found.items() if one.status == "DELIVERING"] == [
        f"{one['baseAsset']}/USD:{one['baseAsset']}"
        for one in recorded["symbols"]
        if one["contractStatus"] == "DELIVERING"
    ]


def test_a_spot_symbol_has_no_contract_and_says_nothing_of_its_life():
    (found,) = read("spot", SPOT)
    assert (found.symbol, found.settle, found.contract_size, found.inverse) == ("BTC/USDT", None, Decimal(1), False)
    assert (str(found.tick_size), str(found.lot_size)) == ("0.01", "0.00001")
    assert (found.listed_at, found.delisted_at, found.status) == (None, None, "TRADING")


def test_a_dated_contract_has_its_date_in_the_symbol_and_ends_when_it_is_delivered():
    dated = LINEAR | {"symbol": "BTCUSDT_240628", "deliveryDate": 1719561600000}
    perpetual, quarter = read("linear", LINEAR, dated)
    assert (perpetual.symbol, perpetual.delisted_at) == ("BTC/USDT:USDT", None)
    assert (quarter.symbol, quarter.exchange_symbol) == ("BTC/USDT:USDT-240628", "BTCUSDT_240628")
    assert quarter.delisted_at == datetime(2024, 6, 28, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("market_type", "one"),
    [
        ("linear", LINEAR | {"symbol": "ICPUSDT_SETTLED"}),
        ("linear", LINEAR | {"symbol": "BTCUSDTX"}),
        ("linear", LINEAR | {"marginAsset": "BNB"}),
        ("spot", SPOT | {"symbol": "BTCUSDT_240628"}),
        ("spot", SPOT | {"symbol": "XBTUSDT"}),
    ],
)
def test_a_name_that_is_not_that_of_its_assets_is_left_out(market_type, one):
    good = LINEAR if market_type == "linear" else SPOT
    assert [found.exchange_symbol for found in read(market_type, one, good)] == ["BTCUSDT"]


def test_names_in_any_script_are_symbols():
    (found,) = read("spot", SPOT | {"symbol": "币安人生USDT", "baseAsset": "币安人生"})
    assert found.symbol == "币安人生/USDT"


def test_an_odd_instrument_is_left_out_by_name_and_the_others_stay():
    filters = [{"filterType": "PRICE_FILTER", "tickSize": "cheap"}]
    odd = SPOT | {"symbol": "ETHUSDT", "baseAsset": "ETH", "filters": filters}
    answer = {"symbols": [odd, SPOT]}
    asks = BinanceInstruments("spot")
    assert [one.symbol for one in asks.read(answer)] == ["BTC/USDT"]
    assert asks.left_out(answer) == ["ETHUSDT"]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"symbols": None},
        {"symbols": [1]},
        {"symbols": [{"symbol": "BTCUSDT"}]},
        {"symbols": [SPOT | {"filters": [{"filterType": "PRICE_FILTER", "tickSize": "cheap"}]}]},
        {"code": -1003, "msg": "Too many requests."},
    ],
)
def test_an_answer_of_another_form_is_refused(answer):
    with pytest.raises(BadContent, match="binance spot exchangeInfo: expected symbols"):
        BinanceInstruments("spot").read(deepcopy(answer))


@pytest.mark.parametrize(
    ("market_type", "path", "weight"),
    [
        ("spot", "/api/v3/exchangeInfo", 20),
        ("linear", "/fapi/v1/exchangeInfo", 1),
        ("inverse", "/dapi/v1/exchangeInfo", 1),
    ],
)
def test_one_call_asks_for_all_symbols_and_needs_no_ccxt(market_type, path, weight):
    asks = BinanceInstruments(market_type)
    call = asks.call()
    assert (call.method, call.path, asks.following(call, {})) == ("", path, None)
    assert call.endpoint == Endpoint("binance", market_type, "instruments", weight)
