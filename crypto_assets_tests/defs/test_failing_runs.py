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
ASSET = "binance/spot/ohlcv_1h/BTC-USDT"
AWAY = "Postgres at h:1, database d: expected an answer, found: nothing answers there"
STATEMENT = sqlalchemy.exc.ProgrammingError(
    "SELECT secret FROM t", {"a": "parameter"}, psycopg.errors.UndefinedColumn("column secret\nLINE 1: SELECT")
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (DAY, DAY)}})) as server:
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
