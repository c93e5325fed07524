"""Partial days that another attempt cannot complete: found in the ledger, and by one look at the listing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from crypto_assets.engine.archive.settled import due, may_be_settled, unchanged
from crypto_assets.ledger.acknowledgements import Acknowledgement
from crypto_assets.ledger.gaps import Gap, gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls, of_exchange
from crypto_assets.model import Series, State
from crypto_assets.sandbox.archive import FolderArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.published import key, zip_of
from crypto_assets_tests.workbench import Workbench, entry

FIRST = date(2024, 3, 5)
SECOND, LAST = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
BTC = "BTC/USDT"


@pytest.fixture
def bench(postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    """Three days of 1h bars: the first two miss four bars from 08:00 on, the last day is missing."""
    (tmp_path / "archive").mkdir()
    with SandboxServer(FolderArchive(tmp_path / "archive")) as server:
        made = Workbench(server, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1h"], [BTC], FIRST))
        for day in (FIRST, SECOND):
            publish(made, day, 20)
        made.collect(FIRST, LAST)
        yield made


def publish(bench: Workbench, day: date, bars: int, frequency: str = "daily") -> None:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    hours = [*range(8), *range(8 + 24 - bars, 24)]
    times = [start + hour * 3_600_000 for hour in hours]
    of = key("spot", "klines", "BTCUSDT", "1h", f"{day:%Y-%m}" if frequency == "monthly" else day, frequency)
    bench.publish(of, zip_of(of, "".join(f"{t},10,11,9,10.5,3,{t + 3_599_999},31,7,1,10.5,0\n" for t in times)))


def found(bench: Workbench) -> list[Gap]:
    with Ledger(bench.url) as ledger:
        return list(gaps(bench.collection, ledger, LAST + timedelta(days=1)))


def settled(bench: Workbench) -> list[date]:
    with Ledger(bench.url) as ledger:
        return [gap.day for gap in unchanged(bench.collection, ledger, found(bench))]


def test_a_partial_day_is_settled_until_the_archive_has_another_file(bench: Workbench) -> None:
    assert [(gap.day, gap.state) for gap in found(bench)] == [
        (FIRST, State.DEGRADED),
        (SECOND, State.DEGRADED),
        (LAST, State.MISSING),
    ]
    assert settled(bench) == [FIRST, SECOND]
    publish(bench, SECOND, 24)
    assert settled(bench) == [FIRST]
    bench.collect(SECOND, SECOND)
    assert [gap.day for gap in found(bench)] == [FIRST, LAST]


def test_a_listing_that_cannot_be_read_settles_nothing(bench: Workbench) -> None:
    bench.listing_url = "http://127.0.0.1:9"
    assert settled(bench) == []


def test_an_exchange_that_is_paused_is_not_asked(bench: Workbench) -> None:
    with Ledger(bench.url) as ledger:
        control = Controls(ledger)
        control.pause(of_exchange("binance"), "ann", "maintenance")
        before = len(bench.sandbox.requests())
        assert settled(bench) == []
        assert len(bench.sandbox.requests()) == before
        control.resume(of_exchange("binance"), "ann")
    assert settled(bench) == [FIRST, SECOND]


def test_listings_are_asked_within_the_limits_that_all_processes_share(bench: Workbench) -> None:
    with Ledger(bench.url) as ledger:
        assert len(unchanged(bench.collection, ledger, found(bench), egress="elsewhere")) == 2
        with ledger.transaction() as connection:
            kept = connection.execute("SELECT DISTINCT exchange FROM collection.budgets WHERE egress = 'elsewhere'")
            assert kept.fetchall() == [("binance",)]


def test_only_partial_days_whose_rows_are_right_are_settled(bench: Workbench) -> None:
    partial, _, missing = found(bench)
    assert may_be_settled(partial)
    assert not may_be_settled(missing)
    assert not may_be_settled(replace(partial, lost=True))
    assert not may_be_settled(replace(partial, attempt_error="the host does not answer"))
    assert not may_be_settled(replace(partial, source="rest"))
    for name in ("unique_key", "stored_file", "a_check_of_former_times"):
        assert not may_be_settled(replace(partial, findings={**partial.findings, name: {"passed": False}}))
    assert may_be_settled(replace(partial, findings={**partial.findings, "silence_agrees": {"passed": False}}))


@pytest.mark.parametrize(
    ("dataset", "evidence", "settled"),
    [
        ("ohlcv_1m", {"spans": ["00:01–00:09", "23:58"]}, True),
        ("ohlcv_1m", {"spans": ["00:00–00:09"]}, False),
        ("ohlcv_1m", {"spans": ["10:00–23:59"]}, False),
        ("ohlcv_1h", {"spans": ["22:00"]}, True),
        ("ohlcv_1h", {"spans": ["10:00–23:00"]}, False),
        ("ohlcv_1s", {"spans": ["10:00:00–23:59:59"]}, False),
        ("ohlcv_1s", {"spans": ["10:00:00–23:59:58"]}, True),
        ("ohlcv_1m", {"spans": ["10:00"] * 20}, False),
        ("ohlcv_1m", {"spans": ["00:00–00:09", "12:00"], "unexplained": ["12:00"], "outages": []}, True),
        ("trades", {"silent_before_s": 10, "silent_after_s": 50, "missing_ids": 7}, True),
        ("trades", {"silent_before_s": 10, "silent_after_s": 50_000}, False),
        ("funding_rates", {"missing": "after 08:00"}, False),
    ],
)
def test_a_day_is_settled_where_rows_are_missing_inside_and_not_at_its_ends(
    dataset: str, evidence: dict[str, object], settled: bool
) -> None:
    series, findings = Series.named("binance", "spot", dataset), {"complete": {**evidence, "passed": False}}
    gap = Gap(None, series, BTC, FIRST, State.DEGRADED, "", findings=findings, source="archive")
    assert may_be_settled(gap) is settled


def test_settled_days_are_due_on_mondays_and_acknowledged_ones_never(bench: Workbench) -> None:
    everything = found(bench)
    monday, tuesday = date(2024, 3, 11), date(2024, 3, 12)
    assert [gap.day for gap in due(everything, monday)] == [FIRST, SECOND, LAST]
    assert [gap.day for gap in due(everything, tuesday)] == [LAST]
    now = datetime(2024, 3, 9, tzinfo=UTC)
    kept = Acknowledgement("binance", "spot", BTC, "ohlcv_1h", LAST, "so it is", "ann", now, State.MISSING)
    accepted = [replace(gap, acknowledged=kept) for gap in everything]
    assert list(due(accepted, monday)) == []
    gone = [replace(gap, acknowledged=replace(kept, withdrawn="its rows have changed")) for gap in everything]
    assert list(due(gone, monday)) == gone
