"""The engine end to end, without Dagster: a sandbox exchange over HTTP, a lake in a folder, a real Postgres."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.causes.rules import cause_of_day
from crypto_assets.model import Series, State
from crypto_assets.model.kinds import Kind
from crypto_assets.sources.binance.archive import BinanceFiles
from crypto_assets_tests.engine.conftest import END, FIRST, LAST, Open
from crypto_assets_tests.published import Row, checksum_of, of_day, rows_of, statistics_of, text_of, zip_of
from crypto_assets_tests.workbench import entry

DAYS = [date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]  # across the end of a month


BARS = Series("binance", "spot", "ohlcv", "1m")


TRADES = Series("binance", "spot", "trades")


BTC = "BTC/USDT"


SPOT = entry(
    "spot",
    ["ohlcv_1m", "trades", "agg_trades"],
    [BTC, "ETH/USDT"],
    FIRST,
    warehouse=["ohlcv_1m", "trades", "agg_trades", "trade_statistics_1m"],
)


LINEAR = entry("linear", ["ohlcv_1m", "ohlcv_1h", "funding_rates"], ["BTC/USDT:USDT"], FIRST)


ONE = entry("spot", ["ohlcv_1m"], [BTC], FIRST)


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the files of a lake except the one with its id, which is different in each lake."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "_lake.json"
    }


def versions_of(url: str) -> dict[str, Counter[tuple[str, ...]]]:
    """Return the version of every row of the warehouse, and when each day was loaded."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = 'market' AND relkind = 'p' ORDER BY 1"
        ).fetchall()
        found = {
            name: Counter(
                connection.execute(f"SELECT tableoid::text, xmin::text, t.*::text FROM market.{name} t").fetchall()
            )
            for (name,) in tables
        }
        loads = connection.execute(
            "SELECT table_name, symbol, dataset, day::text, loaded_at::text FROM collection.warehouse_loads"
        )
        return found | {"loads": Counter(loads.fetchall())}


def changed_price(content: bytes, at: int = 700) -> str:
    """Return the CSV of a day of bars with a changed volume in one minute."""
    lines = text_of(content).splitlines()
    cells = lines[at].split(",")
    cells[5] = str(Decimal(cells[5]) + Decimal("12.34567891"))
    lines[at] = ",".join(cells)
    return "\n".join(lines) + "\n"


# ---- a clean collection ----------------------------------------------------------------------------------------------


def test_every_published_value_is_in_lake_and_warehouse(bench: Open) -> None:
    work = bench(SPOT, LINEAR)
    result = work.collect(FIRST, LAST)
    assert result.tally.states == {State.AVAILABLE: 27}
    assert not result.tally.problems
    compared = 0
    for target in work.targets(FIRST, LAST):
        series, symbol = target.series, target.symbol
        table = series.table
        where = f"timeframe = '{series.timeframe}' AND source = 'archive'" if series.timeframe else "true"
        for day in DAYS:
            if series.table == "funding_rates":
                expected = of_day(work.published(series, symbol, f"{day:%Y-%m}", "monthly"), day)
                assert len(expected) == 3
            else:
                expected = work.published(series, symbol, day)
                assert len(expected) >= 24
            assert work.in_lake(series, symbol, day) == expected, (series, symbol, day)
            assert work.in_warehouse(table, symbol, day, where, series.market_type) == expected, (series, symbol, day)
            compared += len(expected)
    assert compared == result.tally.rows


def test_longer_bars_and_minute_statistics_are_what_the_exchange_publishes_itself(bench: Open) -> None:
    work = bench(entry("spot", ["ohlcv_1m", "trades"], [BTC], FIRST))
    work.collect(FIRST, LAST)
    for day in DAYS:
        for timeframe in ("5m", "15m", "30m", "1h", "4h", "1d"):
            expected = work.published(Series("binance", "spot", "ohlcv", timeframe), BTC, day)
            where = f"timeframe = '{timeframe}' AND source = 'derived'"
            assert work.in_warehouse("ohlcv", BTC, day, where) == expected, (timeframe, day)
        trades = work.published(TRADES, BTC, day)
        assert len(trades) == 1440
        assert work.in_warehouse("trade_statistics_1m", BTC, day) == statistics_of(trades)
        assert work.in_warehouse("trades", BTC, day) == [], "trades stay in the lake unless they are configured"


