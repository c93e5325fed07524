"""Rows in another order, duplicate rows and bars beside the grid, from the file to the lake: stored if proven."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

import crypto_assets
from crypto_assets import datasets
from crypto_assets.checks import rules_of
from crypto_assets.defs.asset_checks import tables_of
from crypto_assets.engine.publication.validation import sentence
from crypto_assets.engine.publication.warehouse_rows import judge
from crypto_assets.errors import IncompleteData, IncompleteDataWarning
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets_tests.published import of_day, rows_of, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

DAY, NEXT, END = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 29)
BTC, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
BARS, HOURS = Series("binance", "spot", "ohlcv", "1m"), Series("binance", "spot", "ohlcv", "1h")
TRADES, AGGREGATES = Series("binance", "spot", "trades"), Series("binance", "spot", "agg_trades")
FUTURES = Series("binance", "linear", "trades")
HOUR_US = 3_600_000_000
BARS_COLUMNS = datasets.get("ohlcv").schema.names

Lines = list[list[str]]


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    span = (date(2024, 1, 1), END)
    archive = SyntheticArchive({"spot": {"BTCUSDT": span}, "linear": {"BTCUSDT": span}}, trades_per_day=1_440)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def bench(running: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Callable[..., Workbench]]:
    """A function that opens a workbench for some datasets of spot."""

    def opened(*datasets: str, market_type: str = "spot") -> Workbench:
        symbol = BTC if market_type == "spot" else PERPETUAL
        tables = [*datasets, *(["trade_statistics_1m"] if "trades" in datasets else [])]
        return Workbench(
            running, postgres_url, tmp_path / "lake", entry(market_type, datasets, [symbol], DAY, warehouse=tables)
        )

    yield opened
    running.app.state.overrides.clear()


def republish(
    work: Workbench, series: Series, change: Callable[[Lines], Lines], stamp: date | str = DAY, symbol: str = BTC
) -> str:
    """Publish a changed file; return its key."""
    key = work.key(series, symbol, stamp, "daily" if isinstance(stamp, date) else "monthly")
    lines = [line.split(",") for line in text_of(work.bytes_at(key)).splitlines()]
    header = [] if lines[0][0].isdigit() else [lines.pop(0)]
    text = "".join(",".join(cells) + "\n" for cells in [*header, *change(lines)])
    work.publish(key, zip_of(key, text))
    return key


def shuffled(lines: Lines) -> Lines:
    return random.Random(7).sample(lines, len(lines))


def said(outcome: Outcome, check: str) -> str:
    """Return the finding of a check of a day, as a sentence."""
    (rule,) = [rule for rule in rules_of(outcome.series) if rule.name == check]
    return sentence(rule, outcome.series, outcome.findings[check])


def failed(outcome: Outcome) -> list[str]:
    return sorted(outcome.failed_checks)


# ---- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", [BARS, TRADES, AGGREGATES], ids=lambda series: series.dataset)
def test_rows_shuffled_across_the_file_are_sorted_where_their_keys_prove_the_order(bench, series):
    work = bench(series.dataset)
    expected = work.published(series, BTC, DAY)
    republish(work, series, shuffled)
    outcome = work.collect(DAY, DAY).of(DAY, series.dataset)
    assert (outcome.state, failed(outcome)) == (State.AVAILABLE, ["file_order"])
    assert work.in_lake(series, BTC, DAY) == expected
    by = "open time" if series.table == "ohlcv" else "id"
    assert f" were in another order in the file; sorted by {by}; the first: row " in said(outcome, "file_order")


def test_a_month_of_futures_trades_that_is_sorted_by_nothing_gives_all_of_its_days(bench):
    work = bench("trades", market_type="linear")
    days = [DAY, NEXT]
    expected = {day: work.published(FUTURES, PERPETUAL, day) for day in days}
    for day in days:
        work.hide(work.key(FUTURES, PERPETUAL, day))
    republish(work, FUTURES, shuffled, "2024-01", PERPETUAL)
    result = work.collect(DAY, NEXT)
    for day in days:
        outcome = result.of(day, "trades", PERPETUAL, "linear")
        assert (outcome.state, failed(outcome)) == (State.AVAILABLE, ["file_order"])
        assert work.in_lake(FUTURES, PERPETUAL, day) == expected[day]


def one_instant(first: int, last: int) -> Callable[[Lines], Lines]:
    """Give some trades the time of the first of them."""

    def change(lines: Lines) -> Lines:
        for cells in lines[first:last]:
            cells[4] = lines[first][4]
        return lines

    return change


def test_trades_of_one_instant_follow_their_ids_whatever_the_file_says(bench):
    work = bench("trades")
    republish(work, TRADES, one_instant(700, 704))
    expected = work.published(TRADES, BTC, DAY)
    assert work.collect(DAY, DAY).of(DAY, "trades").findings["file_order"].passed
    republish(work, TRADES, lambda lines: [*lines[:700], *lines[700:704][::-1], *lines[704:]])
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert (outcome.state, failed(outcome)) == (State.AVAILABLE, ["file_order"])
    words = "4 trades were in another order in the file; sorted by id; the first: row 700: "
    assert said(outcome, "file_order").startswith(words)
    assert work.in_lake(TRADES, BTC, DAY) == expected
    assert work.in_warehouse("trades", BTC, DAY) == expected
    assert outcome.correction is not None
    assert outcome.correction.text == "published again, another order, same rows"
    assert not outcome.correction.changes_rows
    record = work.records()[BTC, "trades", DAY]
    assert (record.state, record.corrections) == (State.AVAILABLE, 0)
    republish(work, TRADES, lambda lines: sorted(lines, key=lambda cells: int(cells[0])))
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert outcome.findings["file_order"].passed
    assert outcome.correction is not None
    assert outcome.correction.text == "published again, another order, same rows"


def exchanged_times(lines: Lines) -> Lines:
    lines[700][4], lines[900][4] = lines[900][4], lines[700][4]
    return lines


@pytest.mark.parametrize("order", ["by id", "by time", "shuffled"])
def test_times_that_contradict_the_ids_are_refused_as_out_of_order(bench, order):
    work = bench("trades")
    arrange = {
        "by id": list,
        "by time": lambda lines: sorted(lines, key=lambda cells: int(cells[4])),
        "shuffled": shuffled,
    }
    key = republish(work, TRADES, lambda lines: arrange[order](exchanged_times(lines)))
    ids = [row[1] for row in sorted(work.published(TRADES, BTC, DAY), key=lambda row: row[1])]
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert outcome.state is State.MISSING
    assert "out of order" in outcome.reason
    assert "times and ids contradict each other" in outcome.reason
    assert f"trade_id {ids[701]} at " in outcome.reason
    assert f" after trade_id {ids[700]} at " in outcome.reason
    ((path, _),) = work.quarantined().items()
    assert path.startswith(f"quarantine/{key}")


def test_one_contradicting_day_of_a_month_costs_that_day_alone(bench):
    work = bench("trades")
    expected = work.published(TRADES, BTC, NEXT)
    for day in (DAY, NEXT):
        work.hide(work.key(TRADES, BTC, day))
    start = (DAY - date(2024, 1, 1)).days * 1_440

    def change(lines: Lines) -> Lines:
        lines[start + 700][4], lines[start + 900][4] = lines[start + 900][4], lines[start + 700][4]
        return lines

    republish(work, TRADES, change, "2024-01")
    result = work.collect(DAY, NEXT)
    assert result.of(DAY, "trades").state is State.MISSING
    assert "out of order" in result.of(DAY, "trades").reason
    assert result.of(NEXT, "trades").state is State.AVAILABLE
    assert work.in_lake(TRADES, BTC, NEXT) == expected


# ---- duplicate rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", [BARS, TRADES, AGGREGATES], ids=lambda series: series.dataset)
def test_duplicate_rows_are_dropped_and_counted(bench, series):
    work = bench(series.dataset)
    expected = work.published(series, BTC, DAY)
    republish(work, series, lambda lines: [*lines[:500], lines[499], *lines[500:], lines[7]])
    outcome = work.collect(DAY, DAY).of(DAY, series.dataset)
    assert (outcome.state, outcome.reason) == (State.AVAILABLE, "")
    assert outcome.findings["duplicate_rows"].evidence["doubles"] == 2
    assert len(outcome.findings["duplicate_rows"].evidence["examples"]) == 2
    assert said(outcome, "duplicate_rows").startswith("2 duplicate rows, equal in every column, dropped; the first: ")
    assert work.in_lake(series, BTC, DAY) == expected
    again = work.collect(DAY, DAY).of(DAY, series.dataset)
    assert again.unchanged
    assert again.findings["duplicate_rows"] == outcome.findings["duplicate_rows"], "the stored day has the finding too"


def test_two_rows_of_one_key_that_differ_are_refused_with_the_values_of_both(bench):
    work = bench("ohlcv_1m")
    republish(work, BARS, lambda lines: [*lines[:500], [*lines[499][:5], "12.5", *lines[499][6:]], *lines[500:]])
    outcome = work.collect(DAY, DAY).of(DAY)
    assert outcome.state is State.MISSING
    volume = f"{work.published(BARS, BTC, DAY)[499][5].normalize():f}"
    assert f"open_time 2024-01-30T08:19:00.000000, once with volume {volume}, once with volume 12.5" in outcome.reason


def test_a_bar_of_the_next_month_at_the_seam_is_left_to_its_own_file(bench):
    work = bench("ohlcv_1m")
    expected = {day: work.published(BARS, BTC, day) for day in (DAY, NEXT)}
    first = text_of(work.bytes_at(work.key(BARS, BTC, NEXT + timedelta(days=1)))).splitlines()[0].split(",")
    for day in (DAY, NEXT):
        work.hide(work.key(BARS, BTC, day))
    republish(work, BARS, lambda lines: [*lines, first], "2024-01")
    result = work.collect(DAY, NEXT)
    assert [result.of(day).state for day in (DAY, NEXT)] == [State.AVAILABLE, State.AVAILABLE]
    assert failed(result.of(DAY)) == []
    assert failed(result.of(NEXT)) == ["duplicate_rows"]
    words = "1 row of a neighbouring day, left to that day's own file; the first: open_time 2024-02-01 00:00:00, open "
    assert said(result.of(NEXT), "duplicate_rows").startswith(words)
    (shown,) = result.of(NEXT).findings["duplicate_rows"].evidence["seam_examples"]
    assert list(shown) == BARS_COLUMNS, "the whole row is shown"
    assert {day: work.in_lake(BARS, BTC, day) for day in (DAY, NEXT)} == expected


# ---- bars beside the grid ------------------------------------------------------------------------------------------


def moved(first: int, last: int, by_ms: int) -> Callable[[Lines], Lines]:
    """Let some bars open later."""

    def change(lines: Lines) -> Lines:
        for cells in lines[first:last]:
            cells[0] = str(int(cells[0]) + by_ms)
        return lines

    return change


def test_bars_beside_the_minute_are_stored_and_marked_and_nothing_is_built_or_compared_wrongly(bench):
    work = bench("ohlcv_1m", "ohlcv_1h", "trades", "agg_trades")
    republish(work, BARS, moved(600, 900, 14_789))
    result = work.collect(DAY, DAY)
    outcome = result.of(DAY)
    assert (outcome.state, outcome.reason, failed(outcome)) == (State.AVAILABLE, "", ["on_grid"])
    assert said(outcome, "on_grid") == (
        "300 of 1,440 bars open off the grid of 1m, 14.789 s after it, from 2024-01-30T10:00:14.789000 to "
        "2024-01-30T14:59:14.789000; stored as published"
    )
    rows = work.in_lake(BARS, BTC, DAY)
    assert rows == work.published(BARS, BTC, DAY)
    assert rows[600][0] % 60_000_000 == 14_789_000
    hours = [row[0] // HOUR_US % 24 for row in work.in_warehouse("ohlcv", BTC, DAY, "timeframe = '1h'")]
    assert sorted(set(hours)) == list(range(24)), "all 1h bars of the archive are stored"
    built = [row[0] // HOUR_US % 24 for row in work.in_warehouse("ohlcv", BTC, DAY, "timeframe = '5m'")]
    assert set(built) == set(range(24)) - set(range(10, 15)), "no longer bar is built from bars beside the grid"
    for dataset in ("trades", "agg_trades"):
        found = result.of(DAY, dataset).findings["agrees_with_bars"]
        assert (found.passed, found.evidence["compared"], found.evidence["off_grid"]) == (True, 1_140, 300)
        assert result.of(DAY, dataset).findings["price_band"].evidence["off_grid"] == 300
    found = result.of(DAY, "ohlcv_1h").findings["agrees_with_shorter"]
    assert (found.passed, found.evidence["compared"], found.evidence["not_whole"]) == (True, 19, 5)
    assert found.evidence["off_grid"] == 300


@pytest.mark.parametrize("rows", [1_440, 1_200])
def test_a_table_holds_what_bars_beside_the_minute_make_and_so_says_who_reads_it(bench, monkeypatch, rows):
    work = bench("ohlcv_1m")
    republish(work, BARS, lambda lines: moved(600, 900, 14_789)(lines)[:rows])
    work.collect(DAY, DAY)
    (of,) = tables_of(work.collection, BARS, BTC)
    with Database(work.url) as database:
        (found,) = judge(database, of, [DAY]).values()
        assert found.passed, found.evidence
        assert found.evidence["built_bars"] == found.evidence["built_bars_due"] > 0
        assert judge(database, of, [DAY])[DAY].passed
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", work.url)
    hours = [hour for hour in range(rows // 60) if hour not in range(10, 15)]
    # The 1m bars decide whether the day is complete; that no hour is built from bars beside the minute is no fault.
    how = "raise" if rows == 1_440 else "warn"
    with nullcontext() if rows == 1_440 else pytest.warns(IncompleteDataWarning, match="partial"):
        frame = crypto_assets.read("binance", BTC, "ohlcv_1h", DAY, DAY, source="warehouse", missing=how)
    assert list(frame["open_time"].dt.hour) == hours
    assert [day["rows"] for day in frame.attrs["coverage"]] == [len(hours)]
    with psycopg.connect(work.url) as connection:
        connection.execute("DELETE FROM market.ohlcv WHERE timeframe = '1h' AND open_time = %s", (DAY,))
    with pytest.raises(IncompleteData, match=f"has {len(hours) - 1} of its {len(hours)} rows"):
        crypto_assets.read("binance", BTC, "ohlcv_1h", DAY, DAY, source="warehouse")
    with Database(work.url) as database:
        assert judge(database, of, [DAY])[DAY].evidence["differs"] == [
            f"built 1h bars: {len(hours) - 1} of {len(hours)}"
        ]


def test_hours_that_open_half_an_hour_late_over_midnight_are_stored(bench):
    work = bench("ohlcv_1h")
    late = 28 * 60_000 + 14_789
    republish(work, HOURS, moved(9, 24, late))
    republish(work, HOURS, moved(0, 4, late), NEXT)
    result = work.collect(DAY, NEXT)
    for day, count in ((DAY, 15), (NEXT, 4)):
        outcome = result.of(day, "ohlcv_1h")
        assert (outcome.state, failed(outcome)) == (State.AVAILABLE, ["on_grid"])
        assert outcome.findings["on_grid"].evidence["off_grid"] == count
        assert "28 min 15 s after it" in said(outcome, "on_grid")
        assert work.in_lake(HOURS, BTC, day) == work.published(HOURS, BTC, day)


def test_a_bar_that_is_missing_among_bars_beside_the_grid_is_still_missed(bench):
    work = bench("ohlcv_1m")
    republish(work, BARS, lambda lines: [*(rows := moved(600, 900, 14_789)(lines))[:700], *rows[703:]])
    outcome = work.collect(DAY, DAY).of(DAY)
    assert (outcome.state, outcome.reason) == (State.DEGRADED, "3 of 1,440 bars are missing (11:40–11:42)")


@pytest.mark.parametrize(
    ("first", "by_ms", "missing"), [(1_439, 60_000 + 14_789, "23:59"), (1_439, 60_001, "23:59"), (0, -214, "00:00")]
)
def test_a_bar_that_moved_over_midnight_costs_its_minute_and_not_the_day(bench, first, by_ms, missing):
    work = bench("ohlcv_1m")
    republish(work, BARS, moved(first, first + 1, by_ms))
    rows = work.published(BARS, BTC, DAY)
    outcome = work.collect(DAY, DAY).of(DAY)
    assert (outcome.state, outcome.reason) == (State.DEGRADED, f"1 of 1,440 bars is missing ({missing})")
    assert failed(outcome) == ["complete", "duplicate_rows"]
    assert outcome.findings["duplicate_rows"].evidence["seam_rows"] == 1
    assert work.in_lake(BARS, BTC, DAY) == [*rows[:first], *rows[first + 1 :]]


@pytest.mark.parametrize("by_ms", [60_000, 90 * 60_000 + 14_789, -1_440 * 60_000])
def test_a_bar_of_another_day_is_refused_and_called_what_it_is(bench, by_ms):
    work = bench("ohlcv_1m")
    republish(work, BARS, moved(1_439, 1_440, by_ms))
    outcome = work.collect(DAY, DAY).of(DAY)
    assert outcome.state is State.MISSING
    assert "1 row of another day; the first: row " in outcome.reason
    assert "expected inside 2024-01-30" in outcome.reason


# ---- ids over midnight ---------------------------------------------------------------------------------------------


def test_an_aggregate_id_used_on_two_days_for_different_trades_is_no_gap(bench):
    work = bench("agg_trades")
    last = int(text_of(work.bytes_at(work.key(AGGREGATES, BTC, DAY))).splitlines()[-1].split(",")[0])

    def again(lines: Lines) -> Lines:
        for cells in lines:
            cells[0] = str(int(cells[0]) - 1)
        return lines

    republish(work, AGGREGATES, again, NEXT)
    result = work.collect(DAY, NEXT)
    assert [result.of(day, "agg_trades").state for day in (DAY, NEXT)] == [State.AVAILABLE, State.AVAILABLE]
    words = said(result.of(NEXT, "agg_trades"), "ids_continue")
    assert words.startswith(f"the id {last} is in both days, for different trades; no trade is missing")
    with Ledger(work.url) as ledger:
        assert ledger.corrections() == []
    assert len(of_day(rows_of("aggTrades", text_of(work.bytes_at(work.key(AGGREGATES, BTC, NEXT)))), NEXT)) == 1_440
