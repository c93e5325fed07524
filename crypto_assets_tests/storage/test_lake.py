"""The lake, in a folder and in a bucket of a real S3 server (moto) on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from crypto_assets import datasets
from crypto_assets.errors import ConfigError, LakeUnavailable, StoredDataError
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.sources.formats import in_schema
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.parquet import StoredRows
from crypto_assets_tests.workbench import quarantined

BARS = Series("binance", "spot", "ohlcv", "1m")
TRADES = Series("binance", "linear", "trades")
DAY = date(2024, 1, 1)
PARTITION = Partition("BTC/USDT", DAY)
SOURCE = SourceFile(
    key="data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip",
    size_bytes=70_000,
    etag="0123456789abcdef",
    sha256="a" * 64,
    published_digest=f"sha256:{'a' * 64}",
    last_modified=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
)
PATH = "exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date=2024-01-01/data.parquet"


def bars(day: date = DAY, prices: list[Decimal] | None = None) -> pa.Table:
    prices = [Decimal("42000.01"), Decimal("0.000000000000000001")] if prices is None else prices
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    columns = {
        field.name: pa.array([7] * len(prices)) if pa.types.is_integer(field.type) else pa.array(prices, field.type)
        for field in list(datasets.get("ohlcv").schema)[1:]
    }
    times = pa.array([start + timedelta(minutes=n) for n in range(len(prices))], pa.timestamp("us", "UTC"))
    return pa.table({"open_time": times, **columns}, schema=datasets.get("ohlcv").schema)


def trades(sides: list[str], dictionary: list[str]) -> pa.Table:
    side = pa.DictionaryArray.from_arrays(pa.array([dictionary.index(s) for s in sides], pa.int8()), dictionary)
    amounts = pa.array([Decimal("1.5")] * len(sides), pa.decimal128(38, 18))
    times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(sides), pa.timestamp("us", "UTC"))
    columns = {"trade_time": times, "trade_id": pa.array(range(len(sides)), pa.int64()), "side": side}
    return in_schema(
        datasets.get("trades"), columns | dict.fromkeys(("price", "amount", "quote_amount"), amounts), len(sides)
    )


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set the environment variables that boto3 reads."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    aws(monkeypatch, request.getfixturevalue("s3_endpoint"))
    bucket = f"lake-{uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return Lake(f"s3://{bucket}/some/prefix")


def test_what_is_written_is_what_is_read_with_its_source(lake: Lake) -> None:
    stored = lake.write(BARS, PARTITION, bars(), SOURCE)
    assert stored.path == PATH
    assert lake.read_partition(BARS, PARTITION).equals(bars())
    assert lake.describe(BARS, PARTITION) == (stored, SOURCE)


def test_a_source_without_checksum_and_time_comes_back_as_it_was(lake: Lake) -> None:
    source = SourceFile("https://api", 10, "", "b" * 64, source="rest")
    lake.write(BARS, PARTITION, bars(), source)
    described = lake.describe(BARS, PARTITION)
    assert described is not None
    assert described[1] == source


def test_a_day_from_several_files_comes_back_with_each_of_them(lake: Lake) -> None:
    source = SourceFile.joined([SOURCE, SourceFile("other.gz", 10, "", "b" * 64, f"md5:{'1' * 32}")])
    lake.write(BARS, PARTITION, bars(), source)
    described = lake.describe(BARS, PARTITION)
    assert described is not None
    assert described[1] == source
    assert [one.key for one in described[1].files] == [SOURCE.key, "other.gz"]


def test_a_range_has_the_stored_days_in_order_and_only_the_columns_asked_for(lake: Lake) -> None:
    for offset in (3, 0, 100):
        day = DAY + timedelta(days=offset)
        lake.write(BARS, Partition("BTC/USDT", day), bars(day, [Decimal(offset + 1)]), SOURCE)
    lake.write(BARS, Partition("BTC/USDC", DAY), bars(DAY, [Decimal(9)]), SOURCE)

    assert lake.days(BARS, "BTC/USDT") == [DAY, DAY + timedelta(days=3), DAY + timedelta(days=100)]
    assert lake.symbols(BARS) == ["BTC-USDC", "BTC-USDT"]
    few = lake.read(BARS, "BTC/USDT", DAY, DAY + timedelta(days=3), ["close"])
    assert few.to_pydict() == {"close": [Decimal(1), Decimal(4)]}
    many = lake.read(BARS, "BTC/USDT", DAY + timedelta(days=1), DAY + timedelta(days=365))
    assert many.column("open").to_pylist() == [Decimal(4), Decimal(101)]
    assert many.schema.equals(datasets.get("ohlcv").schema)


def test_what_is_not_there_is_empty_none_or_named(lake: Lake) -> None:
    assert lake.read(BARS, "BTC/USDT", DAY, DAY).schema.equals(datasets.get("ohlcv").schema)
    assert lake.read(BARS, "BTC/USDT", DAY, DAY).num_rows == 0
    assert lake.describe(BARS, PARTITION) is None
    assert (lake.days(BARS, "BTC/USDT"), lake.symbols(BARS), quarantined(lake)) == ([], [], {})
    with pytest.raises(StoredDataError, match=r"date=2024-01-01/data\.parquet: expected a file, found none"):
        lake.read_partition(BARS, PARTITION)


def test_a_deleted_day_is_gone_and_may_be_deleted_again(lake: Lake) -> None:
    lake.write(BARS, PARTITION, bars(), SOURCE)
    lake.delete(BARS, PARTITION)
    lake.delete(BARS, PARTITION)
    assert lake.describe(BARS, PARTITION) is None
    assert lake.days(BARS, "BTC/USDT") in ([], [DAY])  # a folder may stay, its file must not


def test_files_are_read_as_they_are_named_and_only_if_they_are_meant(lake: Lake) -> None:
    stored = [
        lake.write(BARS, Partition("BTC/USDT", day), bars(day, [Decimal(n), Decimal(7)]), SOURCE)
        for n, day in enumerate((DAY, DAY + timedelta(days=1)), 1)
    ]
    kept = lake.version_path(BARS, PARTITION, stored[0].sha256)
    assert kept == f"versions/{PATH.rpartition('/')[0]}/{stored[0].sha256[:16]}.parquet"
    lake.store.keep(PATH, kept)
    lake.write(BARS, PARTITION, bars(DAY, [Decimal(9)]), SOURCE)
    files = [(kept, stored[0].sha256, 1), (stored[1].path, stored[1].sha256, None)]
    found = lake.read_versions(BARS, files, ["close"])
    assert found.to_pydict() == {"close": [Decimal(1), Decimal(2), Decimal(7)]}
    assert lake.read_versions(BARS, []).schema.equals(datasets.get("ohlcv").schema)
    with pytest.raises(StoredDataError, match=f"expected sha256 {stored[0].sha256}, found"):
        lake.read_versions(BARS, [(PATH, stored[0].sha256, None)])
    with pytest.raises(StoredDataError, match="expected a file, found none"):
        lake.read_versions(BARS, [("versions/x.parquet", stored[0].sha256, None)])


def test_rows_are_read_a_column_at_a_time(lake: Lake) -> None:
    lake.write(BARS, PARTITION, bars(), SOURCE)
    rows = StoredRows(BARS, lake.get_bytes(PATH), PATH)
    assert (rows.num_rows, rows.source) == (2, SOURCE)
    assert all(rows.column(name).equals(bars().column(name)) for name in bars().column_names)


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"", lambda data: data[:40] + b"x" * 60])
def test_a_damaged_file_does_not_pass_for_rows(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    lake = Lake(str(tmp_path))
    lake.write(BARS, PARTITION, bars(), SOURCE)
    with pytest.raises(StoredDataError, match=f"{PATH}: the file is damaged"):
        StoredRows(BARS, damage(lake.get_bytes(PATH)), PATH).column("open_time")


def test_rows_of_other_columns_are_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    data = lake.encode(BARS, PARTITION, bars().drop_columns(["trade_count"]), SOURCE)
    with pytest.raises(StoredDataError, match="the columns trade_count are missing"):
        StoredRows(BARS, data, PATH)


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_torn_file_is_named_and_not_read(lake: Lake, keep: int) -> None:
    lake.write(BARS, PARTITION, bars(), SOURCE)
    whole = lake.get_bytes(PATH)
    lake.put_bytes(PATH, whole[:keep])
    for use in (lake.read_partition, lake.describe):
        with pytest.raises(StoredDataError, match=f"{PATH}: the file is damaged"):
            use(BARS, PARTITION)


def test_refused_bytes_are_kept_once_with_their_reason(lake: Lake) -> None:
    path = lake.quarantine("/data/spot/x.zip", b"not a zip", {"expected": "zip", "found": "html"})
    assert lake.quarantine("data/spot/x.zip", b"not a zip", {"expected": "zip", "found": "html"}) == path
    assert path.startswith("quarantine/data/spot/x.zip.")
    assert lake.get_bytes(path) == b"not a zip"
    assert quarantined(lake) == {path: {"expected": "zip", "found": "html"}}


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/../../x", "..", ""])
def test_a_hostile_key_stays_in_quarantine(tmp_path: Path, name: str) -> None:
    lake = Lake(str(tmp_path / "deep" / "lake"))
    lake.quarantine(name, b"x", {})
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and "deep/lake/quarantine/" not in str(p)]
    assert outside == []
    assert len(quarantined(lake)) == 1


def test_the_same_day_twice_is_the_same_file_untouched(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    first = lake.write(BARS, PARTITION, bars(), SOURCE)
    before = (tmp_path / PATH).stat()
    chunked = pa.concat_tables([bars().slice(0, 1), bars().slice(1)])
    assert lake.write(BARS, PARTITION, chunked.replace_schema_metadata({"pandas": "{}"}), SOURCE) == first
    after = (tmp_path / PATH).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_same_sides_under_another_dictionary_are_the_same_bytes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    tables = [trades(["sell", "buy"], order) for order in (["buy", "sell"], ["sell", "buy"], ["x", "sell", "buy"])]
    stored = {lake.write(TRADES, Partition("BTC/USDT:USDT", DAY), table, SOURCE).sha256 for table in tables}
    assert len(stored) == 1
    found = lake.read(TRADES, "BTC/USDT:USDT", DAY, DAY)
    assert found.column("side").to_pylist() == ["sell", "buy"]
    assert found.schema.equals(datasets.get("trades").schema)


def test_the_sides_of_a_book_are_kept_as_those_of_trades_are(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    series, schema = Series("binance", "linear", "order_books"), datasets.get("order_books").schema
    stored = set()
    for dictionary in (["bid", "ask"], ["ask", "bid"], ["x", "bid", "ask"]):
        side = pa.DictionaryArray.from_arrays(
            pa.array([dictionary.index(s) for s in ("bid", "ask")], pa.int8()), dictionary
        )
        prices = pa.array([Decimal("99.5"), Decimal("99.6")], pa.decimal128(38, 18))
        times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
        numbers = [pa.array([7, 7], pa.int64()), side, pa.array([0, 0], pa.int16())]
        rows = pa.table([times, *numbers, prices, prices], schema=schema)
        stored.add(lake.write(series, Partition("BTC/USDT:USDT", DAY), rows, SOURCE).sha256)
    assert len(stored) == 1
    found = lake.read(series, "BTC/USDT:USDT", DAY, DAY)
    assert found.column("side").to_pylist() == ["bid", "ask"]
    assert found.schema.equals(schema)


@pytest.mark.parametrize("sides", [["buy", "BUY"], ["buy", "bid"], ["", "sell"], ["bid", "ask"]])
def test_words_that_are_no_sides_of_trades_are_refused(tmp_path: Path, sides: list[str]) -> None:
    with pytest.raises(ValueError, match="side: expected the words buy, sell, found others"):
        Lake(str(tmp_path)).write(TRADES, Partition("BTC/USDT:USDT", DAY), trades(sides, sides), SOURCE)


def test_other_tools_read_the_files_hive_style(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    Lake(str(tmp_path)).write(BARS, PARTITION, bars(), SOURCE)
    found = duckdb.sql(
        f"SELECT symbol, date::text, open FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning=true)"
    ).fetchall()
    assert found == [("BTC-USDT", "2024-01-01", p) for p in bars().column("open").to_pylist()]


@given(st.lists(st.decimals(min_value=-(10**19), max_value=10**20 - 1, places=18), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_every_digit_survives(prices: list[Decimal]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.write(BARS, PARTITION, bars(DAY, prices), SOURCE)
        assert lake.read_partition(BARS, PARTITION).column("volume").to_pylist() == prices


_WRITE_FOR_EVER = """
import sys, itertools, pathlib
from crypto_assets.storage.stores import FolderStore
store = FolderStore(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
for n in itertools.count():
    store.put("a/data.parquet", bytes([n % 256]) * 8_000_000)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    for attempt in range(4):
        child = subprocess.Popen([sys.executable, "-c", _WRITE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        target = tmp_path / "a" / "data.parquet"
        deadline = time.monotonic() + 60
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02 + attempt * 0.013)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        data = target.read_bytes()
        assert len(data) == 8_000_000
        assert len(set(data)) == 1
    shown = [p.name for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    assert shown == ["data.parquet"]


def test_a_bucket_that_does_not_exist_is_a_matter_of_configuration(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws(monkeypatch, s3_endpoint)
    with pytest.raises(ConfigError, match=r"s3://nowhere-1234/x: .*NoSuchBucket"):
        Lake("s3://nowhere-1234/x").write(BARS, PARTITION, bars(), SOURCE)


def test_a_bucket_that_does_not_answer_is_not_an_absent_file(monkeypatch: pytest.MonkeyPatch) -> None:
    aws(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(LakeUnavailable, match="AWS_ENDPOINT_URL"):
        Lake("s3://bucket").describe(BARS, PARTITION)


def test_the_client_is_asked_for_once_and_only_when_needed(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aws(monkeypatch, s3_endpoint)
    made = []

    def client() -> object:
        made.append(1)
        return boto3.client("s3", endpoint_url=s3_endpoint)

    lake = Lake("s3://lake-of-a-client/p", client)
    assert made == []
    boto3.client("s3").create_bucket(Bucket="lake-of-a-client")
    lake.write(BARS, PARTITION, bars(), SOURCE)
    assert lake.read_partition(BARS, PARTITION).equals(bars())
    assert made == [1]


def test_statistics_let_readers_skip(tmp_path: Path) -> None:
    Lake(str(tmp_path)).write(BARS, PARTITION, bars(), SOURCE)
    column = pq.ParquetFile(tmp_path / PATH).metadata.row_group(0).column(0)
    assert column.statistics.min == datetime(2024, 1, 1, tzinfo=UTC)
    assert column.compression == "ZSTD"


def test_a_bucket_on_this_machine_is_not_asked_through_a_proxy(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws(monkeypatch, s3_endpoint)
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "" if name.lower() == "no_proxy" else "http://127.0.0.1:9")
    boto3.client("s3", config=Config(proxies={})).create_bucket(Bucket="lake-behind-a-proxy")
    lake = Lake("s3://lake-behind-a-proxy/p")
    lake.write(BARS, PARTITION, bars(), SOURCE)
    assert lake.read_partition(BARS, PARTITION).equals(bars())
