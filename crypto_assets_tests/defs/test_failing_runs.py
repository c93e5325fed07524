"""A failed run in Dagster: it shows the line that a command prints, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy

from crypto_assets.defs import assets
from crypto_assets.engine.pipeline import Pipeline
from crypto_assets.errors import ConfigError, PostgresUnavailable
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.project import Project, entry, key

DAY = date(2024, 1, 1)
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]
ASSET = "binance/spot/ohlcv_1h/BTC-USDT"
TABLE = "warehouse/binance/spot/ohlcv/BTC-USDT"
AWAY = "Postgres at h:1, database d: expected an answer, found: nothing answers there"
STATEMENT = sqlalchemy.exc.ProgrammingError(
    "SELECT secret FROM t", {"a": "parameter"}, psycopg.errors.UndefinedColumn("column secret\nLINE 1: SELECT")
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (DAY, date(2024, 1, 3))}})) as server:
        yield server


@pytest.fixture
def mine(sandbox: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project.make(sandbox, tmp_path / "home", postgres_url, monkeypatch, entry(["ohlcv_1h"], ["BTC/USDT"], DAY))


def failure(mine: Project) -> Any:
    with mine.instance() as instance:
        request = dg.RunRequest(asset_selection=[key(ASSET)], tags={"dagster/partition": str(DAY)})
        result = mine.execute(request, instance)
        assert not result.success
        return result.get_step_failure_events()[0].step_failure_data


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind", "line", "kept"),
    [
        (STATEMENT, "CryptoAssetsError", "Postgres refused a statement: column secret; what was stored stays", True),
        (KeyError("name"), "CryptoAssetsError", "unexpected KeyError: 'name'; please report it", True),
        (PostgresUnavailable(AWAY), "PostgresUnavailable", AWAY, False),
        (ConfigError("--from: expected a day"), "ConfigError", "--from: expected a day", False),
    ],
)
def test_the_failure_of_a_run_is_one_line(
    mine: Project, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, line: str, kept: bool
) -> None:
    monkeypatch.setattr(Pipeline, "run", failing(error))
    found = failure(mine)
    shown = found.user_failure_data or found.error.cause or found.error
    assert shown.cls_name == kind
    log = mine.home / "errors.log"
    assert shown.message.strip() == f"crypto_assets.errors.{kind}: {line}" + (
        f"; its traceback is in {log}" if kept else ""
    )
    assert shown.cause is None, "Dagster shows the whole chain"
    assert log.exists() is kept
    assert "SELECT" not in str(found)
    assert "parameter" not in str(found)


def test_a_store_that_is_away_after_the_days_are_stored_says_that_they_are(
    mine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "close_run", failing(PostgresUnavailable(AWAY)))
    found = failure(mine)
    text = str((found.error.cause or found.error).message)
    assert "the days of this run are stored, but not the comparisons, incidents, scores and Dagster events" in text
    assert AWAY in text
    assert "run `crypto-assets validate` on these days to complete them" in text
    assert mine.records()["BTC/USDT", "ohlcv_1h", DAY].path is not None


def test_unchanged_days_stay_green_with_their_preview_where_a_run_fails(mine: Project, sandbox: SandboxServer) -> None:
    """Dagster shows the planned days of a failed run as failed, unless the run reports them."""
    tags = {"crypto_assets/why": "command line", "dagster/asset_partition_range_start": DAYS[0]}
    keys = [key(ASSET), key(TABLE)]

    def collect(last: str) -> dg.ExecuteInProcessResult:
        request = dg.RunRequest(asset_selection=keys, tags={**tags, "dagster/asset_partition_range_end": last})
        return mine.execute(request, instance)

    def events(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetMaterialization]:
        records = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        found = [record.asset_materialization for record in records]
        return {(one.asset_key.to_user_string(), str(one.partition)): one for one in found if one}

    with mine.instance() as instance:
        assert collect(DAYS[1]).success
        again = collect(DAYS[1])
        assert again.success
        assert not events(again), "the days are unchanged"
        of = f"data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{DAYS[2]}.zip.CHECKSUM"
        sandbox.app.state.overrides[of] = b"0" * 64
        try:
            failed = collect(DAYS[2])
        finally:
            sandbox.app.state.overrides.clear()
        assert not failed.success
        found = events(failed)
        assert sorted(found) == sorted((asset, day) for asset in (ASSET, TABLE) for day in DAYS[:2])
        for day in DAYS[:2]:
            assert {"candles", "rows"} <= found[ASSET, day].metadata.keys()
            assert found[ASSET, day].metadata["state"].value == "available"
            assert found[TABLE, day].metadata["dagster/partition_row_count"].value == 24
        definition = dg.DailyPartitionsDefinition(DAYS[0], end_date="2024-01-04", timezone="UTC")
        for asset in keys:
            states = instance.get_status_by_partition(asset, DAYS, definition) or {}
            assert [state and state.value for state in map(states.get, DAYS)] == [
                "MATERIALIZED",
                "MATERIALIZED",
                "FAILED",
            ]
