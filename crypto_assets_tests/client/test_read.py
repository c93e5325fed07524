"""`crypto_assets.read`, from a lake in a folder and a warehouse in a real PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pytest

import crypto_assets
from crypto_assets import datasets
from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.day_outcomes import Day, Target
from crypto_assets.engine.publication.publisher import Publisher
from crypto_assets.engine.run_context import Stores
from crypto_assets.errors import ConfigError, IncompleteData, StoredDataError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State, StoredFile
from crypto_assets.quality.lock.content import write_lock
from crypto_assets.quality.lock.create import make_lock
from crypto_assets.quality.query import Query
from crypto_assets.reading.question import market_type_of
from crypto_assets.rows.loads import Load
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
    """Return the trade counts of what is stored of a span, complete or not."""
    options.setdefault("missing", "ignore")
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
    empty = crypto_assets.read(
        "binance", "BTC/USDT", "ohlcv_1m", "2023-01-01", "2023-01-31", exact=exact, missing="ignore"
    )
    assert len(empty) == 0
    assert empty.dtypes.equals(full.dtypes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("binance", "BTC/USDT", "ohlcv_7m", FIRST, FIRST), "timeframe '7m' is unknown"),
        (("binance", "BTC/USDT", "candles", FIRST, FIRST), "expected ohlcv_<timeframe> or one of"),
        (
            ("binance", "BTCUSDT", "ohlcv_1m", FIRST, FIRST),
            "of letters and digits; did you mean BTC/USDT (spot) or BTC/USDT:USDT (linear)?",
        ),
        (("okx", "BTC-USDT-SWAP", "trades", FIRST, FIRST, "linear"), "; did you mean BTC/USDT:USDT?"),
        (("okx", "btcusdt", "trades", FIRST, FIRST), "; did you mean BTC/USDT (spot) or BTC/USDT:USDT (linear)?"),
        (("kraken", "XBTUSDT", "trades", FIRST, FIRST), "; did you mean BTC/USDT?"),
        (("binance", "BTC/USDC", "ohlcv_1m", FIRST, FIRST), "did you mean BTC/USDT"),
        (("binance", "BTC/USDT", "ohlcv_1m", "2024-01-02", "2023-12-31"), "start on or before the end"),
        (("binance", "BTC/USDT", "ohlcv_1m", "yesterday", FIRST), "expected a day like"),
    ],
)
def test_what_cannot_be_says_what_was_expected(lake: Lake, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
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
        frame = crypto_assets.read(
            "binance", "BTC/USDT", "ohlcv_5m", FIRST, FIRST, exact=exact, source="warehouse", missing="ignore"
        )
        assert list(frame["close"]) == expected
        assert set(frame["source"]) == {"derived"}
    half = crypto_assets.read(
        "binance", "BTC/USDT", "ohlcv_5m", "2024-01-01T08:00", "2024-01-01T16:00", source="warehouse", missing="ignore"
    )
    assert list(half["trade_count"]) == [11]


class History:
    """Publishes versions of days, and remembers the instant after each."""

    def __init__(self, url: str, folder: Path) -> None:
        self.lake = Lake(str(folder))
        self.warehouse, self.ledger = Warehouse(url), Ledger(url)
        entry = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "symbols": ["BTC/USDT"]}
        self.collection = parse_collection({"series": [{**entry, "start": FIRST}]})

    def publish(
        self,
        days: dict[date, pa.Table],
        name: str,
        source: str = "archive",
        state: State = State.AVAILABLE,
        **evidence: Any,
    ) -> datetime:
        def published(day: Day, stored: StoredFile, *_: Any) -> Outcome:
            return Outcome(BARS, day.partition, state, f"is {state}", evidence, source=day.source, stored=stored)

        batch = [
            Day(
                Target(BARS, "BTC/USDT", (day,)),
                Partition("BTC/USDT", day),
                rows,
                SourceFile(name, 1, name, name, source=source),
            )
            for day, rows in days.items()
        ]
        with ThreadPoolExecutor(2) as pool:
            Publisher(pool, self.collection, Stores(self.lake, self.warehouse, self.ledger), None).publish(
                batch, [], published
            )
        return datetime.now(UTC)


@pytest.fixture
def history(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    migrate(postgres_url)
    history = History(postgres_url, tmp_path / "lake")
    with history.warehouse, history.ledger:
        yield history


DAYS = [FIRST + timedelta(days=n) for n in range(3)]


def doubled(day: date) -> pa.Table:
    """Return the bars of a day with other trade counts."""
    rows = bars(day)
    counts = pa.array([value * 100 for value in rows.column("trade_count").to_pylist()])
    return rows.set_column(rows.schema.get_field_index("trade_count"), "trade_count", counts).cast(rows.schema)


def test_rows_are_read_as_they_were_known(history: History) -> None:
    start = datetime.now(UTC)
    first = history.publish({DAYS[0]: bars(DAYS[0]), DAYS[1]: bars(DAYS[1])}, "a")
    second = history.publish({DAYS[1]: doubled(DAYS[1]), DAYS[2]: bars(DAYS[2])}, "b")
    third = history.publish({DAYS[1]: bars(DAYS[1]).slice(0, 1)}, "c")

    def known(at: Any) -> list[int]:
        return counts(DAYS[0], DAYS[2], as_of=at)

    assert known(start) == []
    assert known(first) == [10, 11, 12, 20, 21, 22]
    assert known(second) == [10, 11, 12, 2000, 2100, 2200, 30, 31, 32]
    assert known(third) == counts(DAYS[0], DAYS[2]) == [10, 11, 12, 20, 30, 31, 32]
    assert known(third.date()) == known(third)
    assert known(start.date() - timedelta(days=1)) == []
    assert known(second.isoformat()) == known(second)
    assert known(datetime.now(UTC) + timedelta(days=9)) == known(third)
    half = counts("2024-01-02T08:00", "2024-01-03T08:00", as_of=second)
    assert half == [2100, 2200, 30]
    assert counts(DAYS[1], DAYS[1], as_of=second, columns=["open_time", "trade_count"]) == [2000, 2100, 2200]
    exact = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", DAYS[1], DAYS[1], as_of=first, exact=True)
    assert list(exact["close"]) == VALUES


def test_rows_that_were_published_again_unchanged_are_known_since_the_first_time(history: History) -> None:
    first = history.publish({FIRST: bars(FIRST)}, "a")
    history.publish({FIRST: bars(FIRST)}, "b")
    assert counts(FIRST, FIRST, as_of=first) == [10, 11, 12]


def test_provisional_rows_count_as_known_from_when_they_came(history: History) -> None:
    instants = [history.publish({FIRST: bars(FIRST).slice(0, count)}, f"r{count}", "rest") for count in (1, 2, 3)]
    last = history.publish({FIRST: doubled(FIRST)}, "a")
    assert [counts(FIRST, FIRST, as_of=at) for at in instants] == [[10], [10, 11], [10, 11, 12]]
    assert counts(FIRST, FIRST, as_of=last) == [1000, 1100, 1200]


def known_at(at: datetime) -> list[tuple[str, bool]]:
    """Return state and completeness of the first days, as they were known at an instant."""
    frame = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", FIRST, FIRST, as_of=at, missing="ignore")
    return [(day["state"], day["complete"]) for day in frame.attrs["coverage"]]


def test_a_former_version_is_as_complete_as_it_was_then(history: History, tmp_path: Path) -> None:
    day = {FIRST: bars(FIRST)}
    partial = history.publish({FIRST: bars(FIRST).slice(0, 2)}, "a", state=State.DEGRADED)
    until = datetime(2024, 1, 1, 8, tzinfo=UTC)
    early = history.publish({FIRST: doubled(FIRST)}, "r", "rest", State.PROVISIONAL, until=until.isoformat())
    whole = history.publish(day, "b")
    now = history.publish({FIRST: doubled(FIRST)}, "c", state=State.DEGRADED)
    assert known_at(partial) == [("degraded", False)]
    assert known_at(early) == [("provisional", False)], "its rows go up to 08:00, and the day was over"
    assert known_at(whole) == [("available", True)]
    assert known_at(now) == [("degraded", False)]
    with pytest.raises(IncompleteData, match=r"partial: as known at .*; is degraded"):
        counts(FIRST, FIRST, as_of=partial, missing="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counts(FIRST, FIRST, as_of=whole, missing="raise") == [10, 11, 12]
    for at, complete in ((partial, False), (whole, True), (now, False)):
        lock = make_lock(history.ledger, Query(), as_of=at)
        write_lock(lock, tmp_path / "lock")
        frame = crypto_assets.read(
            "binance", "BTC/USDT", "ohlcv_1m", FIRST, FIRST, lock=tmp_path / "lock", missing="ignore"
        )
        assert [one["complete"] for one in frame.attrs["coverage"]] == [complete], at
    with psycopg.connect(history.ledger.url) as connection:
        connection.execute("UPDATE collection.versions SET state = NULL")
    assert known_at(whole) == [("stored", False)], "nobody recorded what it was"


def test_fewer_rows_than_came_later_are_whole_only_while_the_day_goes_on(history: History) -> None:
    instants = [history.publish({FIRST: bars(FIRST).slice(0, count)}, f"r{count}", "rest") for count in (1, 2)]
    assert known_at(instants[0]) == [("provisional", False)]
    assert known_at(instants[1]) == [("available", True)]


def test_a_version_that_is_lost_is_not_silently_left_out(history: History, tmp_path: Path) -> None:
    first = history.publish({FIRST: bars(FIRST), DAYS[1]: bars(DAYS[1])}, "a")
    path = tmp_path / "lake" / history.lake.path(BARS, Partition("BTC/USDT", FIRST))
    path.write_bytes(b"PAR1")
    with pytest.raises(StoredDataError, match="expected sha256"):
        counts(FIRST, FIRST, as_of=first)
    history.publish({FIRST: doubled(FIRST)}, "b")
    with pytest.raises(StoredDataError, match="damaged or deleted before it was replaced"):
        counts(FIRST, DAYS[1], as_of=first)
    assert counts(DAYS[1], DAYS[1], as_of=first) == [20, 21, 22]
    assert counts(FIRST, DAYS[1]) == [1000, 1100, 1200, 20, 21, 22]


def test_the_warehouse_has_no_former_versions(history: History) -> None:
    with pytest.raises(ConfigError, match=r"as_of: expected source='lake'.*only the newest version of each day"):
        counts(FIRST, FIRST, as_of="2024-05-01", source="warehouse")
    with pytest.raises(ConfigError, match="as_of: expected a day like"):
        counts(FIRST, FIRST, as_of="yesterday")


def test_importing_the_package_is_cheap_and_reading_is_there() -> None:
    text = (
        "import sys, crypto_assets; print(crypto_assets.__version__, 'pandas' in sys.modules, 'pyarrow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()
    assert found == [crypto_assets.__version__, "False", "False"]
    assert callable(crypto_assets.read)


@pytest.mark.parametrize(
    ("symbols", "market_type"),
    [
        (["BTC/USDT", "btc-usdt"], "spot"),
        (["BTC/USDT:USDT"], "linear"),
        (["BTC/USDT:USDT-240628", "ETH/USDC:USDC"], "linear"),
        (["BTC/USD:BTC"], "inverse"),
        (["BTC/USD:BTC-240628"], "inverse"),
    ],
)
def test_a_symbol_says_its_market_type(symbols: list[str], market_type: str):
    assert market_type_of(symbols) == market_type


def test_symbols_of_two_market_types_are_two_questions():
    with pytest.raises(ConfigError, match="expected symbols of one market type, found linear, spot"):
        market_type_of(["BTC/USDT", "BTC/USDT:USDT"])
