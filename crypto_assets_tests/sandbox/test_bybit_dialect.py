"""Bybit's dialect of the sandbox, read by the source itself: listing, files, answers, errors, bans."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from crypto_assets import datasets
from crypto_assets.model import Partition, Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.bybit.archive import BybitFiles
from crypto_assets.sources.bybit.instruments import BybitInstruments
from crypto_assets.sources.bybit.rest import BybitRest
from crypto_assets.sources.feeds import Call, Page
from crypto_assets.sources.listings import Wanted
from crypto_assets_tests.parsed import parsed

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 9)
NOW = datetime(2024, 1, 9, 0, 20, tzinfo=UTC)
DATED = "BTCUSDT-28JUN24"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    symbols = {
        "spot": ["BTCUSDT"],
        "linear": ["BTCUSDT", "BTCUSDT_240628"],
        "inverse": ["BTCUSD_PERP", "BTCUSD_240628"],
    }
    with SandboxServer(SyntheticArchive(symbols, FIRST, LAST, trades_per_day=1500, now=NOW)) as running:
        yield running


@pytest.fixture
def urls(server) -> Iterator[dict[str, str]]:
    yield server.urls("bybit")
    server.app.state.faults.off()
    server.app.state.limits.forget()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as made:
        yield made


def series_of(market_type: str, dataset: str = "trades") -> Series:
    return Series.named("bybit", market_type, dataset)


def trades_of(server: SandboxServer, market: str, day: date, symbol: str = "BTCUSDT") -> Any:
    world = server.app.state.source
    return world.market.trades(world.listed[market, symbol][0], day)


def listed(client: httpx.Client, url: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    """Return the keys and child prefixes that the source's listing finds at a URL."""
    listing = BybitFiles(series_of("linear"), "daily").listing
    asked, keys, prefixes = listing.first(wanted), [], []
    while asked is not None:
        below = f"{url}/{asked.path}" if asked.path else url
        answer = client.get(below, params=dict(asked.params))
        assert answer.status_code == 200
        page = listing.read(wanted, asked, below, answer.content)
        keys += [obj.key for obj in page.objects]
        prefixes += page.prefixes
        asked = page.following
    return keys, prefixes


@pytest.mark.parametrize("url", ["listing_url", "archive_url"])
@pytest.mark.parametrize(("market", "name"), [("linear", "BTCUSDT"), ("linear", DATED), ("spot", "BTCUSDT")])
def test_the_bucket_and_the_web_host_list_the_same_files(client, urls, url, market, name):
    files = BybitFiles(series_of(market), "daily")
    keys, prefixes = listed(client, urls[url], Wanted(files.prefix(name)))
    assert keys == [files.keys(name, FIRST + timedelta(days=place))[0] for place in range(7)]
    assert prefixes == []
    assert [files.covers(key).first_day for key in keys][-1] == date(2024, 1, 7)  # NOW is before 02:00 of the 9th


@pytest.mark.parametrize("url", ["listing_url", "archive_url"])
def test_both_list_the_names_of_all_symbols(client, urls, url):
    assert listed(client, urls[url], Wanted("trading/", children=True)) == (
        [],
        [
            *("trading/BTCUSD/", "trading/BTCUSDM24/"),
            *(f"trading/{DATED}/", "trading/BTCUSDT/"),
        ],
    )


