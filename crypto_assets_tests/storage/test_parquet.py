"""The bytes of a day's file: sealed, with page checksums, verified before they are decoded."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crypto_assets.errors import StoredDataError
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.sandbox.selftest.store_damage import flip_bit
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.parquet import MARK, SEAL_BYTES, StoredPieces, seal_holds, verify
from crypto_assets.storage.parquet_writing import sealed
from crypto_assets_tests.rows.test_versions import bars

BARS = Series("binance", "spot", "ohlcv", "1m")
PARTITION = Partition("BTC/USDT", date(2024, 1, 1))
SOURCE = SourceFile("x.zip", 1, "etag", "a" * 64)
ROWS = bars(dict.fromkeys(range(500), 1))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


@pytest.fixture
def data(lake: Lake) -> bytes:
    return lake.encode(BARS, PARTITION, ROWS, SOURCE)


def unsealed(data: bytes) -> bytes:
    place = data.rindex(MARK)
    return data[:place] + data[place + SEAL_BYTES :]


def test_a_seal_is_no_part_of_what_readers_of_parquet_see(data: bytes) -> None:
    plain = unsealed(data)
    assert sealed(plain) == data
    assert (seal_holds(data), seal_holds(plain)) == (True, None)
    for content in (data, plain):
        assert pq.read_table(io.BytesIO(content)).equals(pq.read_table(io.BytesIO(plain)))
        assert pd.read_parquet(io.BytesIO(content)).shape == (500, 10)


def test_every_page_has_its_checksum(data: bytes) -> None:
    """Without the seal, a flip in a page is found by readers that check page checksums, as Arrow does on request."""
    plain = unsealed(data)
    column = pq.ParquetFile(io.BytesIO(plain)).metadata.row_group(0).column(4)
    place = column.data_page_offset + column.total_compressed_size - 9
    content = plain[:place] + bytes([plain[place] ^ 1]) + plain[place + 1 :]
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True).read()


def test_any_flip_is_seen_by_the_file_itself(data: bytes) -> None:
    chance = random.Random(3)
    for number in chance.sample(range(8 * len(data)), 300):
        content = bytearray(data)
        content[number // 8] ^= 1 << (number % 8)
        in_mark = data.rindex(MARK) <= number // 8 < data.rindex(MARK) + len(MARK)
        assert seal_holds(bytes(content)) is (None if in_mark else False)


@pytest.mark.parametrize("is_long", [False, True])
def test_a_file_that_is_read_in_pieces_is_verified_as_a_whole_one(
    lake: Lake, data: bytes, is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_long:
        monkeypatch.setattr("crypto_assets.storage.parquet._SOUGHT_BYTES", 8_000)
    path = lake.path(BARS, PARTITION)
    stored = lake.write(BARS, PARTITION, ROWS, SOURCE)
    for sha256 in (None, stored.sha256):
        with lake.pieces(BARS, PARTITION, sha256) as pieces:
            assert (pieces.stored, pieces.source) == (stored, SOURCE)
            assert pa.concat_tables(pieces).equals(ROWS)
    with pytest.raises(StoredDataError, match="not the file in the ledger: expected sha256 bbb"):
        StoredPieces(BARS, io.BytesIO(data), path, "b" * 64)
    for place in (100, len(data) // 2, len(data) - 300):
        lake.store.put(path, data)
        flip_bit(Path(lake.url) / path, 8 * place)
        for sha256 in (None, stored.sha256):
            with (
                pytest.raises(StoredDataError, match=f"^{lake.url}/{path}: the file is damaged"),
                lake.pieces(BARS, PARTITION, sha256),
            ):
                pass


def test_another_file_is_told_from_a_damaged_one(data: bytes) -> None:
    with pytest.raises(StoredDataError, match="x: not the file in the ledger: expected sha256 ccc"):
        verify(data, "x", "c" * 64)
    with pytest.raises(StoredDataError, match="x: the file is damaged: expected sha256 ccc"):
        verify(data[:-1], "x", "c" * 64)


def test_rows_that_were_written_rightly_and_cannot_be_decoded_are_not_called_damaged(lake: Lake) -> None:
    path = lake.path(BARS, PARTITION)
    lake.store.put(path, sealed(_parquet(pa.table({"open_time": ["yesterday"]}))))
    with pytest.raises(StoredDataError, match=r"its bytes are the written ones, but Arrow .* cannot read"):
        lake.read_partition(BARS, PARTITION)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


_LITTLE_MEMORY = """
import pathlib, resource, sys
from crypto_assets.errors import OutOfResources
from crypto_assets.model import Partition, Series
from crypto_assets.storage.lake import Lake
from datetime import date
lake, series = Lake(sys.argv[1]), Series("binance", "spot", "ohlcv", "1m")
(used,) = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + (96 << 20),) * 2)
try:
    lake.read_partition(series, Partition("BTC/USDT", date(2024, 1, 1)))
except OutOfResources as error:
    print(error)
"""


def test_too_little_memory_is_said_as_such_and_no_file_is_called_damaged(lake: Lake) -> None:
    """Three million equal bars: a small file, and 400 MB of rows."""
    rows = pa.concat_tables([ROWS.slice(0, 1)] * 1_000).combine_chunks()
    lake.write(BARS, PARTITION, pa.concat_tables([rows] * 3_000).combine_chunks(), SOURCE)
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY, lake.url],
        # Other pools reserve a gigabyte at once, which counts as used.
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = f"{lake.url}/{lake.path(BARS, PARTITION)}"
    assert done.stdout.startswith(f"{path} (its bytes are the written ones): this process has not enough memory (")
    assert " kB); this is not a problem of the file or host in use; give it more" in done.stdout


def test_rows_of_your_own_are_verified_too(lake: Lake) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01"]), "value": [1.5], "name": ["ü"]})
    lake.put_frame("assets/a/data.parquet", frame)
    found = lake.read_frame("assets/a/data.parquet")
    assert found is not None
    assert found.equals(frame)
    assert lake.read_frame("assets/b/data.parquet") is None
    file = Path(lake.url) / "assets/a/data.parquet"
    content = file.read_bytes()
    for number in range(0, 8 * len(content), 77):
        file.write_bytes(content)
        flip_bit(file, number)
        if seal_holds(file.read_bytes()) is None:  # a flip of the mark leaves the rows right
            assert frame.equals(lake.read_frame("assets/a/data.parquet"))
            continue
        with pytest.raises(StoredDataError, match=r"the file is damaged.*; materialise that partition again"):
            lake.read_frame("assets/a/data.parquet")
