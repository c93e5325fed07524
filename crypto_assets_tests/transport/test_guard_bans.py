"""How long a ban lasts, which budgets share it, and what the text of a refusal changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.responses import Response

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.errors import HostRefused, PermanentError
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.ban_scope import banned_together
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets.transport.limit_state import CoolDown
from crypto_assets.transport.retry import Permanent, WaitUntil, asked_wait_s, banned_in_words, decide
from crypto_assets_tests.conftest import OddServer

KRAKEN = Endpoint("kraken", "public", "trades")
SPOT = Endpoint("binance", "spot", "klines")
SLOW_DOWN = WaitUntil(None)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
UNTIL = int((NOW + timedelta(seconds=300)).timestamp() * 1000)
BANNED = '{"code":-1003,"msg":"Way too much request weight used; IP banned until %d. Please use the websocket."}'
COUNTRY = (
    "<HTML><H1>403</H1>The Amazon CloudFront distribution is configured to\n block access from your country.</HTML>"
)

MakeGuard = Callable[..., Guard]


@pytest.fixture
def make_guard(guard_url: str) -> Iterator[MakeGuard]:
    made: list[Guard] = []

    def make(collection: Collection | None = None) -> Guard:
        made.append(Guard(guard_url, collection, egress=uuid4().hex, limits={}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def paused(guard: Guard) -> dict[str, CoolDown]:
    return {one.budget: one for one in guard.snapshot().cool_downs if one.egress == guard._egress}


def left(guard: Guard) -> dict[str, float]:
    """Return the seconds that each budget still waits."""
    return {budget: (one.until - datetime.now(UTC)).total_seconds() for budget, one in paused(guard).items()}


def lockout() -> WaitUntil:
    found = banned_in_words("kraken", '{"error":["EGeneral:Temporary lockout"]}')
    assert found is not None
    return found


def refusing(status: int, body: str = "no", headers: dict[str, str] | None = None) -> Any:
    async def answer(request: Any) -> Response:
        return Response(body, status, headers)

    return answer


@pytest.mark.parametrize("asked_s", [None, 2.0])
@pytest.mark.parametrize("slow_downs", [1, 3])
def test_a_ban_during_a_slow_down_lasts_as_long_as_a_first_ban(guard: Guard, asked_s: float | None, slow_downs: int):
    for _ in range(slow_downs):
        guard.asked_to_wait(KRAKEN, WaitUntil(asked_s), 200, "slow down")
    assert 0 < left(guard)["public"] < 6.3
    guard.asked_to_wait(KRAKEN, lockout(), 200, "locked out")
    assert 850 < left(guard)["public"] < 1126
    assert paused(guard)["public"].reason == "locked out"
    with pytest.raises(HostRefused, match="paused because locked out; all of kraken public waits until 20"):
        guard.admit(KRAKEN, "api.kraken.com")


def test_a_ban_during_the_slow_down_of_one_budget_is_as_long_for_all_of_the_host(guard: Guard):
    listing, candles = (Endpoint("okx", budget, budget) for budget in ("listing", "candles"))
    guard.asked_to_wait(candles, SLOW_DOWN, 429, "slow down")
    guard.asked_to_wait(listing, decide(403, exchange="okx", rest=True), 403, "banned")
    found = left(guard)
    assert set(found) == {"listing", "candles", "trades", "funding", "public"}
    assert 100 < min(found.values()) <= max(found.values()) < 151


def test_a_ban_does_not_end_a_longer_slow_down(guard: Guard):
    guard.asked_to_wait(SPOT, WaitUntil(500.0), 429, "slow down")
    guard.asked_to_wait(SPOT, WaitUntil(None, ban=True), 418, "banned")
    assert 450 < left(guard)["spot"] < 501


def test_refusals_of_one_moment_neither_prolong_a_ban_nor_change_what_is_said_of_it(guard: Guard):
    guard.asked_to_wait(KRAKEN, lockout(), 200, "locked out")
    first = paused(guard)["public"]
    for decision in (SLOW_DOWN, WaitUntil(1.0), lockout(), SLOW_DOWN):
        guard.asked_to_wait(KRAKEN, decision, 429, "slow down")
    assert paused(guard)["public"] == first


PAST = {"date": format_datetime(NOW, usegmt=True), "retry-after": format_datetime(NOW - timedelta(days=9), usegmt=True)}


@pytest.mark.parametrize("status", [418, 403])
@pytest.mark.parametrize("headers", [{"retry-after": "0"}, {"retry-after": "0.0"}, PAST])
def test_a_ban_is_not_cancelled_by_a_wait_of_nothing(
    client: Client, guard: Guard, serve: Callable[..., OddServer], no_waits: None, status: int, headers: dict[str, str]
):
    server = serve(refusing(status, headers=headers))
    for _ in range(3):
        with pytest.raises(HostRefused, match="all of binance spot waits until 20"):
            client.at(SPOT).get(server.url)
    assert len(server.requests) == 1
    assert 100 < left(guard)["spot"] < 151


def test_a_slow_down_that_asks_to_wait_for_nothing_lasts_as_long_as_one_that_does_not_say(guard: Guard):
    guard.answered(guard.admit(SPOT, "host"), 429, {}, at=time.monotonic(), retry_after_s=0.0)
    assert 3 < left(guard)["spot"] < 6.3


def test_the_rest_of_a_ban_that_the_exchange_names_is_kept_also_where_it_is_short(guard: Guard):
    guard.answered(guard.admit(SPOT, "host"), 418, {}, at=time.monotonic(), retry_after_s=40.0)
    assert 30 < left(guard)["spot"] <= 40


@pytest.mark.parametrize("status", [418, 429])
@pytest.mark.parametrize("wait", [{}, {"retry-after": "0"}])
def test_a_ban_whose_end_is_in_the_text_lasts_until_then(
    client: Client, guard: Guard, serve: Callable[..., OddServer], status: int, wait: dict[str, str]
):
    headers = {"date": format_datetime(NOW, usegmt=True), **wait}
    server = serve(refusing(status, BANNED % UNTIL, headers))
    with pytest.raises(HostRefused, match="and asked to wait 300 s; all of binance spot waits") as caught:
        client.at(SPOT).get(server.url)
    assert len(server.requests) == 1
    assert caught.value.retry_after_s == pytest.approx(300, abs=30)
    assert 270 < left(guard)["spot"] <= 300


@pytest.mark.parametrize(
    ("until", "headers", "seconds"),
    [
        (UNTIL, {}, 300.0),
        (UNTIL, {"retry-after": "7"}, 7.0),
        (UNTIL + 10**12, {}, 259_200.0),
        (9_999_999_999_999, {}, 259_200.0),
        (UNTIL - 300_000, {}, None),
        (UNTIL - 900_000, {}, None),
        (UNTIL * 10, {}, None),
    ],
)
def test_the_end_of_a_ban_in_the_text_is_bounded_and_gives_way_to_a_header(
    until: int, headers: dict[str, str], seconds: float | None
):
    answer = httpx.Response(418, headers={"date": format_datetime(NOW, usegmt=True), **headers})
    assert asked_wait_s(answer, BANNED % until) == seconds


def test_a_429_whose_text_says_banned_is_a_ban_and_any_other_a_slow_down():
    assert decide(429, exchange="binance", rest=True, body=BANNED % UNTIL) == WaitUntil(None, ban=True)
    assert decide(HostRefused("no", status=429, body=BANNED % UNTIL)) == WaitUntil(None, ban=True)
    assert decide(429, exchange="binance", rest=True, body='{"code":-1003,"msg":"Too many requests."}') == SLOW_DOWN


def collection_of(exchange: str, **urls: Any) -> Collection:
    entry = {"exchange": "binance", "market_type": "spot", "datasets": ["trades"], "symbols": ["BTC/USDT"]}
    return parse_collection({"exchanges": {exchange: urls}, "series": [entry | {"start": "2024-01-01"}]})


def shared(exchange: str, budget: str, collection: Collection | None = None) -> set[str]:
    return {one.budget for one in banned_together(Endpoint(exchange, budget, "x"), collection)}


TWO_FEEDS = {
    "A": "https://www.reddit.com/r/a.rss",
    "B": "https://www.reddit.com/r/b.rss",
    "C": "https://c.example/feed",
}


@pytest.mark.parametrize("rest_url", [{}, {"rest_url": "http://127.0.0.1:9"}])
def test_feeds_of_one_site_share_a_ban_and_nothing_else(make_guard: MakeGuard, rest_url: dict[str, str]):
    guard = make_guard(collection_of("rss", feeds=TWO_FEEDS, **rest_url))
    a, b, c = (Endpoint("rss", name, "news") for name in "abc")
    guard.answered(guard.admit(a, "www.reddit.com"), 429, {}, at=time.monotonic(), retry_after_s=0.01)
    assert set(left(guard)) <= {"a"}
    guard.answered(guard.admit(b, "www.reddit.com"), 403, {}, at=time.monotonic())
    assert set(left(guard)) == {"a", "b"}
    for endpoint in (a, b):
        with pytest.raises(HostRefused, match=f"all of rss {endpoint.budget} waits until 20"):
            guard.admit(endpoint, "www.reddit.com")
    guard.admit(c, "c.example")


def test_files_and_their_listing_share_a_ban_where_both_are_on_one_host_of_the_exchange(make_guard: MakeGuard):
    guard = make_guard(collection_of("bybit", listing_url="https://public.bybit.com"))
    files, listing, rest = (Endpoint("bybit", budget, "x") for budget in ("archive", "listing", "rest"))
    guard.answered(guard.admit(listing, "public.bybit.com"), 403, {}, at=time.monotonic())
    assert set(left(guard)) == {"archive", "listing"}
    with pytest.raises(HostRefused, match="all of bybit archive waits until 20"):
        guard.admit(files, "public.bybit.com")
    guard.admit(rest, "api.bybit.com")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://mirror.example"])
def test_addresses_that_are_no_host_of_the_exchange_make_nothing_share_a_ban(url: str):
    behind = collection_of("bybit", listing_url=url, archive_url=url, rest_url=url)
    for budget in ("archive", "listing", "rest"):
        assert shared("bybit", budget, behind) == {budget}
        assert shared("bybit", budget) == {budget}
    proxied = collection_of("binance", rest_url=url)
    assert shared("binance", "spot", proxied) == {"spot"}
    assert shared("okx", "trades", collection_of("okx", rest_url=url)) == shared("okx", "listing")


@pytest.mark.parametrize("body", [COUNTRY, "error code: 1009"])
@pytest.mark.parametrize("endpoint", [Endpoint("bybit", "rest", "trades"), Endpoint("bybit", "archive", "archive")])
def test_a_host_that_refuses_our_country_is_a_permanent_refusal_with_advice_and_pauses_nothing(
    client: Client, guard: Guard, serve: Callable[..., OddServer], endpoint: Endpoint, body: str
):
    server = serve(refusing(403, body))
    for number in (1, 2):
        with pytest.raises(PermanentError) as caught:
            client.at(endpoint).get(server.url)
        assert len(server.requests) == number
    said = str(caught.value)
    assert "expected 200, found 403: the host does not serve the country of our address" in said
    assert said.endswith(
        "set HTTPS_PROXY to a proxy elsewhere, where that is allowed, or leave bybit out of collection.yaml"
    )
    assert "fill" not in said
    assert caught.value.evidence["body"] == body
    assert left(guard) == {}


@pytest.mark.parametrize("rest", [True, False])
def test_only_a_403_that_names_the_country_is_permanent(rest: bool):
    assert decide(403, exchange="bybit", rest=rest, body=COUNTRY) == Permanent()
    assert decide(HostRefused("no", status=403, body=COUNTRY), exchange="bybit", rest=rest) == Permanent()
    slow = '{"ret_msg":"access too frequent"}'
    assert decide(403, exchange="bybit", rest=rest, body=slow) == WaitUntil(None, ban=True, first_s=600)
