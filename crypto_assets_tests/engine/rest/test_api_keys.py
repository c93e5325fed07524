"""A key from the environment is sent to the API of its own source, and to no other."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from starlette.requests import Request
from starlette.responses import Response

from crypto_assets import sources
from crypto_assets.config.environment import settings
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.model import Series
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.odd_server import OddServer, running

OLD_TRADES = Series("binance", "linear", "trades")


async def _no_trades(request: Request) -> Response:
    return Response("[]", media_type="application/json")


@pytest.mark.parametrize(("source", "sent"), [("binance", "key-of-binance"), ("kraken", "none")])
def test_a_key_is_sent_to_the_api_of_its_source(monkeypatch, postgres_url: str, source: str, sent: str) -> None:
    monkeypatch.setenv(f"CRYPTO_ASSETS_{source.upper()}_API_KEY", f"key-of-{source}")
    feed = sources.query(OLD_TRADES)
    assert feed is not None
    server = OddServer()
    server.answer = _no_trades
    with (
        running(server),
        Guard(postgres_url, egress=uuid4().hex, limits={}) as guard,
        Client(guard, 1, timeout_s=20, attempts=1) as client,
    ):
        call = feed.by_id("BTC/USDT:USDT", 1, datetime(2024, 1, 1, tzinfo=UTC))
        assert RestApi(client, feed, server.url, settings().api_key("binance")).ask(call) == []
    (request,) = server.requests
    assert request.url.path.endswith("/historicalTrades")
    assert request.headers.get("x-mbx-apikey", "none") == sent
