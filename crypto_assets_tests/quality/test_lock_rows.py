"""The rows of a lock: read as they were locked, or said to be lost."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

import crypto_assets
from crypto_assets.errors import ConfigError, IncompleteData, StoredDataError
from crypto_assets.model import Partition
from crypto_assets.quality.lock.content import to_text, write_lock
from crypto_assets.quality.lock.file import read_lock
from crypto_assets.quality.lock.verify import Found, verify
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.quality.test_lock import (
    BARS,
    BTC,
    FIRST,
    LAST,
    MISSING,
    SECOND,
    found,
    lock,
    more,
    republish,
    running,
    sandbox,
    work,
)
from crypto_assets_tests.workbench import Workbench

__all__ = ["running", "sandbox", "work"]


def test_reading_by_a_lock_gives_its_versions_or_says_that_they_are_lost(
    work: Workbench, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "dataset.lock"
    write_lock(lock(work), path)
    expected = [row[5] for day in (FIRST, SECOND, LAST) for row in work.published(BARS, BTC, day)]
    republish(work, SECOND, more)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(work.folder))  # no database is asked
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://127.0.0.1:1/none")

    def volumes(**more: Any) -> list[Decimal]:
        rows = crypto_assets.read("binance", BTC, "ohlcv_1m", FIRST, LAST, exact=True, missing="ignore", **more)
        return list(rows["volume"])

    assert len(expected) == 3 * 1440
    assert volumes(lock=path) == expected != volumes()
    with pytest.raises(IncompleteData, match=f"{MISSING}: missing: as locked: expected data/spot") as refused:
        crypto_assets.read("binance", BTC, "ohlcv_1m", FIRST, LAST, lock=path)
    days = [(day["state"], day["rows"]) for day in refused.value.coverage]
    assert days == [("available", 1440), ("available", 1440), ("missing", None), ("available", 1440)]
    with pytest.raises(ConfigError, match=r"2024-01-05 … 2024-01-06: expected days within the lock"):
        crypto_assets.read("binance", BTC, "ohlcv_1m", LAST, "2024-01-06", lock=path)
    with pytest.raises(ConfigError, match="lock: expected source='lake'"):
        crypto_assets.read("binance", BTC, "ohlcv_1m", FIRST, LAST, lock=path, source="warehouse")
    with pytest.raises(ConfigError, match="expected one of them"):
        crypto_assets.read("binance", BTC, "ohlcv_1m", FIRST, LAST, lock=path, as_of=FIRST)
    shutil.rmtree(work.folder / "versions")
    with pytest.raises(StoredDataError, match=f"ohlcv_1m {SECOND}: expected the locked file"):
        volumes(lock=path)


def test_a_lake_in_a_bucket_is_verified_and_read_by_the_lock_of_a_folder(
    work: Workbench, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "dataset.lock"
    write_lock(lock(work), path)
    expected = [row[5] for day in (FIRST, SECOND, LAST) for row in work.published(BARS, BTC, day)]
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = boto3.client("s3")
        bucket.create_bucket(Bucket="data")
        for file in work.folder.rglob("*.parquet"):
            bucket.upload_file(str(file), "data", f"lake/{file.relative_to(work.folder)}")
        locked = read_lock(path)
        lake = Lake("s3://data/lake")
        assert verify(locked, lake, None).same
        monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "s3://data/lake")
        rows = crypto_assets.read("binance", BTC, "ohlcv_1m", FIRST, LAST, exact=True, lock=path, missing="ignore")
        assert list(rows["volume"]) == expected
        lake.delete(BARS, Partition(BTC, LAST))
        lake.store.put(lake.path(BARS, Partition(BTC, FIRST)), b"other bytes")
        assert found(verify(locked, lake, None)) == {FIRST: Found.CHANGED, SECOND: Found.SAME, LAST: Found.MISSING}
    finally:
        moto.stop()


def test_a_lock_is_json_that_others_can_read(work: Workbench) -> None:
    content = json.loads(to_text(lock(work, symbols=("BTC-USDT",), last=SECOND)))
    assert list(content) == ["format", "package", "query", "files", "without_file", "created_at", "digest"]
    nothing = dict.fromkeys(("exchange", "market_type", "from", "as_of"))
    assert content["query"] == {**nothing, "symbols": ["BTC-USDT"], "datasets": [], "to": str(SECOND)}
    assert [(line["day"], line["rows"]) for line in content["files"]] == [(str(FIRST), 1440), (str(SECOND), 1440)]
