"""Stored days are checked again: damage, other sources, days that came in another order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from crypto_assets.engine.problems import problem_of
from crypto_assets.engine.run_context import RunContext
from crypto_assets.engine.tally import Tally
from crypto_assets.errors import Stopped
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.progress import RunState, read_progress
from crypto_assets.model import STORED_FILE, Outcome, Partition, Series, State, TrackDay
from crypto_assets.model.kinds import Kind
from crypto_assets.quality import validate
from crypto_assets.quality.after_run import close_run
from crypto_assets.quality.compare_sources import source_comparer
from crypto_assets.quality.gap_causes import explain
from crypto_assets.quality.validate import Validator
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Result, Workbench, entry

FIRST, DAY, LAST, END = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 31)
BTC = "BTC/USDT"
BARS, HOURS = Series("binance", "spot", "ohlcv", "1m"), Series("binance", "spot", "ohlcv", "1h")
TRADES = Series("binance", "spot", "trades")


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, END)}}, seed=8, trades_per_day=3_000)) as server:
        yield server


@pytest.fixture
def bench(running: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    yield Workbench(running, postgres_url, tmp_path / "lake")
    running.app.state.overrides.clear()
    running.app.state.source.now = None


def collect(bench: Workbench, first: date, last: date, *datasets: str, rest: bool = False) -> Result:
    """Collect as a run does, what follows from it included."""
    bench.entries = [entry("spot", list(datasets), [BTC], FIRST, rest=rest)]
    result = bench.collect(first, last)
    targets = bench.targets(first, last)
    bench.entries = [entry("spot", ["ohlcv_1m", "ohlcv_1h", "trades"], [BTC], FIRST, rest=rest)]
    with Ledger(bench.url) as ledger:
        close_run(bench.collection, bench.lake, ledger, targets)
    return result


def check_again(bench: Workbench, *sources: str, stop: threading.Event | None = None) -> tuple[Tally, list[Outcome]]:
    """Check everything that is stored of the datasets."""
    outcomes: list[Outcome] = []
    with Ledger(bench.url) as ledger, source_comparer(bench.collection, bench.url, sources) as comparer:
        context = RunContext(stop=stop or threading.Event())
        validator = Validator(
            bench.lake, ledger, context, source_comparer=comparer, on_batch=lambda found, _: outcomes.extend(found)
        )
        return validator.run(bench.targets(FIRST, END)), outcomes


def finding(bench: Workbench, dataset: str, day: date, name: str) -> dict[str, object]:
    return dict(bench.records()[BTC, dataset, day].findings[name])


def test_what_is_found_again_is_what_was_found(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m", "ohlcv_1h", "trades")
    before = bench.records()
    tally, outcomes = check_again(bench)
    assert tally.states == {State.AVAILABLE: 9}
    assert tally.rows == 3 * (1_440 + 24 + 3_000)
    assert {str(outcome.partition) for outcome in outcomes} == {f"{BTC} {day}" for day in (FIRST, DAY, LAST)}
    assert bench.records() == before  # updated_at and reported_at too


def test_the_progress_of_a_run_counts_the_stored_days_only(bench: Workbench) -> None:
    collect(bench, FIRST, DAY, "ohlcv_1m", "trades")  # nobody has collected the last day
    bench.lake.delete(BARS, Partition(BTC, DAY))
    for _ in range(2):  # the second time the deleted day is missing
        check_again(bench)
        with Ledger(bench.url) as ledger:
            progress = read_progress(ledger)[0]
        assert (progress.kind, progress.state) == (RunContext().kind, RunState.FAILED)
        assert (progress.total, progress.done, progress.failed, progress.remaining) == (4, 4, 1, 0)


def test_a_damaged_file_is_missing_by_our_failure_and_is_mended_by_collecting(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m")
    path = bench.folder / bench.lake.path(BARS, Partition(BTC, DAY))
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    bench.lake.delete(BARS, Partition(BTC, LAST))
    tally, _ = check_again(bench)
    assert tally.states == {State.AVAILABLE: 1, State.MISSING: 2}
    assert {problem_of(one).state for one in tally.problems} == {State.MISSING}
    records = bench.records()
    assert check_again(bench)[0].states == tally.states, "it is said as often as it is looked at"
    assert records[BTC, "ohlcv_1m", DAY].failed_checks == [STORED_FILE]
    assert records[BTC, "ohlcv_1m", DAY].reason.startswith(f"{path}: the file is damaged: expected sha256")
    assert "found none" in records[BTC, "ohlcv_1m", LAST].reason
    collect(bench, FIRST, LAST, "ohlcv_1m")
    assert path.read_bytes() == good
    assert {record.state for record in bench.records().values()} == {State.AVAILABLE}
    assert check_again(bench)[0].states == {State.AVAILABLE: 3}


def test_another_valid_file_in_its_place_is_seen(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m")
    paths = [bench.folder / bench.lake.path(BARS, Partition(BTC, day)) for day in (DAY, LAST)]
    paths[0].write_bytes(paths[1].read_bytes())
    tally, _ = check_again(bench)
    assert tally.states == {State.AVAILABLE: 2, State.MISSING: 1}
    assert "not the file in the ledger: expected sha256" in bench.records()[BTC, "ohlcv_1m", DAY].reason


def test_a_damaged_file_of_the_right_size_is_our_failure_until_it_is_collected_again(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m")
    path = bench.folder / bench.lake.path(BARS, Partition(BTC, DAY))
    good = path.read_bytes()
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    assert lost_of(bench) == {}, "nobody has read it yet"
    check_again(bench)
    [(place, reason)] = lost_of(bench).items()
    assert place == (BARS, BTC, DAY)
    assert reason.startswith("its file was damaged or deleted when `validate` read it: ")
    with Ledger(bench.url) as ledger:
        found = gaps(bench.collection, ledger, LAST + timedelta(days=1), lost=lost_of(bench))
        [one] = explain(ledger, [gap for gap in found if gap.series == BARS])
        # Whoever asks without a lake is not told that the exchange did it.
        alone = [gap for gap in gaps(bench.collection, ledger, LAST + timedelta(days=1)) if gap.series == BARS]
        assert [other.cause.kind for other in explain(ledger, alone)] == [Kind.OUR_FAILURE]
    assert (one.gap.state, one.gap.lost, one.cause.kind) == (State.MISSING, True, Kind.OUR_FAILURE)
    collect(bench, FIRST, LAST, "ohlcv_1m")
    assert path.read_bytes() == good
    assert lost_of(bench) == {}


def lost_of(bench: Workbench) -> dict[TrackDay, str]:
    with Ledger(bench.url) as ledger:
        return lost_days(ledger, bench.lake).reasons


def test_a_day_in_pieces_is_judged_as_a_whole_one(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    of = bench.key(TRADES, BTC, DAY)
    lines = text_of(bench.bytes_at(of)).splitlines()
    bench.publish(of, zip_of(of, "".join(f"{line}\n" for line in lines[:900] + lines[903:])))
    collect(bench, FIRST, LAST, "ohlcv_1m", "trades")
    whole = {key: record.findings for key, record in bench.records().items()}
    assert whole[BTC, "trades", DAY]["complete"]["missing_ids"] == 3
    monkeypatch.setattr(validate, "PIECEMEAL_ROWS", 100)
    monkeypatch.setattr("crypto_assets.storage.parquet.PIECE_ROWS", 251)
    check_again(bench)
    assert {key: record.findings for key, record in bench.records().items()} == whole


def test_trades_that_came_before_their_bars_are_compared_once_these_are_there(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "trades", "ohlcv_1h")
    assert "not stored" in str(finding(bench, "trades", DAY, "agrees_with_bars")["not_judged"])
    collect(bench, FIRST, LAST, "ohlcv_1m")
    found = finding(bench, "trades", DAY, "agrees_with_bars")
    assert (found["passed"], found["with"], found["agree"]) == (True, "ohlcv_1m", 1_440)
    assert found["with_sha256"] == bench.records()[BTC, "ohlcv_1m", DAY].content_sha256
    assert finding(bench, "ohlcv_1h", DAY, "agrees_with_shorter")["compared"] == 24


def test_a_seam_is_judged_when_the_other_side_comes(bench: Workbench) -> None:
    collect(bench, DAY, DAY, "trades")
    assert "neither" in str(finding(bench, "trades", DAY, "ids_continue")["not_judged"])
    collect(bench, FIRST, FIRST, "trades")
    assert finding(bench, "trades", DAY, "ids_continue")["proven"] is False
    of = bench.key(TRADES, BTC, LAST)
    lines = text_of(bench.bytes_at(of)).splitlines()
    bench.publish(of, zip_of(of, "".join(f"{line}\n" for line in lines[5:])))
    collect(bench, LAST, LAST, "trades")
    assert finding(bench, "trades", DAY, "ids_continue")["ids_after"] == 5  # and LAST is to blame
    records = bench.records()
    assert [records[BTC, "trades", day].state for day in (DAY, LAST)] == [State.AVAILABLE, State.DEGRADED]
    bench.sandbox.app.state.overrides.clear()
    collect(bench, LAST, LAST, "trades")
    assert finding(bench, "trades", DAY, "ids_continue")["proven"] is True
    assert {record.state for record in bench.records().values()} == {State.AVAILABLE}


def test_daily_files_are_compared_with_the_file_of_the_month(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m")
    check_again(bench, "monthly")
    found = finding(bench, "ohlcv_1m", DAY, "agrees_with_monthly")
    assert (found["passed"], found["compared"]) == (True, 1_440)
    assert "BTCUSDT-1m-2024-01.zip" in str(found["with"])

    of = bench.key(BARS, BTC, "2024-01", "monthly")
    lines = [line.split(",") for line in text_of(bench.bytes_at(of)).splitlines()]
    lines[1_440 + 7][5] = "1.00000"
    bench.publish(of, zip_of(of, "".join(",".join(cells) + "\n" for cells in lines)))
    check_again(bench, "monthly")
    found = finding(bench, "ohlcv_1m", DAY, "agrees_with_monthly")
    assert found["passed"] is False
    (shown,) = found["differences"]  # type: ignore[misc]
    assert (shown["column"], shown["monthly"]) == ("volume", "1")
    assert finding(bench, "ohlcv_1m", LAST, "agrees_with_monthly")["passed"] is True
    record = bench.records()[BTC, "ohlcv_1m", DAY]
    assert (record.state, record.failed_checks) == (State.AVAILABLE, ["agrees_with_monthly"])

    collect(bench, FIRST, LAST, "ohlcv_1m")  # nothing is asked, and what is known stays
    check_again(bench)
    assert finding(bench, "ohlcv_1m", DAY, "agrees_with_monthly") == found


def test_a_day_is_compared_with_rest(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m", rest=True)
    bench.sandbox.app.state.overrides.clear()
    check_again(bench, "rest")
    found = finding(bench, "ohlcv_1m", DAY, "agrees_with_rest")
    assert (found["passed"], found["compared"], found["with"]) == (True, 1_440, "REST")


def test_the_archive_is_compared_with_the_rows_of_rest_that_it_replaces(bench: Workbench) -> None:
    source = bench.sandbox.app.state.source
    source.now = datetime(2024, 1, 3, 3, tzinfo=UTC)  # the file of the day before comes at 8
    bench.now = lambda: source.now
    collect(bench, DAY, DAY, "ohlcv_1m", rest=True)
    assert bench.records()[BTC, "ohlcv_1m", DAY].state is State.PROVISIONAL
    source.now += timedelta(hours=9)
    of = bench.key(BARS, BTC, DAY)
    lines = [line.split(",") for line in text_of(bench.bytes_at(of)).splitlines()]
    lines[7][8] = "1"
    bench.publish(of, zip_of(of, "".join(",".join(cells) + "\n" for cells in lines)))
    collect(bench, DAY, DAY, "ohlcv_1m", rest=True)
    record = bench.records()[BTC, "ohlcv_1m", DAY]
    assert (record.state, record.source, record.failed_checks) == (State.AVAILABLE, "archive", ["agrees_with_rest"])
    (shown,) = record.findings["agrees_with_rest"]["differences"]
    assert shown["column"] == "trade_count"


def test_a_run_that_is_stopped_keeps_what_it_found(bench: Workbench) -> None:
    collect(bench, FIRST, LAST, "ohlcv_1m")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        check_again(bench, stop=stop)
