"""The limits of the sandbox: Binance's weights, minutes and bans, sliding rates, and the record that proofs rely on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import httpx
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.dialects import allowances
from crypto_assets.sandbox.dialects.binance.limits import LIMITS, LONGEST_BAN_S, PATIENCE, weight_of
from crypto_assets.sandbox.request_limits import Arrival, Limits, Rate, busiest, parse_rate
from crypto_assets.sandbox.server import SandboxServer

KEY = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-01.zip"


class Clock:
    """A time set by the test; both clocks of `Limits` show it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_000_000.0 // 60 * 60)


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock, clock)


def ask(
    limits: Limits, weight: int, budget: str = "spot", address: str = "1.1.1.1"
) -> tuple[int, str | None, str | None]:
    found = limits.admit(budget, weight, "tester", address)
    used = None if found.used is None else str(found.used)
    return found.status, used, str(found.wait_s) if found.status else None


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(
        SyntheticArchive({"spot": ["BTCUSDT"]}, last_day=date(2024, 1, 2), trades_per_day=300)
    ) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    limits: Limits = running.app.state.limits
    limits.forget()
    yield running
    limits.forget()
    limits.set_rates([])
    limits.weights.update(spot=6_000, linear=2_400)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


def early_in_a_minute() -> None:
    """Wait for the next minute if this one is about to end, so that a test lies in one minute."""
    if time.time() % 60 > 50:
        time.sleep(60.05 - time.time() % 60)


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("/api/v3/klines", "symbol=BTCUSDT&limit=1000", 2),
        ("/api/v3/aggTrades", "symbol=BTCUSDT", 4),
        ("/api/v3/trades", "", 25),
        ("/api/v3/historicalTrades", "", 25),
        ("/api/v3/exchangeInfo", "", 20),
        ("/api/v3/depth", "", 5),
        ("/api/v3/depth", "limit=100", 5),
        ("/api/v3/depth", "limit=101", 25),
        ("/api/v3/depth", "limit=1000", 50),
        ("/api/v3/depth", "limit=5000", 250),
        ("/fapi/v1/klines", "limit=99", 1),
        ("/fapi/v1/klines", "limit=100", 2),
        ("/fapi/v1/klines", "", 5),
        ("/fapi/v1/klines", "limit=1000", 5),
        ("/fapi/v1/klines", "limit=1500", 10),
        ("/fapi/v1/aggTrades", "limit=1000", 20),
        ("/fapi/v1/trades", "", 5),
        ("/api/v3/something", "limit=abc", 1),
    ],
)
def test_each_endpoint_has_the_weight_that_binance_documents(path, query, weight):
    assert weight_of(path, query) == weight


def test_weights_are_counted_in_calendar_minutes_and_told_on_every_answer(limits, clock):
    clock.now += 40
    assert ask(limits, 4_000) == (0, "4000", None)
    assert ask(limits, 2_000) == (0, "6000", None)
    assert ask(limits, 1) == (429, "6001", "20"), "until the next minute"
    clock.now += 19.5
    assert ask(limits, 1) == (429, "6002", "1")
    clock.now += 0.5
    assert ask(limits, 6_000) == (0, "6000", None), "a new minute, whatever came just before"


def test_spot_and_futures_and_addresses_have_budgets_of_their_own(limits):
    assert ask(limits, 6_000)[0] == 0
    assert ask(limits, 1)[0] == 429
    assert ask(limits, 2_400, "linear") == (0, "2400", None)
    assert ask(limits, 1, "linear")[0] == 429
    assert ask(limits, 6_000, address="2.2.2.2") == (0, "6000", None)
    assert ask(limits, 1, "archive") == (0, None, None), "archives have no weights"


