"""What a stored day gives to the warehouse."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from crypto_assets.model import Partition
from crypto_assets.rows.derive import longer_bars, trade_statistics
from crypto_assets.rows.loads import LoadPlan, StoredDay, loads, plans, warehouse_tables
from crypto_assets.rows.timeframes import DERIVED_TIMEFRAMES
from crypto_assets_tests.synthetic import day_of, series_of

DAY, NEXT = date(2024, 3, 1), date(2024, 3, 2)


def stored(dataset: str, day: date = DAY, base: str = "BTC", sha256: str = "aa", source: str = "archive") -> StoredDay:
    partition, table = day_of(dataset, day, base=base)
    return StoredDay(partition, table, sha256, source)


def bars_in(rows: pa.Table, timeframe: str) -> pa.Table:
    """Return the bars of one timeframe in a load, in the columns of `ohlcv`."""
    kept = rows.filter(pc.equal(rows.column("timeframe"), timeframe))
    return kept.drop_columns(["timeframe", "source"])


def sources_in(rows: pa.Table) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for timeframe, source in zip(rows.column("timeframe").to_pylist(), rows.column("source").to_pylist(), strict=True):
        found.setdefault(timeframe, set()).add(source)
    return found


def test_a_series_feeds_the_tables_that_suit_it():
    assert warehouse_tables(series_of("ohlcv_1m")) == ("ohlcv",)
    assert warehouse_tables(series_of("trades")) == ("trade_statistics_1m",)
    assert warehouse_tables(series_of("trades"), ["trades"]) == ("trades",)
    assert warehouse_tables(series_of("trades"), ["trades", "trade_statistics_1m"]) == ("trades", "trade_statistics_1m")
    assert warehouse_tables(series_of("trades"), ["trade_statistics_1m"]) == ("trade_statistics_1m",)
    assert warehouse_tables(series_of("trades"), ["agg_trades"]) == ()
    assert warehouse_tables(series_of("ohlcv_1m"), ["ohlcv_1h"]) == ()
    assert warehouse_tables(series_of("agg_trades")) == ()
    assert warehouse_tables(series_of("agg_trades"), ["agg_trades"]) == ("agg_trades",)
    assert warehouse_tables(series_of("funding_rates", "linear")) == ("funding_rates",)


def test_a_day_of_minutes_gives_its_rows_and_every_longer_bar():
    day = stored("ohlcv_1m")
    (load,) = loads(series_of("ohlcv_1m"), [day], ["ohlcv"], {"BTC/USDT": DERIVED_TIMEFRAMES})
    assert (load.table, load.exchange, load.market_type) == ("ohlcv", "binance", "spot")
    assert (load.symbol, load.dataset, load.day) == ("BTC/USDT", "ohlcv_1m", DAY)
    assert load.timeframes == ("1m", *DERIVED_TIMEFRAMES)
    assert load.replaces_derived
    assert load.content == "aa/archive/derived-1 5m 15m 30m 1h 4h 1d"
    assert sources_in(load.rows) == {"1m": {"archive"}} | {name: {"derived"} for name in DERIVED_TIMEFRAMES}
    assert bars_in(load.rows, "1m").equals(day.rows)
    (built,) = longer_bars([day.rows], DERIVED_TIMEFRAMES)
    for timeframe in DERIVED_TIMEFRAMES:
        assert bars_in(load.rows, timeframe).equals(built[timeframe])


def test_only_the_timeframes_that_a_symbol_asks_for_are_built():
    built = {"BTC/USDT": ("5m", "15m", "30m", "4h"), "ETH/USDT": DERIVED_TIMEFRAMES}
    days = [stored("ohlcv_1m", base="BTC"), stored("ohlcv_1m", base="ETH"), stored("ohlcv_1m", NEXT, "BTC")]
    found = loads(series_of("ohlcv_1m"), days, ["ohlcv"], built)
    assert [(load.symbol, load.day) for load in found] == [
        ("BTC/USDT", DAY),
        ("ETH/USDT", DAY),
        ("BTC/USDT", NEXT),
    ]
    assert [load.timeframes for load in found] == [
        ("1m", "5m", "15m", "30m", "4h"),
        ("1m", *DERIVED_TIMEFRAMES),
        ("1m", "5m", "15m", "30m", "4h"),
    ]
    assert found[0].content == "aa/archive/derived-1 5m 15m 30m 4h"
    for load, (day, base) in zip(found, [(DAY, "BTC"), (DAY, "ETH"), (NEXT, "BTC")], strict=True):
        assert set(sources_in(load.rows)) == set(load.timeframes)
        assert bars_in(load.rows, "4h").equals(day_of("ohlcv_4h", day, base=base)[1])


def test_no_derived_timeframes_give_the_minutes_alone_and_replace_what_was_built_before():
    day = stored("ohlcv_1m")
    (load,) = loads(series_of("ohlcv_1m"), [day], ["ohlcv"], {"BTC/USDT": ()})
    assert (load.timeframes, load.replaces_derived, load.content) == (("1m",), True, "aa/archive/derived-1 ")
    assert bars_in(load.rows, "1m").equals(day.rows)
    assert sources_in(load.rows) == {"1m": {"archive"}}


def test_hours_as_published_give_their_own_rows_only():
    (load,) = loads(series_of("ohlcv_1h"), [stored("ohlcv_1h", source="rest")], ["ohlcv"], {})
    assert (load.timeframes, load.replaces_derived, load.content) == (("1h",), False, "aa/rest")
    assert sources_in(load.rows) == {"1h": {"rest"}}
    assert bars_in(load.rows, "1h").equals(day_of("ohlcv_1h", DAY)[1])


def test_a_day_that_lacks_a_minute_in_every_bar_replaces_what_was_built_before_by_nothing():
    day = stored("ohlcv_1m")
    gappy = day.rows.filter(pa.array([minute % 5 != 2 for minute in range(1440)]))
    (load,) = loads(
        series_of("ohlcv_1m"),
        [StoredDay(day.partition, gappy, "bb", "archive")],
        ["ohlcv"],
        {"BTC/USDT": DERIVED_TIMEFRAMES},
    )
    assert set(sources_in(load.rows)) == {"1m"}
    assert load.timeframes == ("1m", *DERIVED_TIMEFRAMES)
    assert load.replaces_derived


def test_trades_give_statistics_and_where_asked_for_their_own_rows():
    day = stored("trades")
    statistics, rows = loads(series_of("trades"), [day], ["trade_statistics_1m", "trades"], {})
    assert (statistics.table, statistics.content) == ("trade_statistics_1m", "aa/statistics-1")
    assert statistics.rows.equals(trade_statistics(day.rows))
    assert (rows.table, rows.content) == ("trades", "aa")
    assert rows.rows.equals(day.rows)
    assert (rows.timeframes, rows.replaces_derived) == ((), False)


def test_no_table_or_no_day_gives_no_load():
    assert loads(series_of("agg_trades"), [stored("agg_trades")], [], {}) == []
    assert loads(series_of("ohlcv_1m"), [], ["ohlcv"], {}) == []


@pytest.mark.parametrize(
    ("dataset", "tables", "source"),
    [
        ("ohlcv_1m", ["ohlcv"], "archive"),
        ("ohlcv_1m", ["ohlcv"], "rest"),
        ("ohlcv_1h", ["ohlcv"], "rest"),
        ("trades", ["trades", "trade_statistics_1m"], "archive"),
    ],
)
def test_what_is_planned_is_what_is_loaded(dataset: str, tables: list[str], source: str) -> None:
    cut = Partition("BTC/USDT", DAY).start + timedelta(hours=3)
    days = [stored(dataset, DAY, source=source), stored(dataset, NEXT, sha256="bb", source=source)]
    days.append(replace(days[0], sha256="cc", life=(cut, None)))
    built = {"BTC/USDT": ("5m", "15m", "30m", "4h", "1d")}
    planned = plans(series_of(dataset), days, tables, built)
    loaded = loads(series_of(dataset), days, tables, built)
    names = [field.name for field in fields(LoadPlan)]
    assert [[getattr(one, name) for name in names] for one in planned] == [
        [getattr(one, name) for name in names] for one in loaded
    ]
    assert len({plan.content for plan in planned}) == len(days) * len(tables)
