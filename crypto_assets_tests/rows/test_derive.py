"""Derived rows equal a slow reference in Decimal, the sandbox's own bars, and what Binance published."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.model import bar_length, days_between
from crypto_assets.rows.derive import STATISTICS_SCHEMA, longer_bars, trade_statistics
from crypto_assets.rows.timeframes import BUILT_FROM, DERIVED_TIMEFRAMES
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets_tests.synthetic import day_of, key_of, read_file, series_of

BARS = datasets.get("ohlcv").schema
TRADES = datasets.get("trades").schema
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SUMS = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
Row = dict[str, object]


def open_of(time: datetime, length: timedelta) -> datetime:
    """Return the opening of the bar that holds an instant."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (time - epoch) // length * length


def built_slowly(minutes: Iterable[Row], timeframe: str) -> list[Row]:
    """Return the bars whose minutes are all there, built one by one in exact arithmetic."""
    length = bar_length(timeframe)
    groups: dict[datetime, list[Row]] = defaultdict(list)
    for minute in minutes:
        groups[open_of(minute["open_time"], length)].append(minute)
    with localcontext() as context:
        context.prec = 80
        bars = []
        for opening, group in groups.items():
            if len(group) == length // MINUTE:
                priced = [row for row in group if row["trade_count"] or row["volume"]] or group
                bars.append(
                    {
                        "open_time": opening,
                        "open": priced[0]["open"],
                        "high": max(row["high"] for row in priced),
                        "low": min(row["low"] for row in priced),
                        "close": priced[-1]["close"],
                        **{name: sum(row[name] for row in group) for name in SUMS},
                    }
                )
        return bars


def statistics_slowly(trades: Iterable[Row]) -> list[Row]:
    groups: dict[datetime, list[Row]] = defaultdict(list)
    for trade in trades:
        groups[open_of(trade["trade_time"], MINUTE)].append(trade)
    result = []
    with localcontext() as context:
        context.prec = 120
        for opening, group in groups.items():
            amount = sum(trade["amount"] for trade in group)
            quote = sum(trade["quote_amount"] for trade in group)
            result.append(
                {
                    "open_time": opening,
                    "vwap": (quote / amount).quantize(Decimal("1e-18"), ROUND_HALF_EVEN),
                    "buy_volume": sum((t["amount"] for t in group if t["side"] == "buy"), Decimal(0)),
                    "sell_volume": sum((t["amount"] for t in group if t["side"] == "sell"), Decimal(0)),
                    "quote_volume": quote,
                    "trade_count": len(group),
                    "largest_trade": max(trade["amount"] for trade in group),
                }
            )
    return result


def number(most_digits: int, least: int = 0) -> st.SearchStrategy[Decimal]:
    """Numbers with up to 18 decimals, of any magnitude up to `most_digits` digits before the point."""
    units = st.integers(0, most_digits + 18).flatmap(lambda digits: st.integers(least, 10**digits))
    return units.map(lambda n: Decimal(n).scaleb(-18))


@st.composite
def minute_bars(draw: st.DrawFn, day: datetime) -> pa.Table:
    """Some spans of minutes of one day; prices and volumes of any magnitude, those of wei tokens and of PEPE too."""
    spans = draw(st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 130)), max_size=4))
    minutes = sorted({m for start, length in spans for m in range(start, min(1440, start + length))})
    pool = draw(st.lists(number(15, least=1), min_size=1, max_size=12))
    shift = draw(st.integers(0, 100))
    rows = []
    for place, minute in enumerate(minutes):
        a, b, c, d, e = (pool[(place * step + shift) % len(pool)] for step in (1, 3, 5, 7, 11))
        rows.append(
            {
                "open_time": day + minute * MINUTE,
                "open": a,
                "high": max(a, b, c),
                "low": min(a, b, c),
                "close": b,
                "volume": d,
                "quote_volume": e,
                "trade_count": (place * 7919 + shift) % 100_000,
                "taker_buy_volume": d / 2 if d == d.quantize(Decimal(1)) else d,
                "taker_buy_quote_volume": e,
            }
        )
    return pa.Table.from_pylist(rows, schema=BARS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(
        st.integers(0, 3).flatmap(lambda number: minute_bars(MIDNIGHT + timedelta(days=number))), min_size=1, max_size=5
    ),
    st.sets(st.sampled_from(list(BUILT_FROM)), min_size=1),
)
def test_longer_bars_equal_the_slow_reference_for_any_days_gaps_and_magnitudes(days, wanted):
    built = longer_bars(days, wanted)
    assert len(built) == len(days)
    for day, bars in zip(days, built, strict=True):
        assert set(bars) == wanted
        for timeframe, table in bars.items():
            assert table.schema == BARS
            assert table.to_pylist() == built_slowly(day.to_pylist(), timeframe)


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("day", [date(2024, 3, 1), date(2024, 12, 31)])
def test_built_bars_equal_the_published_ones_in_every_column(market_type, day):
    _, minutes = day_of("ohlcv_1m", day, market_type)
    (built,) = longer_bars([minutes], DERIVED_TIMEFRAMES)
    assert {timeframe: table.num_rows for timeframe, table in built.items()} == {
        "5m": 288,
        "15m": 96,
        "30m": 48,
        "1h": 24,
        "4h": 6,
        "1d": 1,
    }
    for timeframe, table in built.items():
        _, published = day_of(f"ohlcv_{timeframe}", day, market_type)
        assert table.equals(published), timeframe


