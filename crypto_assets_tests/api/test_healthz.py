"""The answer of `/healthz` while a part is down or hangs, and its duration."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import boto3
import psycopg
import pytest

from crypto_assets.api import health
from crypto_assets.api.health import Health
from crypto_assets.errors import PostgresUnavailable
from crypto_assets.instance import parts
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.database import Database, patience_of
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    return module_postgres_url


@pytest.fixture
def gone() -> str:
    """A server that answered this process before, and is down now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/db"
    patience_of(url).answered()
    return url


def report(url: str, lake: Lake, home: Path) -> tuple[dict[str, object], float]:
    began = time.monotonic()
    with Ledger(url) as ledger:
        asked = Health(ledger, lake, home)
        try:
            return asked.report(), time.monotonic() - began
        finally:
            asked.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    (tmp_path / "lake").mkdir()
    return Lake(str(tmp_path / "lake"))


def test_a_database_that_is_gone_is_said_at_once(gone: str, lake: Lake, tmp_path: Path) -> None:
    found, took_s = report(gone, lake, tmp_path)
    assert took_s < 5, "nobody waits for it, as a run does"
    assert (found["ok"], found["lake"], found["daemon"]) == (False, "answers", {"heartbeat": None, "age_s": None})
    assert "expected an answer, found: nothing answers there" in str(found["postgres"])


def test_an_answer_of_the_api_waits_for_a_database_that_is_gone_for_seconds_only(gone: str) -> None:
    began = time.monotonic()
    with Database(gone, waits_s=1.0) as database, pytest.raises(PostgresUnavailable) as caught:
        database.change(lambda connection: connection.execute("SELECT 1"))
    assert 0.5 < time.monotonic() - began < 10
    assert not caught.value.passing


def test_parts_that_hang_are_said_to_give_no_answer_and_keep_one_thread_each(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_S", 0.2)
    lake = Lake(str(tmp_path))
    monkeypatch.setattr(lake, "identity", lambda: time.sleep(3))
    with Ledger(url) as ledger:
        asked = Health(ledger, lake, tmp_path)
        for _ in range(4):
            assert asked.report()["lake"] == "no answer within 0.2 s"
        assert len(asked._asker._threads) <= 2
        asked.close()


def test_a_lake_that_cannot_be_read_is_named(url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    lake = Lake("s3://market/lake", lambda: boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys))
    found, _ = report(url, lake, tmp_path)
    assert (found["ok"], found["postgres"]) == (False, "answers")
    assert str(found["lake"]).startswith("s3://market/lake: get_object of ")


def test_a_daemon_that_hangs_makes_a_running_home_unwell(
    url: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "answers_grpc", lambda _: True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA dagster; CREATE TABLE dagster.daemon_heartbeats (timestamp timestamp)")
        for age, well in (("10 s", True), ("301 s", False)):
            connection.execute("TRUNCATE dagster.daemon_heartbeats")
            connection.execute(
                f"INSERT INTO dagster.daemon_heartbeats SELECT now() AT TIME ZONE 'UTC' - interval '{age}'"
            )
            assert report(url, lake, tmp_path)[0]["ok"], "nothing runs here that should have one"
            with parts.only_one(tmp_path, "http://127.0.0.1:1"):
                found, _ = report(url, lake, tmp_path)
            assert found["ok"] is well, age
