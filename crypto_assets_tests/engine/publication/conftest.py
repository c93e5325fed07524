"""A database and a lake for the tests of the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from crypto_assets.engine.publication import journal
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate

FOLDER = "exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/"
ONE, TWO, THREE = (f"{FOLDER}date=2024-01-0{n}/data.parquet" for n in (1, 2, 3))


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake with two files."""
    if request.param == "folder":
        lake = Lake(str(tmp_path / "lake"))
    else:
        s3 = boto3.client(
            "s3",
            endpoint_url=request.getfixturevalue("s3_endpoint"),
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        bucket = f"lake-{uuid4().hex[:8]}"
        s3.create_bucket(Bucket=bucket)
        lake = Lake(f"s3://{bucket}/some/prefix", lambda: s3)
    lake.store.put(ONE, b"former one")
    lake.store.put(TWO, b"former two")
    return lake


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    lake.store.put(ONE, b"former one")
    lake.store.put(TWO, b"former two")
    return lake


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    with psycopg.connect(module_postgres_url) as connection:
        connection.execute("CREATE TABLE written (what text)")
    return module_postgres_url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE written, collection.journal, collection.versions")
    with Ledger(url) as ledger:
        yield ledger


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """A function that calls something when a step is reached for the first time."""

    def happen(step: str, what: Callable[[], Any]) -> None:
        first = threading.Lock()

        def reached(name: str) -> None:
            if name == step and first.acquire(blocking=False):
                what()

        monkeypatch.setattr(journal, "reached", reached)

    return happen
