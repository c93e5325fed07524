"""Rows that are missing because the exchange was down: what that makes of a day, and that it can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto_assets.causes.excuses import Excuses, excuse_in_words, plain, unexplained_part
from crypto_assets.causes.market_outages import Outage
from crypto_assets.checks._minutes import to_bits
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.minutes import StoredDay
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Finding, Outcome, Partition, Series, State
from crypto_assets.quality import after_run
from crypto_assets.quality.after_run import close_run, excuse_days
from crypto_assets.sandbox.archive import FolderArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage import sessions
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets_tests.published import key, zip_of
from crypto_assets_tests.quality.stored import flags, stored
from crypto_assets_tests.storage.cut_connections import LosesAnAnswer, end_connections
from crypto_assets_tests.workbench import Workbench, entry

DAY = date(2023, 3, 24)
BTC, ETH = "BTC/USDT", "ETH/USDT"
PARTITION = Partition(BTC, DAY)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2023, 3, 24, hour, minute, second, tzinfo=UTC)


DOWN = Outage(at(11, 27), at(14), "https://example.org/halt")
FOUND = Outage(at(3), at(3, 30), None, 7)


class Of:
    """Of the profile of a day what excuses look at."""

    def __init__(self, *absent: tuple[int, int], first: datetime | None = None, last: datetime | None = None) -> None:
        self.first_time, self.last_time = first or at(0), last or at(23, 59)
        self.absent = to_bits(flags(absent)) if absent else None


def weigh(
    dataset: str,
    finding: Finding,
    times: Of,
    *outages: Outage,
    others: tuple[StoredDay, ...] = (),
    name: str = "complete",
) -> Finding:
    excuses = Excuses(Series.named("binance", "spot", dataset), outages, others)
    return excuses.weigh(PARTITION, {name: finding}, times)[name]


def missing(bars: int, expected: int, *spans: str) -> Finding:
    evidence = {"expected": expected, "found": expected - bars, "missing": bars, "spans": list(spans)}
    return Finding(False, evidence)


@pytest.mark.parametrize(
    ("dataset", "first", "end", "bars", "expected", "passes"),
    [
        ("ohlcv_1m", 11 * 60 + 27, 14 * 60, 153, 1440, True),
        ("ohlcv_1m", 11 * 60 + 26, 14 * 60, 154, 1440, False),
        ("ohlcv_1m", 12 * 60 + 40, 14 * 60 + 1, 81, 1440, False),
        ("ohlcv_5m", 12 * 60 + 40, 14 * 60, 16, 288, True),
        ("ohlcv_5m", 11 * 60 + 25, 14 * 60, 31, 288, False),  # it traded until 11:27, so there was a bar
        ("ohlcv_1h", 12 * 60, 14 * 60, 2, 24, True),
        ("ohlcv_1h", 11 * 60, 14 * 60, 3, 24, False),
    ],
)
def test_bars_that_lie_wholly_in_an_outage_are_excused(
    dataset: str, first: int, end: int, bars: int, expected: int, passes: bool
) -> None:
    finding = missing(bars, expected, "whatever")
    found = weigh(dataset, finding, Of((first, end)), DOWN)
    assert found.passed is passes
    assert (found.evidence["missing"], found.evidence["cause"]) == (bars, "exchange_outage")
    assert found.evidence["excused"] == (bars if passes else bars - 1)
    assert plain(found) == finding
    again = Excuses(Series.named("binance", "spot", dataset), [DOWN]).weigh(
        PARTITION, {"complete": found}, Of((first, end))
    )
    assert again["complete"] == found, "what was weighed before is weighed the same"
    gone = Excuses(Series.named("binance", "spot", dataset)).weigh(PARTITION, {"complete": found}, Of((first, end)))
    assert gone["complete"] == finding, "without the outage it is as the check gave it"


def test_of_a_day_that_is_explained_in_part_only_the_rest_is_named() -> None:
    found = weigh("ohlcv_1m", missing(35, 1440, "03:00–03:29", "15:00–15:04"), Of((180, 210), (900, 905)), FOUND, DOWN)
    assert not found.passed
    assert (found.evidence["excused"], found.evidence["unexplained"]) == (30, ["15:00–15:04"])
    assert unexplained_part(found).evidence == {"expected": 1410, "found": 1405, "missing": 5, "spans": ["15:00–15:04"]}
    assert excuse_in_words({"complete": found}) == ""


def test_what_is_excused_is_said_in_one_line() -> None:
    found = weigh("ohlcv_1m", missing(45, 1440), Of((180, 210), (780, 795)), FOUND, DOWN)
    assert excuse_in_words({"complete": found, "contract": Finding(True)}) == (
        "45 bars are missing, the exchange was down 03:00–03:30, 13:00–13:15 "
        "(found: all 7 stored symbols were silent at once)"
    )
    one = weigh("ohlcv_1h", missing(1, 24), Of((780, 840)), DOWN)
    assert excuse_in_words({"complete": one}) == (
        "1 bar is missing, the exchange was down 13:00–14:00 (known outage: https://example.org/halt)"
    )


def test_the_symbols_own_trades_contradict_an_outage() -> None:
    times = Of((780, 840))
    traded = stored(BTC, DAY, dataset="trades", silent=[(780, 800)])
    silent = stored(BTC, DAY, dataset="trades", silent=[(687, 840)])
    hourly = stored(BTC, DAY, dataset="ohlcv_1h")
    found = weigh("ohlcv_1m", missing(60, 1440), times, DOWN, others=(traded,))
    assert (found.passed, found.evidence["excused"], found.evidence["unexplained"]) == (False, 20, ["13:20–13:59"])
    assert weigh("ohlcv_1m", missing(60, 1440), times, DOWN, others=(silent,)).passed
    assert weigh("ohlcv_1m", missing(60, 1440), times, DOWN, others=(hourly,)).passed, "a long bar tells nothing"


def test_bars_of_a_second_are_judged_by_the_spans_that_are_named() -> None:
    assert weigh("ohlcv_1s", missing(60, 86400, "12:00:00–12:00:59"), Of((720, 721)), DOWN).passed
    found = weigh("ohlcv_1s", missing(61, 86400, "12:00:00–12:00:59", "15:00:07"), Of((720, 721), (900, 901)), DOWN)
    assert (found.passed, found.evidence["unexplained"]) == (False, ["15:00:07"])
    assert not weigh("ohlcv_1s", missing(100, 86400, "12:00:00–12:00:59"), Of((720, 722)), DOWN).passed, "40 more"


def silence(before: float = 0, after: float = 0, inside: float = 30, **more: Any) -> Finding:
    seconds = {"silent_before_s": before, "silent_after_s": after, "longest_silence_inside_s": inside}
    return Finding(False, seconds | more)


def test_trades_that_are_silent_at_midnight_in_an_outage_are_excused() -> None:
    down = Outage(at(21), at(23, 59) + timedelta(minutes=1), "https://example.org")
    late = Of(last=at(20, 59, 58))
    assert weigh("trades", silence(after=3 * 3600 + 2), late, down).passed
    assert not weigh("trades", silence(after=8 * 3600), Of(last=at(16)), down).passed, "five hours are not explained"
    both = weigh("trades", silence(before=7200, after=3 * 3600 + 2), Of(first=at(2), last=at(20, 59, 58)), down)
    assert (both.passed, both.evidence["unexplained"]) == (False, ["00:00:00–02:00:00"])


def test_ids_that_are_missing_in_an_outage_are_excused_place_by_place() -> None:
    here, elsewhere = "11:26:59–14:00:01: 14", "15:00:00–15:00:01: 2"
    found = weigh("trades", silence(missing_ids=14, places=1, id_gaps=[here]), Of(), DOWN)
    assert (found.passed, found.evidence["excused"]) == (True, 14)
    assert excuse_in_words({"complete": found}).startswith("14 ids are missing, the exchange was down 11:26–14:00")
    some = weigh("trades", silence(missing_ids=16, places=2, id_gaps=[here, elsewhere]), Of(), DOWN)
    assert (some.passed, some.evidence["unexplained"]) == (False, ["15:00:00–15:00:01"])
    assert not weigh("trades", silence(missing_ids=99, places=21, id_gaps=[here] * 20), Of(), DOWN).passed
    wider = silence(missing_ids=14, places=1, id_gaps=["10:00:00–14:00:01: 14"])
    assert not weigh("trades", wider, Of(), DOWN).passed, "it was up for most of the time"


def test_ids_between_two_days_are_excused_where_this_side_was_down() -> None:
    down = Outage(at(22), at(23, 59) + timedelta(hours=2), "https://example.org")
    finding = Finding(False, {"ids_before": 0, "ids_after": 9, "missing_ids": 9, "proven": False})
    assert weigh("trades", finding, Of(last=at(21, 59, 59)), down, name="ids_continue").passed
    assert not weigh("trades", finding, Of(last=at(20)), down, name="ids_continue").passed
    before = Finding(False, {"ids_before": 9, "ids_after": 0, "missing_ids": 9, "proven": False})
    assert not weigh("trades", before, Of(first=at(1), last=at(21, 59, 59)), down, name="ids_continue").passed
    doubles = Finding(False, {"ids_before": -2, "repeated_ids": 2, "proven": False})
    assert weigh("trades", doubles, Of(last=at(21, 59, 59)), down, name="ids_continue") == doubles


def test_a_whole_day_in_an_outage_has_no_data_by_inference() -> None:
    series = Series.named("binance", "spot", "ohlcv_1m")
    two_days = Outage(at(0) - timedelta(hours=3), at(23, 59) + timedelta(hours=3), "https://example.org/long")
    absent = Outcome(series, PARTITION, State.MISSING, "expected a file", {"first_listed": "2020-01-01"})
    found = Excuses(series, [two_days]).whole_day(absent, at(12))
    assert found.evidence["looked_at"] == at(12).isoformat()
    assert (found.state, found.evidence["inferred"], found.evidence["first_listed"]) == (
        State.NO_DATA,
        True,
        "2020-01-01",
    )
    assert found.reason == "the exchange was down all day (known outage: https://example.org/long)"
    assert Excuses(series, [DOWN]).whole_day(absent, at(12)) == absent
    refused = Outcome(series, PARTITION, State.MISSING, "wrong checksum", {"error": "ChecksumMismatch"})
    assert Excuses(series, [two_days]).whole_day(refused, at(12)) == refused
    empty = Outcome(series, PARTITION, State.MISSING, "no rows", {"error": "NoRows"})
    assert Excuses(series, [two_days]).whole_day(empty, at(12)).state is State.NO_DATA
    pending = Outcome(series, PARTITION, State.PENDING, "not published yet")
    assert Excuses(series, [two_days]).whole_day(pending, at(12)) == pending


# ---- the whole way ----------------------------------------------------------------------------------------------------

COMMITS = (3, 5)
"""Of what follows a run: the second of these makes days complete."""

QUIET = date(2024, 3, 5)  # of no known outage


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(FolderArchive(tmp_path_factory.mktemp("archive"))) as running:
        yield running


@pytest.fixture
def bench(server: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    yield Workbench(server, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC, ETH], QUIET))
    server.app.state.overrides.clear()


def publish(bench: Workbench, symbol: str, day: date, *absent: tuple[int, int]) -> None:
    """Publish the 1m bars of a day, busy ones, without those of some minutes."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    lines = []
    for minute in np.flatnonzero(~flags(absent)).tolist():
        begin = start + minute * 60_000
        lines.append(f"{begin},10,11,9,10.5,3,{begin + 59_999},31,7,1,10.5,0\n")
    of = key("spot", "klines", symbol.replace("/", ""), "1m", day)
    bench.publish(of, zip_of(of, "".join(lines)))


