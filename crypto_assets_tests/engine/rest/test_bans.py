"""Bans and slow-downs as each exchange words them: how long nobody asks, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import psycopg
import pytest
from starlette.responses import Response

from crypto_assets import sources
from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.archive.listing import list_objects
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.errors import HostRefused
from crypto_assets.model import Series, Span
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


def test_a_slow_down_inside_the_answer_of_an_index_is_waited_for_and_asked_again(
    client: Client, guard: Guard, guard_url: str, serve: Callable[..., OddServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.05)
    server = serve(refusing(okx("50011", "Too Many Requests"), times=2, then=okx("0", "")))
    series = Series.named("okx", "spot", "trades")
    collection = parse_collection(
        {
            "exchanges": {"okx": {"listing_url": server.url, "archive_url": server.url}},
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
    assert list(list_objects(site, feed.listing, wanted)) == []
    assert len(server.requests) == 3
    with psycopg.connect(guard_url) as connection:
        query = "SELECT budget, strikes FROM collection.budgets WHERE egress = %s AND strikes > 0"
        assert connection.execute(query, (guard._egress,)).fetchall() == [("listing", 2)]
