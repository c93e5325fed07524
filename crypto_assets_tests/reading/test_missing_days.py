"""`read` says which of the days asked for are not complete: by the ledger, by the lake's files, by the rows themselves."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import yaml

import crypto_assets
from crypto_assets.errors import ConfigError, IncompleteData, IncompleteDataWarning, PostgresUnavailable
from crypto_assets.ledger.day_records import DayRecord
from crypto_assets.model import Partition, Series, State
from crypto_assets.reading.stored_days import of_record
from crypto_assets.storage.lake import Lake
from crypto_assets.text import urls
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.reading.conftest import BARS, BTC, DAYS, FIRST, HALF
from crypto_assets_tests.workbench import Workbench

"""A day of which the archive has all but the last two hours."""


TRADES = Series("binance", "spot", "trades")


def read(first: Any = DAYS[0], last: Any = DAYS[1], dataset: str = "ohlcv_1m", **options: Any) -> pd.DataFrame:
    return crypto_assets.read("binance", BTC, dataset, first, last, **options)


def refused(*arguments: Any, **options: Any) -> IncompleteData:
    with pytest.raises(IncompleteData) as caught:
        read(*arguments, **options)
    return caught.value


def incomplete(coverage: Any) -> list[tuple[str, str]]:
    return [(day["day"], day["state"]) for day in coverage if not day["complete"]]


def file_of(work: Workbench, day: date, series: Series = BARS) -> Path:
    return work.folder / work.lake.path(series, Partition(BTC, day))


# ---- complete days ----------------------------------------------------------------------------------------------------


def test_complete_days_are_given_with_their_coverage(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "collection.yaml"  # it names the archive that the days are from
    config.write_text(yaml.safe_dump(work.collection.model_dump(mode="json")))
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(config))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read(DAYS[0], DAYS[1])
    assert len(frame) == 2 * 1440
    assert frame.attrs["coverage"] == [
        {
            "day": str(day),
            "state": "available",
            "reason": "",
            "rows": 1440,
            "until": None,
            "acknowledged": None,
            "complete": True,
        }
        for day in DAYS[:2]
    ]
    assert json.loads(json.dumps(frame.attrs["coverage"])) == frame.attrs["coverage"]
    assert frame.attrs["looked_in"] == f"the lake {work.folder}"
    later = frame[frame["close"] > 0].copy()
    assert later.attrs["coverage"] is frame.attrs["coverage"], "copies share it"
    frame.to_parquet(tmp_path / "kept.parquet")
    assert pd.read_parquet(tmp_path / "kept.parquet").attrs["coverage"] == frame.attrs["coverage"]


def test_only_days_that_are_touched_are_asked_about(work: Workbench) -> None:
    frame = read("2024-01-02T12:00", "2024-01-03T00:00")
    assert [day["day"] for day in frame.attrs["coverage"]] == ["2024-01-02"]
    assert frame.attrs["coverage"][0]["rows"] == 1440, "of the whole day"
    nothing = read("2024-01-03T12:00", "2024-01-03T12:00")
    assert (len(nothing), nothing.attrs["coverage"]) == (0, [])


# ---- days that are not complete ---------------------------------------------------------------------------------------


def test_a_month_of_which_days_are_missing_names_them_as_spans(work: Workbench) -> None:
    error = refused(FIRST, "2024-01-31")
    assert incomplete(error.coverage) == [(str(HALF), "degraded")] + [
        (f"2024-01-{day:02}", "not_collected") for day in range(5, 32)
    ]
    lines = str(error).splitlines()
    assert lines[0] == (
        f"binance spot ohlcv_1m BTC/USDT: 28 of 31 requested days are incomplete; looked in the lake {work.folder}"
    )
    assert lines[1].startswith("  2024-01-03: partial: ")
    assert lines[2] == "  2024-01-05 … 2024-01-31 (27 days): not collected yet"
    assert "missing='warn'" in lines[3]
    assert len(error.coverage) == 31


def test_a_partial_day_is_refused_or_given_with_a_warning(work: Workbench) -> None:
    assert incomplete(refused(HALF, HALF).coverage) == [(str(HALF), "degraded")]
    with pytest.warns(IncompleteDataWarning, match="2024-01-03: partial") as said:
        frame = read(HALF, HALF, missing="warn")
    assert said[0].filename == __file__, "the warning points at the line that asks"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = read(HALF, HALF, missing="ignore")
    assert len(frame) == len(same) == 22 * 60
    assert incomplete(same.attrs["coverage"]) == [(str(HALF), "degraded")]
    assert same.attrs["coverage"][0]["rows"] == 22 * 60


def test_an_acknowledged_day_only_warns(work: Workbench) -> None:
    with psycopg.connect(work.url) as connection:
        connection.execute(
            """INSERT INTO collection.acknowledgements
                (exchange, market_type, symbol, dataset, day, reason, by, cause, objects, state, state_reason,
                content_sha256, source_etag)
            SELECT exchange, market_type, symbol, dataset, day, 'it was so', 'ann', 'unexplained', '{}', state, reason,
                content_sha256, source_etag FROM collection.partitions WHERE day = %s AND dataset = 'ohlcv_1m'""",
            (HALF,),
        )
    with pytest.warns(IncompleteDataWarning, match="acknowledged by ann on .*: it was so"):
        frame = read(DAYS[1], DAYS[3])
    assert len(frame) == 2 * 1440 + 22 * 60
    assert frame.attrs["coverage"][1]["acknowledged"].endswith("it was so")
    error = refused(DAYS[1], "2024-01-05")
    assert "1 of 4 requested days" in str(error), "an open day is refused, the acknowledged one is not named"
    # Nobody has accepted that what is stored of the day goes too.
    file_of(work, HALF).unlink()
    (lost,) = [day for day in refused(DAYS[1], DAYS[3]).coverage if not day["complete"]]
    assert (lost["day"], lost["state"], lost["acknowledged"]) == (str(HALF), "missing", None)
    with psycopg.connect(work.url) as connection:
        connection.execute("DELETE FROM market.ohlcv WHERE open_time >= %s AND timeframe = '1m'", (HALF,))
    assert incomplete(refused(HALF, HALF, source="warehouse").coverage) == [(str(HALF), "missing")]


@pytest.mark.parametrize("harm", ["deleted", "cut", "changed", "no Parquet"])
def test_a_file_that_is_not_what_the_ledger_says_is_missing(work: Workbench, harm: str) -> None:
    path = file_of(work, DAYS[1])
    good = path.read_bytes()
    half = len(good) // 2
    match harm:
        case "deleted":
            path.unlink()
        case "cut":
            path.write_bytes(good[:half])
        case "changed":
            path.write_bytes(good[:half] + bytes([good[half] ^ 1]) + good[half + 1 :])
        case _:
            path.write_bytes(b"x" * len(good))
    error = refused(DAYS[0], DAYS[1])
    assert incomplete(error.coverage) == [(str(DAYS[1]), "missing")]
    assert [day["rows"] for day in error.coverage] == [1_440, None]
    expected = {"deleted": "is missing in", "cut": f"has {half} bytes, the ledger says {len(good)}"}
    assert expected.get(harm, f"{path}: the file is damaged: expected sha256") in str(error)
    by_size = harm in expected
    assert ("`crypto-assets fill` collects what is available" in str(error)) is by_size
    mend = "`crypto-assets validate` for these days, then `crypto-assets fill`, collects them again"
    assert (mend in str(error)) is not by_size
    assert str(error).count("`crypto-assets fill`") == 1, "one hint"
    frame = read(DAYS[0], DAYS[1], missing="ignore")
    assert len(frame) == 1440
    assert set(frame["open_time"].dt.date) == {DAYS[0]}
    assert read(DAYS[0], DAYS[0]).attrs["coverage"][0]["complete"], "the other days are as good as before"


def test_another_lake_says_which_one_the_ledger_speaks_of(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "new"))
    error = refused(DAYS[0], DAYS[1])
    assert incomplete(error.coverage) == [(str(day), "missing") for day in DAYS[:2]]
    assert f"the lake {tmp_path / 'new'} is not the ledger's lake" in str(error)
    assert not (tmp_path / "new").exists()
    frame = read(DAYS[0], DAYS[1], missing="ignore")
    assert (len(frame), frame.attrs["looked_in"]) == (0, f"the lake {tmp_path / 'new'}")


def test_days_that_are_not_over_are_not_collected_yet(work: Workbench) -> None:
    today = datetime.now(UTC).date()
    error = refused(today - timedelta(days=1), today + timedelta(days=1))
    assert [(day["state"], day["reason"]) for day in error.coverage] == [
        ("not_collected", "not collected yet"),
        ("not_collected", "the day has not ended"),
        ("not_collected", "the day has not begun"),
    ]


@pytest.mark.parametrize(
    ("day", "until", "asked", "complete"),
    [
        ("today", "10:00", None, True),  # the day as far as it goes
        ("today", "10:00", "09:30", True),
        ("today", "10:00", "10:01", False),
        ("yesterday", "10:00", None, False),  # it is over, and its rest was never collected
        ("yesterday", "10:00", "10:00", True),
        ("yesterday", None, None, True),
    ],
)
def test_a_provisional_day_is_complete_as_far_as_it_goes(
    day: str, until: str | None, asked: str | None, complete: bool
) -> None:
    on = datetime.now(UTC).date() - timedelta(days=day == "yesterday")

    def instant(text: str | None) -> datetime | None:
        return datetime.fromisoformat(f"{on}T{text}+00:00") if text else None

    record = DayRecord(on, State.PROVISIONAL, "rows from REST", 1, "p", 1, "s", instant(until), None, None)
    found = of_record(record, instant(asked))
    assert (found.complete, found.until) == (complete, instant(until))
    assert complete or "rows up to 10:00:00 UTC only" in found.reason


# ---- no ledger --------------------------------------------------------------------------------------------------------


def test_a_lake_alone_is_judged_by_its_files(work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTO_ASSETS_POSTGRES_URL")
    frame = read(DAYS[0], DAYS[3])
    assert [(day["state"], day["reason"], day["rows"]) for day in frame.attrs["coverage"]] == [
        ("stored", "no ledger here", rows) for rows in (1440, 1440, 22 * 60, 1440)
    ]
    error = refused(DAYS[0], "2024-05-01")
    assert incomplete(error.coverage)[0] == ("2024-01-05", "missing")
    assert "no file in the lake" in str(error)
    assert "no ledger here" in str(error)
    file_of(work, DAYS[0]).write_bytes(b"PAR1")
    assert "damaged" in str(refused(DAYS[0], DAYS[0]))
    assert not (tmp_path / "home").exists(), "reading makes no new home"


@pytest.mark.parametrize(
    ("timeframe", "opens"),
    [("1w", ["2024-01-01", "2024-01-08"]), ("1mo", ["2024-01-01"]), ("3d", ["2024-01-02", "2024-01-08"])],
)
def test_without_a_ledger_days_on_which_no_bar_opens_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collected: Workbench, timeframe: str, opens: list[str]
) -> None:
    monkeypatch.delenv("CRYPTO_ASSETS_POSTGRES_URL", raising=False)
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    lake, bars = Lake(str(tmp_path / "lake")), Series("binance", "spot", "ohlcv", timeframe)
    rows, _, source = collected.lake.open(BARS, Partition(BTC, FIRST))
    for day in opens:
        lake.write(bars, Partition(BTC, date.fromisoformat(day)), rows.slice(0, 1), source)
    error = refused("2024-01-01", "2024-02-09", f"ohlcv_{timeframe}")
    due = {"1w": ["2024-01-15", "2024-01-22", "2024-01-29", "2024-02-05"], "1mo": ["2024-02-01"]}
    every_third = [str(date(2024, 1, 5))] + [str(date(2024, 1, 8) + timedelta(days=3 * n)) for n in range(1, 11)]
    assert incomplete(error.coverage) == [(day, "missing") for day in due.get(timeframe, every_third)]


def test_a_ledger_of_other_things_is_not_asked(
    work: Workbench, postgres_server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_database(postgres_server_url) as url:
        monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", url)
        assert {day["reason"] for day in read().attrs["coverage"]} == {"no ledger here"}
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT to_regclass('collection.partitions')").fetchone() == (None,)


def test_a_ledger_that_does_not_answer_is_an_error_unless_days_do_not_matter(
    work: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(PostgresUnavailable):
        read()
    assert len(read(missing="ignore")) == 2 * 1440


def test_a_file_that_the_ledger_does_not_know_is_not_complete(work: Workbench) -> None:
    with psycopg.connect(work.url) as connection:
        connection.execute("DELETE FROM collection.partitions WHERE day = %s", (DAYS[1],))
    error = refused(DAYS[0], DAYS[1])
    assert incomplete(error.coverage) == [(str(DAYS[1]), "not_collected")]
    assert "its file is in the lake, the ledger does not know it" in str(error)
    assert len(read(DAYS[0], DAYS[1], missing="ignore")) == 2 * 1440


# ---- the warehouse ----------------------------------------------------------------------------------------------------


def test_built_bars_are_as_complete_as_the_minutes_that_they_are_built_from(work: Workbench) -> None:
    frame = read(DAYS[0], DAYS[1], "ohlcv_1h", source="warehouse")
    assert len(frame) == 48
    assert [(day["state"], day["rows"]) for day in frame.attrs["coverage"]] == [("available", 24)] * 2
    place, name = urls.postgres_place(work.url), urls.database_of(work.url)
    assert place.startswith("the socket /")
    assert place.endswith(f"/postgres/socket, database {name}")
    assert frame.attrs["looked_in"] == f"Postgres at {place}"
    assert incomplete(refused(DAYS[1], "2024-01-05", "ohlcv_1h", source="warehouse").coverage) == [
        (str(HALF), "degraded"),
        ("2024-01-05", "not_collected"),
    ]
    minutes = read(DAYS[0], DAYS[1], "trade_statistics_1m", source="warehouse", columns=["vwap"])
    assert list(minutes.columns) == ["vwap"]
    assert {day["state"] for day in minutes.attrs["coverage"]} == {"available"}


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_1h", "ohlcv_1d", "trade_statistics_1m"])
def test_rows_that_are_gone_from_postgres_are_noticed(work: Workbench, dataset: str) -> None:
    table = "trade_statistics_1m" if dataset == "trade_statistics_1m" else "ohlcv"
    with psycopg.connect(work.url) as connection:
        connection.execute(
            f"DELETE FROM market.{table} WHERE open_time >= %s AND open_time < %s",
            (DAYS[1], datetime.combine(DAYS[1], time(5), UTC)),
        )
    error = refused(DAYS[0], DAYS[1], dataset, source="warehouse")
    assert incomplete(error.coverage) == [(str(DAYS[1]), "missing")]
    assert " of its " in str(error)


def test_trades_that_were_not_loaded_are_missing_from_postgres(
    work: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    part = {**work.entries[0], "datasets": ["ohlcv_1m", "trades"]}
    (tmp_path / "collection.yaml").write_text(yaml.safe_dump({"series": [part]}))
    with pytest.raises(ConfigError, match="does not load it into the warehouse; use source='lake', or add it"):
        read(DAYS[0], DAYS[1], "trades", source="warehouse")
    (tmp_path / "collection.yaml").write_text(yaml.safe_dump({"series": [{**part, "warehouse": ["trades"]}]}))
    error = refused(DAYS[0], DAYS[1], "trades", source="warehouse")
    assert "it was not loaded" in str(error)
    assert len(read(DAYS[0], DAYS[1], "trades")) == 2 * 1440
