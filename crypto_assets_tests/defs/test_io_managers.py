"""A user's own assets built on the collected ones, through the IO managers."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pytest

from crypto_assets.defs.asset_keys import daily, lake_key, warehouse_key
from crypto_assets.defs.io_managers import LakeIOManager, WarehouseIOManager
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.selftest.store_damage import flip_bit
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import PROJECT, Command
from crypto_assets_tests.published import Row, days
from crypto_assets_tests.workbench import Workbench, entry, total

FIRST = date(2024, 1, 1)
DAYS = days(FIRST, 4)
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
TRADES = Series("binance", "spot", "trades")
PARTITIONS = daily(FIRST)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str) -> Iterator[Workbench]:
    """Four collected days."""
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=1_440)
    with SandboxServer(archive) as sandbox:
        home = tmp_path_factory.mktemp("home")
        opened = Workbench(
            sandbox, module_postgres_url, home / "lake", entry("spot", ["ohlcv_1m", "trades"], [BTC], FIRST)
        )
        result = opened.collect(DAYS[0], DAYS[-1])
        assert not result.tally.problems
        yield opened


@pytest.fixture(scope="module")
def resources(work: Workbench) -> dict[str, Any]:
    lake, postgres = LakeResource(url=str(work.folder)), PostgresResource(url=work.url)
    return {
        "lake_io_manager": LakeIOManager(lake=lake),
        "warehouse_io_manager": WarehouseIOManager(postgres=postgres),
        "hourly_io_manager": WarehouseIOManager(postgres=postgres, timeframe="1h"),
    }


def collected(key: dg.AssetKey, manager: str) -> dg.AssetSpec:
    return dg.AssetSpec(key, partitions_def=PARTITIONS).with_io_manager_key(manager)


BARS_IN_LAKE = collected(lake_key(BARS, BTC), "lake_io_manager")
BARS_IN_WAREHOUSE = collected(warehouse_key(BARS, BTC, "ohlcv"), "hourly_io_manager")
STATISTICS = collected(warehouse_key(TRADES, BTC, "trade_statistics_1m"), "warehouse_io_manager")


def materialise(assets: list[Any], resources: dict[str, Any], first: date, last: date) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets,
        resources=resources,
        tags={
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last),
        },
        raise_on_error=True,
    )


def table(url: str, name: str, order: str = "1, 2") -> list[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return connection.execute(f'SELECT * FROM assets."{name}" ORDER BY {order}').fetchall()


def micros(frame: pd.DataFrame, column: str) -> list[int]:
    return [int(value.timestamp() * 1_000_000) for value in frame[column]]


def published(work: Workbench, series: Series, wanted: list[date]) -> list[Row]:
    return [row for day in wanted for row in work.published(series, BTC, day)]


# ---- input -----------------------------------------------------------------------------------------------------------


def test_a_lake_asset_gives_exactly_the_days_of_the_run(work: Workbench, resources: dict[str, Any]) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"bars": dg.AssetIn(key=BARS_IN_LAKE.key)},
    )
    def looked(bars: pd.DataFrame) -> None:
        seen.append(bars)

    materialise([looked, BARS_IN_LAKE], resources, DAYS[1], DAYS[2])
    (frame,) = seen
    expected = published(work, BARS, DAYS[1:3])
    assert len(expected) == 2880
    assert micros(frame, "open_time") == [row[0] for row in expected]
    assert frame["close"].tolist() == [float(row[4]) for row in expected]
    assert frame["trade_count"].tolist() == [row[7] for row in expected]


def test_a_warehouse_asset_gives_exactly_the_days_and_the_timeframe_asked_for(
    work: Workbench, resources: dict[str, Any]
) -> None:
    seen: dict[str, pd.DataFrame] = {}

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"bars": dg.AssetIn(key=BARS_IN_WAREHOUSE.key), "minutes": dg.AssetIn(key=STATISTICS.key)},
    )
    def looked(bars: pd.DataFrame, minutes: pd.DataFrame) -> None:
        seen.update(bars=bars, minutes=minutes)

    materialise([looked, BARS_IN_WAREHOUSE, STATISTICS], resources, DAYS[1], DAYS[2])
    hours = published(work, Series("binance", "spot", "ohlcv", "1h"), DAYS[1:3])
    assert len(hours) == 48
    assert set(seen["bars"]["timeframe"]) == {"1h"}
    assert micros(seen["bars"], "open_time") == [row[0] for row in hours]
    assert seen["bars"]["volume"].tolist() == [float(row[5]) for row in hours]
    assert len(seen["minutes"]) == 2880
    assert seen["minutes"]["trade_count"].sum() == 2 * 1_440


# ---- output ----------------------------------------------------------------------------------------------------------


def test_a_range_kept_in_the_lake_is_one_file_a_day_and_reads_back(work: Workbench, resources: dict[str, Any]) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(
        key=["mine", "closes"],
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="lake_io_manager",
        ins={"bars": dg.AssetIn(key=BARS_IN_LAKE.key)},
    )
    def closes(bars: pd.DataFrame) -> pd.DataFrame:
        return bars[["open_time", "close"]]

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"closes": dg.AssetIn(key=["mine", "closes"], input_manager_key="lake_io_manager")},
    )
    def looked(closes: pd.DataFrame) -> None:
        seen.append(closes)

    for _ in range(2):
        materialise([closes, looked, BARS_IN_LAKE], resources, DAYS[0], DAYS[2])
    folder = work.folder / "assets" / "mine" / "closes"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet")) == [
        f"date={day}/data.parquet" for day in DAYS[:3]
    ]
    for day in DAYS[:3]:
        kept = pd.read_parquet(folder / f"date={day}" / "data.parquet", partitioning=None)
        assert kept["close"].tolist() == [float(row[4]) for row in published(work, BARS, [day])]
    assert seen[-1]["close"].tolist() == [float(row[4]) for row in published(work, BARS, DAYS[:3])]


def daily_volume() -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="warehouse_io_manager",
        ins={"bars": dg.AssetIn(key=BARS_IN_LAKE.key)},
    )
    def daily_volume(bars: pd.DataFrame) -> pd.DataFrame:
        day = bars["open_time"].dt.floor("D")
        return bars.groupby(day)["volume"].sum().reset_index()

    return daily_volume


def test_a_range_kept_in_postgres_replaces_its_days_and_leaves_the_others(
    work: Workbench, resources: dict[str, Any]
) -> None:
    asset = daily_volume()
    materialise([asset, BARS_IN_LAKE], resources, DAYS[0], DAYS[3])
    before = table(work.url, "daily_volume")
    assert [row[2] for row in before] == DAYS
    for (_, volume, _), day in zip(before, DAYS, strict=True):
        assert volume == pytest.approx(float(total(published(work, BARS, [day]), 5)), rel=1e-12)
    with psycopg.connect(work.url) as connection:
        connection.execute("UPDATE assets.daily_volume SET volume = -1")
    materialise([asset, BARS_IN_LAKE], resources, DAYS[1], DAYS[2])
    after = table(work.url, "daily_volume")
    assert [row[1] for row in after] == [-1, before[1][1], before[2][1], -1]
    materialise([asset, BARS_IN_LAKE], resources, DAYS[0], DAYS[3])
    assert table(work.url, "daily_volume") == before


def test_a_single_day_without_rows_empties_that_day_only(work: Workbench, resources: dict[str, Any]) -> None:
    rows = {"many": True}

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="warehouse_io_manager",
    )
    def sometimes(context: dg.AssetExecutionContext) -> pd.DataFrame:
        wanted = [date.fromisoformat(key) for key in context.partition_keys] if rows["many"] else []
        return pd.DataFrame({"date": pd.to_datetime(wanted), "number": range(len(wanted))})

    materialise([sometimes], resources, DAYS[0], DAYS[2])
    rows["many"] = False
    materialise([sometimes], resources, DAYS[1], DAYS[1])
    assert [row[2] for row in table(work.url, "sometimes")] == [DAYS[0], DAYS[2]]


def test_an_asset_of_ours_reads_back_what_another_kept_in_postgres(work: Workbench, resources: dict[str, Any]) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"volume": dg.AssetIn(key="daily_volume", input_manager_key="warehouse_io_manager")},
    )
    def looked(volume: pd.DataFrame) -> None:
        seen.append(volume)

    materialise([daily_volume(), BARS_IN_LAKE, looked], resources, DAYS[1], DAYS[2])
    assert seen[0].columns.tolist() == ["open_time", "volume"]
    kept = {day: volume for _, volume, day in table(work.url, "daily_volume")}
    assert seen[0]["volume"].tolist() == [kept[DAYS[1]], kept[DAYS[2]]]


def test_rows_of_a_range_that_cannot_be_told_apart_are_refused(work: Workbench, resources: dict[str, Any]) -> None:
    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="warehouse_io_manager",
    )
    def timeless() -> pd.DataFrame:
        return pd.DataFrame({"number": [1, 2]})

    with pytest.raises(Exception, match="timeless: expected a column `date` or one UTC time column"):
        materialise([timeless], resources, DAYS[0], DAYS[1])


def test_rows_outside_the_range_are_refused_and_nothing_is_kept(work: Workbench, resources: dict[str, Any]) -> None:
    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="warehouse_io_manager",
    )
    def astray() -> pd.DataFrame:
        return pd.DataFrame({"date": pd.to_datetime([DAYS[0], DAYS[3]]), "number": [1, 2]})

    with pytest.raises(Exception, match="astray: expected rows of 2024-01-01 … 2024-01-02, found 2024-01-04"):
        materialise([astray], resources, DAYS[0], DAYS[1])
    with psycopg.connect(work.url) as connection:
        assert connection.execute("SELECT to_regclass('assets.astray')").fetchone() == (None,)


# ---- days that are not complete ---------------------------------------------------------------------------------------


def over_a_gap(spec: Any, seen: list[pd.DataFrame], manager: str) -> list[Any]:
    """Return an asset that takes bars, and the bars."""

    @dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"bars": dg.AssetIn(key=spec.key, input_manager_key=manager)},
    )
    def looked(bars: pd.DataFrame) -> None:
        seen.append(bars)

    return [looked, spec]


@pytest.mark.parametrize("spec", [BARS_IN_LAKE, BARS_IN_WAREHOUSE, STATISTICS])
def test_days_that_were_not_collected_end_the_run_unless_the_setting_allows_them(
    work: Workbench, resources: dict[str, Any], spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", work.url)
    manager = "lake_io_manager" if spec is BARS_IN_LAKE else "warehouse_io_manager"
    seen: list[pd.DataFrame] = []
    assets, after = over_a_gap(spec, seen, manager), date(2024, 1, 6)
    with pytest.raises(Exception, match=r"2024-01-05 … 2024-01-06 \(2 days\): not collected yet"):
        materialise(assets, resources, DAYS[2], after)
    assert seen == []
    told = resources | {
        "lake_io_manager": LakeIOManager(lake=resources["lake_io_manager"].lake, missing="warn"),
        "warehouse_io_manager": WarehouseIOManager(postgres=PostgresResource(url=work.url), missing="ignore"),
    }
    materialise(assets, told, DAYS[2], after)
    (frame,) = seen
    assert len(frame) > 0
    states = [(day["day"], day["state"]) for day in frame.attrs["coverage"]]
    assert states == [
        *(("2024-01-03", "available"), ("2024-01-04", "available")),
        *(("2024-01-05", "not_collected"), ("2024-01-06", "not_collected")),
    ]


def test_an_asset_of_ones_own_goes_into_no_lake_that_was_unmounted_and_a_damaged_one_is_named(
    work: Workbench, resources: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", work.url)

    @dg.asset(
        partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run(), io_manager_key="lake_io_manager"
    )
    def kept_in_the_lake(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return pd.DataFrame({"date": pd.to_datetime([context.partition_keys[0]]), "number": [1]})

    materialise([kept_in_the_lake], resources, DAYS[0], DAYS[0])
    file = work.folder / f"assets/kept_in_the_lake/date={DAYS[0]}/data.parquet"
    flip_bit(file, 8 * 100)
    spec = dg.AssetSpec(kept_in_the_lake.key, partitions_def=PARTITIONS).with_io_manager_key("lake_io_manager")
    with pytest.raises(Exception, match=f"missing: {file}: the file is damaged.*; materialise that partition again"):
        materialise(over_a_gap(spec, [], "lake_io_manager"), resources, DAYS[0], DAYS[0])
    disk = work.folder.rename(tmp_path / "disk")
    work.folder.mkdir()
    try:
        with pytest.raises(Exception, match="is not where it was"):
            materialise([kept_in_the_lake], resources, DAYS[0], DAYS[0])
        assert not list(work.folder.iterdir())
    finally:
        work.folder.rmdir()
        disk.rename(work.folder)


def test_days_of_an_asset_of_ones_own_that_were_never_made_are_named(
    work: Workbench, resources: dict[str, Any]
) -> None:
    @dg.asset(
        partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run(), io_manager_key="warehouse_io_manager"
    )
    def in_postgres(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return pd.DataFrame({"date": pd.to_datetime([context.partition_keys[0]]), "number": [1]})

    @dg.asset(
        partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run(), io_manager_key="lake_io_manager"
    )
    def in_the_lake(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return pd.DataFrame({"date": pd.to_datetime([context.partition_keys[0]]), "number": [1]})

    materialise([in_postgres, in_the_lake], resources, DAYS[0], DAYS[1])  # the second day has no rows, and is stored
    seen: list[pd.DataFrame] = []
    for asset, manager in ((in_postgres, "warehouse_io_manager"), (in_the_lake, "lake_io_manager")):
        spec = dg.AssetSpec(asset.key, partitions_def=PARTITIONS).with_io_manager_key(manager)
        materialise(over_a_gap(spec, seen, manager), resources, DAYS[0], DAYS[1])
        assert seen.pop()["number"].tolist() == [1]
        with pytest.raises(
            Exception, match=r"1 of 3 requested days are incomplete[^$]*2024-01-03: missing: no .* stored"
        ):
            materialise(over_a_gap(spec, seen, manager), resources, DAYS[0], DAYS[2])


# ---- as documented ---------------------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_works_as_written(work: Workbench, tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "how-to" / "own-asset.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    command = Command.at(tmp_path, work.url, CRYPTO_ASSETS_LAKE_URL=str(work.folder))
    command.configure(work.collection.model_dump(mode="json"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(tmp_path / "example.py")),
            *("--select", "realised_volatility", "--partition-range", f"{DAYS[0]}...{DAYS[2]}"),
        ],
        env=command.variables | {"PATH": os.environ["PATH"]},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    stored = table(work.url, "realised_volatility")
    assert [row[2] for row in stored] == DAYS[:3]
    for (_, volatility, _), day in zip(stored, DAYS, strict=False):
        closes = [float(row[4]) for row in published(work, BARS, [day])]
        squares = sum((after / before - 1) ** 2 for before, after in itertools.pairwise(closes))
        assert volatility == pytest.approx(squares**0.5, rel=1e-9)
        assert volatility > 0