def test_the_ledger_knows_every_file_by_its_published_checksum(bench: Open) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    with psycopg.connect(work.url) as connection:
        objects = {
            name: (size, published, computed)
            for name, size, published, computed in connection.execute(
                "SELECT key, size_bytes, published_digest, computed_sha256 FROM collection.archive_objects"
            )
        }
    for day in DAYS:
        of = work.key(BARS, BTC, day)
        content = work.bytes_at(of)
        sha256 = checksum_of(of, content).decode().split()[0]
        assert objects.pop(of) == (len(content), f"sha256:{sha256}", sha256)
        record = work.records()[BTC, "ohlcv_1m", day]
        assert (record.state, record.source_key, record.source_sha256, record.rows) == ("available", of, sha256, 1440)
    assert objects == {}


# ---- twice is once ---------------------------------------------------------------------------------------------------


def test_collecting_twice_changes_no_byte_and_no_row_and_downloads_nothing(bench: Open) -> None:
    work = bench(SPOT, LINEAR)
    work.collect(FIRST, LAST)
    files, versions = files_of(work.folder), versions_of(work.url)
    assert len(files) == 27
    assert sum(versions["ohlcv"].values()) > 3 * 3 * 1440
    work.sandbox.forget_requests()
    again = work.collect(FIRST, LAST)
    assert again.tally.states == {State.AVAILABLE: 27}
    assert again.tally.unchanged == 27
    assert files_of(work.folder) == files
    assert versions_of(work.url) == versions
    # The month after the last file is probed by the name of its checksum; nothing is downloaded.
    after = "/data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-03.zip.CHECKSUM"
    assert {path for _, path in work.sandbox.requests()} == {"/listing", after}


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.unlink()]
)
def test_a_file_damaged_or_deleted_on_disk_is_collected_again(bench: Open, damage: Callable[[Path], Any]) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    files, versions = files_of(work.folder), versions_of(work.url)
    path = f"exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date={DAYS[1]}/data.parquet"
    damage(work.folder / path)
    work.sandbox.forget_requests()
    again = work.collect(FIRST, LAST)
    assert again.tally.states == {State.AVAILABLE: 3}
    assert [again.of(day).unchanged for day in DAYS] == [True, False, True]
    after = files_of(work.folder)
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in files.items()}
    assert versions_of(work.url) == versions, "the content is the same, so no row of the warehouse is changed"
    of = work.key(BARS, BTC, DAYS[1])
    assert [path for _, path in work.sandbox.requests() if path != "/listing"] == [f"/{of}", f"/{of}.CHECKSUM"]


def test_a_file_replaced_on_disk_by_another_day_is_collected_again(bench: Open) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    files = files_of(work.folder)
    first, second = sorted(files)[:2]
    (work.folder / first).write_bytes(files[second][0])
    work.collect(FIRST, LAST)
    assert files_of(work.folder)[first][0] == files[first][0]


