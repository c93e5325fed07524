"""Trades and published bars are compared minute by minute: what differs is named, what the exchange defines is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from crypto_assets.checks.agrees_with_bars import CHECK
from crypto_assets.checks.price_band import CHECK as BAND
from crypto_assets.model import Finding, Partition, Series, days_between
from crypto_assets.sources.binance.rows import read_rows
from crypto_assets_tests.synthetic import day_of, read_file, series_of

DAY = date(2024, 3, 1)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
Edit = Callable[[list[dict]], list[dict]]
CASES = [("trades", "spot"), ("trades", "linear"), ("agg_trades", "spot")]


def same(rows: list[dict]) -> list[dict]:
    return rows


def findings(
    dataset: str = "trades",
    market_type: str = "spot",
    *,
    trades: Edit = same,
    bars: Edit = same,
    day: date = DAY,
    until: datetime | None = None,
) -> tuple[Finding, Finding]:
    """What both checks say of a day of which some trades or bars are edited."""
    series = series_of(dataset, market_type)
    source = "spot" if dataset == "agg_trades" or market_type == "inverse" else market_type
    partition, rows = day_of(dataset, day, source)
    _, published = day_of("ohlcv_1m", day, source)
    rows, published = (
        pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema)
        for edit, table in ((trades, rows), (bars, published))
    )
    built = CHECK.gather(series, [rows.slice(0, 1000), rows.slice(1000)])
    partition = Partition(partition.symbol, day, until)
    result = tuple(check.run(built, published, partition, series) for check in (CHECK, BAND))
    for finding in result:
        json.dumps(dict(finding.evidence))
    return result


def in_minute(row: dict, minute: int) -> bool:
    return (row["trade_time"] - MIDNIGHT) // timedelta(minutes=1) == minute


def without_minute(minute: int) -> Edit:
    return lambda rows: [row for row in rows if not in_minute(row, minute)]


def setting(place: int, **values: object) -> Edit:
    return lambda rows: [row | values if n == place else row for n, row in enumerate(rows)]


def bar(minute: int) -> dict:
    return day_of("ohlcv_1m", DAY)[1].slice(minute, 1).to_pylist()[0]


def plain(value: Decimal | int) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


@pytest.mark.parametrize(("dataset", "market_type"), CASES)
def test_no_clean_day_differs(dataset, market_type):
    for day in days_between(DAY, date(2024, 3, 5)):
        agrees, band = findings(dataset, market_type, day=day)
        assert agrees.passed
        assert agrees.evidence["compared"] == agrees.evidence["agree"] == 1440
        assert agrees.evidence["differ"] == 0
        assert band == Finding(True, {"compared": 1440, "outside": 0})


@pytest.mark.parametrize(
    "column", ["open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"]
)
@pytest.mark.parametrize("dataset", ["trades", "agg_trades"])
def test_the_last_digit_of_any_field_is_seen(dataset, column):
    wrong = bar(514)[column] + Decimal("1e-18") if "quote" not in column else bar(514)[column] + 1
    agrees, _ = findings(dataset, bars=setting(514, **{column: wrong}))
    assert not agrees.passed
    assert (agrees.evidence["compared"], agrees.evidence["agree"], agrees.evidence["differ"]) == (1440, 1439, 1)
    assert agrees.evidence["columns"] == {column: 1}
    assert agrees.evidence["differences"] == [
        {
            "open_time": "2024-03-01 08:34:00",
            "column": column,
            "trades": plain(bar(514)[column]),
            "bars": f"{wrong:f}".rstrip("0").rstrip("."),
        }
    ]


def test_the_trade_count_is_compared_too():
    agrees, _ = findings(bars=setting(7, trade_count=bar(7)["trade_count"] + 1))
    assert agrees.evidence["columns"] == {"trade_count": 1}


def test_one_trade_that_lacks_is_seen_in_its_minute_only():
    agrees, band = findings(trades=lambda rows: [*rows[:1500], *rows[1501:]])
    assert (agrees.passed, agrees.evidence["differ"], band.passed) == (False, 1, True)
    assert {"volume", "quote_volume", "trade_count"} <= agrees.evidence["columns"].keys()
    assert {row["open_time"] for row in agrees.evidence["differences"]} == {
        day_of("trades", DAY)[1].column("trade_time")[1500].as_py().strftime("%Y-%m-%d %H:%M:00")
    }


def test_a_minute_of_trades_without_a_bar_and_the_reverse_are_differences():
    agrees, _ = findings(trades=without_minute(100), bars=lambda rows: rows[:200] + rows[201:])
    assert not agrees.passed
    assert (agrees.evidence["compared"], agrees.evidence["differ"]) == (1440, 2)
    assert (agrees.evidence["no_trades"], agrees.evidence["no_bar"]) == (1, 1)
    shown = agrees.evidence["differences"]
    assert {
        "open_time": "2024-03-01 01:40:00",
        "column": "trade_count",
        "trades": "0",
        "bars": str(bar(100)["trade_count"]),
    } in shown
    assert shown[-1] == {
        "open_time": "2024-03-01 03:20:00",
        "column": "trade_count",
        "trades": str(bar(200)["trade_count"]),
        "bars": "no bar",
    }


SILENT = {"volume": 0, "quote_volume": 0, "trade_count": 0, "taker_buy_volume": 0, "taker_buy_quote_volume": 0}


def test_a_silent_bar_needs_no_trades():
    agrees, band = findings(trades=without_minute(100), bars=setting(100, **SILENT))
    assert agrees.passed
    assert agrees.evidence["compared"] == agrees.evidence["agree"] == 1440
    assert band == Finding(True, {"compared": 1439, "outside": 0})


def test_a_silent_bar_where_trades_are_is_a_difference():
    agrees, _ = findings(bars=setting(100, **SILENT))
    assert agrees.evidence["differ"] == 1
    assert agrees.evidence["columns"].keys() == SILENT.keys()


def test_at_most_fifty_rows_are_shown_and_all_are_counted():
    agrees, band = findings(bars=lambda rows: [row | {"low": row["high"] * 2} for row in rows])
    assert agrees.evidence["differ"] == agrees.evidence["columns"]["low"] == 1440
    assert len(agrees.evidence["differences"]) == 50
    assert band.evidence["outside"] == 1440
    assert len(band.evidence["examples"]) == 50


def test_a_day_that_is_not_over_is_compared_as_far_as_bars_reach():
    agrees, band = findings(bars=lambda rows: rows[:300], until=MIDNIGHT + timedelta(hours=6))
    assert agrees == Finding(True, {"compared": 300, "agree": 300, "differ": 0})
    assert band.evidence["compared"] == 300
    agrees, _ = findings(
        until=MIDNIGHT + timedelta(hours=2, seconds=30),
        trades=lambda rows: [r for r in rows if r["trade_time"] < MIDNIGHT + timedelta(hours=2, seconds=30)],
    )
    assert agrees == Finding(True, {"compared": 120, "agree": 120, "differ": 0})


def test_without_bars_nothing_is_judged():
    for finding in findings(bars=lambda rows: []):
        assert finding.passed
        assert not finding.judged


# What the exchange defines otherwise, of aggregate trades only.


def test_quote_volumes_of_aggregates_may_differ_by_the_rounding_of_each_trade():
    near = bar(60)["quote_volume"] + bar(60)["trade_count"] * Decimal("1e-8")
    far = near + Decimal("1e-9")
    assert findings("agg_trades", bars=setting(60, quote_volume=near))[0].passed
    assert not findings("agg_trades", bars=setting(60, quote_volume=far))[0].passed
    assert not findings("trades", bars=setting(60, quote_volume=near))[0].passed


def test_base_volumes_of_inverse_trades_may_differ_by_the_last_digit_of_the_bars_for_each_trade():
    step = Decimal("1e-8")
    precise = setting(0, volume=bar(0)["volume"] + step)  # so the bars have eight digits
    near = bar(60)["volume"] + bar(60)["trade_count"] * step

    def judged(market_type: str, volume: Decimal) -> Finding:
        return findings(market_type=market_type, bars=lambda rows: setting(60, volume=volume)(precise(rows)))[0]

    assert judged("inverse", near).evidence["amount_tolerance"] == "0.00000001 a trade"
    assert judged("inverse", near).passed
    assert not judged("inverse", near + step / 10).passed
    assert not judged("spot", near).passed


def test_bars_of_an_inverse_contract_without_any_volume_are_a_difference():
    def empty(rows: list[dict]) -> list[dict]:
        return [row | {"volume": Decimal(0)} for row in rows]

    found = findings(market_type="inverse", bars=empty)[0]
    assert found.evidence["amount_tolerance"] == "0.0001 a trade"
    assert not found.passed


def crossing(rows: list[dict], amount: Decimal = Decimal("0.00001")) -> list[dict]:
    """An aggregate of minute 99 whose last trade belongs to minute 100."""
    price = rows[99]["close"]
    moved = {"volume": amount, "quote_volume": amount * price, "trade_count": 1}
    one, two = dict(rows[99]), dict(rows[100])
    for name, value in moved.items():
        one[name] -= value
        two[name] += value
    two |= {"open": price, "high": max(price, two["high"]), "low": min(price, two["low"])}
    return [*rows[:99], one, two, *rows[101:]]


def test_an_aggregate_of_futures_may_lie_across_two_minutes():
    agrees, _ = findings("agg_trades", "linear", bars=crossing)
    assert agrees.passed
    assert agrees.evidence["crossing"] == 2
    assert agrees.evidence["compared"] == agrees.evidence["agree"] == 1440


@pytest.mark.parametrize(("dataset", "market_type"), CASES)
def test_nothing_else_may(dataset, market_type):
    agrees, _ = findings(dataset, market_type, bars=crossing)
    assert not agrees.passed
    assert agrees.evidence["differ"] == 2


@pytest.mark.parametrize("minute", [100, 105])
def test_an_amount_that_lacks_for_good_is_no_crossing(minute):
    lost = lambda rows: setting(minute, volume=rows[minute]["volume"] + 1)(crossing(rows))  # noqa: E731
    agrees, _ = findings("agg_trades", "linear", bars=lost)
    assert not agrees.passed
    assert agrees.evidence["differ"] == (2 if minute == 100 else 1)


def test_amounts_that_cancel_out_far_apart_are_no_crossing():
    def moved(rows):
        return setting(50, volume=rows[50]["volume"] + 1)(setting(60, volume=rows[60]["volume"] - Decimal("0.5"))(rows))

    agrees, _ = findings("agg_trades", "linear", bars=moved)
    assert (agrees.passed, agrees.evidence["differ"], agrees.evidence["crossing"]) == (False, 2, 0)


def test_futures_aggregates_may_name_hidden_trades_and_spot_ones_not():
    fewer = setting(30, trade_count=bar(30)["trade_count"] - 1)
    agrees, _ = findings("agg_trades", "linear", bars=fewer)
    assert (agrees.passed, agrees.evidence["hidden_ids"]) == (True, 1)
    assert not findings("agg_trades", "spot", bars=fewer)[0].passed
    more = setting(30, trade_count=bar(30)["trade_count"] + 1)
    assert not findings("agg_trades", "linear", bars=more)[0].passed


# The band.


def test_a_price_outside_its_bar_is_shown_with_the_bar():
    place = next(n for n, row in enumerate(day_of("trades", DAY)[1].to_pylist()) if in_minute(row, 60))
    price = bar(60)["high"] + Decimal("0.01")
    _, band = findings(trades=setting(place, price=price))
    assert band == Finding(
        False,
        {
            "compared": 1440,
            "outside": 1,
            "examples": [
                {
                    "open_time": "2024-03-01 01:00:00",
                    "lowest": band.evidence["examples"][0]["lowest"],
                    "highest": plain(price),
                    "low": plain(bar(60)["low"]),
                    "high": plain(bar(60)["high"]),
                }
            ],
        },
    )
    low = bar(60)["low"] - Decimal("1e-18")
    assert findings(trades=setting(place, price=low))[1].evidence["outside"] == 1


def test_both_checks_look_at_the_same_bars_and_are_asked_for_the_1m_series():
    assert CHECK.gather is BAND.gather
    for check in (CHECK, BAND):
        assert check.counterparts(series_of("agg_trades", "linear")) == (Series("binance", "linear", "ohlcv", "1m"),)


@pytest.mark.realdata
def test_recorded_futures_trades_make_the_bars_that_binance_published(realdata: Path):
    series, day = series_of("trades", "linear"), date(2024, 8, 8)
    key = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    rows = read_file(series, key, (realdata / "binance_vision" / key).read_bytes())
    content = (realdata / "loose" / "BTCUSDT-1m-2024-08.slice.csv").read_bytes()
    bars = read_rows(series_of("ohlcv_1m", "linear"), "slice.csv", content)
    assert (rows.num_rows, bars.num_rows) > (1000, 6)
    since, end = datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, tzinfo=UTC)
    bars = bars.filter(pa.array([since <= time < end for time in bars.column("open_time").to_pylist()]))
    built = CHECK.gather(series, (rows.slice(n, 777) for n in range(0, rows.num_rows, 777)))
    partition = Partition("BTC/USDT:USDT", day)
    last = built.filter(pa.array([time >= since for time in built.column("open_time").to_pylist()]))
    assert last.equals(bars)
    assert last.num_rows == 5
    assert CHECK.run(last, bars, partition, series) == Finding(True, {"compared": 5, "agree": 5, "differ": 0})
    assert BAND.run(built, bars, partition, series) == Finding(True, {"compared": 5, "outside": 0})
    # The recording begins inside the minute 23:54.
    whole = CHECK.run(built, bars, partition, series)
    assert (whole.passed, whole.evidence["no_bar"], whole.evidence["agree"]) == (False, built.num_rows - 5, 5)