@pytest.mark.parametrize(
    ("market", "symbol", "name", "world_name"),
    [
        ("spot", "BTC/USDT", "BTCUSDT", "BTCUSDT"),
        ("linear", "BTC/USDT:USDT", "BTCUSDT", "BTCUSDT"),
        ("linear", "BTC/USDT:USDT-240628", DATED, "BTCUSDT_240628"),
    ],
)
def test_files_hold_the_trades_of_the_market(server, client, urls, market, symbol, name, world_name):
    day = date(2024, 1, 3)
    files = BybitFiles(series_of(market), "daily")
    (key,) = files.keys(name, day)
    answer = client.get(f"{urls['archive_url']}/{key}")
    table = parsed(files, symbol, key, answer.content)
    true = trades_of(server, market, day, world_name)
    digits = 1_000 if market == "spot" else 100
    assert table["trade_time"].cast(pa.int64()).to_pylist() == (true.time // digits * digits).tolist()
    item = server.app.state.source.listed[market, world_name][0]
    assert [int(price * 10**item.price_decimals) for price in table["price"].to_pylist()] == true.price.tolist()
    assert [int(size * 10**item.amount_decimals) for size in table["amount"].to_pylist()] == true.amount.tolist()
    assert table["side"].to_pylist() == np.where(true.is_buyer_maker, "sell", "buy").tolist()
    if market == "linear":
        assert [
            int(one * 10**item.quote_decimals) for one in table["quote_amount"].to_pylist()
        ] == true.quote_amount.tolist()


def ask(client: httpx.Client, urls: dict[str, str], call: Call) -> Any:
    path = {
        "publicGetV5MarketKline": "kline",
        "publicGetV5MarketRecentTrade": "recent-trade",
        "publicGetV5MarketFundingHistory": "funding/history",
        "publicGetV5MarketInstrumentsInfo": "instruments-info",
        "publicGetV5MarketTime": "time",
    }[call.method]
    answer = client.get(f"{urls['rest_url']}/v5/market/{path}", params=dict(call.params))
    assert answer.status_code == 200
    return answer.json()


def walked(client: httpx.Client, urls: dict[str, str], feed: BybitRest, symbol: str, day: date) -> list[Page]:
    stored = datasets.get(feed.series.table).schema.empty_table()
    walk, pages = feed.walk(Partition(symbol, day), stored, None, NOW), []
    try:
        step = next(walk)
        while True:
            if isinstance(step, Page):
                pages.append(step)
                step = next(walk)
            else:
                step = walk.send(ask(client, urls, step))
    except StopIteration:
        return pages


@pytest.mark.parametrize(
    ("dataset", "interval", "count"), [("ohlcv_1m", "1m", 1440), ("ohlcv_4h", "4h", 6), ("ohlcv_1d", "1d", 1)]
)
def test_bars_of_a_day_are_those_of_the_market(server, client, urls, dataset, interval, count):
    day = date(2024, 1, 5)
    pages = walked(client, urls, BybitRest(series_of("linear", dataset)), "BTC/USDT:USDT", day)
    rows = pa.concat_tables([page.rows for page in pages])
    world = server.app.state.source
    item = world.listed["linear", "BTCUSDT"][0]
    true = world.market.bars(item, interval, day)
    assert rows.num_rows == count
    assert rows["open_time"].cast(pa.int64()).to_pylist() == true.open_time.tolist()
    for name in ("open", "high", "low", "close"):
        assert [int(one * 10**item.price_decimals) for one in rows[name].to_pylist()] == getattr(true, name).tolist()
    assert [int(one * 10**item.amount_decimals) for one in rows["volume"].to_pylist()] == true.volume.tolist()
    assert [
        int(one * 10**item.quote_decimals) for one in rows["quote_volume"].to_pylist()
    ] == true.quote_volume.tolist()
    assert pages[-1].until == datetime(2024, 1, 6, tzinfo=UTC)


def test_the_bars_of_today_end_with_the_last_closed_one(client, urls):
    (page,) = walked(client, urls, BybitRest(series_of("spot", "ohlcv_15m")), "BTC/USDT", LAST)
    assert page.rows["open_time"].to_pylist() == [datetime(2024, 1, 9, tzinfo=UTC)]


def test_a_week_is_joined_from_its_days(server, client, urls):
    (page,) = walked(client, urls, BybitRest(series_of("spot", "ohlcv_1w")), "BTC/USDT", FIRST)
    world = server.app.state.source
    days = [
        world.market.bars(world.listed["spot", "BTCUSDT"][0], "1d", FIRST + timedelta(days=place)) for place in range(7)
    ]
    assert int(page.rows["volume"][0].as_py() * 10**5) == sum(int(day.volume[0]) for day in days)


def test_funding_events_are_those_of_the_market(server, client, urls):
    day = date(2024, 1, 4)
    (page,) = walked(client, urls, BybitRest(series_of("linear", "funding_rates")), "BTC/USDT:USDT", day)
    world = server.app.state.source
    true = world.market.funding_rates(world.listed["linear", "BTCUSDT"][0], day)
    assert [int(rate * 10**8) for rate in page.rows["funding_rate"].to_pylist()] == [rate for _, rate in true]
    assert page.rows["funding_time"].to_pylist() == [datetime(2024, 1, 4, hour, tzinfo=UTC) for hour in (0, 8, 16)]
    assert page.rows["funding_interval_hours"].to_pylist() == [8, 8, 8]


def test_recent_trades_reach_back_over_midnight(server, client, urls):
    (page,) = walked(client, urls, BybitRest(series_of("linear")), "BTC/USDT:USDT", LAST)
    true = trades_of(server, "linear", LAST)
    until = true.time <= int(NOW.timestamp()) * 10**6
    assert page.rows["trade_time"].cast(pa.int64()).to_pylist() == (true.time[until] // 1000 * 1000).tolist()
    assert page.rows.num_rows > 5
    assert page.until == NOW


def test_the_clock_and_questions_are_answered(client, urls):
    feed = BybitRest(series_of("linear"))
    assert feed.clock_time(ask(client, urls, feed.clock())) == NOW
    symbol = "BTC/USDT:USDT"
    assert feed.status_of(symbol, ask(client, urls, feed.status(symbol))) == "Trading"
    first = feed.first_row(symbol)
    assert first is not None
    assert feed.row_time(symbol, ask(client, urls, first)) == datetime(2024, 1, 1, tzinfo=UTC)
    latest = feed.row_time(symbol, ask(client, urls, feed.latest_row(symbol)))
    assert latest is not None
    assert NOW - timedelta(minutes=5) < latest <= NOW


def test_instruments_are_read(client, urls):
    for market, expected in (
        ("spot", ["BTC/USDT"]),
        ("linear", ["BTC/USDT:USDT", "BTC/USDT:USDT-240628"]),
        ("inverse", ["BTC/USD:BTC", "BTC/USD:BTC-240628"]),
    ):
        query = BybitInstruments(market)
        answer = ask(client, urls, query.call())
        assert [one.symbol for one in query.read(answer)] == expected
        following = query.following(query.call(), answer)
        assert (following is None) == (market == "spot")
        if following is not None:  # nothing has ended yet
            assert query.read(ask(client, urls, following)) == []
            assert query.following(following, ask(client, urls, following)) is None
    page = client.get(
        f"{urls['rest_url']}/v5/market/instruments-info", params={"category": "linear", "limit": 1}
    ).json()
    query = BybitInstruments("linear")
    following = query.following(query.call(), page)
    assert following is not None
    assert [one.symbol for one in BybitInstruments("linear").read(ask(client, urls, following))] == [
        "BTC/USDT:USDT-240628"
    ]


@pytest.mark.parametrize(
    ("path", "params", "text"),
    [
        ("kline", {"category": "spot", "symbol": "NOPE", "interval": "1"}, "Symbol Is Invalid"),
        ("kline", {"category": "spot", "symbol": "BTCUSDT", "interval": "1m"}, "Invalid period!"),
        ("kline", {"category": "swap", "symbol": "BTCUSDT", "interval": "1"}, "Category is invalid"),
        ("funding/history", {"category": "linear", "symbol": "BTCUSDT", "startTime": "1"}, "EndTime Is Required"),
        ("recent-trade", {"category": "spot", "symbol": "BTCUSDT", "limit": "0"}, "Limit is invalid"),
    ],
)
def test_errors_stand_in_an_answer_with_status_200(client, urls, path, params, text):
    answer = client.get(f"{urls['rest_url']}/v5/market/{path}", params=params)
    assert answer.status_code == 200
    assert (answer.json()["retCode"], answer.json()["result"]) == (10001, {})
    assert text in answer.json()["retMsg"]


def test_too_many_requests_are_a_ban_with_403(server, client, urls):
    url = f"{urls['rest_url']}/v5/market/time"
    statuses = [client.get(url).status_code for _ in range(602)]
    assert statuses == [200] * 600 + [403] * 2
    assert client.get(f"{urls['archive_url']}/trading/").status_code == 200


def test_inverse_contracts_are_usd_in_files_and_bars_and_base_is_computed(server, client, urls):
    day, world = date(2024, 1, 3), server.app.state.source
    item = world.listed["inverse", "BTCUSD_PERP"][0]
    files = BybitFiles(series_of("inverse"), "daily")
    (key,) = files.keys("BTCUSD", day)
    table = parsed(files, "BTC/USD:BTC", key, client.get(f"{urls['archive_url']}/{key}").content)
    true = trades_of(server, "inverse", day, "BTCUSD_PERP")
    assert [int(usd) for usd in table["quote_amount"].to_pylist()] == (true.amount * item.contract_size).tolist()
    rounded = [
        int((base * 10**item.quote_decimals).to_integral_value(ROUND_HALF_UP)) for base in table["amount"].to_pylist()
    ]
    assert rounded == true.quote_amount.tolist()
    (page,) = walked(client, urls, BybitRest(series_of("inverse", "ohlcv_1d")), "BTC/USD:BTC", day)
    bar = world.market.bars(item, "1d", day)
    assert page.rows["quote_volume"].to_pylist() == [int(bar.volume[0]) * item.contract_size]
    assert [
        int(base * 10**item.quote_decimals) for base in page.rows["volume"].to_pylist()
    ] == bar.quote_volume.tolist()