def test_a_republished_file_replaces_the_day_in_lake_and_warehouse(bench: Open) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    files, versions = files_of(work.folder), versions_of(work.url)
    day, of = DAYS[1], work.key(BARS, BTC, DAYS[1])
    before = work.published(BARS, BTC, day)
    text = changed_price(work.bytes_at(of))
    work.publish(of, zip_of(of, text))
    again = work.collect(FIRST, LAST)
    expected = rows_of("klines", text)
    assert expected != before
    assert again.tally.states == {State.AVAILABLE: 3}
    assert [again.of(day).unchanged for day in DAYS] == [True, False, True]
    assert work.in_lake(BARS, BTC, day) == expected
    assert work.in_warehouse("ohlcv", BTC, day, "timeframe = '1m'") == expected
    (whole,) = work.in_warehouse("ohlcv", BTC, day, "timeframe = '1d'")
    assert whole[5] == sum(row[5] for row in expected), "bars that follow from the day are built again"
    after = files_of(work.folder)
    assert [name for name in files if after[name] != files[name]] == [
        f"{work.lake.path(BARS, again.of(day).partition)}"
    ]
    others = {row for row in versions["loads"] if row[3] != str(day)}
    assert len(others) == 2
    assert {row for row in versions_of(work.url)["loads"] if row[3] != str(day)} == others


def test_a_republished_file_is_found_although_its_listing_shows_neither_etag_nor_time(
    bench: Open, bare_listings: None
) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    work.sandbox.forget_requests()
    assert [work.collect(FIRST, LAST).of(day).unchanged for day in DAYS] == [True] * 3
    assert not [path for verb, path in work.sandbox.requests() if verb == "GET" and path.endswith(".zip")]
    of = work.key(BARS, BTC, DAYS[1])
    text = changed_price(work.bytes_at(of))
    work.publish(of, zip_of(of, text))
    again = work.collect(FIRST, LAST)
    assert [again.of(day).unchanged for day in DAYS] == [True, False, True]
    assert work.in_lake(BARS, BTC, DAYS[1]) == rows_of("klines", text)


def test_a_republished_file_that_is_refused_leaves_the_stored_day_in_force(bench: Open) -> None:
    work = bench(ONE)
    work.collect(FIRST, LAST)
    files, versions = files_of(work.folder), versions_of(work.url)
    of = work.key(BARS, BTC, DAYS[1])
    work.publish(of, b"PK\x03\x04 nothing else")
    again = work.collect(FIRST, LAST)
    assert again.of(DAYS[1]).state is State.MISSING
    assert {n: state for n, state in files_of(work.folder).items() if not n.startswith("quarantine/")} == files
    assert versions_of(work.url) == versions
    record = work.records()[BTC, "ohlcv_1m", DAYS[1]]
    assert record.state is State.CORRECTED
    assert record.rows == 1440
    assert record.attempt_error is not None
    assert of in record.attempt_error


# ---- one bad day -----------------------------------------------------------------------------------------------------


def test_one_bad_day_never_stops_the_others(bench: Open) -> None:
    work = bench(ONE)
    bad = FIRST + timedelta(days=7)
    of = work.key(BARS, BTC, bad)
    work.publish(of, work.bytes_at(of), checksum=b"0" * 64 + b"  other.zip\n")
    result = work.collect(FIRST, END)
    assert result.tally.states == {State.AVAILABLE: 30, State.MISSING: 1}
    (problem,) = result.tally.problems
    assert problem.partition.day == bad
    for day in (FIRST, bad - timedelta(days=1), bad + timedelta(days=1), END):
        assert work.in_lake(BARS, BTC, day) == work.published(BARS, BTC, day)
    assert work.lake.days(BARS, BTC) == [day for day in _days(FIRST, END) if day != bad]
    assert work.in_warehouse("ohlcv", BTC, bad) == []


