"""The sandbox's REST API: the same rows as the archive's, by Binance's rules of paging, times and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer

FIRST, LAST, TODAY = date(2024, 12, 30), date(2025, 1, 31), date(2025, 1, 2)
NOW = datetime(2025, 1, 2, 12, 0, 30, tzinfo=UTC)
LATER = datetime(2025, 3, 1, tzinfo=UTC)

Get = Callable[..., Any]
Rows = list[list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT"], "linear": ["BTCUSDT"]}, FIRST, LAST, trades_per_day=2_400, now=NOW)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def get(server: SandboxServer) -> Iterator[Get]:
    """Ask the REST API: path, parameters → JSON."""
    server.app.state.limits.forget()
    with httpx.Client(base_url=server.archive_url, trust_env=False) as client:

        def ask(path: str, status: int = 200, micro: bool = False, **parameters: Any) -> Any:
            headers = {"x-mbx-time-unit": "MICROSECOND"} if micro else {}
            answer = client.get(path, params=parameters, headers=headers)
            assert answer.status_code == status, answer.text
            return answer.json()

        yield ask


@pytest.fixture
def published(server: SandboxServer, read: Callable[[bytes], tuple[str, Rows]]) -> Callable[[str], Rows]:
    """The rows that the archive publishes later under a key."""

    def rows(key: str) -> Rows:
        source = server.app.state.source
        source.now = LATER
        try:
            return [row for row in read(source.read(key))[1] if row[0].isdigit()]
        finally:
            source.now = NOW

    return rows


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def spot_key(dataset: str, name: str, day: date) -> str:
    below = f"{name}/" if dataset == "klines" else ""
    return f"data/spot/daily/{dataset}/BTCUSDT/{below}BTCUSDT-{name}-{day}.zip"


def test_time_is_the_source_s(get: Get) -> None:
    for root in ("/api/v3", "/fapi/v1"):
        assert get(f"{root}/time") == {"serverTime": int(NOW.timestamp() * 1000)}
        assert get(f"{root}/ping") == {}


def test_bars_are_those_of_the_archive_digit_for_digit(get: Get, published: Callable[[str], Rows]) -> None:
    expected = published(spot_key("klines", "1m", date(2025, 1, 1)))
    start = ms(2025, 1, 1)
    bars = get("/api/v3/klines", micro=True, symbol="BTCUSDT", interval="1m", startTime=start, limit=1000)
    bars += get("/api/v3/klines", micro=True, symbol="BTCUSDT", interval="1m", startTime=start + 60_000_000, limit=440)
    assert len(bars) == 1440
    assert [[str(cell) for cell in bar] for bar in bars] == expected
    assert isinstance(bars[0][0], int)
    assert isinstance(bars[0][1], str)
    linear = published(f"data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{date(2025, 1, 1)}.zip")
    bars = get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", startTime=start, endTime=start + 86_399_999)
    assert [[str(cell) for cell in bar] for bar in bars] == linear


def test_both_times_of_bars_are_inclusive_and_the_last_ones_come_without_a_start(get: Get) -> None:
    noon = ms(2025, 1, 1, 12)
    bars = get("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=noon, endTime=noon + 120_000)
    assert [bar[0] for bar in bars] == [noon, noon + 60_000, noon + 120_000]
    bars = get("/api/v3/klines", symbol="BTCUSDT", interval="1m", endTime=noon, limit=3)
    assert [bar[0] for bar in bars] == [noon - 120_000, noon - 60_000, noon]
    assert len(get("/api/v3/klines", symbol="BTCUSDT", interval="1m")) == 500
    assert len(get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=5000)) == 1000


def test_the_open_bar_comes_last_and_holds_what_was_traded_so_far(get: Get) -> None:
    *_, open_bar = get("/api/v3/klines", symbol="BTCUSDT", interval="1h", limit=2)
    assert open_bar[0] == ms(2025, 1, 2, 12)
    assert open_bar[6] == ms(2025, 1, 2, 13) - 1
    so_far = get("/api/v3/aggTrades", symbol="BTCUSDT", startTime=ms(2025, 1, 2, 12), limit=1000)
    assert open_bar[1] == so_far[0]["p"]
    assert open_bar[4] == so_far[-1]["p"]
    assert open_bar[8] == sum(row["l"] - row["f"] + 1 for row in so_far)
    (month,) = get("/api/v3/klines", symbol="BTCUSDT", interval="1M", startTime=ms(2025, 1, 1))
    assert (month[0], month[6]) == (ms(2025, 1, 1), ms(2025, 2, 1) - 1)


def test_trades_are_numbered_through_and_end_now(get: Get, published: Callable[[str], Rows]) -> None:
    expected = published(spot_key("trades", "trades", date(2025, 1, 1)))
    first = int(expected[0][0])
    trades = get("/api/v3/historicalTrades", micro=True, symbol="BTCUSDT", fromId=first - 2, limit=1000)
    names = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    assert [trade["id"] for trade in trades] == list(range(first - 2, first + 998))
    assert [[str(trade[name]) for name in names] for trade in trades[2:]] == expected[:998]
    *_, last = get("/api/v3/trades", symbol="BTCUSDT", limit=5)
    assert last["time"] <= NOW.timestamp() * 1000
    assert get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=last["id"] + 1) == []
    linear = get("/fapi/v1/historicalTrades", symbol="BTCUSDT", fromId=0)
    assert len(linear) == 100
    assert set(linear[0]) == {"id", "price", "qty", "quoteQty", "time", "isBuyerMaker"}


def test_aggregate_trades_come_by_window_of_less_than_an_hour_or_by_id(
    get: Get, published: Callable[[str], Rows]
) -> None:
    expected = published(spot_key("aggTrades", "aggTrades", date(2025, 1, 1)))
    start = ms(2025, 1, 1)
    names = ("a", "p", "q", "f", "l", "T", "m", "M")
    found = get(
        "/api/v3/aggTrades", micro=True, symbol="BTCUSDT", startTime=start, endTime=start + 3_599_999, limit=1000
    )
    hour = [row for row in expected if int(row[5]) < (start + 3_600_000) * 1000]
    assert len(hour) > 50
    assert [[str(row[name]) for name in names] for row in found] == hour
    assert get("/api/v3/aggTrades", symbol="BTCUSDT", fromId=found[7]["a"], limit=2)[0]["a"] == found[7]["a"]
    refusal = get("/fapi/v1/aggTrades", 400, symbol="BTCUSDT", startTime=start, endTime=start + 3_600_000)
    assert refusal["code"] == -1127


def test_funding_is_told_up_to_now(get: Get) -> None:
    events = get("/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=ms(2025, 1, 1))
    assert [round(event["fundingTime"] / 3_600_000) % 24 for event in events] == [0, 8, 16, 0, 8]
    assert all(len(event["fundingRate"].lstrip("-")) == 10 for event in events)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, -1102),
        ({"symbol": "NOUSDT", "interval": "1m"}, -1121),
        ({"symbol": "btc/usdt", "interval": "1m"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "ten"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
    ],
)
def test_what_cannot_be_asked_is_refused_in_json(get: Get, parameters: dict[str, str], code: int) -> None:
    for root in ("/api/v3", "/fapi/v1"):
        answer = get(f"{root}/klines", 400, **parameters)
        assert answer["code"] == code
        assert answer["msg"]


def test_symbols_are_told(get: Get) -> None:
    info = get("/api/v3/exchangeInfo")
    assert [symbol["symbol"] for symbol in info["symbols"]] == ["BTCUSDT"]
    assert get("/fapi/v1/exchangeInfo", 400, symbol="NOUSDT")["code"] == -1121
