"""Every defect is caught by exactly the checks that are for it, and the evidence names the place.

The last part damages random days of a batch: exactly these fail, and no clean day is blamed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.checks import all_checks, checks_of
from crypto_assets.collection.frames import to_frame
from crypto_assets.collection.validation import blocking, degrading, validate
from crypto_assets.model import DAY, Finding, Partition, Severity, bar_length, days_between
from crypto_assets_tests.synthetic import day_of, series_of

DAY_ONE = date(2024, 3, 1)
DATASETS = [
    ("ohlcv_1m", "spot"),
    ("ohlcv_5m", "spot"),
    ("ohlcv_1h", "linear"),
    ("ohlcv_1d", "spot"),
    ("trades", "spot"),
    ("trades", "linear"),
    ("agg_trades", "spot"),
    ("funding_rates", "linear"),
]
Edit = Callable[[list[dict[str, object]]], list[dict[str, object]]]


def findings_of(
    dataset: str, table: pa.Table, partition: Partition, market_type: str = "spot"
) -> Mapping[str, Finding]:
    (findings,) = validate(series_of(dataset, market_type), [(partition, table)])
    for finding in findings.values():
        json.dumps(dict(finding.evidence))  # goes to the ledger
    return findings


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if not finding.passed}


def edited(table: pa.Table, edit: Edit) -> pa.Table:
    return pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema)


def without(*places: int) -> Edit:
    return lambda rows: [row for place, row in enumerate(rows) if place not in places]


def setting(place: int, **values: object) -> Edit:
    return lambda rows: [row | values if number == place else row for number, row in enumerate(rows)]


def at(minute: int, **more: float) -> datetime:
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=minute, **more)


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_a_clean_day_passes_every_check_of_its_table(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    findings = findings_of(dataset, table, partition, market_type)
    assert set(findings) == {check.name for check in checks_of(table_of(dataset))}
    assert failed(findings) == set()


def table_of(dataset: str) -> str:
    return series_of(dataset).table


def test_each_table_has_the_checks_that_suit_it():
    common = {"ascending_time", "complete", "contract", "inside_day", "unique_key"}
    assert {check.name for check in checks_of("ohlcv")} == common | {"ohlc_consistent"}
    for table in ("trades", "agg_trades", "funding_rates"):
        assert {check.name for check in checks_of(table)} == common
    assert {check.name for check in all_checks() if check.severity is Severity.DEGRADE} == {"complete"}


BAR_DEFECTS: dict[str, tuple[Edit, dict[str, dict[str, object]]]] = {
    "one minute is missing": (
        without(514),
        {"complete": {"expected": 1440, "found": 1439, "missing": 1, "spans": ["08:34"]}},
    ),
    "minutes are missing in three places": (
        without(0, *range(514, 533), 1439),
        {"complete": {"expected": 1440, "found": 1419, "missing": 21, "spans": ["00:00", "08:34–08:52", "23:59"]}},
    ),
    "the second half is missing": (
        without(*range(720, 1440)),
        {"complete": {"expected": 1440, "found": 720, "missing": 720, "spans": ["12:00–23:59"]}},
    ),
    "a row stands twice": (
        lambda rows: [*rows[:11], *rows[10:]],
        {"unique_key": {"doubles": 1, "first": "open_time 1709251800000000"}},
    ),
    "a row stands twice in the place of the next": (
        lambda rows: [*rows[:11], rows[10], *rows[12:]],
        {
            "unique_key": {"doubles": 1, "first": "open_time 1709251800000000"},
            "complete": {"expected": 1440, "found": 1440, "missing": 1, "spans": ["00:11"]},
        },
    ),
    "rows are descending": (
        lambda rows: rows[::-1],
        {
            "ascending_time": {
                "steps_back": 1439,
                "first": "row 1: 2024-03-01T23:58:00.000000 after 2024-03-01T23:59:00.000000",
            }
        },
    ),
    "two rows have changed places": (
        lambda rows: [*rows[:100], rows[101], rows[100], *rows[102:]],
        {
            "ascending_time": {
                "steps_back": 1,
                "first": "row 101: 2024-03-01T01:40:00.000000 after 2024-03-01T01:41:00.000000",
            }
        },
    ),
    "a row of the next day is at the end": (
        lambda rows: [*rows, rows[0] | {"open_time": at(1440)}],
        {"inside_day": {"rows": 1, "first": "row 1440: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"}},
    ),
    "a row of the day before is at the beginning": (
        lambda rows: [rows[0] | {"open_time": at(-1)}, *rows],
        {"inside_day": {"rows": 1, "first": "row 0: 2024-02-29T23:59:00.000000, expected inside 2024-03-01"}},
    ),
    "the last row is one of the next day": (
        setting(1439, open_time=at(1440)),
        {
            "inside_day": {"rows": 1, "first": "row 1439: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"},
            "complete": {"expected": 1440, "found": 1440, "missing": 1, "spans": ["23:59"]},
        },
    ),
    "a minute is off the grid": (
        setting(514, open_time=at(514, seconds=30)),
        {"inside_day": {"rows": 1, "first": "row 514: 2024-03-01T08:34:30.000000, expected inside 2024-03-01"}},
    ),
    "a minute is off the grid by a millisecond": (
        setting(514, open_time=at(514, milliseconds=1)),
        {"inside_day": {"rows": 1, "first": "row 514: 2024-03-01T08:34:00.001000, expected inside 2024-03-01"}},
    ),
    "high is below close": (
        setting(7, open=Decimal(10), high=Decimal("10.5"), low=Decimal(9), close=Decimal(11)),
        {
            "ohlc_consistent": {
                "bars": 1,
                "first": "2024-03-01 00:07:00+00:00: open 10, high 10.5, low 9, close 11",
            }
        },
    ),
    "low is above open": (
        setting(7, open=Decimal(9), high=Decimal(11), low=Decimal(10), close=Decimal(10)),
        {
            "ohlc_consistent": {
                "bars": 1,
                "first": "2024-03-01 00:07:00+00:00: open 9, high 11, low 10, close 10",
            }
        },
    ),
    "a volume is negative": (
        setting(1438, volume=Decimal("-0.5")),
        {
            "contract": {
                "violations": 1,
                "rules": {"volume: greater_than_or_equal_to(0)": 1},
                "first": "row 1438: volume = -0.5, expected greater_than_or_equal_to(0)",
            }
        },
    ),
    "all four prices are zero": (
        setting(0, open=Decimal(0), high=Decimal(0), low=Decimal(0), close=Decimal(0)),
        {
            "contract": {
                "violations": 4,
                "rules": {f"{name}: greater_than(0)": 1 for name in ("open", "high", "low", "close")},
                "first": "row 0: open = 0.0, expected greater_than(0)",
            }
        },
    ),
    "a count of trades is negative": (
        setting(3, trade_count=-1),
        {
            "contract": {
                "violations": 1,
                "rules": {"trade_count: greater_than_or_equal_to(0)": 1},
                "first": "row 3: trade_count = -1, expected greater_than_or_equal_to(0)",
            }
        },
    ),
}


@pytest.mark.parametrize("defect", BAR_DEFECTS)
def test_a_defect_of_bars_is_caught_by_the_checks_that_are_for_it(defect):
    edit, expected = BAR_DEFECTS[defect]
    partition, table = day_of("ohlcv_1m", DAY_ONE)
    findings = findings_of("ohlcv_1m", edited(table, edit), partition)
    assert {name: dict(findings[name].evidence) for name in failed(findings)} == expected
    assert blocking("ohlcv", findings) == sorted(set(expected) - {"complete"})
    assert degrading("ohlcv", findings) == sorted(set(expected) & {"complete"})


@pytest.mark.parametrize(
    ("timeframe", "place", "span"),
    [("1s", 3_661, "01:01:01"), ("5m", 1, "00:05"), ("1h", 23, "23:00"), ("4h", 2, "08:00")],
)
def test_a_missing_bar_of_any_timeframe_is_named_by_its_time(timeframe, place, span):
    partition, table = day_of(f"ohlcv_{timeframe}", DAY_ONE)
    findings = findings_of(
        f"ohlcv_{timeframe}", pa.concat_tables([table.slice(0, place), table.slice(place + 1)]), partition
    )
    expected = DAY // bar_length(timeframe)
    assert failed(findings) == {"complete"}
    assert findings["complete"].evidence == {
        "expected": expected,
        "found": expected - 1,
        "missing": 1,
        "spans": [span],
    }


def test_many_gaps_are_counted_and_the_first_twenty_are_named():
    partition, table = day_of("ohlcv_1m", DAY_ONE)
    evidence = findings_of("ohlcv_1m", edited(table, without(*range(0, 100, 2))), partition)["complete"].evidence
    assert evidence["missing"] == 50
    assert evidence["spans"] == [f"{minute // 60:02}:{minute % 60:02}" for minute in range(0, 40, 2)]


@pytest.mark.parametrize("timeframe", ["3d", "1w", "1mo"])
def test_a_bar_longer_than_a_day_is_one_row_of_the_day_it_opens(timeframe):
    _, table = day_of("ohlcv_1d", DAY_ONE)
    partition = Partition("BTC/USDT", DAY_ONE)
    dataset = f"ohlcv_{timeframe}"
    assert failed(findings_of(dataset, table, partition)) == set()
    assert failed(findings_of(dataset, pa.concat_tables([table, table]), partition)) == {"complete", "unique_key"}
    assert failed(findings_of(dataset, table, Partition("BTC/USDT", date(2024, 3, 2)))) == {"inside_day"}


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_a_day_without_rows_passes_nothing(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    findings = findings_of(dataset, table.slice(0, 0), partition, market_type)
    assert {name: dict(finding.evidence) for name, finding in findings.items()} == {
        check.name: {"rows": 0} for check in checks_of(table_of(dataset))
    }
    assert failed(findings) == set(findings)


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("dataset", ["trades", "agg_trades"])
def test_trades_that_end_in_the_middle_of_the_day_are_not_complete(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    times = table.column("trade_time").to_pylist()
    for cut in (table.num_rows // 2, table.num_rows // 10):
        findings = findings_of(dataset, table.slice(0, cut), partition, market_type)
        assert failed(findings) == {"complete"}
        evidence = findings["complete"].evidence
        assert evidence["silent_after_s"] == (partition.end - times[cut - 1]).total_seconds()
        assert evidence["silent_before_s"] == 0.0
        longest = max(later - earlier for earlier, later in pairwise(times[:cut]))
        assert evidence["longest_silence_inside_s"] == longest.total_seconds()


def test_trades_that_begin_in_the_middle_of_the_day_are_not_complete():
    partition, table = day_of("trades", DAY_ONE)
    rest = table.slice(table.num_rows // 2)
    findings = findings_of("trades", rest, partition)
    assert failed(findings) == {"complete"}
    assert (
        findings["complete"].evidence["silent_before_s"]
        == (rest.column("trade_time")[0].as_py() - partition.start).total_seconds()
    )


def test_a_symbol_that_seldom_trades_may_be_silent_at_the_edges():
    partition, table = day_of("trades", DAY_ONE)
    hours = [at(60 * hour) for hour in (3, 7, 14, 20)]  # 7 hours inside, 3 before, 4 after
    rows = [row | {"trade_time": time} for row, time in zip(table.to_pylist(), hours, strict=False)]
    assert failed(findings_of("trades", pa.Table.from_pylist(rows, schema=table.schema), partition)) == set()


@pytest.mark.realdata
def test_a_recorded_part_of_a_real_day_is_not_complete(realdata):
    from crypto_assets_tests.synthetic import BINANCE

    key = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    table = BINANCE.parse(series_of("trades", "linear"), key, (realdata / "binance_vision" / key).read_bytes())
    findings = findings_of("trades", table, Partition("BTC/USDT:USDT", date(2024, 8, 8)), "linear")
    assert failed(findings) == {"complete"}
    assert 23.8 * 3600 < findings["complete"].evidence["silent_before_s"] < 24 * 3600


@pytest.mark.realdata
@pytest.mark.parametrize("symbol", ["AVAXUSDT", "FILUSDT", "ALGOUSDT"])
def test_real_days_of_bars_pass_even_those_without_volume(realdata, symbol):
    from crypto_assets_tests.synthetic import BINANCE

    folder = f"data/futures/um/daily/klines/{symbol}/1m"
    paths = sorted((realdata / "binance_vision" / folder).glob("*.zip"))
    series = series_of("ohlcv_1m", "linear")
    days = []
    for path in paths:
        day, _ = BINANCE.period(path.name)
        table = BINANCE.parse(series, f"{folder}/{path.name}", path.read_bytes())
        days.append((Partition(f"{symbol[:-4]}/USDT:USDT", day), table))
    assert len(days) > 20
    assert {str(p): failed(f) for (p, _), f in zip(days, validate(series, days), strict=True) if failed(f)} == {}


TRADE_DEFECTS: dict[str, tuple[Edit, dict[str, dict[str, object]]]] = {
    "an id stands twice": (
        lambda rows: [*rows[:6], rows[5], *rows[6:]],
        {"unique_key": {"doubles": 1}},
    ),
    "an id comes back much later": (
        lambda rows: [*rows[:900], rows[900] | {"trade_id": rows[5]["trade_id"]}, *rows[901:]],
        {"unique_key": {"doubles": 1}},
    ),
    "rows are descending": (lambda rows: rows[::-1], {"ascending_time": {}}),
    "a trade of the next day is at the end": (
        lambda rows: [*rows, rows[-1] | {"trade_time": at(1440), "trade_id": 10**9}],
        {"inside_day": {"rows": 1, "first": "row 3000: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"}},
    ),
    "a price is zero": (
        setting(8, price=Decimal(0)),
        {
            "contract": {
                "violations": 1,
                "rules": {"price: greater_than(0)": 1},
                "first": "row 8: price = 0.0, expected greater_than(0)",
            }
        },
    ),
    "an amount is negative": (
        setting(2_999, amount=Decimal(-2)),
        {
            "contract": {
                "violations": 1,
                "rules": {"amount: greater_than(0)": 1},
                "first": "row 2999: amount = -2.0, expected greater_than(0)",
            }
        },
    ),
}


@pytest.mark.parametrize("defect", TRADE_DEFECTS)
def test_a_defect_of_trades_is_caught_by_the_checks_that_are_for_it(defect):
    edit, expected = TRADE_DEFECTS[defect]
    partition, table = day_of("trades", DAY_ONE)
    findings = findings_of("trades", edited(table, edit), partition)
    assert failed(findings) == set(expected)
    for name, evidence in expected.items():
        assert evidence.items() <= findings[name].evidence.items()
    if "unique_key" in expected:
        assert findings["unique_key"].evidence["first"] == f"trade_id {table.column('trade_id')[5].as_py()}"


def test_an_aggregate_that_ends_before_it_begins_breaks_the_contract():
    partition, table = day_of("agg_trades", DAY_ONE)
    findings = findings_of("agg_trades", edited(table, setting(4, first_trade_id=10, last_trade_id=9)), partition)
    assert failed(findings) == {"contract"}
    assert "last_trade_id >= first_trade_id" in findings["contract"].evidence["first"]


def test_an_aggregate_whose_trades_were_removed_is_kept_as_published():
    partition, table = day_of("agg_trades", DAY_ONE)
    removed = edited(table, setting(4, first_trade_id=-1, last_trade_id=-1))
    assert failed(findings_of("agg_trades", removed, partition)) == set()


@pytest.mark.parametrize(
    ("absent", "hours", "missing"), [(0, "08 16", "at 00:00"), (1, "00 16", "after 00:00"), (2, "00 08", "after 08:00")]
)
def test_two_of_three_funding_events_are_not_complete(absent, hours, missing):
    partition, table = day_of("funding_rates", DAY_ONE, "linear")
    findings = findings_of("funding_rates", edited(table, without(absent)), partition, "linear")
    assert failed(findings) == {"complete"}
    assert findings["complete"].evidence == {"events": 2, "hours": hours, "missing": missing}


@pytest.mark.parametrize(
    ("events", "whole"),
    [
        ([(0, 8), (8, 8), (12, 4), (16, 4), (20, 4)], True),
        ([(0, 4), (4, 4), (8, 4), (16, 8)], True),
        ([(0, 4), (4, 4), (12, 4), (16, 4), (20, 4)], False),
        ([(0, 8), (8, 8), (12, 4), (20, 4)], False),
    ],
)
def test_a_day_on_which_the_funding_interval_changes_is_complete_where_no_event_is_missing(events, whole):
    partition, table = day_of("funding_rates", DAY_ONE, "linear")
    first = table.to_pylist()[0]
    rows = [
        first | {"funding_time": partition.start + timedelta(hours=hour), "funding_interval_hours": interval}
        for hour, interval in events
    ]
    changed = pa.Table.from_pylist(rows, schema=table.schema)
    assert failed(findings_of("funding_rates", changed, partition, "linear")) == (set() if whole else {"complete"})


def test_a_funding_rate_of_two_hundred_percent_breaks_the_contract():
    partition, table = day_of("funding_rates", DAY_ONE, "linear")
    findings = findings_of("funding_rates", edited(table, setting(1, funding_rate=Decimal(2))), partition, "linear")
    assert failed(findings) == {"contract"}
    assert findings["contract"].evidence["first"] == "row 1: funding_rate = 2.0, expected in_range(-1, 1)"


def test_a_frame_has_floats_utc_microseconds_and_the_rows_in_their_order():
    _, table = day_of("trades", DAY_ONE)
    frame = to_frame(table)
    assert list(frame.columns) == table.column_names
    assert str(frame["trade_time"].dtype) == "datetime64[us, UTC]"
    assert frame["price"].to_list() == [float(value) for value in table.column("price").to_pylist()]
    assert frame["side"].to_list() == table.column("side").to_pylist()
    assert [time.to_pydatetime() for time in frame["trade_time"]] == table.column("trade_time").to_pylist()
    assert frame["trade_id"].dtype == np.int64


@pytest.mark.parametrize(("dataset", "market_type"), DATASETS)
def test_no_check_changes_the_frame(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    series = series_of(dataset, market_type)
    frame = to_frame(table)
    before = frame.copy(deep=True)
    for check in checks_of(series.table):
        check.run(frame, partition, series)
    pd.testing.assert_frame_equal(frame, before)


def test_a_column_of_another_type_condemns_every_day_of_the_batch():
    days = [day_of("ohlcv_1h", day) for day in days_between(DAY_ONE, date(2024, 3, 3))]
    place = datasets.get("ohlcv").schema.names.index("trade_count")
    wrong = [(p, t.set_column(place, "trade_count", t.column(place).cast(pa.float64()))) for p, t in days]
    for findings in validate(series_of("ohlcv_1h"), wrong):
        assert failed(findings) == {"contract"}
        assert "trade_count" in findings["contract"].evidence["first"]


BATCH = days_between(date(2024, 4, 1), date(2024, 4, 20))
DAMAGES: dict[str, Edit] = {
    "complete": without(3),
    "contract": setting(5, volume=Decimal(-1)),
    "ohlc_consistent": lambda rows: [rows[0] | {"high": rows[0]["low"] - Decimal(1)}, *rows[1:]],
    "unique_key": lambda rows: [*rows[:2], rows[1], *rows[2:]],
    "ascending_time": lambda rows: [rows[1], rows[0], *rows[2:]],
    "inside_day": lambda rows: [*rows, rows[-1] | {"open_time": rows[-1]["open_time"] + timedelta(hours=1)}],
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(BATCH), st.sampled_from([*DAMAGES, "empty"]), max_size=8))
def test_in_a_batch_of_days_exactly_the_damaged_ones_fail_each_for_its_own_defect(damages):
    batch, expected = [], {}
    for day in BATCH:
        partition, table = day_of("ohlcv_1h", day)
        kind = damages.get(day)
        if kind == "empty":
            table = table.slice(0, 0)
            expected[partition] = {check.name for check in checks_of("ohlcv")}
        elif kind:
            table = edited(table, DAMAGES[kind])
            expected[partition] = {kind}
        batch.append((partition, table))
    results = validate(series_of("ohlcv_1h"), batch)
    assert {p: failed(f) for (p, _), f in zip(batch, results, strict=True) if failed(f)} == expected
    for (partition, table), findings in zip(batch, results, strict=True):
        # A day alone is judged as in the batch, evidence included.
        if partition in expected:
            assert findings == findings_of("ohlcv_1h", table, partition)
        if damages.get(partition.day) == "contract":
            assert findings["contract"].evidence["first"].startswith("row 5: volume = -1.0")


def test_two_hundred_clean_days_raise_no_alarm():
    bars = [day_of("ohlcv_1h", day) for day in days_between(date(2024, 1, 1), date(2024, 4, 9))]
    trades = [day_of("trades", day) for day in days_between(date(2024, 1, 1), date(2024, 3, 10))]
    funding = [day_of("funding_rates", day, "linear") for day in days_between(date(2024, 1, 1), date(2024, 1, 30))]
    assert len(bars) + len(trades) + len(funding) == 200
    for dataset, market_type, days in (
        ("ohlcv_1h", "spot", bars),
        ("trades", "spot", trades),
        ("funding_rates", "linear", funding),
    ):
        results = validate(series_of(dataset, market_type), days)
        assert {str(p): failed(f) for (p, _), f in zip(days, results, strict=True) if failed(f)} == {}
