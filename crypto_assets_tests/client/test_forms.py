"""`read` of several symbols, as pandas, polars and Arrow, of bars that are built, from a home that is found."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import crypto_assets
from crypto_assets import datasets
from crypto_assets.errors import ConfigError, IncompleteData, IncompleteDataWarning
from crypto_assets_tests.client.conftest import BARS, BTC, DAYS, ETH, HALF
from crypto_assets_tests.workbench import Workbench

BOTH = [ETH, BTC]


def read(
    symbols: Any = BTC, first: Any = DAYS[1], last: Any = DAYS[1], dataset: str = "ohlcv_1m", **options: Any
) -> Any:
    return crypto_assets.read("binance", symbols, dataset, first, last, **options)


def published(work: Workbench, symbol: str, day: Any = DAYS[1]) -> list[dict[str, Any]]:
    """Return the bars that the exchange publishes for a day, by column."""
    names = datasets.get("ohlcv").schema.names
    return [dict(zip(names, row, strict=True)) for row in work.published(BARS, symbol, day)]


# ---- several symbols ----------------------------------------------------------------------------------------------------


def test_several_symbols_are_one_frame_in_the_order_asked(here: Path, stored: Workbench) -> None:
    frame = read(BOTH)
    assert list(frame.columns) == ["symbol", *read().columns]
    assert list(frame["symbol"].unique()) == BOTH
    assert list(frame.index) == list(range(2 * 1440))
    for symbol in BOTH:
        mine = frame[frame["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, read(symbol))
        assert [row["close"] for row in published(stored, symbol)] == list(map(Decimal, map(repr, mine["close"])))
    assert [(day["symbol"], day["day"], day["complete"]) for day in frame.attrs["coverage"]] == [
        (ETH, str(DAYS[1]), True),
        (BTC, str(DAYS[1]), True),
    ]
    assert list(read([BTC])["symbol"].unique()) == [BTC], "a list of one has the column too"
    closes = frame.pivot(index="open_time", columns="symbol", values="close")
    assert list(closes.columns.astype(str)) == BOTH
    assert len(closes) == 1440


def test_several_symbols_of_the_warehouse_are_one_frame_too(here: Path) -> None:
    lake = read(BOTH, exact=True)
    warehouse = read(BOTH, exact=True, source="warehouse")
    assert list(warehouse["symbol"].unique()) == BOTH
    for name in lake.columns:
        assert list(warehouse[name]) == list(lake[name]), name


def test_one_error_says_what_is_not_complete_of_all_symbols(here: Path) -> None:
    with pytest.raises(IncompleteData) as caught:
        read(BOTH, HALF, DAYS[3] + timedelta(days=1))
    text = str(caught.value)
    assert f"{ETH}: 1 of 3 requested days" in text
    assert f"{BTC}: 2 of 3 requested days" in text
    assert [(day["symbol"], day["day"], day["state"]) for day in caught.value.coverage if not day["complete"]] == [
        (ETH, "2024-01-05", "not_collected"),
        (BTC, str(HALF), "degraded"),
        (BTC, "2024-01-05", "not_collected"),
    ]
    with pytest.warns(IncompleteDataWarning) as said:
        frame = read(BOTH, HALF, HALF, missing="warn")
    assert [one.filename for one in said] == [__file__], "one symbol is not complete, and the line is ours"
    assert len(frame) == 2 * 1440 - 5


# ---- forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "trades"])
@pytest.mark.parametrize("exact", [False, True])
def test_every_form_has_the_same_rows(here: Path, dataset: str, exact: bool) -> None:
    frame, table, polars = (
        read(BOTH, dataset=dataset, exact=exact, as_=form) for form in ("pandas", "arrow", "polars")
    )
    assert isinstance(table, pa.Table)
    assert isinstance(polars, pl.DataFrame)
    assert table.num_rows == polars.height == len(frame) >= 2 * 1440
    for name in frame.columns:
        expected = [
            None if null else value for value, null in zip(frame[name].tolist(), frame[name].isna(), strict=True)
        ]
        assert (None in expected) == (name in ("trade_place", "trade_uid")), name  # Binance numbers its trades
        assert table.column(name).to_pylist() == expected, name
        assert polars[name].to_list() == expected, name
    kind = pa.decimal128(38, 18) if exact else pa.float64()
    price = "close" if dataset == "ohlcv_1m" else "price"
    assert table.schema.field(price).type == kind
    assert polars.schema[price] == (pl.Decimal(38, 18) if exact else pl.Float64)
    assert polars.schema[table.column_names[1]] == pl.Datetime("us", "UTC")


def test_arrow_has_the_coverage_in_its_metadata(here: Path) -> None:
    facts = read(as_="arrow").schema.metadata
    assert json.loads(facts[b"crypto_assets.coverage"]) == read().attrs["coverage"]
    assert json.loads(facts[b"crypto_assets.looked_in"]) == read().attrs["looked_in"]


def test_an_answer_without_rows_has_the_same_types(here: Path) -> None:
    for form in ("pandas", "polars", "arrow"):
        full, empty = (read(BOTH, last=last, as_=form, first=DAYS[1]) for last in (DAYS[1], "2024-01-02T00:00"))
        assert len(empty) == 0
        kinds = [one.dtypes.tolist() if form == "pandas" else one.schema for one in (full, empty)]
        assert kinds[0] == kinds[1]


@pytest.mark.parametrize("form", ["arrow", "polars"])
def test_arrow_and_polars_come_without_pandas(here: Path, form: str) -> None:
    program = (
        "import sys, crypto_assets\n"
        f"rows = crypto_assets.read('binance', {BOTH}, 'ohlcv_1m', '2024-01-02', '2024-01-02T12:00', as_='{form}')\n"
        "print(len(rows), 'pandas' in sys.modules, 'dagster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=False)
    assert done.stdout == "1440 False False\n", done.stderr


def test_a_package_that_is_missing_is_one_sentence_with_what_installs_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ConfigError, match=r"`pip install crypto_assets\[polars\]` installs it$"):
        read(as_="polars")


def test_instants_inside_a_day_cut_every_form_alike(here: Path) -> None:
    for form in ("pandas", "polars", "arrow"):
        rows = read(BTC, "2024-01-02T10:00", "2024-01-02T10:03", as_=form)
        times = rows["open_time"].to_pylist() if form == "arrow" else list(rows["open_time"])
        assert times == [datetime(2024, 1, 2, 10, minute, tzinfo=UTC) for minute in range(3)]


# ---- bars that are built --------------------------------------------------------------------------------------------------


def slowly(work: Workbench, symbol: str, day: Any, minutes: int) -> list[tuple[Any, ...]]:
    """Return the longer bars of a whole published day, one by one: open time, open, high, low, close, volume, trades."""
    rows = published(work, symbol, day)
    bars = []
    for at in range(0, len(rows), minutes):
        part = rows[at : at + minutes]
        priced = [row for row in part if row["trade_count"]] or part
        high, low = max(row["high"] for row in priced), min(row["low"] for row in priced)
        sums = [sum(row[name] for row in part) for name in ("volume", "trade_count")]
        bars.append(
            (
                pd.Timestamp(part[0]["open_time"], unit="us", tz="UTC"),
                priced[0]["open"],
                high,
                low,
                priced[-1]["close"],
                *sums,
            )
        )
    return bars


@pytest.mark.parametrize(("timeframe", "minutes"), [("1h", 60), ("2h", 120), ("3m", 3), ("1d", 1440)])
def test_longer_bars_are_built_exactly(here: Path, stored: Workbench, timeframe: str, minutes: int) -> None:
    frame = read(BOTH, DAYS[1], DAYS[1], f"ohlcv_{timeframe}", build_from="ohlcv_1m", exact=True)
    columns = ["open_time", "open", "high", "low", "close", "volume", "trade_count"]
    found = [tuple(row) for row in frame[columns].itertuples(index=False)]
    assert found == [bar for symbol in BOTH for bar in slowly(stored, symbol, DAYS[1], minutes)]
    assert [day["rows"] for day in frame.attrs["coverage"]] == [1440 // minutes] * 2


def test_built_bars_are_those_of_the_warehouse(here: Path) -> None:
    built = read(BTC, DAYS[0], DAYS[1], "ohlcv_4h", build_from="ohlcv_1m", exact=True)
    loaded = read(BTC, DAYS[0], DAYS[1], "ohlcv_4h", source="warehouse", exact=True)
    for name in built.columns:
        assert list(built[name]) == list(loaded[name]), name


def test_a_bar_without_all_its_minutes_is_left_out_and_its_day_says_so(here: Path) -> None:
    with pytest.raises(IncompleteData, match="1 1h bar is left out: not all of the 1m bars are there"):
        read(BTC, HALF, HALF, "ohlcv_1h", build_from="ohlcv_1m")
    frame = read(BTC, HALF, HALF, "ohlcv_1h", build_from="ohlcv_1m", missing="ignore")
    assert list(frame["open_time"].dt.hour) == [hour for hour in range(24) if hour != 12]
    (day,) = frame.attrs["coverage"]
    assert (day["state"], day["complete"], day["rows"]) == ("degraded", False, 23)


def test_built_bars_open_in_the_span_and_are_whole(here: Path) -> None:
    frame = read(BTC, "2024-01-02T00:30", "2024-01-02T02:30", "ohlcv_1h", build_from="ohlcv_1m")
    whole = read(BTC, DAYS[1], DAYS[1], "ohlcv_1h", build_from="ohlcv_1m")
    assert list(frame["open_time"].dt.hour) == [1, 2]
    assert list(frame["volume"]) == list(whole["volume"][1:3]), "the last bar has its minutes behind the end too"
    assert len(read(BTC, "2024-01-02T00:30", "2024-01-02T00:45", "ohlcv_1h", build_from="ohlcv_1m")) == 0
    later = DAYS[3] + timedelta(days=1)
    for first, last, days in (
        (f"{later}T00:10", f"{later}T00:50", [later]),
        (f"{DAYS[3]}T23:30", f"{later}T00:30", [DAYS[3], later]),
    ):
        with pytest.raises(IncompleteData, match=f"{later}: not in the collection") as caught:
            read(BTC, first, last, "ohlcv_1h", build_from="ohlcv_1m")
        assert [one["day"] for one in caught.value.coverage] == [str(day) for day in days], (
            "every requested day is judged"
        )
    day = read(BTC, f"{DAYS[0]}T12:00", DAYS[1], "ohlcv_1d", build_from="ohlcv_1m")
    assert [one["day"] for one in day.attrs["coverage"]] == [str(one) for one in DAYS[:2]]
    assert list(day["open_time"].dt.day) == [2]
    only = read(BTC, DAYS[1], DAYS[1], "ohlcv_1h", build_from="ohlcv_1m", columns=["close"])
    assert (list(only.columns), list(only["close"])) == (["close"], list(whole["close"]))


def test_bars_are_built_of_what_was_known_and_of_what_a_lock_names(
    here: Path, stored: Workbench, tmp_path: Path
) -> None:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.quality.lock.content import write_lock
    from crypto_assets.quality.lock.create import make_lock
    from crypto_assets.quality.query import Query

    with Ledger(stored.url) as ledger:
        write_lock(make_lock(ledger, Query()), tmp_path / "lock")
    now = read(BTC, DAYS[1], DAYS[1], "ohlcv_1h", build_from="ohlcv_1m")
    for options in ({"as_of": datetime.now(UTC)}, {"lock": tmp_path / "lock"}):
        pd.testing.assert_frame_equal(
            read(BTC, DAYS[1], DAYS[1], "ohlcv_1h", build_from="ohlcv_1m", **options), now, check_like=False
        )
    assert (
        len(read(BTC, DAYS[1], DAYS[1], "ohlcv_1h", build_from="ohlcv_1m", as_of="2024-01-01", missing="ignore")) == 0
    )


@pytest.mark.parametrize(
    ("dataset", "meant"),
    [
        ("trade", "trades"),
        ("1m", "ohlcv_1m"),
        ("1h", "ohlcv_1h"),
        ("ohlcv", "ohlcv_1m"),
        ("1M", "ohlcv_1mo"),
        ("ohlcv_1M", "ohlcv_1mo"),
    ],
)
def test_a_dataset_that_is_meant_can_be_read(here: Path, dataset: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {meant}\\?"):
        read(BTC, dataset=dataset)


def test_a_timeframe_that_is_not_collected_names_the_bars_that_build_it(here: Path) -> None:
    for timeframe in ("2h", "1h"):
        with pytest.raises(IncompleteData, match="build_from='ohlcv_1m' builds them from shorter bars"):
            read(BTC, dataset=f"ohlcv_{timeframe}")
    with pytest.raises(IncompleteData) as caught:
        read(BTC, dataset="ohlcv_1w")
    assert "build_from" not in str(caught.value), "longer than a day"


def test_a_warning_does_not_advise_itself(here: Path) -> None:
    with pytest.warns(IncompleteDataWarning) as warned:
        read(BTC, HALF, HALF, missing="warn")
    (text,) = (str(one.message) for one in warned)
    assert "fill" in text
    assert "missing='" not in text


# ---- the home -------------------------------------------------------------------------------------------------------------


def test_a_notebook_in_a_subfolder_finds_the_home_and_says_which(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = here / ".crypto_assets"
    expected = read()
    (here / "notebooks" / "one").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here / "notebooks" / "one")
    found = read()
    pd.testing.assert_frame_equal(found, expected)
    how = f"found above {here / 'notebooks' / 'one'}"
    assert (found.attrs["home"], found.attrs["home_found"]) == (str(home), how)
    assert found.attrs["looked_in"] == f"the lake {home / 'lake'} (home {home}, {how})"
    monkeypatch.chdir(tmp_path)
    given = read(home=home).attrs
    assert (given["home"], given["home_found"]) == (str(home), "the argument home")
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(home))
    named = read().attrs
    assert (named["home"], named["home_found"]) == (str(home), "CRYPTO_ASSETS_HOME")


def test_an_error_says_which_home_was_used(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read("DOGE/USDT")
    assert caught.value.__notes__ == [f"(home {here / '.crypto_assets'}, in the working directory)"]
    with pytest.raises(IncompleteData, match=f"looked in the lake {here}/.crypto_assets/lake \\(home .*in the working"):
        read(BTC, HALF, HALF)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYPTO_ASSETS_POSTGRES_URL")
    for missing in ("raise", "ignore"):
        with pytest.raises(ConfigError, match=f"no database under {tmp_path}/.crypto_assets") as caught:
            read(missing=missing)
        assert caught.value.__notes__ == [f"(home {tmp_path}/.crypto_assets, in the working directory)"]


def test_help_of_read_has_examples_that_run(here: Path) -> None:
    """Each example of the docstring, with the symbols and days that are stored here."""
    text = crypto_assets.read.__doc__
    lines = [line.strip().removeprefix(">>> ") for line in text.splitlines() if line.strip().startswith(">>> ")]
    assert len(lines) == 6
    names: dict[str, Any] = {"read": crypto_assets.read}
    for line in lines:
        if '"linear"' in line:
            continue  # nothing of that market is stored here
        line = line.replace("2024-01-10", "2024-01-02").replace("2024-01-31", "2024-01-02")
        line = line.replace('"2024-01-01", "2024-01-02", build', '"2024-01-02", "2024-01-02", build')
        line = line.replace('as_of="2024-03-01"', 'as_of="2024-03-01", missing="ignore"')
        exec(line, names)
    assert len(names["bars"]) == 2 * 1440
    assert list(names["closes"].columns.astype(str)) == [BTC, ETH]
    assert isinstance(names["trades"], pl.DataFrame)
