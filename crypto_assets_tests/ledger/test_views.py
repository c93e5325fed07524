"""The views for people say what the commands and Python say: on days of every kind, and on the newest prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest

from crypto_assets import latest
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series
from crypto_assets.model.day_counts import DAY_COUNTS
from crypto_assets.quality.after_run import close_run
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.text.urls import READER, with_user
from crypto_assets_tests.command import Command
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import days, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

DAYS = days(date(2024, 1, 1), 8)
BTC, ETH = "BTC/USDT", "ETH/USDT"
PARTIAL, GONE, ACCEPTED, REFUSED, UNASKED = DAYS[1], DAYS[2], DAYS[3], DAYS[5], DAYS[6]
BARS = Series("binance", "spot", "ohlcv", "1m")
COUNTS = ("days", *DAY_COUNTS)


@pytest.fixture(scope="module")
def work(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Days of every kind of BTC; those of ETH begin two days later. One day of both was not collected."""
    folder = tmp_path_factory.mktemp("views")
    listed = {"BTCUSDT": (DAYS[0], DAYS[-1]), "ETHUSDT": (DAYS[2], DAYS[-1])}
    part = entry("spot", ["ohlcv_1m", "ohlcv_1h"], [BTC, ETH], DAYS[0], end=DAYS[-1], rest=False)
    with (
        SandboxServer(SyntheticArchive({"spot": listed}, trades_per_day=1_440)) as server,
        new_database(postgres_server_url) as url,
    ):
        work = Workbench(server, url, folder / "lake", part)
        key = work.key(BARS, BTC, PARTIAL)
        lines = text_of(work.bytes_at(key)).splitlines(keepends=True)
        work.publish(key, zip_of(key, "".join([*lines[:720], *lines[730:]])))
        for day in (GONE, ACCEPTED):
            work.hide(work.key(BARS, BTC, day))
        refused = work.key(BARS, BTC, REFUSED)
        work.publish(refused, work.bytes_at(refused), checksum=b"0" * 64 + b"  x.zip")
        work.collect(DAYS[0], DAYS[5])
        work.collect(DAYS[-1], DAYS[-1])
        with Ledger(url) as ledger:  # as every run does at its end
            close_run(work.collection, work.lake, ledger, work.targets(DAYS[0], DAYS[-1]))
        yield work


@pytest.fixture(scope="module")
def command(work: Workbench) -> Command:
    command = Command.at(work.folder.parent, work.url, CRYPTO_ASSETS_LAKE_URL=str(work.folder))
    command.configure(work.collection.model_dump(mode="json"))
    one = ("--symbol", BTC, "--dataset", "ohlcv_1m", "--from", str(ACCEPTED), "--to", str(ACCEPTED))
    assert command("gaps", "acknowledge", *one, "--reason", "it never was", "--by", "ann").code == 0
    return command


def rows_of(work: Workbench, query: str) -> list[dict[str, Any]]:
    """Return the rows that readers get."""
    with psycopg.connect(with_user(work.url, READER)) as connection:
        cursor = connection.execute(query)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_coverage_counts_as_status_does(work: Workbench, command: Command) -> None:
    expected = {(one["dataset"], one["symbol"]): one for one in command("status", "--json").json}
    found = {(one["dataset"], one["symbol"]): one for one in rows_of(work, "SELECT * FROM collection.coverage")}
    assert (
        found.keys()
        == expected.keys()
        == {(name, symbol) for name in ("ohlcv_1m", "ohlcv_1h") for symbol in (BTC, ETH)}
    )
    for key, one in found.items():
        names = (*COUNTS, "rows", "size_bytes", "exchange", "market_type")
        assert {name: one[name] for name in names} == {name: expected[key][name] for name in names}
        assert [str(one["first_day"]), str(one["last_day"])] == [expected[key]["first_day"], expected[key]["last_day"]]
        assert one["is_complete"] is False, "one day was not collected"
    btc = found["ohlcv_1m", BTC]
    assert [btc[name] for name in COUNTS] == [8, 3, 0, 1, 2, 1, 0, 1, 0, 0]
    assert [found["ohlcv_1h", ETH][name] for name in COUNTS] == [8, 5, 0, 0, 0, 1, 2, 0, 0, 0]


def test_gaps_are_those_of_the_command_as_spans(work: Workbench, command: Command) -> None:
    expected = {
        (one["dataset"], one["symbol"], one["day"]): (
            {None: "not_collected", "degraded": "partial"}.get(one["state"], one["state"]),
            one["reason"],
            one["cause"],
            one["acknowledged"]["reason"] if one["acknowledged"] else None,
        )
        for one in command("gaps", "--json").json
    }
    spans = rows_of(work, "SELECT * FROM collection.gaps")
    found = {}
    for one in spans:
        assert one["acknowledged"] is (one["acknowledged_by"] is not None) is (one["acknowledged_reason"] is not None)
        assert one["days"] == (one["last_day"] - one["first_day"]).days + 1
        for number in range(one["days"]):
            day = one["first_day"] + timedelta(days=number)
            what = (one["state"], one["reason"], one["cause"], one["acknowledged_reason"])
            found[one["dataset"], one["symbol"], str(day)] = what
    assert found == expected
    mine = {day: what for (dataset, symbol, day), what in found.items() if (dataset, symbol) == ("ohlcv_1m", BTC)}
    assert {day: (what[0], what[2]) for day, what in mine.items()} == {
        str(PARTIAL): ("partial", "unexplained"),
        str(GONE): ("missing", "upstream_absent_file"),
        str(ACCEPTED): ("missing", "upstream_absent_file"),
        str(REFUSED): ("missing", "upstream_bad_file"),
        str(UNASKED): ("not_collected", "not_collected"),
    }
    assert mine[str(ACCEPTED)][3] == "it never was"


def test_the_newest_prices_are_those_of_python(
    work: Workbench, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    frame = latest("binance", dataset="ohlcv_1m", exact=True)
    expected = {
        row.symbol: (row.close, row.open_time.to_pydatetime() + timedelta(minutes=1), "ohlcv_1m")
        for row in frame.itertuples()
    }
    before = datetime.now(UTC)
    found = rows_of(work, "SELECT * FROM market.latest_prices")
    after = datetime.now(UTC)
    assert {one["symbol"]: (one["price"], one["time"], one["dataset"]) for one in found} == expected
    assert set(expected) == {BTC, ETH}
    ends = datetime.combine(DAYS[-1] + timedelta(days=1), time(), UTC)
    assert all(before - ends <= one["age"] <= after - ends for one in found), "the last bar ends at midnight"


def test_the_newest_price_of_a_delisted_symbol_and_of_longer_bars_is_there(postgres_url: str, work: Workbench) -> None:
    with new_database(postgres_url, work.url) as url, psycopg.connect(url) as connection:
        connection.execute("DELETE FROM market.ohlcv WHERE symbol = %s AND open_time >= '2024-01-04T00:00Z'", (ETH,))
        connection.execute("DELETE FROM market.ohlcv WHERE symbol = %s AND timeframe <> '1h'", (BTC,))
        rows = connection.execute("SELECT symbol, time, dataset FROM market.latest_prices").fetchall()
        assert [(symbol, f"{time:%m-%d %H:%M}", dataset) for symbol, time, dataset in rows] == [
            (BTC, "01-09 00:00", "ohlcv_1h"),
            (ETH, "01-04 00:00", "ohlcv_1m"),
        ]