def test_on_a_thin_market_built_bars_still_equal_the_published_ones():
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 3, 1), date(2024, 3, 2), trades_per_day=300)

    def published(dataset: str) -> pa.Table:
        series = series_of(dataset)
        key = key_of(series, "BTC/USDT", date(2024, 3, 2))
        return read_file(series, key, archive.read(key))

    minutes = published("ohlcv_1m")
    silent = [count == 0 for count in minutes.column("trade_count").to_pylist()]
    assert 1000 < sum(silent) < 1440
    (built,) = longer_bars([minutes], DERIVED_TIMEFRAMES)
    for timeframe, table in built.items():
        assert table.equals(published(f"ohlcv_{timeframe}")), timeframe


def without(table: pa.Table, *minutes: int) -> pa.Table:
    return table.filter(pa.array([minute not in minutes for minute in range(table.num_rows)]))


def times(table: pa.Table) -> list[str]:
    return [time.strftime("%H:%M") for time in table.column("open_time").to_pylist()]


def test_a_bar_with_a_missing_minute_is_left_out_in_every_timeframe_that_holds_it():
    _, minutes = day_of("ohlcv_1m", date(2024, 3, 1))
    (whole,) = longer_bars([minutes], DERIVED_TIMEFRAMES)
    (built,) = longer_bars([without(minutes, 514)], DERIVED_TIMEFRAMES)
    left_out = {t: [time for time in times(whole[t]) if time not in times(built[t])] for t in DERIVED_TIMEFRAMES}
    assert left_out == {
        "5m": ["08:30"],
        "15m": ["08:30"],
        "30m": ["08:30"],
        "1h": ["08:00"],
        "4h": ["08:00"],
        "1d": ["00:00"],
    }
    for timeframe in DERIVED_TIMEFRAMES:
        kept = [
            row for row in whole[timeframe].to_pylist() if row["open_time"].strftime("%H:%M") not in left_out[timeframe]
        ]
        assert built[timeframe].to_pylist() == kept


def test_a_day_of_which_every_bar_lacks_a_minute_gives_no_bars_and_no_error():
    _, minutes = day_of("ohlcv_1m", date(2024, 3, 1))
    (built,) = longer_bars([without(minutes, *range(0, 1440, 5))], DERIVED_TIMEFRAMES)
    assert {timeframe: table.num_rows for timeframe, table in built.items()} == dict.fromkeys(DERIVED_TIMEFRAMES, 0)


