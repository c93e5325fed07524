"""Verify and read the Parquet bytes of a day (`parquet_writing.py` writes them).

    PAR1
    pages     each with the CRC-32 of its bytes, as Parquet has it; compared while rows are decoded
    seal      MARK, and the SHA-256 of all bytes of the file except the seal
    footer    Parquet's own: names, places and types of the columns, and where the rows came from
    PAR1

Readers of Parquet find the footer from the end of a file, and pages through the footer: none of them sees the seal. With the
seal the file itself shows whether it is complete, footer included; page checksums do not cover the footer. Bytes are verified
before decoding: a damaged footer makes a decoder read invalid text or ask for terabytes of memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BufferedIOBase
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from crypto_assets import datasets
from crypto_assets.errors import StoredDataError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import Series, SourceFile, StoredFile, parts_of
from crypto_assets.rows.on_disk import PIECE_ROWS

if TYPE_CHECKING:
    import pandas as pd

MARK = b"\xffcrypto_assets\x00\x01"
"""First bytes of a seal. No text contains its first byte, so no name from an exchange can look like a seal."""

SEAL_BYTES = len(MARK) + hashlib.sha256().digest_size

COLLECT_AGAIN = "`crypto-assets collect` for that day downloads it again"

TAIL_BYTES = 8
"""Bytes after the footer: its length (four bytes) and PAR1."""

METADATA = "crypto_assets."
"""The prefix of the names of our metadata."""


# ---- verifying --------------------------------------------------------------------------------------------------------


def verify(data: bytes, path: str, sha256: str | None = None, mend: str = COLLECT_AGAIN) -> bool:
    """Compare a file's bytes with the written ones; return whether they are certainly the same.

    Args:
        path: the file's name in messages.
        sha256: of the bytes, if the ledger has it; otherwise the file's own seal is checked. A file without a seal was not
            written here and is not certain: only its page checksums are compared, if it has any.
        mend: advice for a damaged file.

    Raises:
        StoredDataError: the bytes differ.
    """
    if sha256 is None:
        return _certain(path, seal_holds(data), mend)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise _another(path, sha256, found, seal_holds(data))
    return True


def _certain(path: str, holds: bool | None, mend: str = COLLECT_AGAIN) -> bool:
    """Return whether there is a seal; raises StoredDataError if it does not match."""
    if holds is False:
        raise StoredDataError(f"{path}: the file is damaged: its bytes do not match its seal; {mend}")
    return holds is True


def _another(path: str, expected: str, found: str, holds: bool | None) -> StoredDataError:
    what = "not the file in the ledger" if holds else "the file is damaged"
    return StoredDataError(f"{path}: {what}: expected sha256 {expected}, found {found}; {COLLECT_AGAIN}")


def seal_holds(data: bytes) -> bool | None:
    """Return whether a file's bytes match its seal; None if it has no seal."""
    place = data.rfind(MARK)
    if place < 0:
        return None
    view = memoryview(data)
    others = hashlib.sha256(view[:place])
    others.update(view[place + SEAL_BYTES :])
    return others.digest() == data[place + len(MARK) : place + SEAL_BYTES]


def decode(data: bytes, path: str, schema: pa.Schema, *, verified: bool, check_pages: bool = True) -> pa.Table:
    """Return the columns of a schema from a file's bytes, with the file's metadata.

    Args:
        verified: whether the bytes are known to be the written ones; decides the words of the error.
        check_pages: compare page checksums, if the file has them.

    Raises:
        StoredDataError: the bytes are damaged, or have no such columns.
        OutOfResources: this process has too little memory or too few open files; nothing is known about the file.
    """
    with _decoding(path, verified=verified):
        # pq.read_table takes twice the time for one small file.
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=check_pages)
        rows = file.read(columns=schema.names, use_threads=False)
        return rows.cast(schema.with_metadata(rows.schema.metadata))


def decode_frame(data: bytes, path: str) -> pd.DataFrame:
    """Return the rows of a Parquet file of your own, after its bytes are verified.

    Raises:
        StoredDataError, OutOfResources: as `decode`.
    """
    mend = "materialise that partition again"
    with _decoding(path, verified=verify(data, path, mend=mend), mend=mend):
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
        return table.to_pandas()


@dataclass(frozen=True, slots=True)
class UnreadRows:
    """The rows of a stored file, verified but not decoded: most users of a stored day need no row of it.

    `num_rows` and `source` come from the footer of the file.
    """

    data: bytes
    path: str
    schema: pa.Schema
    num_rows: int
    source: SourceFile

    @classmethod
    def of(cls, data: bytes, path: str, schema: pa.Schema) -> UnreadRows:
        """Return the rows of a file whose bytes were verified; raises as `decode`."""
        with _decoding(path, verified=True):
            footer = pq.read_metadata(pa.BufferReader(data))
        return cls(data, path, schema, footer.num_rows, source_of(footer.metadata, path))

    def read(self) -> pa.Table:
        """Return the rows; raises as `decode`."""
        return decode(self.data, self.path, self.schema, verified=True).replace_schema_metadata(None)