def test_who_goes_on_after_429_is_banned_and_each_ban_is_twice_as_long(limits, clock):
    def overdo() -> tuple[int, str | None]:
        assert ask(limits, 6_000)[0] == 0
        assert [ask(limits, 1)[0] for _ in range(PATIENCE)] == [429] * PATIENCE
        status, _, wait = ask(limits, 1)
        return status, wait

    assert overdo() == (418, "120")
    clock.now += 100
    assert ask(limits, 1)[::2] == (418, "20"), "asking again does not make it longer, nor does a new minute end it"
    assert ask(limits, 1, address="2.2.2.2")[0] == 0
    clock.now += 20
    assert overdo() == (418, "240")
    for wait in (480, 960, 1_920):
        clock.now += wait / 2
        assert overdo() == (418, str(wait))
    for _ in range(10):
        clock.now += LONGEST_BAN_S
        status, wait_text = overdo()
    assert (status, wait_text) == (418, str(int(LONGEST_BAN_S)))


def test_who_waits_as_told_is_never_banned(limits, clock):
    for _ in range(20):
        while ask(limits, 100)[0] == 0:
            pass
        clock.now += 60


def test_spot_counts_raw_requests_over_five_minutes_too(clock):
    limits = Limits(clock, clock, {"spot": replace(LIMITS["spot"], raw=(100, 300.0))})
    for _ in range(10):
        assert [ask(limits, 1)[0] for _ in range(10)] == [0] * 10
        clock.now += 20
    assert ask(limits, 1)[0] == 429
    clock.now += 100
    assert ask(limits, 1)[0] == 0


# ---- sliding rates ---------------------------------------------------------------------------------------------------


def test_a_rate_holds_in_every_sliding_window_not_in_calendar_ones(limits, clock):
    limits.set_rates([Rate(20, 1.0)])
    clock.now += 0.9
    assert [ask(limits, 1, "archive")[0] for _ in range(20)] == [0] * 20
    clock.now += 0.2  # another calendar second
    assert ask(limits, 1, "archive") == (429, None, "1")
    clock.now += 0.79
    assert ask(limits, 1, "listing")[0] == 429, "one limit for all requests of an address"
    clock.now += 0.02
    assert [ask(limits, 1, "archive")[0] for _ in range(21)] == [0] * 20 + [429]
    assert ask(limits, 1, "archive", "2.2.2.2")[0] == 0


def test_a_rate_can_be_of_one_budget(limits):
    limits.set_rates([Rate(1, 10.0, ("listing",)), Rate(3, 1.0)])
    assert [ask(limits, 1, "listing")[0] for _ in range(2)] == [0, 429]
    assert [ask(limits, 1, "archive")[0] for _ in range(3)] == [0, 0, 429]


def test_a_rate_is_written_in_one_word():
    assert parse_rate("20/s") == Rate(20, 1.0)
    assert parse_rate("100/10s") == Rate(100, 10.0)
    assert parse_rate("listing:600/m") == Rate(600, 60.0, ("listing",))
    assert parse_rate("5/0.5s") == Rate(5, 0.5)
    for text in ("20", "20/h", "zip:20/s", "0/s", "20/0s", "-1/s"):
        with pytest.raises(ValueError, match="expected 20/s"):
            parse_rate(text)


# ---- the record ------------------------------------------------------------------------------------------------------


def test_the_busiest_window_is_the_one_that_counting_by_hand_finds():
    chance = random.Random(3)
    times = sorted(chance.choice([round(chance.uniform(0, 20), 2), float(chance.randrange(20))]) for _ in range(400))
    arrivals = [Arrival(at, "spot", chance.randrange(1, 30), "a", "1.1.1.1") for at in times]
    for window in (0.5, 1.0, 7.3):
        inside = [[a for a in arrivals if start <= a.at < start + window] for start in times]
        by_first = [window_[times[: n + 1].count(times[n]) - 1 :] for n, window_ in enumerate(inside)]
        counts, weights = [len(w) for w in by_first], [sum(a.weight for a in w) for w in by_first]
        told = busiest(arrivals, window, 25)
        assert told["most_requests"] == max(counts)
        assert told["most_weight"] == max(weights)
        assert told["violations_requests"] == sum(count > 25 for count in counts)
        assert told["violations_weight"] == sum(weight > 25 for weight in weights)
    assert max(counts) > 25, "the test saw violations"
    assert busiest([], 1.0, 5)["violations_requests"] == 0