def test_a_source_that_fails_on_a_file_costs_that_file_alone_with_its_name(
    bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = bench(ONE)
    of = work.key(BARS, BTC, DAYS[1])
    real = BinanceFiles.parse

    def parse(self: BinanceFiles, symbol: str, key: str, content: bytes, instrument: Any = None) -> Any:
        rows = real(self, symbol, key, content, instrument)
        return rows["no such column"] if key == of else rows

    with monkeypatch.context() as broken:
        broken.setattr(BinanceFiles, "parse", parse)
        result = work.collect(FIRST, LAST)
    assert result.tally.states == {State.AVAILABLE: (LAST - FIRST).days, State.MISSING: 1}
    outcome = result.of(DAYS[1])
    assert outcome.reason.startswith(
        f"{of}: expected that the source binance reads it, found that its code failed: KeyError"
    )
    assert outcome.evidence["error"] == "SourceFault"
    assert cause_of_day(DAYS[1], outcome.state, outcome.evidence).kind is Kind.OUR_FAILURE
    assert (work.folder / outcome.evidence["quarantine"]).read_bytes() == work.bytes_at(of)
    assert work.collect(FIRST, LAST).of(DAYS[1]).state is State.AVAILABLE  # with a mended source


def test_a_day_whose_rows_break_a_check_is_refused_with_its_reason(bench: Open) -> None:
    work = bench(ONE)
    of = work.key(BARS, BTC, DAYS[1])
    lines = text_of(work.bytes_at(of)).splitlines()
    cells = lines[5].split(",")
    cells[3] = str(Decimal(cells[2]) + 1)  # low above high
    lines[5] = ",".join(cells)
    content = zip_of(of, "\n".join(lines) + "\n")
    work.publish(of, content)
    result = work.collect(FIRST, LAST)
    assert [result.of(day).state for day in DAYS] == ["available", "missing", "available"]
    outcome = result.of(DAYS[1])
    assert outcome.failed_checks == ["ohlc_consistent"]
    assert of in outcome.reason
    assert "1 bar with a price outside low and high" in outcome.reason
    ((path, reason),) = work.quarantined().items()
    assert (work.folder / path).read_bytes() == content
    assert outcome.reason.startswith(reason["reason"])
    assert work.records()[BTC, "ohlcv_1m", DAYS[1]].failed_checks == ["ohlc_consistent"]
    assert work.lake.days(BARS, BTC) == [DAYS[0], DAYS[2]]
    assert work.in_warehouse("ohlcv", BTC, DAYS[1]) == []


def test_a_day_with_missing_minutes_is_stored_and_marked_degraded(bench: Open) -> None:
    work = bench(ONE)
    of = work.key(BARS, BTC, DAYS[1])
    lines = text_of(work.bytes_at(of)).splitlines()
    work.publish(of, zip_of(of, "\n".join(lines[:514] + lines[533:]) + "\n"))
    result = work.collect(FIRST, LAST)
    outcome = result.of(DAYS[1])
    assert outcome.state is State.DEGRADED
    assert outcome.findings["complete"].evidence == {
        "expected": 1440,
        "found": 1421,
        "missing": 19,
        "spans": ["08:34–08:52"],
    }
    expected = work.published(BARS, BTC, DAYS[1])
    assert len(expected) == 1421
    assert work.in_lake(BARS, BTC, DAYS[1]) == expected
    assert work.in_warehouse("ohlcv", BTC, DAYS[1], "timeframe = '1m'") == expected
    hours = {row[0] // 3_600_000_000 % 24 for row in work.in_warehouse("ohlcv", BTC, DAYS[1], "timeframe = '1h'")}
    assert hours == set(range(24)) - {8}, "no longer bar is built over a gap"
    assert work.in_warehouse("ohlcv", BTC, DAYS[1], "timeframe = '1d'") == []


def test_a_day_without_a_daily_file_comes_from_the_monthly_one(bench: Open) -> None:
    work = bench(ONE)
    hidden = work.key(BARS, BTC, DAYS[1])
    expected = {day: work.published(BARS, BTC, day) for day in DAYS}
    work.hide(hidden)
    result = work.collect(FIRST, LAST)
    assert result.tally.states == {State.AVAILABLE: 3}
    month = work.key(BARS, BTC, "2024-01", "monthly")
    sources = [outcome.source.key for day in DAYS if (outcome := result.of(day)).source]
    assert sources == [work.key(BARS, BTC, DAYS[0]), month, work.key(BARS, BTC, DAYS[2])]
    for day in DAYS:
        assert work.in_lake(BARS, BTC, day) == expected[day]
    del work.sandbox.app.state.overrides[hidden], work.sandbox.app.state.overrides[hidden + ".CHECKSUM"]
    again = work.collect(FIRST, LAST)
    source = again.of(DAYS[1]).source
    assert source is not None
    assert source.key == hidden, "the daily file is preferred as soon as it exists"
    assert work.in_lake(BARS, BTC, DAYS[1]) == expected[DAYS[1]]


def test_a_bad_month_file_says_so_for_each_of_its_days_and_is_kept_once(bench: Open) -> None:
    work = bench(ONE)
    for day in DAYS[:2]:
        work.hide(work.key(BARS, BTC, day))
    month = work.key(BARS, BTC, "2024-01", "monthly")
    lines = text_of(work.bytes_at(month)).splitlines()
    opens, rest = lines[-1].split(",", 1)
    a_week_later = f"{int(opens) + 7 * 24 * 3_600_000},{rest}"
    content = zip_of(month, "\n".join([*lines, a_week_later]) + "\n")
    work.publish(month, content)
    result = work.collect(FIRST, LAST)
    assert [result.of(day).state for day in DAYS] == ["missing", "missing", "available"]
    assert "1 rows of other days" not in result.of(DAYS[0]).reason
    assert "found 1 row of another day" in result.of(DAYS[0]).reason
    assert all(month in result.of(day).reason for day in DAYS[:2])
    ((path, _),) = work.quarantined().items()
    assert (work.folder / path).read_bytes() == content


def test_days_before_the_listing_are_no_data_and_days_without_a_file_are_missing(bench: Open) -> None:
    work = bench(entry("spot", ["ohlcv_1m"], ["NEW/USDT"], FIRST))
    gone = LAST + timedelta(days=2)
    work.hide(work.key(BARS, "NEW/USDT", gone))
    work.hide(work.key(BARS, "NEW/USDT", "2024-02", "monthly"))
    result = work.collect(FIRST, LAST + timedelta(days=3))
    assert result.tally.states == {State.NO_DATA: 2, State.AVAILABLE: 3, State.MISSING: 1}
    for day in (FIRST, FIRST + timedelta(days=1)):
        outcome = result.of(day, symbol="NEW/USDT")
        assert outcome.state is State.NO_DATA
        assert outcome.reason == f"not listed before {LAST}: the archive's first file"
    lost = result.of(gone, symbol="NEW/USDT")
    assert lost.state is State.MISSING
    assert lost.reason == (
        f"expected {work.key(BARS, 'NEW/USDT', gone)} by {gone + timedelta(days=4)}, the archive does not list it, "
        "nor has it under its name"
    )
    assert work.lake.days(BARS, "NEW/USDT") == [LAST, LAST + timedelta(days=1), LAST + timedelta(days=3)]


def test_a_symbol_that_the_archive_does_not_list_leaves_the_others_alone(bench: Open) -> None:
    work = bench(entry("spot", ["ohlcv_1m"], [BTC, "BTD/USDT"], FIRST))
    result = work.collect(FIRST, LAST)
    assert result.tally.states == {State.AVAILABLE: 3, State.MISSING: 3}
    assert {outcome.partition.symbol for outcome in result.tally.problems} == {"BTD/USDT"}
    assert all("did you mean BTC/USDT" in outcome.reason for outcome in result.tally.problems)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def test_the_second_opinion_reads_what_it_should() -> None:
    text = "1706659200000,1.5,2.00000000,1,1.75,10,1706659259999,17.5,3,4,7,0\n"
    expected: list[Row] = [(1_706_659_200_000_000, Decimal("1.5"), 2, 1, Decimal("1.75"), 10, Decimal("17.5"), 3, 4, 7)]
    assert rows_of("klines", text) == expected
