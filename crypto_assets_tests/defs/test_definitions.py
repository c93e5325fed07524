"""The code location of a collection, and the README's commands that a CI would run on it."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.events import AssetKeyPartitionKey

from crypto_assets.checks import rules_of
from crypto_assets.config.collection import parse_collection
from crypto_assets.defs.assets import plan, rules_for, warehouse_assets
from crypto_assets.engine.pipeline import Target
from crypto_assets.model import Series, State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.project import entry, key

FIRST, LATER, LAST = date(2024, 1, 1), date(2024, 1, 5), date(2024, 1, 31)

ENTRIES = (
    entry(["ohlcv_1h"], ["BTC/USDT"], LATER),
    entry(["ohlcv_1m", "trades"], ["BTC/USDT", "ETH/USDT"], FIRST),
    entry(["ohlcv_1m", "funding_rates"], ["BTC/USDT:USDT"], FIRST, "linear"),
)
ASSETS = {
    "binance/spot/ohlcv_1h/BTC-USDT": "binance_spot_ohlcv_1h",
    "binance/spot/ohlcv_1m/BTC-USDT": "binance_spot_ohlcv_1m",
    "binance/spot/ohlcv_1m/ETH-USDT": "binance_spot_ohlcv_1m",
    "binance/spot/trades/BTC-USDT": "binance_spot_trades",
    "binance/spot/trades/ETH-USDT": "binance_spot_trades",
    "binance/linear/ohlcv_1m/BTC-USDT": "binance_linear_ohlcv_1m",
    "binance/linear/funding_rates/BTC-USDT": "binance_linear_funding_rates",
    "warehouse/binance/spot/ohlcv/BTC-USDT": "warehouse_binance_spot_ohlcv",
    "warehouse/binance/spot/ohlcv/ETH-USDT": "warehouse_binance_spot_ohlcv",
    "warehouse/binance/spot/trade_statistics_1m/BTC-USDT": "warehouse_binance_spot_trade_statistics_1m",
    "warehouse/binance/spot/trade_statistics_1m/ETH-USDT": "warehouse_binance_spot_trade_statistics_1m",
    "warehouse/binance/linear/ohlcv/BTC-USDT": "warehouse_binance_linear_ohlcv",
    "warehouse/binance/linear/funding_rates/BTC-USDT": "warehouse_binance_linear_funding_rates",
    "binance/spot/instruments": "exchanges",
    "binance/linear/instruments": "exchanges",
    "binance/coverage": "exchanges",
    "binance/health": "exchanges",
    "binance/lake": "exchanges",
    "binance/quarantine": "exchanges",
    "binance/quality": "exchanges",
    "source/binance/spot/ohlcv_1h": "source_binance_spot",
    "source/binance/spot/ohlcv_1m": "source_binance_spot",
    "source/binance/spot/trades": "source_binance_spot",
    "source/binance/linear/ohlcv_1m": "source_binance_linear",
    "source/binance/linear/funding_rates": "source_binance_linear",
}
OBSERVED = {"binance/coverage", "binance/health", "binance/lake", "binance/quality", "binance/quarantine"}
INSTRUMENTS = {"binance/spot/instruments", "binance/linear/instruments"}
SOURCES = {name for name in ASSETS if name.startswith("source/")}
"""All assets with their groups."""


@pytest.fixture(scope="module")
def sandbox():
    source = SyntheticArchive(
        {"spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT"]}, FIRST, LAST, seed=5, trades_per_day=1_440
    )
    with SandboxServer(source) as server:
        yield server


@pytest.fixture
def mine(sandbox, tmp_path, postgres_url, monkeypatch) -> project.Project:
    return project.make(sandbox, tmp_path, postgres_url, monkeypatch, *ENTRIES)


@pytest.fixture
def graph(mine):
    return mine.definitions().get_repository_def().asset_graph


def test_every_dataset_of_a_symbol_and_every_table_that_it_feeds_is_an_asset_in_a_group(graph):
    found = {node.key.to_user_string(): node.group_name for node in graph.asset_nodes}
    assert found == ASSETS


def test_a_table_depends_on_what_feeds_it_also_from_another_entry(graph):
    parents = {
        node.key.to_user_string(): {parent.to_user_string() for parent in node.parent_keys}
        for node in graph.asset_nodes
        if node.parent_keys
    }
    begins = {
        name: {f"source/{name.rsplit('/', 1)[0]}"}
        for name in ASSETS
        if name.startswith("binance/") and name.count("/") == 3
    }
    assert len(begins) == 7
    # No run makes a source or a state, so no job, backfill or "materialize all" selects them.
    assert {node.key.to_user_string() for node in graph.asset_nodes if not node.is_materializable} == SOURCES | OBSERVED
    assert parents == begins | {
        "warehouse/binance/spot/ohlcv/BTC-USDT": {
            "binance/spot/ohlcv_1m/BTC-USDT",
            "binance/spot/ohlcv_1h/BTC-USDT",
        },
        "warehouse/binance/spot/ohlcv/ETH-USDT": {"binance/spot/ohlcv_1m/ETH-USDT"},
        "warehouse/binance/spot/trade_statistics_1m/BTC-USDT": {"binance/spot/trades/BTC-USDT"},
        "warehouse/binance/spot/trade_statistics_1m/ETH-USDT": {"binance/spot/trades/ETH-USDT"},
        "warehouse/binance/linear/ohlcv/BTC-USDT": {"binance/linear/ohlcv_1m/BTC-USDT"},
        "warehouse/binance/linear/funding_rates/BTC-USDT": {"binance/linear/funding_rates/BTC-USDT"},
    }


def test_partitions_are_the_days_from_each_entrys_start_to_yesterday_and_a_shared_table_has_all_of_them(graph):
    starts = {
        node.key.to_user_string(): node.partitions_def.get_first_partition_key()
        for node in graph.asset_nodes
        if node.key.path[-2] in ("ohlcv_1h", "ohlcv_1m", "ohlcv") and "spot" in node.key.path
    }
    assert starts == {
        "binance/spot/ohlcv_1h/BTC-USDT": "2024-01-05",
        "binance/spot/ohlcv_1m/BTC-USDT": "2024-01-01",
        "binance/spot/ohlcv_1m/ETH-USDT": "2024-01-01",
        "warehouse/binance/spot/ohlcv/BTC-USDT": "2024-01-01",
        "warehouse/binance/spot/ohlcv/ETH-USDT": "2024-01-01",
    }
    keys = graph.get(key("binance/spot/ohlcv_1m/BTC-USDT")).partitions_def.get_partition_keys()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert keys == [str(day) for day in days_between(FIRST, yesterday)]


def test_an_entry_that_ends_has_no_partition_after_that_and_neither_has_a_table_that_it_shares(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    ended = [
        entry(["ohlcv_1m"], ["BTC/USDT"], LATER) | {"end": LATER + timedelta(days=1)},
        entry(["ohlcv_1h"], ["BTC/USDT"], FIRST) | {"end": LAST},
    ]
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, *ended)
    nodes = {node.key: node for node in mine.definitions().get_repository_def().asset_graph.asset_nodes}
    minutes = nodes[key("binance/spot/ohlcv_1m/BTC-USDT")]
    assert minutes.partitions_def.get_partition_keys() == ["2024-01-05", "2024-01-06"]
    table = nodes[key("warehouse/binance/spot/ohlcv/BTC-USDT")]
    assert table.partitions_def.get_partition_keys()[-1] == "2024-01-31"


def test_a_backfill_of_a_table_may_have_days_that_one_of_its_feeders_does_not_have(mine):
    """Otherwise Dagster refuses it: the days of the table would depend on partitions that do not exist."""
    table, hours = key("warehouse/binance/spot/ohlcv/BTC-USDT"), key("binance/spot/ohlcv_1h/BTC-USDT")
    with mine.instance() as instance:
        view = AssetGraphView.for_test(mine.definitions(), instance)
        days = {AssetKeyPartitionKey(table, "2024-01-02"), AssetKeyPartitionKey(table, "2024-01-06")}
        parents, lacking = view.compute_parent_subset_and_required_but_nonexistent_subset(
            hours, view.get_asset_subset_from_asset_partitions(table, days)
        )
    assert parents.expensively_compute_partition_keys() == {"2024-01-06"}
    assert lacking.is_empty


def test_every_asset_has_the_checks_of_its_dataset_or_table(graph):
    found: dict[str, set[str]] = {}
    for check in graph.asset_check_keys:
        found.setdefault(check.asset_key.to_user_string(), set()).add(check.name)
    series = {
        name: Series.named(*name.split("/")[:3])
        for name in ASSETS
        if ("/BTC-" in name or "/ETH-" in name) and "warehouse" not in name
    }
    whole = {"all_days_complete"}
    tables = {name: {"rows_match_lake"} | whole for name in found if name.startswith("warehouse/")}
    files = {"binance/lake": {"files_are_there"}}
    assert found == files | tables | {
        name: {rule.name for rule in rules_of(one)} | whole for name, one in series.items()
    }
    assert "warehouse/binance/spot/trade_statistics_1m/BTC-USDT" in tables
    assert "complete" in found["binance/spot/trades/BTC-USDT"]


def test_a_series_is_not_compared_with_one_that_nobody_collects():
    alone = parse_collection({"series": [entry(["trades", "ohlcv_1h"], ["BTC/USDT"], FIRST)]})
    absent = {
        dataset: {rule.name for rule in rules_of(series)} - {rule.name for rule in rules_for(alone, series, "BTC/USDT")}
        for dataset in ("trades", "ohlcv_1h")
        if (series := Series.named("binance", "spot", dataset))
    }
    assert absent == {"trades": {"agrees_with_bars", "price_band"}, "ohlcv_1h": {"agrees_with_shorter"}}


def test_an_entry_is_one_op_that_takes_any_range_in_one_run_and_all_have_a_sensor_and_three_schedules(mine):
    repository = mine.definitions().get_repository_def()
    ops = {name: {key.to_user_string() for key in keys} for name, keys in _ops(repository).items()}
    assert ops == {
        "binance_spot_ohlcv_1h": {"binance/spot/ohlcv_1h/BTC-USDT"},
        "binance_spot_ohlcv_1m_trades": {name for name in ASSETS if "/spot/" in name}
        - {"binance/spot/ohlcv_1h/BTC-USDT"}
        - SOURCES
        - INSTRUMENTS,
        "binance_linear": {name for name in ASSETS if "/linear/" in name} - SOURCES - INSTRUMENTS,
        "ask_for_instruments": INSTRUMENTS,
    }
    assert "instruments" in {job.name for job in repository.get_all_jobs()}, "all names differ"
    made = [node for node in repository.asset_graph.asset_nodes if node.is_executable and node.is_partitioned]
    assert {node.backfill_policy for node in made} == {dg.BackfillPolicy.single_run()}
    own = {"recovery", "coverage", "health", "lake", "quarantine", "quality"}
    assert {sensor.name for sensor in repository.sensor_defs} == {"new_files", *own}
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "fill_gaps",
        "reconcile",
        "instruments",
    }  # none uses REST
    # Nothing is collected outside `crypto-assets up`; the repair of killed runs is on from the start.
    running = {s.name for s in repository.sensor_defs if s.default_status is dg.DefaultSensorStatus.RUNNING}
    assert running == own


def _ops(repository: dg.RepositoryDefinition) -> dict[str, set[dg.AssetKey]]:
    found: dict[str, set[dg.AssetKey]] = {}
    for node in repository.asset_graph.asset_nodes:
        if node.key.to_user_string() not in OBSERVED | SOURCES:  # observed, not made by an op
            found.setdefault(node.assets_def.op.name, set()).add(node.key)
    return found


class TestPlan:
    """The targets of a run of some assets of an entry."""

    collection = parse_collection({"series": list(ENTRIES)})
    bars = Series.named("binance", "spot", "ohlcv_1m")
    hours = Series.named("binance", "spot", "ohlcv_1h")
    trades = Series.named("binance", "spot", "trades")
    days = days_between(date(2024, 1, 4), date(2024, 1, 6))

    def plan(self, number: int, *names: str) -> list[Target]:
        part = self.collection.series[number]
        selected = {key(name) for name in names}
        return plan(self.collection, part, warehouse_assets(self.collection, part), selected, self.days)

    def test_a_lake_asset_alone_stays_in_the_lake(self):
        assert self.plan(1, "binance/spot/ohlcv_1m/BTC-USDT") == [Target(self.bars, "BTC/USDT", tuple(self.days))]

    def test_with_its_table_it_goes_on_to_it_and_what_other_runs_collect_is_left_to_them(self):
        found = self.plan(1, "binance/spot/ohlcv_1m/BTC-USDT", "warehouse/binance/spot/ohlcv/BTC-USDT")
        assert found == [Target(self.bars, "BTC/USDT", tuple(self.days), ("ohlcv",))]

    def test_a_table_alone_is_loaded_from_the_lake_from_each_feeders_start_on(self):
        found = self.plan(1, "warehouse/binance/spot/ohlcv/BTC-USDT")
        assert sorted(found, key=lambda target: target.series) == [
            Target(self.hours, "BTC/USDT", tuple(self.days[1:]), ("ohlcv",), collect=False),
            Target(self.bars, "BTC/USDT", tuple(self.days), ("ohlcv",), collect=False),
        ]

    def test_a_table_that_another_entry_owns_is_fed_all_the_same(self):
        found = self.plan(0, "binance/spot/ohlcv_1h/BTC-USDT")
        assert found == [Target(self.hours, "BTC/USDT", tuple(self.days), ("ohlcv",))]

    def test_trades_feed_their_statistics_only(self):
        found = self.plan(1, "binance/spot/trades/ETH-USDT", "warehouse/binance/spot/trade_statistics_1m/ETH-USDT")
        assert found == [Target(self.trades, "ETH/USDT", tuple(self.days), ("trade_statistics_1m",))]


def test_a_run_of_bars_is_not_failed_by_bars_of_another_entry_that_nobody_has_collected(mine):
    both = [key("binance/spot/ohlcv_1m/BTC-USDT"), key("warehouse/binance/spot/ohlcv/BTC-USDT")]
    with mine.instance() as instance:
        result = mine.execute(_request(both, LATER, LATER), instance)
        assert result.success
        for asset in both:
            assert instance.get_materialized_partitions(asset) == {"2024-01-05"}
    assert {name: record.state for name, record in mine.records().items()} == {
        ("BTC/USDT", "ohlcv_1m", LATER): State.AVAILABLE
    }


def test_a_run_without_days_says_that_it_needs_some(mine):
    with mine.instance() as instance:
        request = dg.RunRequest(asset_selection=[key("binance/spot/ohlcv_1m/BTC-USDT")])
        result = mine.execute(request, instance)
        assert not result.success
        (failure,) = result.get_step_failure_events()
        assert "choose partitions" in failure.step_failure_data.error.message


def test_checks_alone_are_run_again_over_the_stored_days(mine):
    asset = key("binance/spot/ohlcv_1m/BTC-USDT")
    check = dg.AssetCheckKey(asset, "complete")
    with mine.instance() as instance:
        assert mine.execute(_request([asset], FIRST, date(2024, 1, 3)), instance).success
        job = mine.definitions().get_repository_def().get_implicit_job_def_for_assets([asset])
        again = job.get_subset(asset_selection=set(), asset_check_selection={check})
        assert again.execute_in_process(instance=instance).success
        records = instance.event_log_storage.get_asset_check_execution_history(check, limit=20)
        found = {}
        for record in reversed(records):
            found.setdefault(record.event.dagster_event.event_specific_data.partition, []).append(record.status.value)
    assert found == {str(day): ["SUCCEEDED"] * 2 for day in days_between(FIRST, date(2024, 1, 3))} | {
        None: ["SUCCEEDED"] * 2
    }


def test_a_day_that_feeds_two_tables_counts_the_rows_of_each(tmp_path, postgres_url, monkeypatch):
    both = entry(["trades"], ["BTC/USDT"], FIRST) | {"warehouse": ["trades", "trade_statistics_1m"]}
    tables = [key(f"warehouse/binance/spot/{table}/BTC-USDT") for table in ("trade_statistics_1m", "trades")]
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, FIRST, trades_per_day=3_000)) as busy:
        mine = project.make(busy, tmp_path, postgres_url, monkeypatch, both)
        with mine.instance() as instance:
            result = mine.execute(_request([key("binance/spot/trades/BTC-USDT"), *tables], FIRST, FIRST), instance)
            assert result.success
            events = [instance.get_latest_materialization_event(table) for table in tables]
    counts = [event.asset_materialization.metadata["dagster/partition_row_count"].value for event in events]
    assert counts == [1_440, 3_000]


def _request(keys: list[dg.AssetKey], first: date, last: date) -> dg.RunRequest:
    from crypto_assets.defs.requests import range_request

    return range_request(keys, first, last, "a test")


# ---- the README's commands --------------------------------------------------------------------------------------------


def _readme_commands() -> list[str]:
    return re.findall(r"^dagster .*$", (PROJECT / "README.md").read_text(), re.MULTILINE)


def _shell(mine: project.Project, line: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{mine.command.variables['PATH']}"
    return subprocess.run(
        ["sh", "-ec", f"export DAGSTER_HOME=$PWD\n{line}"],
        cwd=PROJECT,
        env=mine.command.variables | {"PATH": path},
        text=True,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def test_the_commands_that_the_readme_gives_for_ci_work_as_they_stand(mine):
    validate, listing, materialize = _readme_commands()
    done = _shell(mine, validate)
    assert done.returncode == 0, done.stderr
    assert "Validation successful" in done.stdout + done.stderr

    done = _shell(mine, listing)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(ASSETS) - OBSERVED - SOURCES  # these cannot be materialised

    assert "binance/spot/ohlcv_1m/BTC-USDT" in materialize
    assert "2024-01-01...2024-01-31" in materialize
    done = _shell(mine, materialize)
    assert done.returncode == 0, done.stderr[-3000:]
    days = days_between(FIRST, LAST)
    found = {name: (record.state, record.rows) for name, record in mine.records().items()}
    assert found == {("BTC/USDT", "ohlcv_1m", day): (State.AVAILABLE, 1440) for day in days}
    asset = key("binance/spot/ohlcv_1m/BTC-USDT")
    with mine.instance() as instance:
        assert instance.get_materialized_partitions(asset) == {str(day) for day in days}
        (run,) = instance.get_runs()
        assert (run.status.value, len(run.asset_selection)) == ("SUCCESS", 1)
    lake = mine.home / "lake/exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT"
    assert sorted(path.parent.name for path in lake.glob("*/data.parquet")) == [f"date={day}" for day in days]


def test_a_day_that_is_not_there_makes_the_command_fail_and_say_so(mine, sandbox):
    hidden = "data/spot/{}/klines/ETHUSDT/1m/ETHUSDT-1m-{}.zip"
    names = [hidden.format("daily", "2024-01-10"), hidden.format("monthly", "2024-01")]
    sandbox.app.state.overrides |= {name + end: None for name in names for end in ("", ".CHECKSUM")}
    try:
        line = (
            _readme_commands()[2]
            .replace("BTC-USDT", "ETH-USDT")
            .replace("2024-01-01...2024-01-31", "2024-01-09...2024-01-11")
        )
        done = _shell(mine, line)
    finally:
        for name in list(sandbox.app.state.overrides):
            del sandbox.app.state.overrides[name]
    assert done.returncode == 1
    assert "1 of 3 days are not complete" in done.stderr
    assert "binance spot ETH/USDT ohlcv_1m 2024-01-10: missing" in done.stderr
    with mine.instance() as instance:
        found = instance.get_materialized_partitions(key("binance/spot/ohlcv_1m/ETH-USDT"))
    assert found == {"2024-01-09", "2024-01-11"}
