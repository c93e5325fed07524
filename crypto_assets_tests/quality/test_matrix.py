"""Every defect is caught by the checks that must catch it and by no other, and a mended day is clean again.

The whole way: a sandbox exchange publishes a damaged file, the engine collects it, the ledger is asked what failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from crypto_assets import datasets
from crypto_assets.checks import all_rules
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import COMPLETE_STATES, Outcome, Series, State
from crypto_assets.quality.after_run import close_run
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.quality.defects import Defect, defects
from crypto_assets_tests.workbench import Workbench, entry

FIRST, DAY, LAST = date(2024, 1, 1), date(2024, 1, 30), date(2024, 1, 31)
BTC = "BTC/USDT"
NEAR = ["ohlcv_1h", "ohlcv_1d", "trades", "agg_trades"]
"""Datasets of which the days around the damaged one are collected; of 1m bars there are weeks before it."""


class World:
    """A collected month, in which one day of one dataset can be damaged and mended."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    def collect(self, first: date, last: date, *datasets: str) -> dict[tuple[str, date], Outcome]:
        with Ledger(self.bench.url) as ledger:
            bench, targets = self.bench, []
            bench.entries = [entry("spot", [name], [BTC], FIRST) for name in datasets]
            result = bench.collect(first, last)
            targets = bench.targets(first, last)
            bench.entries = [entry("spot", ["ohlcv_1m", *NEAR], [BTC], FIRST)]
            close_run(bench.collection, bench.lake, ledger, targets)
        return {(dataset, day): outcome for (_, _, dataset, day), outcome in result.outcomes.items()}

    def failed(self) -> dict[tuple[str, int], set[str]]:
        """Return what failed of stored days, by dataset and days from the damaged one."""
        return {
            (dataset, (day - DAY).days): set(record.failed_checks)
            for (_, dataset, day), record in self.bench.records().items()
            if record.failed_checks
        }


@pytest.fixture(scope="module")
def world(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    archive = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}}, seed=5, trades_per_day=3_000)
    with SandboxServer(archive) as server:
        world = World(Workbench(server, module_postgres_url, tmp_path_factory.mktemp("matrix") / "lake"))
        world.collect(FIRST, LAST, "ohlcv_1m")
        world.collect(DAY - timedelta(days=1), LAST, *NEAR)
        yield world


def test_a_clean_world_has_no_finding_and_everything_was_compared(world: World) -> None:
    records = world.bench.records()
    assert {record.state for record in records.values()} == {State.AVAILABLE}
    assert world.failed() == {}
    judged = {
        (dataset, name)
        for (_, dataset, day), record in records.items()
        for name, finding in record.findings.items()
        if day == DAY and "not_judged" not in finding
    }
    beside = {"agrees_with_bars", "price_band", "ids_continue"}
    assert judged >= {("trades", name) for name in beside} | {("agg_trades", name) for name in beside}
    assert judged >= {("ohlcv_1h", "agrees_with_shorter"), ("ohlcv_1d", "agrees_with_shorter")}
    assert judged >= {("ohlcv_1m", "outliers"), ("ohlcv_1m", "price_step"), ("ohlcv_1m", "stale_prices")}
    assert records[BTC, "trades", DAY].findings["ids_continue"]["proven"] is True


@pytest.mark.parametrize("defect", defects(), ids=str)
def test_a_defect_is_caught_by_its_checks_and_no_other(world: World, defect: Defect) -> None:
    bench, series = world.bench, Series.named("binance", "spot", defect.dataset)
    of = bench.key(series, BTC, DAY)
    overrides = bench.sandbox.app.state.overrides
    lines = [line.split(",") for line in text_of(bench.bytes_at(of)).splitlines()]
    damaged = "".join(",".join(cells) + "\n" for cells in defect.change(lines))
    bench.publish(of, zip_of(of, damaged))
    try:
        outcome = world.collect(DAY, DAY, defect.dataset)[defect.dataset, DAY]
        if outcome.stored is None:  # refused: the former version stays, and so do its findings
            assert outcome.state is State.MISSING
            found = {(defect.dataset, 0, name) for name in outcome.failed_checks}
            assert world.failed() == {}
        else:
            found = {(dataset, days, name) for (dataset, days), names in world.failed().items() for name in names}
        assert found == defect.caught_by, outcome.reason
        assert (outcome.state in COMPLETE_STATES) == (outcome.stored is not None and not _degrades(defect))
    finally:
        overrides.clear()
        world.collect(DAY, DAY, defect.dataset)
    assert world.failed() == {}
    assert {record.state for record in bench.records().values()} == {State.AVAILABLE}


def _degrades(defect: Defect) -> bool:
    severities = {rule.name: rule.severity.value for rule in all_rules()}
    return any(
        severities[name] == "degrade"
        for dataset, day, name in defect.caught_by
        if (dataset, day) == (defect.dataset, 0)
    )


def test_every_check_of_these_datasets_catches_something() -> None:
    caught = {name for defect in defects() for _, _, name in defect.caught_by}
    elsewhere = {"agrees_with_monthly", "agrees_with_rest", "opens_when_due", "published_in_time"}  # tests of their own
    collected = [datasets.get(table) for table in ("ohlcv", "trades", "agg_trades")]
    books = {rule.name for rule in all_rules() if not any(rule.fits(dataset) for dataset in collected)}
    assert caught == {rule.name for rule in all_rules()} - elsewhere - books
