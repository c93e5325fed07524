"""What `read` says can be done about days that are not complete, and what nothing can be done about."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

import crypto_assets
from crypto_assets.errors import ConfigError, IncompleteData, IncompleteDataWarning
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.quality.lock.content import write_lock
from crypto_assets.quality.lock.create import make_lock
from crypto_assets.quality.query import Query
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.reading.conftest import BARS, BTC, DAYS, HALF
from crypto_assets_tests.reading.test_missing_days import read, refused
from crypto_assets_tests.workbench import Workbench

# ---- what can be done ------------------------------------------------------------------------------------------------


WIDEN = (
    "`start` and `end` in collection.yaml set the days that `crypto-assets fill` collects; "
    "missing='warn' or missing='ignore' gives the rows that are stored"
)


@pytest.fixture
def configured(work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """What was collected, beside a collection.yaml that has just these four days."""
    (tmp_path / "collection.yaml").write_text(
        "series: [{exchange: binance, market_type: spot, datasets: [ohlcv_1m, trades], symbols: [BTC/USDT], "
        f"start: {DAYS[0]}, end: {DAYS[3]}}}]"
    )
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    return work


def test_days_outside_the_collection_are_said_to_be_so(configured: Workbench) -> None:
    error = refused(DAYS[0] - timedelta(days=2), DAYS[3] + timedelta(days=1))
    assert str(error).splitlines()[1:] == [
        f"  2023-12-30 … 2023-12-31 (2 days): not in the collection: its collection begins on {DAYS[0]}",
        next(line for line in str(error).splitlines() if f"  {HALF}: partial" in line),
        "  2024-01-05: not in the collection: its collection ends on 2024-01-04",
        "`crypto-assets fill` collects what is available; " + WIDEN,
    ]
    before = refused(DAYS[0] - timedelta(days=2), DAYS[1], source="warehouse")
    assert f"begins on {DAYS[0]}" in str(before)
    assert "collects what is available" not in str(before)


def test_bars_that_only_the_warehouse_builds_are_said_to_be_there(configured: Workbench) -> None:
    error = refused(DAYS[0], DAYS[1], "ohlcv_1h")
    assert "(2 days): not in the collection: collection.yaml has no entry of binance spot ohlcv_1h BTC/USDT" in str(
        error
    )
    assert "\nsource='warehouse' has them, built from ohlcv_1m; " in str(error)
    assert len(read(DAYS[0], DAYS[1], "ohlcv_1h", source="warehouse")) == 48
    assert "source='warehouse' has 1 of them" in str(refused(DAYS[1], HALF, "ohlcv_1h"))
    with psycopg.connect(configured.url) as connection:
        connection.execute("DELETE FROM market.ohlcv")
    assert "source='warehouse'" not in str(refused(DAYS[0], DAYS[1], "ohlcv_1h"))
    assert "source='warehouse'" not in str(refused(DAYS[0], DAYS[1], "ohlcv_1s"))


def test_what_was_known_before_it_was_collected_says_since_when_it_is(configured: Workbench) -> None:
    text = str(refused(DAYS[0], DAYS[1], as_of="2024-06-01"))
    assert "`crypto-assets fill` collects what is available" not in text
    since = re.search(r"is known since (\S+ \S+) UTC: use as_of that instant or later", text)
    assert since, text
    assert len(read(DAYS[0], DAYS[1], as_of=since[1])) == 2880


def test_a_lock_is_not_mended_by_collecting(configured: Workbench, tmp_path: Path) -> None:
    with Ledger(configured.url) as ledger:
        write_lock(make_lock(ledger, Query()), tmp_path / "lock")
    text = str(refused(HALF, HALF, lock=tmp_path / "lock"))
    assert "`crypto-assets lock` writes a present one" in text
    assert "`crypto-assets fill`" not in text


# ---- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exchange": "binanse"}, "exchange 'binanse' is unknown; did you mean binance"),
        ({"exchange": None}, "exchange: expected text, found None"),
        ({"market_type": "futures"}, "market_type: expected one of spot, linear, inverse, found 'futures'"),
        ({"exchange": "kraken", "market_type": "inverse"}, "kraken has no inverse here; known: spot"),
        ({"dataset": "funding_rates"}, "'funding_rates' is not one of binance spot"),
        ({"dataset": "trade_statistics_1m"}, "source='warehouse' has it"),
        ({"dataset": "trade"}, "dataset 'trade': expected ohlcv_<timeframe> or one of"),
        ({"source": "postgres"}, "source: expected one of 'lake', 'warehouse', found 'postgres'"),
        ({"missing": "no"}, "missing: expected one of 'raise', 'warn', 'ignore', found 'no'"),
        ({"missing": None}, "missing: expected one of"),
        ({"columns": "close"}, "columns: expected a list of names"),
        ({"columns": []}, "found none"),
        ({"columns": ["close", "close"]}, "found close twice"),
        ({"columns": ["cloze"]}, "columns cloze: expected some of"),
        ({"end": None}, "end: expected a day like 2024-01-31 or an instant, found None"),
        ({"start": 20240101}, "start: expected a day"),
        ({"start": pd.NaT}, "start: expected a day"),
        ({"end": date.max}, "end: expected a day before 9999-12-31"),
        ({"start": date.min}, "expected at most 100,000 days"),
        ({"symbols": 5}, "symbols: expected text such as 'BTC/USDT' or a list of texts, found 5"),
        ({"symbols": [5]}, "symbol: expected text, found 5"),
        ({"symbols": []}, "symbols: expected at least one symbol, found an empty list"),
        ({"symbols": [BTC, BTC]}, "symbols: expected each symbol once, found BTC/USDT twice"),
        ({"symbols": [BTC, "btc-usdt"]}, "symbols: expected each symbol once, found BTC/USDT twice"),
        ({"as_": "numpy"}, "as_: expected one of 'pandas', 'polars', 'arrow', found 'numpy'"),
        ({"home": "/nowhere/.crypto_assets"}, "found that /nowhere/.crypto_assets does not exist"),
        ({"home": 5}, "home: expected the path of a folder, found 5"),
        (
            {"build_from": "ohlcv_1m", "source": "lake"},
            "build_from='ohlcv_1m': expected shorter bars that make ohlcv_1m",
        ),
        (
            {"dataset": "ohlcv_1h", "build_from": "ohlcv_7m", "source": "lake"},
            "ohlcv_7m: timeframe '7m' is unknown",
        ),
        (
            {"dataset": "ohlcv_1h", "build_from": "trades", "source": "lake"},
            "ohlcv_1h is built from ohlcv_1s, ohlcv_1m, ohlcv_3m, ohlcv_5m, ohlcv_15m, ohlcv_30m",
        ),
        ({"dataset": "ohlcv_1w", "build_from": "ohlcv_1d", "source": "lake"}, "bars of up to one day are built"),
        (
            {"dataset": "ohlcv_1h", "build_from": "ohlcv_1m", "source": "warehouse"},
            "build_from: expected source='lake'",
        ),
        ({"symbols": "XRP/USDT"}, "symbol XRP/USDT: not among the symbols of binance spot ohlcv_1m in the lake"),
        ({"symbols": "BTX/USDT", "missing": "ignore"}, "did you mean BTC/USDT?"),
        (
            {"symbols": "XRP/USDT", "source": "warehouse"},
            "symbol XRP/USDT: not among the symbols of binance spot ohlcv_1m in Postgres",
        ),
        ({"lock": 5}, "lock: expected the path of a lock file"),
        ({"as_of": 5}, "as_of: expected a day"),
    ],
)
def test_what_cannot_be_says_what_is_known(
    collected: Workbench, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", collected.url)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(collected.folder))
    given: dict[str, Any] = {
        "exchange": "binance",
        "symbols": BTC,
        "dataset": "ohlcv_1m",
        "start": DAYS[0],
        "end": DAYS[1],
    }
    of_the_lake = {"lock", "as_of", "source"} & set(change) or "lake" in message or "source=" in message
    for source in ("lake",) if of_the_lake else ("lake", "warehouse"):
        with pytest.raises(ConfigError) as caught:
            crypto_assets.read(**given | {"source": source} | change)
        assert message in str(caught.value)


def test_a_symbol_of_the_collection_is_not_collected_yet(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "collection.yaml").write_text(
        "series: [{exchange: binance, market_type: spot, datasets: [ohlcv_1m], symbols: [XRP/USDT], start: 2024-01-01}]"
    )
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    with pytest.raises(IncompleteData, match=r"2 days.: not collected yet"):
        crypto_assets.read("binance", "XRP/USDT", "ohlcv_1m", DAYS[0], DAYS[1])


def test_an_answer_without_rows_says_where_it_was_looked_for(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(work.url) as connection:
        connection.execute(
            "UPDATE collection.partitions SET state = 'no_data', path = NULL, reason = 'not listed before' WHERE day = %s",
            (DAYS[0],),
        )
    with pytest.warns(IncompleteDataWarning, match=r"no rows of the requested days; looked in the lake /"):
        frame = read(DAYS[0], DAYS[0])
    assert (len(frame), frame.attrs["coverage"][0]["state"]) == (0, "no_data")
    assert frame.attrs["coverage"][0]["reason"] == "not listed before"
    assert Lake(str(work.folder)).days(BARS, BTC) == DAYS
