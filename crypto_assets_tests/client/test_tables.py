"""`catalog`, `coverage`, `gaps`, `latest`, `universe`: the facts of the command line and the API, as tables of every form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

import crypto_assets
from crypto_assets.cli import cli
from crypto_assets.errors import ConfigError, NothingCollected
from crypto_assets_tests.client.conftest import BARS, BTC, DAYS, ETH, HALF
from crypto_assets_tests.workbench import Workbench


def printed(*arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)


def same(value: Any) -> Any:
    """Return a value of a table as JSON has it."""
    if value is None or pd.isna(value):
        return None
    return str(value.date()) if isinstance(value, pd.Timestamp) else value


@contextmanager
def configured(here: Path, entry: Any = None, **changes: Any) -> Iterator[None]:
    """Change the entry of collection.yaml for the block, or add another one."""
    file = here / "collection.yaml"
    before = file.read_text()
    content = yaml.safe_load(before)
    content["series"][0] |= changes
    content["series"] += [] if entry is None else [entry]
    file.write_text(yaml.safe_dump(content))
    try:
        yield
    finally:
        file.write_text(before)


def test_the_catalog_has_what_status_and_catalog_show(here: Path) -> None:
    table = crypto_assets.catalog()
    rows = [{name: same(value) for name, value in row.items()} for row in table.to_dict("records")]
    for shown in (printed("status"), printed("catalog")):
        assert rows == [{name: one[name] for name in table.columns} for one in shown]
    assert list(table["symbol"]) == [BTC, ETH] * 2
    eth = table[(table["symbol"] == ETH) & (table["dataset"] == "ohlcv_1m")].iloc[0]
    assert (eth["rows"], eth["first_stored"]) == (3 * 1440, pd.Timestamp(DAYS[1], tz="UTC"))
    assert (eth["first_day"], eth["no_data"]) == (pd.Timestamp(DAYS[0], tz="UTC"), 1)
    assert eth["size_bytes"] > 10_000


def test_filters_leave_what_they_name_and_refuse_what_nobody_knows(here: Path) -> None:
    assert list(crypto_assets.catalog(symbols="btc-usdt", dataset=["ohlcv_1m"])["symbol"]) == [BTC]
    assert len(crypto_assets.catalog("binance", "spot")) == 4
    for options, says in (
        ({"symbols": "BTC/USDC"}, "symbol 'BTC/USDC': neither collected nor in .*; did you mean BTC/USDT?"),
        ({"exchange": "binanse"}, "exchange 'binanse': .*did you mean binance?"),
        ({"dataset": "books"}, "dataset 'books': .*known: ohlcv_1m, trades"),
        ({"symbols": []}, r"symbols: expected text or a list of texts, found \[\]"),
        ({"as_": "csv"}, "as_: expected one of"),
    ):
        with pytest.raises(ConfigError, match=says):
            crypto_assets.catalog(**options)


def test_what_is_stored_beside_the_collection_is_in_the_catalog(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = crypto_assets.catalog()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(here / ".crypto_assets" / "lake"))
    table = crypto_assets.catalog()
    assert not table["in_collection"].any()
    assert list(table["rows"]) == list(expected["rows"])


def test_coverage_is_what_read_says_of_the_same_days(here: Path) -> None:
    first, last = DAYS[0], DAYS[3] + timedelta(days=1)
    days = crypto_assets.coverage("binance", [BTC, ETH], "ohlcv_1m", first, last)
    told = crypto_assets.read("binance", [BTC, ETH], "ohlcv_1m", first, last, missing="ignore").attrs["coverage"]
    found = [{name: same(row[name]) for name in told[0]} for row in days.to_dict("records")]
    assert found == told
    assert list(days[~days["complete"]]["state"]) == ["degraded", "not_collected", "not_collected"]


def test_a_file_that_is_gone_is_missing_in_the_coverage(here: Path, stored: Workbench) -> None:
    from crypto_assets.model import Partition

    path = stored.folder / stored.lake.path(BARS, Partition(ETH, DAYS[3]))
    data = path.read_bytes()
    for content, says in ((None, "its file is missing in the lake"), (data[:-1], "its file is damaged in the lake")):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        try:
            (day,) = crypto_assets.coverage("binance", ETH, "ohlcv_1m", DAYS[3], DAYS[3]).to_dict("records")
        finally:
            path.write_bytes(data)
        assert (day["state"], bool(day["complete"]), pd.isna(day["rows"])) == ("missing", False, True)
        assert says in day["reason"]


def test_coverage_without_a_ledger_is_what_the_lake_lists(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYPTO_ASSETS_POSTGRES_URL")
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(here / ".crypto_assets" / "lake"))
    days = crypto_assets.coverage("binance", ETH, "ohlcv_1m", DAYS[0], DAYS[1])
    assert list(zip(days["state"], days["complete"], strict=True)) == [("missing", False), ("stored", True)]
    assert list(crypto_assets.latest("binance")["open_time"].dt.strftime("%F %T")) == ["2024-01-04 23:59:00"] * 2
    (tmp_path / "collection.yaml").write_text((here / "collection.yaml").read_text())
    with pytest.raises(NothingCollected, match="nothing was collected here") as caught:
        crypto_assets.catalog()
    assert caught.value.__notes__ == [f"(home {tmp_path / '.crypto_assets'}, in the working directory)"]


def test_gaps_are_those_of_the_command(here: Path) -> None:
    table = crypto_assets.gaps()
    shown = printed("gaps")
    names = ["exchange", "market_type", "dataset", "symbol", "day", "state", "reason", "cause"]
    assert [{name: same(row[name]) for name in names} for row in table.to_dict("records")] == [
        {name: one[name] for name in names} for one in shown
    ]
    assert list(table["day"]) == [pd.Timestamp(HALF, tz="UTC")]
    assert (table["minutes_missing"].iloc[0], table["symbol"].iloc[0], table["open"].iloc[0]) == (5, BTC, True)
    assert len(crypto_assets.gaps(symbols=ETH)) == 0
    assert len(crypto_assets.gaps(start=DAYS[3], end="2024-01-09")) == 0
    with pytest.raises(ConfigError, match="start: expected a day like 2024-01-31, found 'x'"):
        crypto_assets.gaps(start="x")


def test_latest_is_the_newest_stored_row_of_each_symbol(here: Path, stored: Workbench) -> None:
    with configured(here, symbols=[BTC, ETH, "XRP/USDT"]):
        table = crypto_assets.latest("binance", [ETH, "XRP/USDT", BTC], exact=True)
    assert list(table["symbol"]) == [ETH, "XRP/USDT", BTC]
    assert list(table["state"]) == ["available", "not_collected", "available"]
    for symbol in (ETH, BTC):
        row = table[table["symbol"] == symbol].iloc[0]
        published = stored.published(BARS, symbol, DAYS[3])[-1]
        assert (row["open_time"].value // 1000, row["close"], bool(row["complete"])) == (
            published[0],
            published[4],
            True,
        )
    assert table["close"].isna().tolist() == [False, True, False]
    assert list(crypto_assets.latest("binance", dataset="trades")["symbol"]) == [BTC, ETH]
    with pytest.raises(ConfigError, match="nothing of binance spot ohlcv_1h is stored"):
        crypto_assets.latest("binance", dataset="ohlcv_1h")


def test_the_universe_says_what_traded_what_did_not_and_what_nobody_knows(here: Path) -> None:
    def of(day: Any) -> dict[str, tuple[Any, Any]]:
        rows = crypto_assets.universe("binance", on=day).to_dict("records")
        return {row["symbol"]: (same(row["listed"]), same(row["traded"])) for row in rows}

    assert of(DAYS[1]) == {BTC: (True, True), ETH: (True, True)}
    assert of(DAYS[0]) == {BTC: (True, True), ETH: (False, False)}, "it was listed a day later"
    before, after = DAYS[0] - timedelta(days=1), DAYS[3] + timedelta(days=1)
    assert of(before) == {BTC: (None, None), ETH: (False, False)}, "what was not listed on 1 January was not before"
    assert of(after) == {BTC: (None, None), ETH: (None, None)}
    table = crypto_assets.universe("binance", "spot", on=DAYS[0])
    assert table[table["traded"].fillna(False)]["symbol"].tolist() == [BTC]
    reasons = dict(zip(table["symbol"], table["reason"], strict=True))
    assert reasons[BTC] == "ohlcv_1m has 1,440 rows"
    assert reasons[ETH].startswith("not listed before 2024-01-02")
    unknown = crypto_assets.universe("binance", on=after)
    assert set(unknown["reason"]) == {
        "not collected yet; stored are days from 2024-01-01 to 2024-01-04",
        "not collected yet; stored are days from 2024-01-02 to 2024-01-04",
    }
    shown = printed("symbols", "--on", str(DAYS[0]))
    assert [(one["symbol"], one["listed"], one["traded"], one["reason"]) for one in shown] == [
        (row["symbol"], row["listed"], row["traded"], row["reason"]) for row in table.to_dict("records")
    ]
    for options, says in (({"on": None}, "on: expected a day"), ({"on": DAYS[0], "market_type": "x"}, "market_type: ")):
        with pytest.raises(ConfigError, match=says):
            crypto_assets.universe("binance", **options)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("catalog", {}),
        ("coverage", {"exchange": "binance", "symbols": BTC, "dataset": "ohlcv_1m", "start": DAYS[0], "end": HALF}),
        ("gaps", {}),
        ("latest", {"exchange": "binance"}),
        ("universe", {"exchange": "binance", "on": DAYS[0]}),
    ],
)
def test_every_table_comes_in_every_form(here: Path, function: str, arguments: Any) -> None:
    frame, table, polars = (
        getattr(crypto_assets, function)(**arguments, as_=form) for form in ("pandas", "arrow", "polars")
    )
    assert isinstance(table, pa.Table)
    assert isinstance(polars, pl.DataFrame)
    assert list(frame.columns) == table.column_names == polars.columns
    assert len(frame) == table.num_rows == polars.height > 0
    assert table.to_pylist() == polars.to_dicts()
    for name in set(frame.columns) & {"symbol", "state", "reason", "rows", "close"}:
        assert [same(value) for value in frame[name]] == table.column(name).to_pylist()
    assert frame.attrs["home"] == json.loads(table.schema.metadata[b"crypto_assets.home"])


LATER, EARLIER = "2024-01-03", "2024-01-02"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (crypto_assets.read, ("binance", BTC, "ohlcv_1m", LATER, EARLIER)),
        (crypto_assets.coverage, ("binance", BTC, "ohlcv_1m", LATER, EARLIER)),
        (crypto_assets.gaps, (None, None, None, None, LATER, EARLIER)),
    ],
)
def test_an_end_before_the_start_is_refused(here: Path, function: Any, arguments: Any) -> None:
    with pytest.raises(ConfigError, match=f"^start {LATER}, end {EARLIER}: expected the start on or before the end"):
        function(*arguments)


@pytest.mark.parametrize("function", [crypto_assets.catalog, crypto_assets.gaps])
def test_filters_that_match_nothing_together_are_refused(here: Path, function: Any) -> None:
    market = (
        "{exchange: binance, market_type: linear, datasets: [ohlcv_1m], symbols: ['SOL/USDT:USDT'], start: 2024-01-01}"
    )
    with (
        configured(here, entry=yaml.safe_load(market)),
        pytest.raises(ConfigError, match="nothing matches market_type linear, symbol BTC/USDT together"),
    ):
        function(market_type="linear", symbols=BTC)


def test_a_symbol_in_two_spellings_or_a_wrong_one_is_refused(here: Path) -> None:
    def coverage(symbols: Any) -> Any:
        return crypto_assets.coverage("binance", symbols, "ohlcv_1m", DAYS[0], DAYS[1])

    def latest(symbols: Any) -> Any:
        return crypto_assets.latest("binance", symbols)

    for function in (coverage, latest):
        with pytest.raises(ConfigError, match="expected each symbol once, found BTC/USDT twice"):
            function([BTC, "btc-usdt"])
        for symbols in ("BTC/UST", [BTC, "BTC/UST"]):
            with pytest.raises(ConfigError, match=r"symbol BTC/UST: not among .*did you mean BTC/USDT\?"):
                function(symbols)


CALLS = {
    "read": lambda **home: crypto_assets.read("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[0], missing="ignore", **home),
    "catalog": crypto_assets.catalog,
    "coverage": lambda **home: crypto_assets.coverage("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[0], **home),
    "gaps": crypto_assets.gaps,
    "latest": lambda **home: crypto_assets.latest("binance", BTC, **home),
    "universe": lambda **home: crypto_assets.universe("binance", on=DAYS[0], **home),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_says_that_no_home_is_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.delenv("CRYPTO_ASSETS_POSTGRES_URL")
    with pytest.raises(ConfigError, match=f"nothing was collected here: .*did you mean {here / '.crypto_assets'}\\?"):
        CALLS[name](home=here)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"nothing was collected here: no database under {tmp_path}/.crypto_assets"):
        CALLS[name]()


def test_the_minutes_of_a_day_without_rows_are_all_missing(here: Path) -> None:
    later = DAYS[3] + timedelta(days=1)
    with configured(here, end=later):
        found = crypto_assets.gaps(symbols=BTC)
    minutes = {(row["dataset"], str(row["day"].date())): row["minutes_missing"] for row in found.to_dict("records")}
    assert minutes == {("ohlcv_1m", str(HALF)): 5, ("ohlcv_1m", str(later)): 1440, ("trades", str(later)): 1440}


def test_a_table_without_rows_has_its_columns_and_types(here: Path) -> None:
    full, empty = crypto_assets.gaps(), crypto_assets.gaps(symbols=ETH)
    assert (len(full), len(empty)) == (1, 0)
    assert empty.dtypes.tolist() == full.dtypes.tolist()
    assert full["day"].dtype == "datetime64[us, UTC]"


def test_importing_the_package_imports_nothing_more_and_names_all_functions() -> None:
    import subprocess
    import sys

    program = (
        "import sys, crypto_assets; print(*sorted(set(sys.modules) & {'pyarrow', 'pandas', 'psycopg', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout == "\n"
    for name in ("catalog", "coverage", "gaps", "instruments", "latest", "read", "universe"):
        assert name in dir(crypto_assets)
        text = getattr(crypto_assets, name).__doc__
        assert all(part in text for part in ("Examples:", "Args:", "Returns:", "Raises:")), name
        assert name in (crypto_assets.__doc__ or "")
    with pytest.raises(AttributeError, match="has no attribute 'reed'"):
        crypto_assets.reed  # noqa: B018
