"""Of a batch of days exactly the damaged ones fail, each for its own defect, and no clean day is blamed."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.checks import checks_of
from crypto_assets.engine.publication.profile_fold import profile_of
from crypto_assets.engine.publication.validation import validate
from crypto_assets.model import Partition, days_between
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources.published import unpublished
from crypto_assets_tests.checks.judging import DAY_ONE, Edit, edited, failed, findings_of, setting, without
from crypto_assets_tests.synthetic import day_of, read_file, series_of


def test_a_column_of_another_type_condemns_every_day_of_the_batch():
    days = [day_of("ohlcv_1h", day) for day in days_between(DAY_ONE, date(2024, 3, 3))]
    place = datasets.get("ohlcv").schema.names.index("trade_count")
    wrong = [(p, t.set_column(place, "trade_count", t.column(place).cast(pa.float64()))) for p, t in days]
    verdicts = validate(series_of("ohlcv_1h"), wrong)
    assert len(verdicts) == 3
    for verdict in verdicts:
        assert failed(verdict.findings) == {"contract"}
        assert "trade_count" in verdict.findings["contract"].evidence["first"]


BATCH = days_between(date(2024, 4, 1), date(2024, 4, 20))
DAMAGES: dict[str, Edit] = {
    "complete": without(3),
    "contract": setting(5, taker_buy_volume=Decimal(-1)),
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
            expected[partition] = {check.name for check in checks_of(series_of("ohlcv_1h"))}
        elif kind:
            table = edited(table, DAMAGES[kind])
            expected[partition] = {kind}
        batch.append((partition, table))
    results = [verdict.findings for verdict in validate(series_of("ohlcv_1h"), batch)]
    assert {p: failed(f) for (p, _), f in zip(batch, results, strict=True) if failed(f)} == expected
    alone = {check.name for check in checks_of(series_of("ohlcv_1h"))}  # others look at the days before
    for (partition, table), findings in zip(batch, results, strict=True):
        if partition in expected:
            by_itself = findings_of("ohlcv_1h", table, partition)
            assert {name: findings[name] for name in alone} == {name: by_itself[name] for name in alone}
        if damages.get(partition.day) == "contract":
            assert findings["contract"].evidence["first"].startswith("row 5: taker_buy_volume = -1.0")


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
        found = {str(p): failed(verdict.findings) for (p, _), verdict in zip(days, results, strict=True)}
        assert {day: names for day, names in found.items() if names} == {}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("dataset", "market_type", "folder"),
    [
        ("ohlcv_1m", "spot", "spot/daily/klines/BTCUSDT/1m"),
        ("ohlcv_1m", "linear", "futures/um/daily/klines/AVAXUSDT/1m"),
        ("trades", "linear", "futures/um/daily/trades/BTCUSDT"),
    ],
)
def test_real_days_of_a_batch_are_judged_as_by_themselves(realdata: Path, dataset: str, market_type: str, folder: str):
    series = series_of(dataset, market_type)
    days = [
        (Partition("BTC/USDT", date.fromisoformat(file.stem[-10:])), read_file(series, file.name, file.read_bytes()))
        for file in sorted((realdata / "binance_vision/data" / folder).glob("*.zip"))
    ]
    assert days
    for (partition, rows), verdict in zip(days, validate(series, days), strict=True):
        frame = to_check_frame(rows, unpublished(series))
        alone = {check.name: check.run(frame, partition, series) for check in checks_of(series)}
        assert {name: repr(verdict.findings[name]) for name in alone} == {name: repr(alone[name]) for name in alone}
        assert verdict.profile == profile_of(series, partition, frame)
