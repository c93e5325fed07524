"""Write the Parquet bytes of a day, in memory or on disk, with their seal (`parquet.py` describes the file)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from io import BufferedIOBase
from mmap import mmap
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from crypto_assets.machine.temporary import temporary_disk, temporary_file
from crypto_assets.model import Dataset, Partition, Series, SourceFile
from crypto_assets.model.content import mapped
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.rows.words import in_order_of_words
from crypto_assets.storage.parquet import MARK, METADATA, TAIL_BYTES

if TYPE_CHECKING:
    import pandas as pd

_SOURCE_FIELDS = ("key", "size_bytes", "etag", "sha256", "published_digest", "last_modified", "source", "contract_size")


def encode(rows: pa.Table, metadata: Mapping[str, str], dataset: Dataset) -> bytes:
    """Return the bytes of a Parquet file: zstd, decimals, page checksums, sealed, equal for equal input.

    The bytes exclude the column docs: new words would give another file for the same rows.
    Measured on 60 days of 1m bars: 0.7 ms a day; Arrow's defaults take 1.3 ms and 20 % more space.
    """
    buffer = pa.BufferOutputStream()
    with _writer(buffer, rows, metadata, dataset) as write:
        write(rows)
    return sealed(buffer.getvalue())


def encode_on_disk(rows: RowsOnDisk, metadata: Mapping[str, str], dataset: Dataset) -> mmap:
    """Return the bytes that `encode` gives for the same rows, mapped from a temporary file; memory follows the row group."""
    with temporary_disk(), temporary_file() as file:
        with _writer(file, rows.table, metadata, dataset) as write:
            for group in rows.pieces(_GROUP_ROWS):
                write(group)
        pa.default_memory_pool().release_unused()
        _seal(file)
        return mapped(file)


_GROUP_ROWS = 1 << 20
"""Rows of a row group."""


@contextmanager
def _writer(
    sink: Any, rows: pa.Table, metadata: Mapping[str, str], dataset: Dataset
) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes some of the rows of a file, whole row groups but the last; the end closes the file."""
    # Times and ids rise in small steps; sides have few values; prices and amounts gain nothing from a dictionary.
    kinds = {field.name: field.type for field in rows.schema}
    words = [name for name, kind in kinds.items() if pa.types.is_dictionary(kind)]
    steps = [name for name, kind in kinds.items() if pa.types.is_integer(kind) or pa.types.is_timestamp(kind)]
    schema = _without_meaning(rows, dataset)
    with pq.ParquetWriter(
        sink,
        schema.with_metadata(metadata),
        compression="zstd",
        compression_level=1,
        use_dictionary=words or False,
        column_encoding=dict.fromkeys(steps, "DELTA_BINARY_PACKED"),
        store_schema=True,
        write_page_checksum=True,
    ) as writer:

        def write(part: pa.Table) -> None:
            part = in_order_of_words(part, dataset)
            part = part.cast(schema) if part.schema != schema else part
            for start in range(0, part.num_rows, _GROUP_ROWS):
                # One chunk: the places where chunks end would show in the pages.
                writer.write_table(part.slice(start, _GROUP_ROWS).combine_chunks(), row_group_size=_GROUP_ROWS)
            if not part.num_rows:
                writer.write_table(part)

        yield write


def _seal(file: IO[bytes]) -> None:
    """Put a seal before the footer of a Parquet file, as `sealed` does."""
    size = file.seek(0, io.SEEK_END)
    file.seek(size - TAIL_BYTES)
    footer = size - TAIL_BYTES - int.from_bytes(file.read(TAIL_BYTES)[:-4], "little")
    file.seek(0)
    digest = hashlib.file_digest(cast("BufferedIOBase", file), "sha256").digest()
    file.seek(footer)
    tail = file.read()
    file.seek(footer)
    file.write(b"".join((MARK, digest, tail)))


def _without_meaning(rows: pa.Table, dataset: Dataset) -> pa.Schema:
    """Return the schema of a file: without units and docs, and without null in an optional column that has none.

    Most of a dataset's files have one of a few schemas; each is made once, which saves 5 % of a small file's time.
    """
    if not rows.schema.equals(dataset.bare_schema):
        return pa.schema([field.remove_metadata() for field in rows.schema])
    return _schema_of_file(
        dataset, tuple(one.name for one in dataset.columns if one.optional and not rows.column(one.name).null_count)
    )


@cache
def _schema_of_file(dataset: Dataset, filled: tuple[str, ...]) -> pa.Schema:
    return pa.schema(
        [field.with_nullable(field.nullable and field.name not in filled) for field in dataset.bare_schema]
    )


def sealed(data: bytes | pa.Buffer) -> bytes:
    """Return the bytes of a Parquet file with a seal before its footer."""
    view = memoryview(data)
    footer = view.nbytes - TAIL_BYTES - int.from_bytes(view[-TAIL_BYTES:-4], "little")
    return b"".join((view[:footer], MARK, hashlib.sha256(view).digest(), view[footer:]))


def encode_frame(frame: pd.DataFrame) -> bytes:
    """Return the bytes of a Parquet file of your own, with pandas' types: zstd, page checksums, sealed."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd", write_page_checksum=True)
    return sealed(buffer.getvalue())


def describe(series: Series, partition: Partition, source: SourceFile) -> dict[str, str]:
    """Return the metadata of a file: its series, partition and source."""
    fields = {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "dataset": series.dataset,
        "symbol": partition.symbol,
        "date": partition.day.isoformat(),
    }
    for name in _SOURCE_FIELDS:
        value = getattr(source, name)
        if value is not None:
            fields[f"source_{name}"] = value.isoformat() if isinstance(value, datetime) else str(value)
    if source.parts:
        fields["source_files"] = json.dumps(source.described_parts)
    return {f"{METADATA}{name}": value for name, value in fields.items()}
