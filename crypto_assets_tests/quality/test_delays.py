"""Publication delays measured from what a real ledger saw, and what is late by them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from crypto_assets import sources
from crypto_assets.config.collection import parse_collection
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, State
from crypto_assets.quality.delays import Delay, Late, delays, late_objects
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.workbench import entry

BARS = Series("binance", "spot", "ohlcv", "1m")
FUNDING = Series("binance", "linear", "funding_rates")
BTC, ETH, PERPETUAL = "BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"
FIRST = date(2024, 3, 1)
H = 3600.0
COLLECTION = parse_collection(
    {
        "series": [
            entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST),
            entry("linear", ["funding_rates"], [PERPETUAL], FIRST),
        ]
    }
)
NAMES = ("binance", "spot", "ohlcv_1m")


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def key_of(day: date, symbol: str = BTC, series: Series = BARS, prefix: int = 0) -> str:
    (key,) = sources.archives(series)[prefix].keys(sources.name_of(series, symbol), day)
    return key


def end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def appear(ledger: Ledger, key: str, end: datetime, delay_s: float, seen_after: timedelta = timedelta(hours=1)) -> None:
    """Let a listing show an object so many seconds after the end of its period, and somebody see it a while later."""
    modified = end + timedelta(seconds=delay_s)
    ledger.record_objects("binance", [ArchiveObject(key, 70, "e1", modified)])
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE collection.archive_objects SET first_seen = %s WHERE key = %s", (modified + seen_after, key)
        )


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(count)]


def watch(postgres_url: str, symbol: str, last_day: date, series: Series = BARS) -> None:
    """Let a sensor know the last day of a symbol."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            """INSERT INTO collection.watched_feeds
                (exchange, path, market_type, symbol, dataset, entry, last_day, next_look_at)
            VALUES ('binance', %s, %s, %s, %s, 'e', %s, now())""",
            (
                f"{series.market_type}/{series.dataset}/{symbol}/daily",
                series.market_type,
                symbol,
                series.dataset,
                last_day,
            ),
        )


def late(ledger: Ledger, at: datetime) -> list[Late]:
    return late_objects(ledger, COLLECTION, delays(ledger, COLLECTION), at)


# ---- delays -----------------------------------------------------------------------------------------------------------


def test_delays_are_measured_for_each_kind_of_object(ledger: Ledger) -> None:
    for number, day in enumerate(days(20)):
        appear(ledger, key_of(day), end_of(day), (4 + number) * H)
    appear(ledger, key_of(FIRST, ETH), end_of(FIRST), 30 * H)
    appear(ledger, key_of(FIRST, prefix=1), end_of(date(2024, 3, 31)), 50 * H)
    appear(ledger, key_of(FIRST, PERPETUAL, FUNDING), end_of(date(2024, 3, 31)), 60 * H)
    assert delays(ledger, COLLECTION) == [
        Delay("binance", "linear", "funding_rates", "month", True, 1, 60 * H, 60 * H, 60 * H, date(2024, 3, 31)),
        Delay(*NAMES, "day", True, 21, 14 * H, 23 * H, 23 * H, FIRST + timedelta(days=19)),
        Delay(*NAMES, "month", True, 1, 50 * H, 50 * H, 50 * H, date(2024, 3, 31)),
    ]


def test_history_stands_apart_and_the_slowest_of_the_newest_day_is_the_latest(ledger: Ledger) -> None:
    appear(ledger, key_of(FIRST), end_of(FIRST), 900 * 24 * H)  # published again before anybody looked
    appear(ledger, key_of(days(2)[1]), end_of(days(2)[1]), 5 * H, timedelta(days=300))
    appear(ledger, key_of(days(3)[2]), end_of(days(3)[2]), 6 * H)
    appear(ledger, key_of(days(3)[2], ETH), end_of(days(3)[2]), 7 * H)
    assert delays(ledger, COLLECTION) == [
        Delay(*NAMES, "day", False, 2, 5 * H, 900 * 24 * H, 5 * H, days(2)[1]),
        Delay(*NAMES, "day", True, 2, 6 * H, 7 * H, 7 * H, days(3)[2]),
    ]


def test_an_object_seen_on_the_fourteenth_day_was_seen_to_appear(ledger: Ledger) -> None:
    day = timedelta(days=1)
    appear(ledger, key_of(FIRST), end_of(FIRST), H, 14 * day - timedelta(hours=1))
    appear(ledger, key_of(FIRST, ETH), end_of(FIRST), 2 * H, 14 * day - timedelta(hours=2) + timedelta(seconds=1))
    assert [(delay.watched, delay.p50_s) for delay in delays(ledger, COLLECTION)] == [(False, 2 * H), (True, H)]


def test_a_second_publication_is_no_delay_of_the_first(ledger: Ledger) -> None:
    appear(ledger, key_of(FIRST), end_of(FIRST), 5 * H)
    ledger.record_objects("binance", [ArchiveObject(key_of(FIRST), 71, "e2", end_of(FIRST) + timedelta(days=9))])
    assert [delay.latest_s for delay in delays(ledger, COLLECTION)] == [5 * H]


def test_what_is_not_of_the_collection_or_no_data_or_without_a_time_is_left_out(ledger: Ledger) -> None:
    appear(ledger, key_of(FIRST, "XRP/USDT"), end_of(FIRST), H)
    appear(ledger, key_of(FIRST) + ".CHECKSUM", end_of(FIRST), H)
    appear(ledger, key_of(FIRST, ETH), end_of(FIRST), -H)
    ledger.record_objects("binance", [ArchiveObject(key_of(FIRST), 70, "e1", None)])
    assert delays(ledger, COLLECTION) == []
    appear(ledger, key_of(days(2)[1]), end_of(days(2)[1]), H)
    assert [delay.objects for delay in delays(ledger, COLLECTION)] == [1]


# ---- late -------------------------------------------------------------------------------------------------------------


def test_the_next_object_is_late_once_its_like_mostly_were_there(ledger: Ledger, postgres_url: str) -> None:
    for number, day in enumerate(days(20)):
        appear(ledger, key_of(day), end_of(day), 4 * H + 60 * number)
    next_day = FIRST + timedelta(days=20)
    watch(postgres_url, BTC, next_day - timedelta(days=1))
    due_at = end_of(next_day) + timedelta(hours=4, minutes=18)
    assert late(ledger, due_at) == []
    assert late(ledger, due_at + timedelta(minutes=5)) == [Late(*NAMES, BTC, next_day, key_of(next_day), due_at, 300.0)]
    appear(ledger, key_of(next_day), end_of(next_day), 5 * H)
    assert late(ledger, due_at + timedelta(minutes=55)) == [], "it is there, the sensor has not looked again yet"


def test_with_few_seen_the_deadline_of_the_exchange_counts(ledger: Ledger, postgres_url: str) -> None:
    for number, day in enumerate(days(19)):
        appear(ledger, key_of(day), end_of(day), 4 * H + 60 * number)
    next_day = FIRST + timedelta(days=19)
    watch(postgres_url, BTC, next_day - timedelta(days=1))
    assert late(ledger, end_of(next_day) + timedelta(days=3)) == []
    [one] = late(ledger, end_of(next_day) + timedelta(days=3, seconds=1))
    assert (one.key, one.due_at, one.late_s) == (key_of(next_day), end_of(next_day) + timedelta(days=3), 1.0)


def test_a_pending_day_is_late_without_any_sensor(ledger: Ledger) -> None:
    pending = [
        Outcome(series, Partition(symbol, day), State.PENDING, "not published yet")
        for series, symbol, day in (
            (BARS, BTC, FIRST),
            (BARS, BTC, days(9)[8]),
            (BARS, "XRP/USDT", FIRST),
            (FUNDING, PERPETUAL, FIRST),
            (FUNDING, PERPETUAL, days(2)[1]),
        )
    ]
    ledger.record_outcomes(pending)
    assert [(one.symbol, one.day) for one in late(ledger, end_of(days(9)[8]))] == [(BTC, FIRST)]
    # A file of a month is expected once, 35 days after its end.
    found = late(ledger, end_of(date(2024, 3, 31)) + timedelta(days=36))
    assert [(one.symbol, one.day) for one in found] == [
        (PERPETUAL, date(2024, 3, 31)),
        (BTC, FIRST),
        (BTC, days(9)[8]),
    ]


def test_nothing_is_expected_of_a_delisted_symbol(ledger: Ledger, postgres_url: str) -> None:
    watch(postgres_url, BTC, date(2024, 3, 20))
    watch(postgres_url, ETH, date(2024, 3, 5))
    at = end_of(date(2024, 3, 30))
    assert [(one.symbol, one.day) for one in late(ledger, at)] == [(BTC, date(2024, 3, 21))]
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE collection.watched_feeds SET last_day = '2024-03-06' WHERE symbol = %s", (ETH,))
    assert [(one.symbol, one.day) for one in late(ledger, at)] == [(BTC, date(2024, 3, 21)), (ETH, date(2024, 3, 7))]
