"""`crypto_assets.read`, from a lake in a folder and a warehouse in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import crypto_assets
from crypto_assets import datasets
from crypto_assets.collection.loads import Load
from crypto_assets.errors import ConfigError
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse

BARS = Series("binance", "spot", "ohlcv", "1m")
FIRST = date(2024, 1, 1)
SOURCE = SourceFile("k.zip", 1, "e", "a" * 64)
# Arrow's own cast makes 0.30000000000000004 of the like of these.
VALUES = [Decimal("0.1"), Decimal("17.702064"), Decimal("40900.123456789012345678")]


def bars(day: date) -> pa.Table:
    """Return three bars at 00:00, 08:00 and 16:00."""
    rows = [
        {
            "open_time": datetime(day.year, day.month, day.day, 8 * n, tzinfo=UTC),
            **dict.fromkeys(datasets.get("ohlcv").schema.names[1:], value),
            "trade_count": day.day * 10 + n,
        }
        for n, value in enumerate(VALUES)
    ]
    return pa.Table.from_pylist(rows, datasets.get("ohlcv").schema)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path))
    lake = Lake(str(tmp_path))
    for n in range(3):
        day = FIRST + timedelta(days=n)
        lake.write(BARS, Partition("BTC/USDT", day), bars(day), SOURCE)
    return lake


def counts(*args: Any, **options: Any) -> list[int]:
    return list(crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", *args, **options)["trade_count"])


def test_days_are_included_at_both_ends(lake: Lake) -> None:
    expected = [10, 11, 12, 20, 21, 22]
    assert counts("2024-01-01", "2024-01-02") == expected
    assert counts(date(2024, 1, 1), date(2024, 1, 2)) == expected
    assert counts("20240101", "20240102") == expected
    assert counts("2024-01-02", "2024-01-02") == [20, 21, 22]


def test_instants_are_half_open_and_utc_where_they_have_no_zone(lake: Lake) -> None:
    assert counts(datetime(2024, 1, 1, 8), datetime(2024, 1, 2)) == [11, 12]  # noqa: DTZ001
    assert counts("2024-01-01T08:00", "2024-01-02T08:00:00Z") == [11, 12, 20]
    east = timezone(timedelta(hours=8))
    assert counts(datetime(2024, 1, 1, 16, tzinfo=east), datetime(2024, 1, 2, tzinfo=east)) == [11]
    assert counts("2024-01-01T16:00", "2024-01-02") == [12, 20, 21, 22]
    assert counts(datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)) == []


def test_floats_are_those_of_the_published_text(lake: Lake) -> None:
    frame = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", FIRST, FIRST)
    assert list(frame.columns) == datasets.get("ohlcv").schema.names
    assert list(frame["volume"]) == [float(value) for value in VALUES]
    assert frame["open_time"].dtype == "datetime64[us, UTC]"
    assert frame["open_time"].iloc[1] == pd.Timestamp("2024-01-01T08:00Z")
    assert frame["trade_count"].dtype == "int64"
    assert list(frame.index) == [0, 1, 2]


def test_floats_are_right_for_a_whole_real_day(lake: Lake) -> None:
    values = [Decimal(n * 7919 % 1_000_003) / Decimal(10**6) for n in range(1440)]
    day = date(2025, 1, 1)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [
        {
            "open_time": start + timedelta(minutes=n),
            **dict.fromkeys(datasets.get("ohlcv").schema.names[1:], value),
            "trade_count": n,
        }
        for n, value in enumerate(values)
    ]
    table = pa.Table.from_pylist(rows, datasets.get("ohlcv").schema)
    lake.write(BARS, Partition("BTC/USDT", day), table, SOURCE)
    frame = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", day, day, columns=["volume"])
    assert list(frame["volume"]) == [float(value) for value in values]


def test_exact_gives_every_digit(lake: Lake) -> None:
    frame = crypto_assets.read("binance", "BTC-USDT", "ohlcv_1m", FIRST, FIRST, exact=True, columns=["close", "open"])
    assert frame.to_dict("list") == {"close": VALUES, "open": VALUES}
    assert frame["close"].iloc[2] == Decimal("40900.123456789012345678")


@pytest.mark.parametrize("exact", [False, True])
def test_days_without_rows_are_an_empty_frame_of_the_same_columns_and_types(lake: Lake, exact: bool) -> None:
    full = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", FIRST, FIRST, exact=exact)
    empty = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", "2023-01-01", "2023-01-31", exact=exact)
    assert len(empty) == 0
    assert empty.dtypes.equals(full.dtypes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("binance", "BTC/USDT", "ohlcv_7m", FIRST, FIRST), "timeframe '7m' is unknown"),
        (("binance", "BTC/USDT", "candles", FIRST, FIRST), "expected ohlcv_<timeframe> or one of"),
        (("binance", "BTCUSDT", "ohlcv_1m", FIRST, FIRST), "expected the form BTC/USDT"),
        (("binance", "BTC/USDC", "ohlcv_1m", FIRST, FIRST), "did you mean BTC-USDT"),
        (("binance", "BTC/USDT", "ohlcv_1m", "2024-01-02", "2023-12-31"), "start before the end"),
        (("binance", "BTC/USDT", "ohlcv_1m", "yesterday", FIRST), "expected a day like"),
    ],
)
def test_what_cannot_be_says_what_was_expected(lake: Lake, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        crypto_assets.read(*arguments)


def test_an_unknown_column_is_named(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="cloze"):
        counts(FIRST, FIRST, columns=["cloze"])


def test_the_warehouse_gives_bars_that_were_derived(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_url)
    migrate(postgres_url)
    rows = bars(FIRST)
    labelled = pa.concat_tables(
        rows.append_column("timeframe", pa.array([timeframe] * 3)).append_column("source", pa.array([source] * 3))
        for timeframe, source in (("1m", "archive"), ("5m", "derived"))
    )
    load = Load(
        "ohlcv", "binance", "spot", "BTC/USDT", "ohlcv_1m", FIRST, "v1", labelled, ("1m", "5m"), replaces_derived=True
    )
    with Warehouse(postgres_url) as warehouse:
        warehouse.replace([load])

    for exact, expected in ((False, [float(value) for value in VALUES]), (True, VALUES)):
        frame = crypto_assets.read("binance", "BTC/USDT", "ohlcv_5m", FIRST, FIRST, exact=exact, source="warehouse")
        assert list(frame["close"]) == expected
        assert set(frame["source"]) == {"derived"}
    half = crypto_assets.read(
        "binance", "BTC/USDT", "ohlcv_5m", "2024-01-01T08:00", "2024-01-01T16:00", source="warehouse"
    )
    assert list(half["trade_count"]) == [11]


def test_importing_the_package_is_cheap_and_reading_is_there() -> None:
    text = (
        "import sys, crypto_assets; print(crypto_assets.__version__, 'pandas' in sys.modules, 'pyarrow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()
    assert found == [crypto_assets.__version__, "False", "False"]
    assert callable(crypto_assets.read)
