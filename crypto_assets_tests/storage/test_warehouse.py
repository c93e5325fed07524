"""The warehouse and its migrations, in a real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.errors import ConfigError
from crypto_assets.model import DAY as ONE_DAY
from crypto_assets.model import Series, Track
from crypto_assets.rows.loads import Load, LoadPlan
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import TABLES, Warehouse

DAY = date(2024, 1, 31)  # the last of its month, so the next day is in another leaf


@pytest.fixture
def url(postgres_url: str) -> str:
    migrate(postgres_url)
    return postgres_url


@pytest.fixture
def warehouse(url: str) -> Iterator[Warehouse]:
    with Warehouse(url) as warehouse:
        yield warehouse


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text).fetchall()


def bars(prices: dict[str, list[Any]], day: date = DAY, step: dict[str, timedelta] | None = None) -> pa.Table:
    """Return bars of some timeframes; `derived` is the source of all but 1m."""
    rows = [
        {
            "open_time": datetime(day.year, day.month, day.day, tzinfo=UTC) + n * timedelta(minutes=1),
            **dict.fromkeys(datasets.get("ohlcv").schema.names[1:], Decimal(price)),
            "trade_count": n,
            "timeframe": timeframe,
            "source": "archive" if timeframe == "1m" else "derived",
        }
        for timeframe, values in prices.items()
        for n, price in enumerate(values)
    ]
    extra = [pa.field("timeframe", pa.string()), pa.field("source", pa.string())]
    return pa.Table.from_pylist(rows, pa.schema([*datasets.get("ohlcv").schema, *extra]))


def load(prices: dict[str, list[Any]], content: str = "v1", symbol: str = "BTC/USDT", day: date = DAY) -> Load:
    derives = "1m" in prices
    return Load(
        "ohlcv",
        "binance",
        "spot",
        symbol,
        f"ohlcv_{next(iter(prices), '1m')}",
        day,
        content,
        bars(prices, day),
        tuple(prices),
        replaces_derived=derives,
    )


def trades(symbol: str, amounts: list[str], content: str = "v1", day: date = DAY) -> Load:
    rows = [
        {
            "trade_time": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=n),
            "trade_id": n,
            "price": Decimal(2),
            "amount": Decimal(amount),
            "quote_amount": Decimal(amount) * 2,
            "side": "buy" if n % 2 else "sell",
        }
        for n, amount in enumerate(amounts)
    ]
    table = pa.Table.from_pylist(rows, datasets.get("trades").schema)
    return Load("trades", "binance", "spot", symbol, "trades", day, content, table)


def closes(warehouse: Warehouse, timeframe: str | None = None, symbol: str = "BTC/USDT", days: int = 2) -> list[float]:
    frame = warehouse.read(
        "ohlcv", Track(Series("binance", "spot", "ohlcv", timeframe), symbol), DAY, DAY + days * ONE_DAY
    )
    return list(frame["close"])


def test_what_is_loaded_is_what_is_read_over_a_month_end(warehouse: Warehouse) -> None:
    after = DAY + ONE_DAY
    assert warehouse.replace([load({"1m": ["1.5", "2.5"]}), load({"1m": ["3"]}, day=after)]) == [2, 1]
    frame = warehouse.read("ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), DAY, after + ONE_DAY)
    assert list(frame["close"]) == [1.5, 2.5, 3.0]
    assert list(frame["open_time"]) == [
        pd.Timestamp("2024-01-31T00:00Z"),
        pd.Timestamp("2024-01-31T00:01Z"),
        pd.Timestamp("2024-02-01T00:00Z"),
    ]
    assert frame["open_time"].dtype == "datetime64[us, UTC]"
    assert frame["close"].dtype == "float64"
    assert frame["trade_count"].dtype == "int64"
    instant = datetime(2024, 1, 31, 0, 1, tzinfo=UTC)
    half_open = warehouse.read(
        "ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), instant, after, columns=["close"]
    )
    assert half_open.to_dict("list") == {"close": [2.5]}


def test_nothing_stored_reads_as_no_rows_of_the_same_types(warehouse: Warehouse) -> None:
    for table in TABLES:
        empty = warehouse.read(table, Track(Series("binance", "spot", table), "BTC/USDT"), DAY, DAY + ONE_DAY)
        assert len(empty) == 0
        assert "object" not in {str(kind) for kind in empty.dtypes}
    warehouse.replace([trades("BTC/USDT", ["1"])])
    full = warehouse.read("trades", Track(Series("binance", "spot", "trades"), "BTC/USDT"), DAY, DAY + ONE_DAY)
    assert full.dtypes.equals(
        warehouse.read("trades", Track(Series("binance", "spot", "trades"), "X/USDT"), DAY, DAY + ONE_DAY).dtypes
    )


def test_the_same_content_again_writes_nothing(warehouse: Warehouse, url: str) -> None:
    text = """SELECT (SELECT array_agg(xmin::text) FROM market.ohlcv), (SELECT xmin FROM collection.warehouse_loads)"""
    warehouse.replace([load({"1m": ["1", "2"]})])
    before = query(url, text)
    assert warehouse.replace([load({"1m": ["1", "2"]})]) == [2]
    assert query(url, text) == before


def test_what_a_table_holds_already_is_known_by_content_until_its_leaf_is_emptied(
    warehouse: Warehouse, url: str
) -> None:
    first, second = load({"1m": ["1", "2"]}), load({"1m": ["3"]}, day=DAY + ONE_DAY)
    warehouse.replace([first, second])

    def held(*loads: Load) -> list[int]:
        wanted = [LoadPlan(*(getattr(one, field.name) for field in fields(LoadPlan))) for one in loads]
        with warehouse.transaction() as connection:
            found = warehouse.rows_held(wanted, connection)
        return [found[plan] for plan in wanted if plan in found]

    assert held(first, second) == [2, 1]
    assert held(load({"1m": ["1", "2"]}, content="v2"), second) == [1]
    assert held(load({"1m": ["1"]}, symbol="ETH/USDT")) == []
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE market.ohlcv_202401")
    assert held(first, second) == [1]
    assert warehouse.replace([first]) == [2]
    assert closes(warehouse) == [1.0, 2.0, 3.0]


def test_new_content_replaces_the_day_and_only_it(warehouse: Warehouse) -> None:
    others = [load({"1m": ["9"]}, symbol="ETH/USDT"), load({"1m": ["3"]}, day=DAY + ONE_DAY)]
    warehouse.replace([load({"1m": ["1", "2"]}), *others])
    warehouse.replace([load({"1m": ["5"]}, "v2")])
    assert closes(warehouse) == [5.0, 3.0]
    assert closes(warehouse, symbol="ETH/USDT") == [9.0]
    assert warehouse.contents(
        "ohlcv", Track(Series.named("binance", "spot", "ohlcv_1m"), "BTC/USDT"), DAY, DAY + ONE_DAY
    ) == {
        DAY: "v2",
        DAY + ONE_DAY: "v1",
    }


def test_a_load_without_rows_empties_the_day(warehouse: Warehouse) -> None:
    warehouse.replace([load({"1m": ["1"]})])
    assert warehouse.replace([replace(load({"1m": ["1"]}, "v2"), rows=bars({}))]) == [0]
    assert closes(warehouse) == []


def test_derived_bars_go_when_their_source_no_longer_gives_them(warehouse: Warehouse) -> None:
    warehouse.replace([load({"1m": ["1"], "5m": ["1"], "1h": ["1"]})])
    warehouse.replace([load({"1m": ["2"], "5m": ["2"]}, "v2")])
    assert (closes(warehouse, "1m"), closes(warehouse, "5m"), closes(warehouse, "1h")) == ([2.0], [2.0], [])


def test_published_bars_take_the_place_of_derived_ones(warehouse: Warehouse) -> None:
    warehouse.replace([load({"1m": ["1"], "1h": ["1"]})])
    published = bars({"1h": ["7"]})
    published = published.set_column(published.num_columns - 1, "source", pa.array(["archive"]))
    warehouse.replace([replace(load({"1h": ["7"]}), rows=published)])
    warehouse.replace([load({"1m": ["2"]}, "v2")])
    assert (closes(warehouse, "1m"), closes(warehouse, "1h")) == ([2.0], [7.0])


@pytest.mark.parametrize("others", [[], ["ETH/USDT"]])
def test_a_day_of_trades_is_replaced_whether_alone_in_its_leaf_or_not(warehouse: Warehouse, others: list[str]) -> None:
    warehouse.replace([trades(symbol, ["1", "2"]) for symbol in ["BTC/USDT", *others]])
    warehouse.replace([trades("BTC/USDT", ["3"], "v2")])
    for symbol, expected in [("BTC/USDT", [3.0]), *((other, [1.0, 2.0]) for other in others)]:
        frame = warehouse.read("trades", Track(Series("binance", "spot", "trades"), symbol), DAY, DAY + ONE_DAY)
        assert list(frame["amount"]) == expected
        assert list(frame["side"]) == ["sell", "buy"][: len(expected)]


def test_emptying_a_leaf_spares_what_another_writer_is_putting_there(warehouse: Warehouse) -> None:
    warehouse.replace([trades("BTC/USDT", ["1"])])
    started = threading.Barrier(2)

    def slowly() -> list[int]:
        started.wait()
        return warehouse.replace([trades("ETH/USDT", ["4"] * 60_000)])

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(slowly)
        started.wait()
        for version in range(12):
            time.sleep(0.02)
            warehouse.replace([trades("BTC/USDT", ["2"], f"v2.{version}")])
        assert other.result() == [60_000]
    eth = warehouse.read("trades", Track(Series("binance", "spot", "trades"), "ETH/USDT"), DAY, DAY + ONE_DAY)
    assert (len(eth), eth["amount"].sum()) == (60_000, 240_000.0)
    assert (
        len(warehouse.read("trades", Track(Series("binance", "spot", "trades"), "BTC/USDT"), DAY, DAY + ONE_DAY)) == 1
    )


def test_a_copy_that_fails_leaves_the_former_days_whole(warehouse: Warehouse) -> None:
    warehouse.replace([load({"1m": ["1", "2"]}), load({"1m": ["3"]}, day=DAY + ONE_DAY)])
    double = pa.concat_tables([bars({"1m": ["8"]}), bars({"1m": ["9"]})])
    with pytest.raises(psycopg.errors.UniqueViolation):
        warehouse.replace([load({"1m": ["5"]}, "v2", day=DAY + ONE_DAY), replace(load({"1m": []}, "v2"), rows=double)])
    assert closes(warehouse) == [1.0, 2.0, 3.0]
    assert warehouse.replace([load({"1m": ["5"]}, "v2")]) == [1]
    assert closes(warehouse) == [5.0, 3.0]


def test_loads_of_a_transaction_that_fails_are_not_there(warehouse: Warehouse) -> None:
    warehouse.replace([load({"1m": ["1"]})])
    with warehouse.transaction() as connection:
        assert warehouse.replace([load({"1m": ["5", "6"]}, "v2")], connection) == [2]
        assert closes(warehouse) == [1.0], "nobody else sees it before the end"
        connection.rollback()
    assert closes(warehouse) == [1.0]
    with warehouse.transaction() as connection:
        warehouse.replace([load({"1m": ["5", "6"]}, "v2")], connection)
    assert closes(warehouse) == [5.0, 6.0]


def test_many_writers_of_one_day_leave_exactly_one_version(url: str) -> None:
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            with Warehouse(url) as mine:
                for turn in range(3):
                    both = [
                        load({"1m": [number] * 50, "5m": [number] * 10}, f"{number}.{turn}", day=day)
                        for day in (DAY, DAY + ONE_DAY)
                    ]
                    mine.replace(both[:: 1 if number % 2 else -1])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Warehouse(url) as warehouse:
        for day in (DAY, DAY + ONE_DAY):
            frame = warehouse.read("ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), day, day + ONE_DAY)
            assert frame.groupby("timeframe").size().to_dict() == {"1m": 50, "5m": 10}
            [content] = warehouse.contents(
                "ohlcv", Track(Series.named("binance", "spot", "ohlcv_1m"), "BTC/USDT"), day, day
            ).values()
            assert set(frame["close"]) == {float(content.partition(".")[0])}


def test_a_new_leaf_does_not_wait_for_readers(warehouse: Warehouse, url: str) -> None:
    warehouse.replace([load({"1m": ["1"]})])
    with psycopg.connect(url) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM market.ohlcv").fetchone()
        loaded = pool.submit(warehouse.replace, [load({"1m": ["2"]}, day=date(2025, 6, 1))])
        try:
            assert loaded.result(timeout=60) == [1]
        finally:
            reader.rollback()


def test_leaves_are_month_day_and_year(warehouse: Warehouse, url: str) -> None:
    funding = pa.Table.from_pylist(
        [
            {
                "funding_time": datetime(2024, 1, 31, 8, 0, 0, 13000, tzinfo=UTC),
                "funding_rate": Decimal("-0.00010001"),
                "funding_interval_hours": 8,
            }
        ],
        datasets.get("funding_rates").schema,
    )
    rates = Load("funding_rates", "binance", "linear", "BTC/USDT:USDT", "funding_rates", DAY, "v1", funding)
    warehouse.replace([load({"1m": ["1"]}), trades("BTC/USDT", ["1"]), rates])
    leaves = query(url, "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
    tables = [name for (name,) in leaves if not name.endswith(("key", "idx"))]
    assert tables == ["market.funding_rates_2024", "market.ohlcv_202401", "market.trades_20240131"]
    frame = warehouse.read(
        "funding_rates", Track(Series("binance", "linear", "funding_rates"), "BTC/USDT:USDT"), DAY, DAY + ONE_DAY
    )
    assert frame.to_dict("records") == [
        {
            "funding_time": pd.Timestamp("2024-01-31T08:00:00.013Z"),
            "funding_rate": -0.00010001,
            "funding_interval_hours": 8,
        }
    ]


@pytest.mark.parametrize("columns", [["cloze"], ["close FROM market.ohlcv; DROP SCHEMA market --"]])
def test_a_column_that_is_not_there_is_named_and_never_reaches_the_server(
    warehouse: Warehouse, columns: list[str]
) -> None:
    with pytest.raises(ConfigError, match="expected some of timeframe, open_time"):
        warehouse.read("ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), DAY, DAY, columns=columns)
    with pytest.raises(ConfigError, match="expected one of agg_trades, funding_rates, ohlcv"):
        warehouse.read("pg_class", Track(Series("binance", "spot", "pg_class"), "BTC/USDT"), DAY, DAY)


@given(st.lists(st.decimals(min_value=-(10**19), max_value=10**20 - 1, places=18), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_digit_survives_and_floats_are_the_nearest(warehouse: Warehouse, prices: list[Decimal]) -> None:
    warehouse.replace([load({"1m": prices}, content=str(prices))])
    exact = warehouse.read(
        "ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), DAY, DAY + ONE_DAY, exact=True
    )
    assert list(exact["volume"]) == prices
    assert closes(warehouse) == [float(price) for price in prices]
