"""Bybit's instruments: documented and recorded answers, pages, ended contracts, odd rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.sources.bybit.instruments import BybitInstruments
from crypto_assets_tests.sources.test_bybit_rest import MS, answer_of


def documented(realdata, name: str) -> Any:
    return json.loads((realdata / f"exchanges/bybit/rest/xchange_getInstrument{name}.json5").read_text())


def test_documented_instruments_are_read(realdata):
    assert BybitInstruments("linear").read(documented(realdata, "Linear")) == [
        Instrument(
            exchange="bybit",
            market_type="linear",
            symbol="BTC/USDT:USDT",
            exchange_symbol="BTCUSDT",
            base="BTC",
            quote="USDT",
            settle="USDT",
            tick_size=Decimal("0.50"),
            lot_size=Decimal("0.001"),
            listed_at=datetime(2020, 3, 30, tzinfo=UTC),
            status="Trading",
        )
    ]
    (spot,) = BybitInstruments("spot").read(documented(realdata, "Spot"))
    assert (spot.symbol, spot.tick_size, spot.lot_size, spot.listed_at) == (
        "BTC/USDT",
        Decimal("0.01"),
        Decimal("0.000001"),
        None,
    )


def contract(symbol: str, base: str, quote: str, settle: str, ends: datetime | None) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "baseCoin": base,
        "quoteCoin": quote,
        "settleCoin": settle,
        "status": "Trading",
        "launchTime": str(MS),
        "deliveryTime": str(int(ends.timestamp()) * 1000) if ends else "0",
        "lotSizeFilter": {"qtyStep": "1"},
        "priceFilter": {"tickSize": "0.5"},
    }


def test_dated_and_inverse_contracts_are_named_by_assets_and_delivery():
    ends = datetime(2024, 12, 27, 8, tzinfo=UTC)
    inverse = BybitInstruments("inverse").read(
        answer_of(contract("BTCUSD", "BTC", "USD", "BTC", None), contract("BTCUSDZ24", "BTC", "USD", "BTC", ends))
    )
    assert [(one.symbol, one.inverse, one.contract_size, one.delisted_at) for one in inverse] == [
        ("BTC/USD:BTC", True, 1, None),
        ("BTC/USD:BTC-241227", True, 1, ends),
    ]
    linear = BybitInstruments("linear").read(
        answer_of(
            contract("BTCPERP", "BTC", "USDC", "USDC", None),
            contract("BTC-27DEC24", "BTC", "USD", "USDC", ends),
            contract("BTCUSDT-27DEC24", "BTC", "USDT", "USDT", ends),
            contract("BTC-26DEC24", "BTC", "USDC", "USDC", ends),
        )
    )
    assert [one.symbol for one in linear] == ["BTC/USDC:USDC", "BTC/USDC:USDC-241227", "BTC/USDT:USDT-241227"]


@pytest.mark.parametrize(
    "odd",
    [
        {"launchTime": "soon"},
        {"launchTime": None},
        {"priceFilter": {"tickSize": "0"}},
        {"priceFilter": {"tickSize": "NaN"}},
        {"lotSizeFilter": {"qtyStep": ""}},
        {"lotSizeFilter": None},
    ],
)
def test_an_odd_instrument_is_left_out_by_name_and_the_others_stay(odd):
    query = BybitInstruments("linear")
    good = contract("BTCUSDT", "BTC", "USDT", "USDT", None)
    answer = answer_of(contract("ETHUSDT", "ETH", "USDT", "USDT", None) | odd, good)
    assert [one.symbol for one in query.read(answer)] == ["BTC/USDT:USDT"]
    assert query.left_out(answer) == ["ETHUSDT"]
    assert query.left_out(answer_of(good)) == []


def test_an_instrument_without_a_launch_time_is_read():
    query = BybitInstruments("linear")
    (found,) = query.read(answer_of(contract("BTCUSDT", "BTC", "USDT", "USDT", None) | {"launchTime": ""}))
    assert (found.symbol, found.listed_at) == ("BTC/USDT:USDT", None)


def test_a_perpetual_contract_that_was_delisted_keeps_its_symbol_and_says_until_when():
    until = datetime(2024, 6, 3, 9, tzinfo=UTC)
    closed = contract("OLDUSDT", "OLD", "USDT", "USDT", until) | {"status": "Closed", "contractType": "LinearPerpetual"}
    dated = contract("BTCUSDT-14MAR25", "BTC", "USDT", "USDT", datetime(2025, 3, 14, 8, tzinfo=UTC))
    dated |= {"contractType": "LinearFutures"}
    found = BybitInstruments("linear").read(answer_of(dated, closed))
    assert {(one.symbol, one.status, one.delisted_at) for one in found} == {
        ("OLD/USDT:USDT", "Closed", until),
        ("BTC/USDT:USDT-250314", "Trading", datetime(2025, 3, 14, 8, tzinfo=UTC)),
    }


def test_pages_of_instruments_are_followed_by_their_cursor():
    query = BybitInstruments("linear")
    assert dict(query.call().params) == {"category": "linear", "limit": 1000}
    trading = contract("BTCUSDT", "BTC", "USDT", "USDT", None)
    closed = {"category": "linear", "limit": 1000, "status": "Closed"}
    for rows in ([trading], []):  # what was asked for decides, not the rows
        pages = [{"retCode": 0, "result": {"list": rows, "nextPageCursor": cursor}} for cursor in ("first%3DA", "")]
        call, asked = query.call(), []
        for page in (*pages, *pages):
            following = query.following(call, page)
            asked.append(following and dict(following.params))
            call = following or call
        assert asked == [
            {"category": "linear", "limit": 1000, "cursor": "first%3DA"},
            closed,
            closed | {"cursor": "first%3DA"},
            None,
        ]
    spot = BybitInstruments("spot")
    assert spot.following(spot.call(), answer_of(trading)) is None
    with pytest.raises(BadContent, match="expected a symbol"):
        query.read(answer_of({"symbol": "BTCUSDT"}))
