"""The Parquet lake: one file for each partition, replaced whole.

    {lake}/exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date=2024-01-01/data.parquet

Files hold the row columns only; the path has the five keys (Hive style). The file's own metadata says where the rows came
from. The bytes depend on rows and source only: the same day collected twice gives the same file. Every reader verifies them
before decoding (`storage/parquet.py`): with the SHA-256 of the ledger, or with the file's own seal.

    {lake}/versions/exchange=…/…/date=2024-01-01/{first 16 digits of its sha256}.parquet   a former file of the day
    {lake}/quarantine/…                                                                     refused bytes
    {lake}/staging/…                                                                        files being written
    {lake}/_lake.json                                                                       the id of the lake, written once
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import CryptoAssetsError, OtherVersion, StoredDataError
from crypto_assets.machine.missing import is_missing
from crypto_assets.machine.thread_pool import in_order
from crypto_assets.model import Partition, Series, SourceFile, StoredFile, days_between
from crypto_assets.model.content import Content, digest_of
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.storage.inside import safe_name
from crypto_assets.storage.lake_paths import day_path, series_folder, symbol_folder, version_path
from crypto_assets.storage.open_store import open_store
from crypto_assets.storage.parquet import (
    StoredPieces,
    UnreadRows,
    decode,
    decode_frame,
    source_of,
    verify,
)
from crypto_assets.storage.parquet_writing import describe, encode, encode_frame, encode_on_disk
from crypto_assets.storage.refusal_reason import MOST_BYTES as MOST_REASON_BYTES
from crypto_assets.storage.refusal_reason import checked_reason, reason_text, unreadable
from crypto_assets.storage.revisions import NO_WAY_BACK
from crypto_assets.version import __version__

if TYPE_CHECKING:
    import pandas as pd

_File = TypeVar("_File")
_Rows = TypeVar("_Rows")

_AT_ONCE = 8
"""Files of a bucket that are read at the same time; boto3 keeps ten connections."""

REASON = ".reason.json"
"""The name of a reason in quarantine/ is the name of its file plus this."""

IDENTITY = "_lake.json"

FORMAT = 1
"""The format of paths and files in a lake; increased when an older version would misread it."""


class Lake:
    """A lake in a folder or under s3://bucket/prefix; safe to use from many threads."""

    def __init__(self, url: str, s3_client: Callable[[], Any] | None = None) -> None:
        self.url = url
        self.store = open_store(url, s3_client)

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder (possibly a mount point), not a bucket."""
        return not self.url.startswith("s3://")

    @property
    def was_removed(self) -> bool:
        """Whether the folder of the lake was deleted. Unmounting does not do that: it leaves an empty folder."""
        folder = Path(self.store.url)
        return self.is_local and is_missing(folder) and folder.parent.is_dir() and any(folder.parent.iterdir())

    def identity(self) -> str | None:
        """Return the lake's id, set at the first write by any process; None if it has none yet.

        Raises:
            OtherVersion: the lake has the format of a newer version of this program.
        """
        try:
            found = json.loads(self.readable(IDENTITY) or b"{}")
            identity = str(found["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        form = found.get("format", FORMAT)
        if not (isinstance(form, int) and 1 <= form <= FORMAT):
            by = str(found.get("program", ""))[:40]
            raise OtherVersion(
                f"the lake {self.url}: its format is {str(form)[:40]!r}{f', of crypto_assets {by}' if by else ''}; this is "
                f"crypto_assets {__version__}, which knows formats up to {FORMAT}. Update this installation; {NO_WAY_BACK}"
            )
        return identity

    def require_known_format(self) -> None:
        """Raise OtherVersion if a newer version gave the lake a format that this one would misread."""
        self.identity()

    def make_identity(self) -> str:
        """Return the id of the lake; make one if it has none. Concurrent processes all return the same id."""
        while (found := self.identity()) is None:
            content = _identity_file(uuid4().hex)
            if not self.store.create(IDENTITY, content) and self.identity() is None:
                self.store.put(IDENTITY, content)  # the present file is not a readable identity
        return found

    def restore_identity(self, identity: str) -> None:
        """Restore the id of a lake whose identity file was lost or damaged."""
        self.store.put(IDENTITY, _identity_file(identity))

    def sizes(self, series: Series, symbol: str, first: str, last: str) -> dict[str, int]:
        """Return the bytes of each stored day from first to last, both included; one listing, no file is opened.

        Days are ISO text, as in the paths: converting 200,000 to dates takes as long as listing them.
        """
        found = self.store.sizes(symbol_folder(series, symbol), "data.parquet", f"date={first}", f"date={last}")
        return {name[len("date=") :]: size for name, size in found.items()}

    def path(self, series: Series, partition: Partition) -> str:
        """Return the path of a partition's file, relative to the lake."""
        return day_path(series, partition)

    def version_path(self, series: Series, partition: Partition, sha256: str) -> str:
        """Return the path of a partition's file with this sha256 as a former version."""
        return version_path(series, partition, sha256)

    def encode(self, series: Series, partition: Partition, rows: pa.Table | RowsOnDisk, source: SourceFile) -> Content:
        """Return the Parquet bytes for `rows`; for rows on disk they are in a temporary file."""
        about, dataset = describe(series, partition, source), datasets.get(series.table)
        return encode_on_disk(rows, about, dataset) if isinstance(rows, RowsOnDisk) else encode(rows, about, dataset)

    def write(self, series: Series, partition: Partition, rows: pa.Table, source: SourceFile) -> StoredFile:
        """Store `rows` as the whole content of a partition; a file that already has these bytes is left alone.

        The engine publishes through `engine/publication/journal.py` instead, which keeps lake, warehouse and ledger together.
        """
        data = self.encode(series, partition, rows, source)
        path = self.path(series, partition)
        if self.store.get(path) != data:
            self.store.put(path, data)
        return StoredFile(path, rows.num_rows, len(data), hashlib.sha256(data).hexdigest())

    def read(
        self, series: Series, symbol: str, first: date, last: date, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of the stored days from first to last, both included, in day order; no rows if none is stored.

        Args:
            columns: of the dataset; default: all.

        Raises:
            StoredDataError: a file is damaged.
        """
        schema = _schema(series, columns)
        span = (last - first).days + 1
        # For a few days, asking for each file is faster than listing.
        days = days_between(first, last) if span <= _PROBED_DAYS else self.days(series, symbol)

        def of_day(day: date) -> pa.Table | None:
            partition = Partition(symbol, day)
            data = self.store.get(self.path(series, partition))
            return None if data is None else self.decode(series, partition, data, columns)

        found = self.each(of_day, [day for day in days if first <= day <= last])
        parts = [rows for rows in found if rows is not None]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def each(self, read: Callable[[_File], _Rows], files: Iterable[_File]) -> Iterator[_Rows]:
        """Yield the result of reading each file, in order; files of a bucket are read several at the same time."""
        return map(read, files) if self.is_local else in_order(read, files, _AT_ONCE)

    def decode(
        self,
        series: Series,
        partition: Partition,
        data: bytes,
        columns: Sequence[str] | None = None,
        *,
        sha256: str | None = None,
        check: bool = True,
    ) -> pa.Table:
        """Return some columns of the rows in the bytes of a partition's file.

        Args:
            columns: of the dataset; default: all.
            sha256: of the file, if the ledger has it.
            check: False decodes the bytes without verifying them: for the last bit of speed.

        Raises:
            StoredDataError: the bytes are damaged, or belong to another file.
        """
        return self._rows(self.path(series, partition), data, _schema(series, columns), sha256, check=check)

    def read_versions(
        self,
        series: Series,
        files: Sequence[tuple[str, str, int | None]],
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the rows of some files, in their order.

        Args:
            files: for each its path, its sha256, and how many rows from the first (None: all).

        Raises:
            StoredDataError: a file is missing, or has another sha256.
        """
        schema = _schema(series, columns)

        def rows_of(file: tuple[str, str, int | None]) -> pa.Table:
            path, sha256, count = file
            return self._rows(path, self.get_bytes(path), schema, sha256).slice(0, count)

        parts = list(self.each(rows_of, files))
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _rows(self, path: str, data: bytes, schema: pa.Schema, sha256: str | None, *, check: bool = True) -> pa.Table:
        where = f"{self.url}/{path}"
        verified = check and verify(data, where, sha256)
        rows = decode(data, where, schema, verified=verified, check_pages=check)
        return rows.replace_schema_metadata(None)

    def read_partition(self, series: Series, partition: Partition, sha256: str | None = None) -> pa.Table:
        """Return the rows of one partition; raises as `open`."""
        return self.open(series, partition, sha256)[0]

    def describe(self, series: Series, partition: Partition) -> tuple[StoredFile, SourceFile] | None:
        """Return a partition's file and source, or None if nothing is stored; raises StoredDataError if it is damaged."""
        data = self.store.get(self.path(series, partition))
        return None if data is None else self._opened(series, partition, data)[1:]

    def open(
        self, series: Series, partition: Partition, sha256: str | None = None
    ) -> tuple[pa.Table, StoredFile, SourceFile]:
        """Return rows, file and source of one partition, read once.

        Args:
            sha256: of the file, if the ledger has it.

        Raises:
            StoredDataError: the file is missing, damaged, not the one in the ledger, or not written by this package.
        """
        path = self.path(series, partition)
        data = self.store.get(path)
        if data is None:
            raise self._none(path)
        return self._opened(series, partition, data, sha256)

    def open_unread(self, series: Series, partition: Partition, sha256: str) -> UnreadRows:
        """Return the rows of one partition, verified but not decoded.

        Args:
            sha256: of the file, from the ledger.

        Raises:
            StoredDataError: the file is missing, damaged, or not the one in the ledger.
        """
        path = self.path(series, partition)
        data = self.store.get(path)
        if data is None:
            raise self._none(path)
        where = f"{self.url}/{path}"
        verify(data, where, sha256)
        return UnreadRows.of(data, where, _schema(series))

    def _opened(
        self, series: Series, partition: Partition, data: bytes, sha256: str | None = None
    ) -> tuple[pa.Table, StoredFile, SourceFile]:
        path = self.path(series, partition)
        where = f"{self.url}/{path}"
        rows = decode(data, where, _schema(series), verified=verify(data, where, sha256))
        source = source_of(rows.schema.metadata, where)
        stored = StoredFile(path, rows.num_rows, len(data), sha256 or hashlib.sha256(data).hexdigest())
        return rows.replace_schema_metadata(None), stored, source

    def is_there(self, series: Series, partition: Partition) -> bool:
        """Return whether the partition's path exists, as a file or anything else."""
        try:
            file = self.store.open(self.path(series, partition))
        except StoredDataError:
            return True
        if file is not None:
            file.close()
        return file is not None

    def _none(self, path: str) -> StoredDataError:
        return StoredDataError(f"{self.url}/{path}: expected a file, found none; `crypto-assets fill` collects it")

    @contextmanager
    def pieces(self, series: Series, partition: Partition, sha256: str | None = None) -> Iterator[StoredPieces]:
        """Yield a partition to read in pieces, so that memory does not grow with the day; raises as `open`."""
        path = self.path(series, partition)
        file = self.store.open(path)
        if file is None:
            raise self._none(path)
        with file:
            yield StoredPieces(series, file, path, sha256, f"{self.url}/{path}")

    def readable(self, path: str) -> bytes | None:
        """Return the content of a path; None if it does not exist or cannot be read: a folder, a bad sector."""
        try:
            return self.store.get(path)
        except StoredDataError:
            return None

    def days(self, series: Series, symbol: str) -> list[date]:
        """Return the stored days of a symbol, ascending."""
        names = self.store.children(symbol_folder(series, symbol))
        return sorted(date.fromisoformat(name.removeprefix("date=")) for name in names if name.startswith("date="))

    def symbols(self, series: Series) -> list[str]:
        """Return the symbols with stored days, in path form (`BTC-USDT`)."""
        return [name.removeprefix("symbol=") for name in self.store.children(series_folder(series))]

    def delete(self, series: Series, partition: Partition) -> None:
        """Remove a partition's file."""
        self.store.delete(self.path(series, partition))

    def put_bytes(self, path: str, data: bytes) -> None:
        """Store `data` as the whole content of a path of your own, below `assets/`."""
        self.store.put(path, data)

    def put_frame(self, path: str, frame: pd.DataFrame) -> None:
        """Store a DataFrame as the whole content of a path of your own, with page checksums and a seal."""
        self.put_bytes(path, encode_frame(frame))

    def read_frame(self, path: str) -> pd.DataFrame | None:
        """Return the rows of a path of your own, None if the file is missing; raises StoredDataError if it is damaged."""
        data = self.store.get(path)
        return None if data is None else decode_frame(data, f"{self.url}/{path}")

    def get_bytes(self, path: str) -> bytes:
        """Return the content of a path; raises StoredDataError if it is missing."""
        data = self.store.get(path)
        if data is None:
            raise StoredDataError(f"{self.url}/{path}: expected a file, found none; materialise that partition first")
        return data

    def quarantine(self, name: str, data: Content, reason: Mapping[str, Any], *, sha256: str = "") -> str:
        """Store refused bytes with their reason; return the path, relative to the lake.

        Args:
            name: the key of their archive object.
            reason: JSON-serialisable.
            sha256: of the bytes, if the caller knows it.
        """
        path = self.quarantine_path(name, sha256 or digest_of(data))
        self.store.put(path, data)
        try:
            self.store.put(f"{path}{REASON}", reason_text(reason))
        except BaseException:
            # Bytes without a reason would fill a full disk further, and nobody would find them.
            with suppress(OSError, CryptoAssetsError):
                if not self.reason(path):
                    self.store.delete(path)
            raise
        return path

    def quarantine_path(self, name: str, sha256: str) -> str:
        """Return the path of refused bytes with a sha256, relative to the lake."""
        return f"quarantine/{safe_name(name)}.{sha256[:12]}"

    def reason(self, path: str) -> dict[str, Any]:
        """Return why the file at a path in quarantine/ was refused, as `checked_reason`; empty if there is no reason."""
        try:
            file = self.store.open(f"{path}{REASON}")
        except StoredDataError as error:
            return unreadable(str(error))
        if file is None:
            return {}
        with file:
            return checked_reason(file.read(MOST_REASON_BYTES + 1))


_PROBED_DAYS = 64


def _schema(series: Series, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the types of some columns of a series; default: all."""
    schema = datasets.get(series.table).schema
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def _identity_file(identity: str) -> bytes:
    about = "Identifies this lake, also after it is copied to another place. Written once by crypto_assets."
    return json.dumps({"id": identity, "format": FORMAT, "program": __version__, "about": about}, indent=1).encode()
