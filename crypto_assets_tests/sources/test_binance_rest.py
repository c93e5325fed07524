"""Binance over REST: how it is asked, and how recorded answers are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crypto_assets import sources
from crypto_assets.engine.rest.ccxt_client import read_json
from crypto_assets.errors import BadContent
from crypto_assets.model import Series
from crypto_assets.sources.binance.rest import BinanceRest

START, END = datetime(2025, 1, 3, tzinfo=UTC), datetime(2025, 1, 3, 2, tzinfo=UTC)


def rest_of(dataset: str, market_type: str = "spot") -> BinanceRest:
    *_, feed = sources.get("binance").feeds(Series.named("binance", market_type, dataset))
    assert isinstance(feed, BinanceRest)
    return feed


SYMBOLS = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}


def rows_of(rest: BinanceRest, answer: Any) -> list[tuple[Any, ...]]:
    table = rest.rows(SYMBOLS[rest.series.market_type], answer)
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


# ---- recorded --------------------------------------------------------------------------------------------------------


def recorded(realdata: Path, name: str) -> tuple[Any, Any]:
    """Return a recorded answer as our client reads it, and as ccxt read it."""
    path = realdata / "rest" / "binance" / name
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    content = json.loads(path.read_text())
    return read_json(name, json.dumps(content["http_response"])), content["parsed_response"]


@pytest.mark.realdata
def test_recorded_bars_are_read_with_every_column_and_digit(realdata: Path) -> None:
    answer, parsed = recorded(realdata, "fetch_ohlcv_BTC_USDT.json")
    rows = rows_of(rest_of("ohlcv_1h"), answer)
    assert len(rows) == len(parsed) == 3
    for row, raw, theirs in zip(rows, answer, parsed, strict=True):
        assert row[0] == datetime.fromtimestamp(raw[0] / 1000, UTC)
        assert row[1:7] == tuple(Decimal(raw[place]) for place in (1, 2, 3, 4, 5, 7))
        assert row[7:] == (raw[8], Decimal(raw[9]), Decimal(raw[10]))
        assert [float(value) for value in row[1:6]] == theirs[1:]
    assert rows[0][6] == Decimal("27020239.24176950")


@pytest.mark.realdata
def test_recorded_trades_are_read_with_the_taker_s_side(realdata: Path) -> None:
    answer, parsed = recorded(realdata, "fetch_trades_BTC_USDT.json")
    rows = rows_of(rest_of("agg_trades"), answer)
    assert len(rows) == len(parsed) == 5
    for row, raw, theirs in zip(rows, answer, parsed, strict=True):
        assert row[:2] == (datetime.fromtimestamp(raw["T"] / 1000, UTC), raw["a"])
        assert row[2:6] == (Decimal(raw["p"]), Decimal(raw["q"]), raw["f"], raw["l"])
        assert (str(row[1]), row[6], float(row[2])) == (theirs["id"], theirs["side"], theirs["price"])


# ---- read ------------------------------------------------------------------------------------------------------------


TRADE = {
    "id": 28457,
    "price": "4.00000100",
    "qty": "12.00000000",
    "quoteQty": "48.00001200",
    "time": 1735862400123,
    "isBuyerMaker": True,
    "isBestMatch": True,
}


def test_spot_answers_are_read_in_milliseconds_and_in_microseconds() -> None:
    milli = rows_of(rest_of("trades"), [TRADE])
    micro = rows_of(rest_of("trades"), [TRADE | {"time": 1735862400123456}])
    assert milli == [
        (
            datetime(2025, 1, 3, 0, 0, 0, 123000, UTC),
            28457,
            None,
            None,
            Decimal("4.000001"),
            Decimal(12),
            Decimal("48.000012"),
            "sell",
        )
    ]
    assert micro[0][0] == datetime(2025, 1, 3, 0, 0, 0, 123456, UTC)
    assert micro[0][1:] == milli[0][1:]


def test_numbers_that_are_not_text_keep_their_digits() -> None:
    text = '[[1735862400000,0.1,0.3,0.1,0.30000000000000004,1,1735862459999,1e0,1,"1","1","0"]]'
    answer = read_json("url", text)
    assert answer[0][4] == "0.30000000000000004"
    with pytest.raises(BadContent, match="scientific notation"):
        rest_of("ohlcv_1m").rows("BTC/USDT", answer)


def test_funding_intervals_follow_from_the_events_around() -> None:
    hours = [16, 24, 28, 32]
    answer = [
        {"symbol": "BTCUSDT", "fundingTime": 1735776000000 + hour * 3_600_000 + 5, "fundingRate": "-0.00010000"}
        for hour in hours
    ]
    rows = rows_of(rest_of("funding_rates", "linear"), answer)
    assert [row[2] for row in rows] == [8, 4, 4, 4]
    assert rows[1][:2] == (datetime(2025, 1, 3, 0, 0, 0, 5000, UTC), Decimal("-0.0001"))


@pytest.mark.parametrize(("market_type", "name"), [("linear", "BTCUSDT"), ("inverse", "BTCUSD_PERP")])
def test_funding_events_of_another_symbol_are_refused(market_type: str, name: str) -> None:
    rest, symbol = rest_of("funding_rates", market_type), SYMBOLS[market_type]
    event = {"symbol": name, "fundingTime": 1735862400000, "fundingRate": "0.0001"}
    assert rows_of(rest, [event])[0][:2] == (START, Decimal("0.0001"))
    assert rest.row_time(symbol, [event]) == START
    for other in (
        event | {"symbol": "ETHUSDT"},
        event | {"symbol": None},
        {k: event[k] for k in event if k != "symbol"},
    ):
        for read in (rest.rows, rest.row_time):
            with pytest.raises(BadContent, match="expected rows"):
                read(symbol, [event, other])
    assert rest.row_time(symbol, []) is None


@pytest.mark.parametrize(
    "answer",
    [{"code": 0}, None, [1], [{"id": 1}], [TRADE | {"price": None}], [TRADE | {"time": "soon"}], [TRADE, []]],
)
def test_another_answer_than_the_documented_one_is_refused(answer: Any) -> None:
    with pytest.raises(BadContent):
        rest_of("trades").rows("BTC/USDT", answer)


def test_an_answer_without_rows_is_no_rows() -> None:
    assert rest_of("trades").rows("BTC/USDT", []).num_rows == 0


def test_html_in_place_of_json_is_refused() -> None:
    with pytest.raises(BadContent, match="expected JSON, found '<html>"):
        read_json("https://api.example.com", "<html>403")


# ---- ask -------------------------------------------------------------------------------------------------------------


def test_a_page_is_asked_for_with_inclusive_times_and_only_as_many_rows_as_there_can_be() -> None:
    call = rest_of("ohlcv_1m").by_time("BTC/USDT", START, END, 120)
    assert call.method == "publicGetKlines"
    assert call.params == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": 1735862400000,
        "endTime": 1735869599999,
        "limit": 120,
    }
    assert rest_of("ohlcv_1mo").by_time("BTC/USDT", START, END, 1).params["interval"] == "1M"


@pytest.mark.parametrize(
    ("dataset", "market_type", "rows", "weight"),
    [
        ("ohlcv_1m", "spot", 1000, 2),
        ("ohlcv_1m", "linear", 99, 1),
        ("ohlcv_1m", "linear", 100, 2),
        ("ohlcv_1m", "linear", 1000, 5),
        ("ohlcv_1m", "linear", 1440, 10),
    ],
)
def test_bars_weigh_what_binance_counts(dataset: str, market_type: str, rows: int, weight: int) -> None:
    endpoint = rest_of(dataset, market_type).by_time("BTC/USDT", START, END, rows).endpoint
    assert (endpoint.exchange, endpoint.budget, endpoint.kind, endpoint.weight) == (
        "binance",
        market_type,
        "klines",
        weight,
    )


@pytest.mark.parametrize(
    ("dataset", "market_type", "method", "weight", "page"),
    [
        ("trades", "spot", "publicGetHistoricalTrades", 25, 1000),
        ("trades", "linear", "fapiPublicGetHistoricalTrades", 200, 500),
        ("agg_trades", "spot", "publicGetAggTrades", 4, 1000),
        ("agg_trades", "linear", "fapiPublicGetAggTrades", 20, 1000),
    ],
)
def test_trades_weigh_what_binance_counts(dataset: str, market_type: str, method: str, weight: int, page: int) -> None:
    call = rest_of(dataset, market_type).by_id("BTC/USDT", 17, START)
    assert (call.method, call.endpoint.weight) == (method, weight)
    assert call.params == {"symbol": "BTCUSDT", "fromId": 17, "limit": page}


def test_microseconds_are_asked_for_where_the_archive_has_them() -> None:
    before = datetime(2024, 12, 31, tzinfo=UTC)
    assert rest_of("trades").by_id("BTC/USDT", 1, START).headers == {"x-mbx-time-unit": "MICROSECOND"}
    assert rest_of("trades").by_id("BTC/USDT", 1, before).headers == {}
    assert rest_of("trades", "linear").by_id("BTC/USDT", 1, START).headers == {}


def test_the_source_is_named_by_what_every_page_has_in_common() -> None:
    assert rest_of("ohlcv_1h", "linear").source_key("BTC/USDT:USDT-250328") == (
        "rest/fapi/v1/klines?symbol=BTCUSDT_250328&interval=1h"
    )
    assert rest_of("trades").source_key("BTC/USDT") == "rest/api/v3/historicalTrades?symbol=BTCUSDT"