def test_two_requests_exactly_a_window_apart_are_not_in_one():
    pair = [Arrival(10.0, "spot", 1, "a", "1.1.1.1"), Arrival(11.0, "spot", 1, "a", "1.1.1.1")]
    assert busiest(pair, 1.0)["most_requests"] == 1
    assert busiest(pair, 1.001)["most_requests"] == 2


# ---- over HTTP -------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_client_and_budget_with_their_weights(server, client):
    for name, path in [
        ("one", KEY),
        ("one", f"{KEY}.CHECKSUM"),
        ("two", "listing?prefix=none"),
        ("two", "api/v3/depth?limit=5000"),
        ("two", "fapi/v1/klines?limit=1500"),
    ]:
        client.get(f"{server.archive_url}/{path}", headers={"x-client": name})
    client.get(f"{server.archive_url}/{KEY}", headers={"user-agent": "agent/7"})
    told = client.get(f"{server.archive_url}/_sandbox/limits", params={"window": 60, "amount": 5}).json()
    assert (told["requests"], told["weight"]) == (6, 264)
    assert told["clients"] == {
        "one": {"requests": 2, "weight": 2, "refused": 0},
        "two": {"requests": 3, "weight": 261, "refused": 0},
        "agent/7": {"requests": 1, "weight": 1, "refused": 0},
    }
    assert told["budgets"] == {"archive": 3, "listing": 1, "spot": 1, "linear": 1}
    assert told["window"] == {
        "window_s": 60.0,
        "most_requests": 6,
        "most_weight": 264,
        "violations_requests": 1,
        "violations_weight": 5,
    }
    spot = client.get(f"{server.archive_url}/_sandbox/limits", params={"budget": "spot", "arrivals": "true"}).json()
    assert [(a["budget"], a["weight"], a["client"], a["refused"]) for a in spot["arrivals"]] == [
        ("spot", 250, "two", 0)
    ]
    assert abs(time.monotonic() - spot["arrivals"][0]["at"]) < 30
    assert client.delete(f"{server.archive_url}/_sandbox/limits").json()["requests"] == 0


def test_rest_is_refused_beyond_its_weight_and_then_banned(server, client):
    early_in_a_minute()
    set_to = client.post(f"{server.archive_url}/_sandbox/limits", json={"weights": {"spot": 10}, "first_ban_s": 2})
    assert set_to.json()["limits"]["weights"] == {
        **{budget: allowed.amount for budget, allowed in allowances().items()},
        "spot": 10,
    }
    path = f"{server.archive_url}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1"
    answers = [client.get(path) for _ in range(5)]
    assert [answer.headers["x-mbx-used-weight-1m"] for answer in answers] == ["2", "4", "6", "8", "10"]
    assert 429 not in [answer.status_code for answer in answers]
    refused = client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (429, -1003)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get(f"{server.archive_url}/fapi/v1/ping").status_code != 429
    assert client.get(path, headers={"x-forwarded-for": "2.2.2.2"}).status_code not in (418, 429)
    assert [client.get(path).status_code for _ in range(PATIENCE)] == [429] * (PATIENCE - 1) + [418]
    banned = client.get(path)
    assert (banned.status_code, banned.headers["retry-after"]) == (418, "2")
    told = client.get(f"{server.archive_url}/_sandbox/limits").json()
    assert told["refused"] == {"429": PATIENCE, "418": 2}


def test_a_rate_over_http_answers_429_with_seconds_and_counts_it(server, client):
    url = f"{server.archive_url}/_sandbox/limits"
    assert client.post(url, json={"rates": ["3/2s"]}).json()["limits"]["rates"] == ["3/2s all"]
    answers = [client.get(f"{server.archive_url}/{KEY}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "2"
    assert client.get(url, params={"window": 2, "amount": 3}).json()["window"]["violations_requests"] == 1


@pytest.mark.parametrize(
    "asked", [{"rates": ["20"]}, {"weights": {"swap": 5}}, {"wieghts": {}}, {"weights": {"spot": "x"}}]
)
def test_a_limit_that_cannot_be_is_refused_and_changes_nothing(server, client, asked):
    url = f"{server.archive_url}/_sandbox/limits"
    before = client.get(url).json()["limits"]
    answer = client.post(url, json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert client.get(url).json()["limits"] == before