def collect(bench: Workbench, first: date, last: date) -> None:
    bench.collect(first, last)
    with Ledger(bench.url) as ledger:
        close_run(bench.collection, bench.lake, ledger, bench.targets(first, last))


def open_days(bench: Workbench) -> list[tuple[str, date]]:
    with Ledger(bench.url) as ledger:
        found = gaps(bench.collection, ledger, date(2024, 3, 8))
        return [(gap.symbol, gap.day) for gap in found if gap.state is not None]


def completeness(bench: Workbench) -> set[Any]:
    with Ledger(bench.url) as ledger, ledger.transaction() as connection:
        return {row[0] for row in connection.execute("SELECT completeness FROM collection.quality_now").fetchall()}


def test_an_outage_that_is_found_at_the_end_of_a_run_makes_its_days_complete_and_back(bench: Workbench) -> None:
    days = [QUIET + timedelta(days=n) for n in range(3)]
    for day in days:
        for symbol in (BTC, ETH):
            publish(bench, symbol, day, *([(600, 640)] if day == days[1] else []))
    collect(bench, days[0], days[-1])
    for symbol in (BTC, ETH):
        record = bench.records()[symbol, "ohlcv_1m", days[1]]
        assert (record.state, record.failed_checks) == (State.AVAILABLE, [])
        assert record.reason == (
            "40 bars are missing, the exchange was down 10:00–10:40 (found: all 2 stored symbols were silent at once)"
        )
        assert record.reported_at is None, "Dagster was told otherwise"
    assert open_days(bench) == []
    assert completeness(bench) == {1.0}

    # ETH is published again, with its bars: the exchange was there all the time, and BTC misses rows after all.
    publish(bench, ETH, days[1])
    collect(bench, days[1], days[1])
    record = bench.records()[BTC, "ohlcv_1m", days[1]]
    assert (record.state, record.failed_checks) == (State.DEGRADED, ["complete"])
    assert record.reason == "40 of 1,440 bars are missing (10:00–10:39)"
    assert open_days(bench) == [(BTC, days[1])]
    assert 1 - 40 / 1440 in completeness(bench)