def test_empty_days_between_others_stay_empty():
    _, minutes = day_of("ohlcv_1m", date(2024, 3, 1))
    empty = minutes.slice(0, 0)
    for days in ([empty], [empty, empty], [empty, minutes, empty, minutes, empty]):
        built = longer_bars(days, ["1h", "1d"])
        assert [bars["1h"].num_rows for bars in built] == [day.num_rows // 60 for day in days]
        assert [bars["1d"].num_rows for bars in built] == [day.num_rows // 1440 for day in days]


def test_several_symbols_and_days_in_one_call_do_not_mix():
    wanted = ("5m", "1h", "1d")
    days = [
        (day, base)
        for day in days_between(date(2024, 3, 1), date(2024, 3, 3))
        for base in ("BTC", "ETH")  # both symbols of one day stand beside each other
    ]
    minutes = [day_of("ohlcv_1m", day, base=base)[1] for day, base in days]
    minutes[3] = without(minutes[3], 0, 700, 1439)  # ETH of the second day
    built = longer_bars(minutes, wanted)
    for place, (day, base) in enumerate(days):
        for timeframe in wanted:
            _, published = day_of(f"ohlcv_{timeframe}", day, base=base)
            if place != 3:
                assert built[place][timeframe].equals(published), (day, base, timeframe)
    assert times(built[3]["1h"]) == [f"{hour:02}:00" for hour in range(24) if hour not in (0, 11, 23)]
    assert built[3]["1d"].num_rows == 0


def test_half_a_day_of_one_symbol_is_not_completed_by_the_other():
    _, btc = day_of("ohlcv_1m", date(2024, 3, 1), base="BTC")
    _, eth = day_of("ohlcv_1m", date(2024, 3, 1), base="ETH")
    # The first ends where the second goes on: at minute 722, inside one 5m, 15m, 30m, 1h and 4h bar.
    first, second = longer_bars([btc.slice(0, 722), eth.slice(722)], DERIVED_TIMEFRAMES)
    assert times(first["5m"])[-1] == "11:55"
    assert times(second["5m"])[0] == "12:05"
    assert times(first["4h"]) == ["00:00", "04:00", "08:00"]
    assert times(second["4h"]) == ["16:00", "20:00"]
    assert first["1d"].num_rows == second["1d"].num_rows == 0


def test_only_the_wanted_timeframes_are_returned_and_no_wish_gives_none():
    _, minutes = day_of("ohlcv_1m", date(2024, 3, 1))
    (built,) = longer_bars([minutes], ["4h"])
    assert list(built) == ["4h"]
    assert built["4h"].equals(day_of("ohlcv_4h", date(2024, 3, 1))[1])
    assert longer_bars([minutes], []) == [{}]


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_trade_statistics_equal_the_published_bars_of_the_same_minutes(market_type):
    _, trades = day_of("trades", date(2024, 3, 1), market_type)
    statistics = trade_statistics(trades)
    assert statistics.schema == STATISTICS_SCHEMA
    bars = {row["open_time"]: row for row in day_of("ohlcv_1m", date(2024, 3, 1), market_type)[1].to_pylist()}
    rows = statistics.to_pylist()
    assert [row["open_time"] for row in rows] == list(bars)  # the synthetic market trades in every minute
    for row in rows:
        bar = bars[row["open_time"]]
        assert row["buy_volume"] + row["sell_volume"] == bar["volume"]
        assert row["buy_volume"] == bar["taker_buy_volume"]
        assert row["quote_volume"] == bar["quote_volume"]
        assert row["trade_count"] == bar["trade_count"]
        assert bar["low"] <= row["vwap"] <= bar["high"]
    assert rows == statistics_slowly(trades.to_pylist())


@st.composite
def trade_tables(draw: st.DrawFn) -> pa.Table:
    gaps = draw(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=40))  # microseconds
    rows, time = [], MIDNIGHT
    for place, gap in enumerate(gaps):
        time += timedelta(microseconds=gap)
        rows.append(
            {
                "trade_time": time,
                "trade_id": place,
                "price": Decimal(1),
                "amount": draw(number(14, least=1)),
                "quote_amount": draw(number(14)),
                "side": draw(st.sampled_from(["buy", "sell"])),
            }
        )
    return pa.Table.from_pylist(rows, schema=TRADES)


def fits(rows: Sequence[Row]) -> bool:
    return all(row["vwap"] < Decimal(10) ** 20 for row in rows)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trade_tables())
def test_trade_statistics_equal_the_slow_reference_for_any_trades(trades):
    expected = statistics_slowly(trades.to_pylist())
    if fits(expected):
        assert trade_statistics(trades).to_pylist() == expected


def test_the_average_price_is_exact_where_float64_is_not():
    amounts = [Decimal("123456789012345.000000000000000001"), Decimal("0.000000000000000003")]
    trades = pa.Table.from_pylist(
        [
            {
                "trade_time": MIDNIGHT + timedelta(seconds=place),
                "trade_id": place,
                "price": Decimal("0.1"),
                "amount": amount,
                "quote_amount": Decimal("12345678901234.5") if place == 0 else Decimal("1e-18"),
                "side": ("buy", "sell")[place],
            }
            for place, amount in enumerate(amounts)
        ],
        schema=TRADES,
    )
    (row,) = trade_statistics(trades).to_pylist()
    assert row["buy_volume"] == amounts[0]
    assert row["sell_volume"] == amounts[1]
    assert row["largest_trade"] == amounts[0]
    assert row["quote_volume"] == Decimal("12345678901234.500000000000000001")
    assert row["vwap"] == Decimal("0.100000000000000000")


