"""The lake in a bucket: moto's S3 server, the whole command through Dagster and its S3Resource."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

import crypto_assets
from crypto_assets.errors import LakeUnavailable
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import IDENTITY, Lake
from crypto_assets_tests.command import Answer, Command, no_traceback
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import Row, days
from crypto_assets_tests.workbench import Workbench, entry, lake_rows, warehouse_rows

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
ENTRY = entry("spot", ["ohlcv_1m", "trades"], [BTC], FIRST)
BUCKET, PREFIX = "market-data", "crypto/lake"
COLLECT = f"collect --from {FIRST} --to {LAST}"


@dataclass
class Cloud:
    """A bucket after the same days were collected into it twice, and the same days in a folder."""

    environment: dict[str, str]
    s3: Any
    command: Command
    answers: list[Answer]
    folder: Path
    published: dict[date, list[Row]]
    url: str
    refused_key: str

    def objects(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: self.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in listed}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(scope="module")
def cloud(
    server: str, tmp_path_factory: pytest.TempPathFactory, postgres_server_url: str, module_postgres_url: str
) -> Iterator[Cloud]:
    environment = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    s3 = boto3.client(
        "s3",
        endpoint_url=server,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="eu-central-1",
    )
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    command = Command.at(
        tmp_path_factory.mktemp("s3"),
        module_postgres_url,
        CRYPTO_ASSETS_LAKE_URL=f"s3://{BUCKET}/{PREFIX}",
        **environment,
    )
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=300)
    with SandboxServer(archive) as sandbox, new_database(postgres_server_url) as other:
        work = Workbench(sandbox, other, tmp_path_factory.mktemp("folder"), ENTRY)
        refused = work.key(BARS, BTC, LAST)
        work.publish(refused, b"not a zip")
        command.configure(work.collection.model_dump(mode="json"))
        answers = command.sequence(COLLECT, COLLECT, "gaps --json --to 2024-01-03")
        work.collect(FIRST, LAST)
        published = {day: work.published(BARS, BTC, day) for day in days(FIRST, 2)}
    return Cloud(environment, s3, command, answers, work.folder, published, module_postgres_url, refused)


def test_objects_in_a_bucket_are_byte_for_byte_the_files_of_a_folder(cloud: Cloud) -> None:
    files = {f"{PREFIX}/{path.relative_to(cloud.folder)}": path for path in cloud.folder.rglob("*") if path.is_file()}
    objects = cloud.objects()
    assert sorted(objects) == sorted(files)
    assert len(objects) == 8, "two days of bars, three of trades, one refused file with its reason, the id of the lake"
    del files[f"{PREFIX}/{IDENTITY}"]  # each lake has its own
    for name, path in files.items():
        if name.endswith(".reason.json"):  # they were refused at different times
            in_bucket, in_folder = (json.loads(of) for of in (objects[name], path.read_bytes()))
            assert in_bucket | {"refused_at": ""} == in_folder | {"refused_at": ""}
            assert in_bucket["size_bytes"] == len(b"not a zip")
        else:
            assert objects[name] == path.read_bytes(), name


def test_values_read_from_the_bucket_are_the_published_ones(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (cloud.environment | {"CRYPTO_ASSETS_LAKE_URL": f"s3://{BUCKET}/{PREFIX}"}).items():
        monkeypatch.setenv(name, value)
    lake = Lake(f"s3://{BUCKET}/{PREFIX}")
    expected = cloud.published[date(2024, 1, 1)] + cloud.published[date(2024, 1, 2)]
    assert len(expected) == 2880
    assert [row for day in days(FIRST, 2) for row in lake_rows(lake, BARS, BTC, day)] == expected
    frame = crypto_assets.read("binance", BTC, "ohlcv_1m", "2024-01-01", "2024-01-02", exact=True)
    assert frame["close"].tolist() == [row[4] for row in expected]
    assert frame["quote_volume"].tolist() == [row[6] for row in expected]
    assert lake.days(BARS, BTC) == [date(2024, 1, 1), date(2024, 1, 2)]
    stored = warehouse_rows(cloud.url, "ohlcv", BTC, FIRST, "timeframe = '1m'", count=3)
    assert stored == expected


def test_collecting_twice_writes_no_object_twice(cloud: Cloud) -> None:
    versions = cloud.s3.list_object_versions(Bucket=BUCKET)["Versions"]
    parquet = [version["Key"] for version in versions if version["Key"].endswith(".parquet")]
    assert len(parquet) == 5
    assert len(set(parquet)) == 5


def test_a_refused_day_is_reported_as_with_a_folder(cloud: Cloud) -> None:
    first, second, gaps = cloud.answers
    for answer in (first, second):
        assert answer.code == 1
        assert no_traceback(answer), answer
        assert f"binance spot {BTC} ohlcv_1m {LAST}: missing: {cloud.refused_key}: expected a whole zip" in answer.out
    assert gaps.code == 1
    assert [(row["dataset"], row["day"], row["state"]) for row in gaps.json] == [("ohlcv_1m", str(LAST), "missing")]


def test_a_bucket_that_does_not_exist_is_one_message(cloud: Cloud, postgres_url: str) -> None:
    command = Command.at(
        cloud.command.home, postgres_url, CRYPTO_ASSETS_LAKE_URL="s3://no-such-bucket/lake", **cloud.environment
    )
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=300)
    with SandboxServer(archive) as sandbox:
        urls = {"archive_url": sandbox.archive_url, "listing_url": sandbox.listing_url}
        command.configure({"exchanges": {"binance": urls}, "series": [ENTRY]})
        answer = command(*COLLECT.split())
    assert answer.code == 1
    assert no_traceback(answer), answer
    assert "s3://no-such-bucket/lake" in answer.message
    assert "NoSuchBucket" in answer.message
    assert "check the bucket, AWS_* and its permissions" in answer.message
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM market.ohlcv").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM collection.partitions").fetchone() == (0,)


def test_a_lake_that_moved_to_a_bucket_is_compared_with_few_requests(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    asked: list[str] = []

    def client() -> Any:
        made = boto3.client("s3")
        made.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
        return made

    here, empty = Lake(f"s3://{BUCKET}/{PREFIX}", client), Lake(f"s3://{BUCKET}/empty", client)
    with Ledger(cloud.url) as ledger:
        assert lost_days(ledger, here).reasons == {}
        assert asked.count("ListObjectsV2") == 2, "one for each series and symbol"
        assert asked.count("HeadObject") == 0
        assert asked.count("GetObject") == 1, "the id"
        lost = lost_days(ledger, empty)
        assert len(lost.reasons) == lost.stored == 5
        assert f"({here.url}): 5 of 5 stored days are not in it" in lost.notice
        gone = here.path(BARS, Partition(BTC, FIRST))
        data = here.store.get(gone)
        assert data is not None
        try:
            here.store.put(gone, data + b"x")
            assert "has" in lost_days(ledger, here).reasons[BARS, BTC, FIRST]
            here.delete(BARS, Partition(BTC, FIRST))
            assert list(lost_days(ledger, here).reasons) == [(BARS, BTC, FIRST)]
        finally:
            here.store.put(gone, data)
        down = Lake(f"s3://{BUCKET}/{PREFIX}", lambda: boto3.client("s3", endpoint_url="http://127.0.0.1:9"))
        monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
        with pytest.raises(LakeUnavailable):
            lost_days(ledger, down)


def test_a_listing_of_a_bucket_goes_over_pages(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    lake = Lake(f"s3://{BUCKET}/many")
    wanted = days(date(2020, 1, 1), 1100)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: lake.store.put(lake.path(BARS, Partition(BTC, day)), str(day).encode()), wanted))
    names = [str(day) for day in wanted]
    assert lake.sizes(BARS, BTC, names[0], names[-1]) == dict.fromkeys(names, 10)
    assert list(lake.sizes(BARS, BTC, names[3], names[1050])) == names[3:1051]
    assert lake.sizes(BARS, "BT/USDT", names[0], names[-1]) == {}


def test_many_processes_give_a_bucket_one_id(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: Lake(f"s3://{BUCKET}/new").make_identity(), range(8)))
    assert len(ids) == 1
    assert Lake(f"s3://{BUCKET}/new").identity() in ids
    assert not Lake(f"s3://{BUCKET}/new").store.create(IDENTITY, b"another")