@pytest.mark.parametrize("number", [None, *COMMITS])
def test_days_that_an_outage_explains_are_counted_though_a_connection_is_cut_after_the_run(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    days = [QUIET + timedelta(days=n) for n in range(3)]
    for day in days:
        for symbol in (BTC, ETH):
            publish(bench, symbol, day, *([(600, 640)] if day == days[1] else []))
    bench.collect(days[0], days[-1])
    with LosesAnAnswer(bench.url) as way, Ledger(way.url) as ledger:
        if number is None:
            plain, cut = after_run.refresh_scores, [lambda: end_connections(bench.url)]

            def after_a_cut(*given: Any) -> int:
                if cut:
                    cut.pop()()
                return plain(*given)

            monkeypatch.setattr(after_run, "refresh_scores", after_a_cut)
        else:
            way.lose(number)
        changed = close_run(bench.collection, bench.lake, ledger, bench.targets(days[0], days[-1]))
        assert way.lost == (number is not None), "the fault has happened"
    found = {(one.symbol, one.day): (now.was, now.state) for one, now in changed.items()}
    assert found == {(symbol, days[1]): (State.DEGRADED, State.AVAILABLE) for symbol in (BTC, ETH)}


def test_days_that_stay_as_they_are_lock_nobody_out(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    day = QUIET
    for symbol in (BTC, ETH):
        publish(bench, symbol, day, *([(600, 640)] if symbol == BTC else []))
    collect(bench, day, day)
    assert open_days(bench) == [(BTC, day)]
    monkeypatch.setattr(sessions, "GIVE_UP_S", 0.5)
    with Ledger(bench.url) as ledger:
        folder = symbol_folder(Series.named("binance", "spot", "ohlcv_1m"), BTC)
        with Journal(bench.lake, ledger).alone([folder]):  # another run is publishing the symbol
            assert excuse_days(bench.lake, ledger, "binance", "spot", day, day) == {}


def test_a_known_outage_counts_when_the_day_is_stored(bench: Workbench) -> None:
    bench.entries = [entry("spot", ["ohlcv_1m"], [BTC], date(2018, 2, 8))]
    first, second = date(2018, 2, 8), date(2018, 2, 9)
    publish(bench, BTC, first, (29, 1440))
    publish(bench, BTC, second, (0, 600), (700, 705))
    result = bench.collect(first, second)
    assert result.of(first).state is State.AVAILABLE
    assert (
        "1,411 bars are missing, the exchange was down 00:29–24:00 (known outage: https://" in result.of(first).reason
    )
    assert result.of(second).state is State.DEGRADED
    assert result.of(second).reason == "5 of 840 bars are missing (11:40–11:44)"
    assert result.tally.problems[0].partition.day == second
    with Ledger(bench.url) as ledger:
        assert excuse_days(bench.lake, ledger, "binance", "spot", first, second) == {}, "as it was"
