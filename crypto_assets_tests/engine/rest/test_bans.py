"""Bans and slow-downs as each exchange words them: how long nobody asks, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from starlette.responses import Response

from crypto_assets import datasets, sources
from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.archive.listing import list_objects
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.errors import HostRefused, PermanentError
from crypto_assets.model import Partition, Series, Span
from crypto_assets.sources.limits import FIRST_BAN_S
from crypto_assets.sources.listings import Wanted
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.conftest import OddServer

BTC = "BTC/USDT"
NO_ROWS = {
    "kraken": {"error": [], "result": {"XBTUSDT": [], "last": "0"}},
    "bybit": {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "symbol": "BTCUSDT", "list": []}},
    "okx": {"code": "0", "msg": "", "data": []},
}


def kraken(text: str) -> dict[str, Any]:
    return {"error": [text]}


def bybit(code: int, text: str) -> dict[str, Any]:
    return {"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}, "time": 1710000000000}


def okx(code: str, text: str) -> dict[str, Any]:
    return {"code": code, "msg": text, "data": []}


BANS = [
    ("kraken", 200, kraken("EGeneral:Temporary lockout"), 900),
    ("bybit", 200, bybit(10018, "Exceeded the IP Rate Limit."), 600),
    ("bybit", 403, {"ret_code": 10018, "ret_msg": "access too frequent"}, 600),
    ("okx", 403, {"msg": "Forbidden"}, FIRST_BAN_S),
]
SLOW_DOWNS = [
    ("kraken", kraken("EAPI:Rate limit exceeded")),
    ("kraken", kraken("EGeneral:Too many requests")),
    ("bybit", bybit(10006, "Too many visits. Exceeded the API Rate Limit.")),
    ("okx", okx("50011", "Requests too frequent.")),
]


def api_of(client: Client, exchange: str, url: str) -> RestApi:
    feed = sources.query(Series.named(exchange, "spot", "ohlcv_1m"))
    assert feed is not None
    return RestApi(client, feed, url)


def call_of(exchange: str, dataset: str) -> sources.Call:
    feed = sources.query(Series.named(exchange, "spot", dataset))
    assert feed is not None
    call = feed.latest_row(BTC)
    assert call is not None
    return call


def refusing(body: dict[str, Any], status: int = 200, times: int = 1_000, then: Any = None) -> Any:
    """Answer so many times with a body, then with another one."""
    left = [times]

    async def answer(request: Any) -> Response:
        left[0] -= 1
        found, code = (body, status) if left[0] >= 0 else (then, 200)
        return Response(json.dumps(found), code, media_type="application/json")

    return answer


@pytest.mark.parametrize(("exchange", "status", "body", "seconds"), BANS)
def test_a_ban_pauses_all_requests_for_minutes_and_says_until_when(
    client: Client,
    guard: Guard,
    serve: Callable[..., OddServer],
    no_waits: None,
    exchange: str,
    status: int,
    body: dict[str, Any],
    seconds: float,
) -> None:
    server = serve(refusing(body, status))
    api = api_of(client, exchange, server.url)
    with pytest.raises(HostRefused, match=f"all of {exchange} .* waits until 20") as caught:
        api.ask(call_of(exchange, "ohlcv_1m"))
    assert seconds * 0.9 < (caught.value.retry_after_s or 0) < seconds * 1.3
    for dataset in ("ohlcv_1m", "trades"):
        with pytest.raises(HostRefused, match="waits until 20"):
            api.ask(call_of(exchange, dataset))
    assert len(server.requests) == 1
    found = guard.snapshot().cool_downs
    assert {(one.exchange, one.status) for one in found if one.egress == guard._egress} == {(exchange, status)}


@pytest.mark.parametrize(("exchange", "body"), SLOW_DOWNS)
def test_a_slow_down_inside_a_good_answer_is_waited_for_and_asked_again(
    client: Client,
    guard: Guard,
    guard_url: str,
    serve: Callable[..., OddServer],
    monkeypatch: pytest.MonkeyPatch,
    exchange: str,
    body: dict[str, Any],
) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.05)
    server = serve(refusing(body, times=2, then=NO_ROWS[exchange]))
    assert api_of(client, exchange, server.url).ask(call_of(exchange, "ohlcv_1m")) == NO_ROWS[exchange]
    assert len(server.requests) == 3
    with psycopg.connect(guard_url) as connection:
        query = "SELECT strikes, cool_reason FROM collection.budgets WHERE egress = %s AND strikes > 0"
        found = connection.execute(query, (guard._egress,)).fetchall()
    ((strikes, reason),) = found
    assert strikes == 2
    assert json.dumps(body)[:40] in reason


@pytest.mark.parametrize(("exchange", "body"), SLOW_DOWNS)
def test_a_slow_down_that_does_not_end_is_raised_after_some_attempts(
    client: Client,
    serve: Callable[..., OddServer],
    monkeypatch: pytest.MonkeyPatch,
    exchange: str,
    body: dict[str, Any],
) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.02)
    server = serve(refusing(body))
    with pytest.raises(HostRefused, match="found an error in the answer") as caught:
        api_of(client, exchange, server.url).ask(call_of(exchange, "ohlcv_1m"))
    assert caught.value.status == 429
    assert len(server.requests) == 4


def listed_of_okx(client: Client, url: str) -> list[Any]:
    """Return what the index of OKX at a URL has of two days."""
    series = Series.named("okx", "spot", "trades")
    collection = parse_collection(
        {
            "exchanges": {"okx": {"listing_url": url, "archive_url": url}},
            "series": [
                {
                    "exchange": "okx",
                    "market_type": "spot",
                    "datasets": ["trades"],
                    "symbols": [BTC],
                    "start": "2024-01-01",
                }
            ],
        }
    )
    (feed,) = sources.archives(series)
    assert feed.listing is not None
    span = Span.of_days(date(2024, 1, 1), date(2024, 1, 2))
    wanted = Wanted(feed.prefix("BTC-USDT"), span=span)
    site = ArchiveSite.of(client, collection, series)
    return list(list_objects(site, feed.listing, wanted))


def test_an_error_that_passes_inside_the_answer_of_an_index_is_tried_again(
    client: Client, serve: Callable[..., OddServer], no_waits: None
) -> None:
    server = serve(refusing(okx("50013", "System is busy"), times=3, then=okx("0", "")))
    assert listed_of_okx(client, server.url) == []
    assert len(server.requests) == 4
    server = serve(refusing(okx("50013", "System is busy")))
    with pytest.raises(HostRefused, match="50013 System is busy"):
        listed_of_okx(client, server.url)
    assert len(server.requests) == 4


def test_a_slow_down_inside_the_answer_of_an_index_is_waited_for_and_asked_again(
    client: Client, guard: Guard, guard_url: str, serve: Callable[..., OddServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.05)
    server = serve(refusing(okx("50011", "Too Many Requests"), times=2, then=okx("0", "")))
    assert listed_of_okx(client, server.url) == []
    assert len(server.requests) == 3
    with psycopg.connect(guard_url) as connection:
        query = "SELECT budget, strikes FROM collection.budgets WHERE egress = %s AND strikes > 0"
        assert connection.execute(query, (guard._egress,)).fetchall() == [("listing", 2)]


OVERLOADED = {
    "code": -1008,
    "msg": "Server is currently overloaded with other requests. Please try again in a few minutes.",
}
PASSING = [
    ("binance", 400, OVERLOADED),
    ("bybit", 200, bybit(10000, "Server Timeout")),
    ("bybit", 200, bybit(10016, "Internal System Error.")),
    ("bybit", 200, bybit(10429, "System level frequency protection")),
    ("kraken", 200, kraken("EService:Throttled: 1700000000")),
    ("kraken", 200, kraken("EGeneral:Internal error")),
    ("kraken", 200, kraken("EGeneral:Internal error[12]")),
    ("okx", 400, okx("50004", "API endpoint request timeout")),
    # Statuses that pass, with words that ccxt does not know.
    ("binance", 503, OVERLOADED),
    ("okx", 503, okx("59999", "Busy")),
    ("bybit", 502, bybit(99999, "Busy")),
]


@pytest.mark.parametrize(("exchange", "status", "body"), PASSING)
def test_an_error_that_passes_is_tried_again_and_is_never_permanent(
    client: Client, serve: Callable[..., OddServer], no_waits: None, exchange: str, status: int, body: dict[str, Any]
) -> None:
    good: Any = {**NO_ROWS, "binance": []}[exchange]
    server = serve(refusing(body, status, times=3, then=good))
    assert api_of(client, exchange, server.url).ask(call_of(exchange, "ohlcv_1m")) == good
    assert len(server.requests) == 4
    server = serve(refusing(body, status))
    with pytest.raises(HostRefused) as caught:
        api_of(client, exchange, server.url).ask(call_of(exchange, "ohlcv_1m"))
    assert caught.value.status == (503 if status == 200 else status)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("exchange", "status", "body"),
    [
        ("bybit", 200, bybit(100160, "Another error")),  # a longer code
        ("bybit", 200, bybit(10001, "params error")),
        ("kraken", 200, kraken("EGeneral:Invalid arguments")),
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}),
        ("binance", 503, {"code": -1121, "msg": "Invalid symbol."}),  # ccxt knows it
        ("okx", 400, okx("59999", "No")),
    ],
)
def test_an_error_that_does_not_pass_is_asked_for_no_more_often_than_its_status_says(
    client: Client, serve: Callable[..., OddServer], no_waits: None, exchange: str, status: int, body: dict[str, Any]
) -> None:
    server = serve(refusing(body, status))
    with pytest.raises(PermanentError):
        api_of(client, exchange, server.url).ask(call_of(exchange, "ohlcv_1m"))
    assert len(server.requests) == (4 if status == 503 else 1)


@pytest.mark.parametrize("word", ["EService:Throttled: 1704300000", "EGeneral:Internal error[12]"])
def test_pages_received_before_an_error_that_passes_are_kept(
    client: Client, serve: Callable[..., OddServer], no_waits: None, word: str
) -> None:
    begin = int(datetime(2024, 1, 3, tzinfo=UTC).timestamp())
    asked: list[str] = []

    async def answer(request: Any) -> Response:
        if "Time" in request.url.path:
            return Response(json.dumps({"error": [], "result": {"unixtime": begin + 2 * 86400}}))
        asked.append(request.url.path)
        first = (len(asked) - 1) * 1000
        if len(asked) > 2:
            return Response(json.dumps(kraken(word)))
        rows = [["100.0", "1.0", begin - 5 + n, "b", "l", "", n + 1] for n in range(first, first + 1000)]
        return Response(
            json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": str((begin + first + 994) * 10**9)}})
        )

    collection = parse_collection(
        {
            "exchanges": {"kraken": {"rest_url": serve(answer).url, "limits": {"public": ["1000/s"]}}},
            "series": [
                {
                    "exchange": "kraken",
                    "market_type": "spot",
                    "datasets": ["trades"],
                    "symbols": ["BTC/USD"],
                    "start": "2024-01-01",
                }
            ],
        }
    )
    series = Series.named("kraken", "spot", "trades")
    nothing = datasets.get("trades").schema.empty_table()
    found = RestFeed(client, collection).day(series, Partition("BTC/USD", date(2024, 1, 3)), nothing, None)
    ids = found.rows.column("trade_id").to_pylist()
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert (found.rows.column("trade_time")[0].as_py(), len(ids)) == (datetime(2024, 1, 3, tzinfo=UTC), 1995)
    assert word in found.missing