@contextmanager
def _decoding(path: str, *, verified: bool, mend: str = COLLECT_AGAIN) -> Iterator[None]:
    """Turn Arrow's errors about undecodable bytes into StoredDataError, and this machine's shortages into OutOfResources."""
    try:
        yield
    except (MemoryError, pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        known = "its bytes are the written ones" if verified else "its bytes were not compared, it may be damaged"
        raise_if_ours(error, f"{path} ({known})")
        if verified:
            what = f"its bytes are the written ones, but Arrow {pa.__version__} cannot read these columns"
        else:
            what = "the file is damaged: its bytes are not Parquet"
        raise StoredDataError(f"{path}: {what} ({_words(error)}); {mend}") from None


def _words(error: BaseException) -> str:
    """Return an error's text in one line: Arrow's may end in a new line."""
    return " ".join(str(error).split()) or type(error).__name__


def source_of(metadata: Mapping[bytes, bytes] | None, path: str) -> SourceFile:
    """Return the source of a file's rows; raises StoredDataError if its metadata does not give it."""
    try:
        found = {name.decode(): value.decode() for name, value in (metadata or {}).items()}
        modified = found.get(f"{METADATA}source_last_modified")
        return SourceFile(
            key=found[f"{METADATA}source_key"],
            size_bytes=int(found[f"{METADATA}source_size_bytes"]),
            etag=found[f"{METADATA}source_etag"],
            sha256=found[f"{METADATA}source_sha256"],
            published_digest=found.get(f"{METADATA}source_published_digest"),
            last_modified=datetime.fromisoformat(modified) if modified else None,
            source=found[f"{METADATA}source_source"],
            parts=parts_of(json.loads(found.get(f"{METADATA}source_files", "[]")), found[f"{METADATA}source_source"]),
            contract_size=found.get(f"{METADATA}source_contract_size"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoredDataError(f"{path}: expected metadata of its source, found none ({error})") from None


# ---- reading in parts --------------------------------------------------------------------------------------------------


class StoredRows:
    """The rows of one Parquet file, read one column at a time, so a day of millions of trades is never in memory whole."""

    def __init__(self, series: Series, data: bytes, path: str, sha256: str | None = None) -> None:
        """Raises StoredDataError if `data` are damaged, or not written by this package."""
        self._verified = verify(data, path, sha256)
        self._path = path
        self._schema = datasets.get(series.table).schema
        with _decoding(path, verified=self._verified):
            self._file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            self.num_rows: int = self._file.metadata.num_rows
            arrow = self._file.schema_arrow
        self.source = source_of(arrow.metadata, path)
        if missing := set(self._schema.names) - set(arrow.names):
            raise StoredDataError(f"{path}: the columns {', '.join(sorted(missing))} are missing")

    def column(self, name: str) -> pa.ChunkedArray:
        with _decoding(self._path, verified=self._verified):
            return self._file.read(columns=[name], use_threads=False).column(0).cast(self._schema.field(name).type)


class StoredPieces:
    """A Parquet file, read in pieces; memory grows with the row group (a million rows), not with the day."""

    def __init__(
        self, series: Series, file: BufferedIOBase, path: str, sha256: str | None = None, where: str = ""
    ) -> None:
        """Raises StoredDataError if the file is damaged, or not written by this package.

        Args:
            where: the file's name in messages; default: its path.
        """
        self._path = where or path
        self._schema = datasets.get(series.table).schema
        self._file = file
        found, self._verified = _verify_file(file, self._path, sha256)
        size_bytes = file.seek(0, os.SEEK_END)
        opened = self._open()
        with _decoding(self._path, verified=self._verified):
            self._groups = opened.num_row_groups
            self.stored = StoredFile(path, opened.metadata.num_rows, size_bytes, found)
            metadata = opened.schema_arrow.metadata
        self.source = source_of(metadata, self._path)

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the rows in order, `PIECE_ROWS` at most at once; may be called again."""
        for group in range(self._groups):
            # Reopened each time: a reader keeps some 20 MB for every million rows that it has read.
            with _decoding(self._path, verified=self._verified):
                for batch in self._open().iter_batches(PIECE_ROWS, row_groups=[group], use_threads=False):
                    yield pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(self._schema)

    def _open(self) -> pq.ParquetFile:
        self._file.seek(0)
        with _decoding(self._path, verified=self._verified):
            return pq.ParquetFile(self._file, page_checksum_verification=True)


def _verify_file(file: BufferedIOBase, path: str, sha256: str | None) -> tuple[str, bool]:
    """Return the SHA-256 of an open file, and the result of `verify`; memory does not grow with its size."""
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is None:
        return found, _certain(path, _seal_of_file_holds(file))
    if found != sha256:
        raise _another(path, sha256, found, _seal_of_file_holds(file))
    return found, True


def _seal_of_file_holds(file: BufferedIOBase) -> bool | None:
    """As `seal_holds`, for an open file; looks for a seal in its last `_SOUGHT_BYTES`."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _SOUGHT_BYTES)
    file.seek(start)
    end = file.read(size - start)
    place = end.rfind(MARK)
    if place < 0:
        return None
    others, left = hashlib.sha256(), start
    file.seek(0)
    while left and (part := file.read(min(left, _SOUGHT_BYTES))):
        others.update(part)
        left -= len(part)
    others.update(end[:place])
    others.update(end[place + SEAL_BYTES :])
    return others.digest() == end[place + len(MARK) : place + SEAL_BYTES]


_SOUGHT_BYTES = 1 << 20
"""A day's footer has some 5 kB; the footer of a hundred million rows has 200 kB."""