def test_no_trades_have_no_statistics():
    statistics = trade_statistics(TRADES.empty_table())
    assert statistics.schema == STATISTICS_SCHEMA
    assert statistics.num_rows == 0


@pytest.mark.realdata
def test_real_trades_rebuild_the_bars_that_binance_published(realdata: Path):
    key = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    trades = read_file(series_of("trades", "linear"), key, (realdata / "binance_vision" / key).read_bytes())
    statistics = {row["open_time"]: row for row in trade_statistics(trades).to_pylist()}
    with (realdata / "loose" / "BTCUSDT-1m-2024-08.slice.csv").open() as file:
        bars = {datetime.fromtimestamp(int(row[0]) / 1000, UTC): row for row in csv.reader(file) if row[0].isdigit()}
    compared = [datetime(2024, 8, 8, 23, minute, tzinfo=UTC) for minute in range(55, 60)]
    for minute in compared:
        row, bar = statistics[minute], bars[minute]
        assert row["buy_volume"] + row["sell_volume"] == Decimal(bar[5])
        assert row["quote_volume"] == Decimal(bar[7])
        assert row["trade_count"] == int(bar[8])
        assert row["buy_volume"] == Decimal(bar[9])
        bought = [
            t["quote_amount"]
            for t in trades.to_pylist()
            if t["side"] == "buy" and minute <= t["trade_time"] < minute + MINUTE
        ]
        assert sum(bought) == Decimal(bar[10])
    # The first recorded minute is cut, so it must not look whole.
    assert statistics[datetime(2024, 8, 8, 23, 54, tzinfo=UTC)]["trade_count"] < int(
        bars[datetime(2024, 8, 8, 23, 54, tzinfo=UTC)][8]
    )


@pytest.mark.realdata
def test_real_minutes_make_the_hours_that_a_slow_reference_makes(realdata: Path):
    key = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip"
    minutes = read_file(series_of("ohlcv_1m"), key, (realdata / "binance_vision" / key).read_bytes())
    (built,) = longer_bars([minutes], DERIVED_TIMEFRAMES)
    for timeframe, table in built.items():
        assert table.to_pylist() == built_slowly(minutes.to_pylist(), timeframe)
        assert table.num_rows == timedelta(days=1) // bar_length(timeframe)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1439), st.integers(1, 1440), st.none() | st.integers(0, 1439))
def test_where_a_symbol_begins_or_ends_in_a_day_its_longer_bars_are_made_of_what_lies_inside(since, until, lost):
    since, until = sorted((since, until)) if since != until else (since, since + 1)
    _, minutes = day_of("ohlcv_1m", date(2024, 3, 1))
    midnight = minutes.column("open_time")[0].as_py()
    inside = minutes.slice(since, until - since)
    kept = without(inside, lost - since) if lost is not None and since <= lost < until else inside
    life = (midnight + since * MINUTE if since else None, midnight + until * MINUTE if until < 1440 else None)
    whole, edge, other = longer_bars([minutes, kept, minutes], DERIVED_TIMEFRAMES, [(None, None), life, (None, None)])
    assert whole == other == longer_bars([minutes], DERIVED_TIMEFRAMES)[0]
    for timeframe in DERIVED_TIMEFRAMES:
        length = bar_length(timeframe)
        groups: dict[datetime, list[Row]] = defaultdict(list)
        for row in inside.to_pylist():
            groups[open_of(row["open_time"], length)].append(row)
        left_out = {open_of(midnight + lost * MINUTE, length)} if kept is not inside else set()
        expected = [
            {
                "open_time": opening,
                "open": rows[0]["open"],
                "high": max(row["high"] for row in rows),
                "low": min(row["low"] for row in rows),
                "close": rows[-1]["close"],
                **{name: sum(row[name] for row in rows) for name in SUMS},
            }
            for opening, rows in groups.items()
            if opening not in left_out
        ]
        assert edge[timeframe].to_pylist() == expected, timeframe
