"""Stored days that need no new check: the conditions, and everything that makes a check necessary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from crypto_assets.engine.pipeline import Pipeline
from crypto_assets.engine.publication.standing import code_digest, made_of
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.ledger.partitions import Ledger, PartitionRecord
from crypto_assets.ledger.profiles import read_profiles
from crypto_assets.model import Outcome, Partition, Profile, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 30), date(2024, 2, 1)
DAYS = [date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]
BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(
        SyntheticArchive({"spot": {"BTCUSDT": (date(2023, 12, 1), date(2024, 2, 29))}}, trades_per_day=1_440)
    ) as server:
        yield server


@pytest.fixture
def bench(running: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    running.forget_requests()
    yield Workbench(running, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], date(2023, 12, 1)))
    running.app.state.overrides.clear()


def collect(bench: Workbench, first: date = FIRST, last: date = LAST, *, tell: bool = True) -> list[Outcome]:
    """Collect as the command line does; `tell` records the days in the ledger as reported to Dagster."""
    found: list[Outcome] = []

    def keep(outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        assert [table is None for table in rows] == [outcome.stands or not outcome.stored for outcome in outcomes]
        found.extend(outcomes)

    with Warehouse(bench.url) as warehouse, Ledger(bench.url) as ledger:
        stores, context = Stores(bench.lake, warehouse, ledger), RunContext(now=bench.now, standing=True)
        pipeline = Pipeline(bench.collection, stores, context, on_batch=keep)
        pipeline.run(bench.targets(first, last))
        if tell:
            ledger.mark_reported([outcome for outcome in found if not outcome.stands], None)
    return sorted(found, key=lambda outcome: outcome.partition.day)


def standing(outcomes: Sequence[Outcome]) -> list[bool]:
    return [outcome.stands for outcome in outcomes]


def records(bench: Workbench) -> list[PartitionRecord]:
    return [record for _, record in sorted(bench.records().items())]


def change(bench: Workbench, query: str, *values: Any) -> None:
    with psycopg.connect(bench.url) as connection:
        assert connection.execute(query, values).rowcount > 0


def without_times(record: PartitionRecord) -> PartitionRecord:
    """Return a record without the times of collecting, which are those of the last check."""
    return replace(record, collected_at=None, updated_at=datetime.fromtimestamp(0, UTC), reported_at=None)


def profiles_of(bench: Workbench) -> list[Profile]:
    with Ledger(bench.url) as ledger, ledger.transaction() as connection:
        return read_profiles(connection, BARS, FIRST, LAST)


SEEN = "UPDATE collection.archive_objects SET first_seen = first_modified WHERE key = %s"


def path_of(bench: Workbench, day: date) -> Path:
    return bench.folder / bench.lake.path(BARS, Partition(BTC, day))


def test_unchanged_days_are_not_checked_again_and_nothing_is_written(bench: Workbench) -> None:
    before, known = collect(bench), records(bench)
    assert standing(before) == [False] * 3
    assert all(record.judged_by.startswith(code_digest()) for record in known)
    again = collect(bench)
    assert standing(again) == [True] * 3
    assert records(bench) == known
    for was, now in zip(before, again, strict=True):
        assert (now.state, now.reason, now.stored, now.source) == (was.state, was.reason, was.stored, was.source)
        assert now.warehouse_rows == was.warehouse_rows
        assert {name: one.passed for name, one in now.findings.items()} == {
            n: o.passed for n, o in was.findings.items()
        }
        assert now.unchanged


def test_a_pipeline_without_the_setting_checks_every_day_again(bench: Workbench) -> None:
    collect(bench)
    found = bench.collect(FIRST, LAST)
    assert not any(outcome.stands for outcome in found.outcomes.values())
    assert found.tally.unchanged == 3


def test_one_flipped_bit_or_a_missing_file_is_found_and_the_day_collected_again(bench: Workbench) -> None:
    collect(bench)
    good = [path_of(bench, day).read_bytes() for day in DAYS]
    path = path_of(bench, DAYS[1])
    path.write_bytes(good[1][:5000] + bytes([good[1][5000] ^ 1]) + good[1][5001:])
    path_of(bench, DAYS[2]).unlink()
    found = collect(bench)
    assert standing(found) == [True, False, False]
    assert [outcome.state for outcome in found] == [State.AVAILABLE] * 3
    assert [path_of(bench, day).read_bytes() for day in DAYS] == good
    assert standing(collect(bench)) == [True] * 3


def test_a_republished_day_is_checked_again(bench: Workbench) -> None:
    collect(bench)
    key = bench.key(BARS, BTC, DAYS[1])
    was = bench.lake.read_partition(BARS, Partition(BTC, DAYS[1]))
    content = bench.bytes_at(key)
    bench.publish(key, zip_of(key, _other_volume(content)))
    found = collect(bench)
    assert standing(found) == [True, False, True]
    assert found[1].correction is not None
    assert not bench.lake.read_partition(BARS, Partition(BTC, DAYS[1])).equals(was)


def _other_volume(content: bytes) -> str:
    lines = text_of(content).splitlines()
    cells = lines[700].split(",")
    cells[5] = str(float(cells[5]) + 0.5)
    lines[700] = ",".join(cells)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE collection.partitions SET judged_by = 'an older program' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET reported_at = NULL WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET attempt_error = 'the host does not answer' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET state = 'corrected' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET source_etag = 'another' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET source_size_bytes = source_size_bytes - 1 WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET rows = rows - 1 WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET size_bytes = size_bytes - 1 WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET path = 'elsewhere' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET reason = 'somebody wrote this' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET failed_checks = '{complete}' WHERE day = '2024-01-31'",
        "UPDATE collection.partitions SET findings = findings - 'complete' WHERE day = '2024-01-31'",
        """UPDATE collection.partitions SET findings = findings || '{"former_check": {"passed": true}}'
        WHERE day = '2024-01-31'""",
        """UPDATE collection.partitions SET findings = findings || '{"published_in_time": {"passed": true, "delay_s": 5}}'
        WHERE day = '2024-01-31'""",
        "UPDATE collection.profiles SET content_sha256 = 'of a former file' WHERE day = '2024-01-31'",
    ],
)
def test_changes_after_which_a_day_is_checked_again(bench: Workbench, query: str) -> None:
    collect(bench)
    known, profiles = records(bench), profiles_of(bench)
    change(bench, query)
    found = collect(bench)
    assert standing(found) == [True, False, True]
    assert found[1].state is State.AVAILABLE
    assert profiles_of(bench) == profiles
    now = records(bench)
    assert (now[0], now[2]) == (known[0], known[2])
    assert without_times(now[1]) == without_times(known[1])
    assert standing(collect(bench)) == [True] * 3


def test_days_of_a_table_that_somebody_has_emptied_are_loaded_again(bench: Workbench) -> None:
    collect(bench)
    with psycopg.connect(bench.url) as connection:
        connection.execute("TRUNCATE market.ohlcv")
    assert standing(collect(bench)) == [False] * 3
    assert [len(bench.in_warehouse("ohlcv", BTC, day, "timeframe = '1m'")) for day in DAYS] == [1_440] * 3
    assert standing(collect(bench)) == [True] * 3


def test_a_day_not_reported_to_dagster_is_checked_again(bench: Workbench) -> None:
    collect(bench, tell=False)
    assert standing(collect(bench)) == [False] * 3
    assert standing(collect(bench)) == [True] * 3


def test_a_day_is_checked_again_once_more_of_the_weeks_before_are_stored(bench: Workbench) -> None:
    (alone,) = collect(bench, LAST, LAST)
    assert not alone.findings["outliers"].judged
    for weeks in (1, 2, 3):
        assert standing(collect(bench, LAST - 7 * weeks * DAY, LAST - 7 * weeks * DAY)) == [False]
    (beside,) = collect(bench, LAST, LAST)
    assert not beside.stands
    assert beside.findings["outliers"].evidence["weeks"] == 3
    assert standing(collect(bench, LAST, LAST)) == [True]


def test_a_day_is_checked_again_if_one_of_the_weeks_before_is_collected_in_the_same_batch(bench: Workbench) -> None:
    for weeks in (3, 2):
        collect(bench, LAST - 7 * weeks * DAY, LAST - 7 * weeks * DAY)
    (alone,) = collect(bench, LAST, LAST)
    assert not alone.findings["outliers"].judged
    found = collect(bench, LAST - 8 * DAY, LAST)
    assert standing(found) == [False] * 9
    assert found[-1].findings["outliers"].evidence["weeks"] == 3
    assert standing(collect(bench, LAST - 8 * DAY, LAST)) == [True] * 9


def test_a_profile_that_somebody_has_deleted_is_made_again_before_later_weeks_are_compared(bench: Workbench) -> None:
    first = LAST - 21 * DAY
    collect(bench, first, LAST)
    known, profiles = {place: record.findings for place, record in bench.records().items()}, profiles_of(bench)
    change(bench, "DELETE FROM collection.profiles WHERE day = %s", first)
    (alone,) = collect(bench, LAST, LAST)
    assert not alone.findings["outliers"].judged
    found = collect(bench, first, LAST)
    # The day after it has been compared with the last price of it.
    assert [outcome.partition.day for outcome in found if not outcome.stands] == [
        *(first, first + DAY, LAST - 14 * DAY, LAST - 7 * DAY, LAST)
    ]
    assert profiles_of(bench) == profiles
    assert {place: record.findings for place, record in bench.records().items()} == known


def test_a_day_is_checked_again_if_the_bars_that_it_was_compared_with_were_replaced(
    running: SandboxServer, bench: Workbench
) -> None:
    """The run that replaced them was killed before it compared the trades again."""
    both = Workbench(running, bench.url, bench.folder, entry("spot", ["ohlcv_1m", "trades"], [BTC], date(2023, 12, 1)))
    collect(both)
    assert standing(collect(both)) == [True] * 6
    key = both.key(BARS, BTC, DAYS[1])
    both.publish(key, zip_of(key, _other_volume(both.bytes_at(key))))
    collect(bench)  # bars only, and nothing after the last batch
    found = [outcome for outcome in collect(both) if outcome.series.dataset == "trades"]
    assert standing(found) == [True, False, True]
    assert not found[1].findings["agrees_with_bars"].passed
    known = both.records()
    trades, bars = (known[BTC, name, DAYS[1]] for name in ("trades", "ohlcv_1m"))
    assert trades.findings["agrees_with_bars"]["with_sha256"] == bars.content_sha256


def test_a_day_is_checked_again_if_the_outage_that_excused_its_missing_rows_is_not_known_any_more(
    bench: Workbench,
) -> None:
    collect(bench)
    excused = {"passed": True, "expected": 1440, "missing": 1, "excused": 1, "cause": "exchange_outage"}
    mark = {"start": "2024-01-31T12:00:00+00:00", "end": "2024-01-31T12:01:00+00:00", "rows": 1, "what": "maintenance"}
    change(
        bench,
        "UPDATE collection.partitions SET findings = findings || %s::jsonb WHERE day = '2024-01-31'",
        json.dumps({"complete": {**excused, "outages": [mark]}}),
    )
    assert standing(collect(bench)) == [True, False, True]


def test_a_day_is_checked_again_once_the_usual_delay_of_its_files_has_changed(bench: Workbench) -> None:
    collect(bench)
    change(bench, SEEN, bench.key(BARS, BTC, DAYS[1]))  # the others appeared after the same delay
    found = collect(bench)
    assert standing(found) == [False] * 3
    assert all(outcome.findings["published_in_time"].judged for outcome in found)
    assert standing(collect(bench)) == [True] * 3


def test_a_partial_day_and_a_first_day_that_begins_late_are_checked_each_time(bench: Workbench) -> None:
    key = bench.key(BARS, BTC, DAYS[1])
    lines = text_of(bench.bytes_at(key)).splitlines()
    bench.publish(key, zip_of(key, "\n".join(lines[:-60]) + "\n"))
    found = collect(bench)
    assert [outcome.state for outcome in found] == [State.AVAILABLE, State.DEGRADED, State.AVAILABLE]
    assert [bool(outcome.judged_by) for outcome in found] == [True, False, True]
    assert standing(collect(bench)) == [True, False, True]


def test_the_weeks_before_are_named_by_their_rows_and_the_code_by_its_files(bench: Workbench) -> None:
    assert made_of([]) == made_of([])
    assert made_of([]).startswith(code_digest())
    collect(bench)
    with Ledger(bench.url) as ledger, ledger.transaction() as connection:
        one, other, _ = read_profiles(connection, BARS, FIRST, LAST)
    assert len({made_of([]), made_of([one]), made_of([other]), made_of([one, other]), made_of([other, one])}) == 5
