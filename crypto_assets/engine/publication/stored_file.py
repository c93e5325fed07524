"""Opens the stored file of a day and verifies it; a damaged file is recorded in the ledger at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.engine.publication.update_findings import STORED_FILE, Revision, revise
from crypto_assets.errors import StoredDataError
from crypto_assets.model import Finding, Partition, Series, SourceFile, StoredFile
from crypto_assets.rows.on_disk import RowsOnDisk, Spool
from crypto_assets.storage.parquet import UnreadRows

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger, PartitionRecord
    from crypto_assets.storage.lake import Lake


MOST_ROWS = 500_000
"""Rows of the largest day that is read into memory."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A day from the lake: rows (or `unread` ones), file and source; or else the problem."""

    rows: pa.Table | RowsOnDisk | None = None
    stored: StoredFile | None = None
    source: SourceFile | None = None
    problem: str = ""
    unread: UnreadRows | None = None


class StoredFiles:
    """Opens stored days of one lake and ledger; safe to use from many threads."""

    def __init__(self, lake: Lake, ledger: Ledger) -> None:
        self._lake = lake
        self._ledger = ledger

    def open(self, series: Series, record: PartitionRecord, *, decoded: bool = True) -> Opened:
        """Return a day from the lake if its file is the one in the ledger.

        Its bytes are always read and compared with the ledger; without `decoded` nothing more is done with them.

        If another file is there, the day becomes `missing` in the ledger before anything else: even if collecting it again
        fails, nobody mistakes it for good. A lake without the file may just be another lake; `ledger/lakes.py` finds that
        out.
        """
        partition = Partition(record.symbol, record.day)
        try:
            if not decoded and record.content_sha256:
                rows = self._lake.open_unread(series, partition, record.content_sha256)
                path = self._lake.path(series, partition)
                stored = StoredFile(path, rows.num_rows, len(rows.data), record.content_sha256)
                return Opened(None, stored, rows.source, unread=rows)
            if (record.rows or 0) > MOST_ROWS:
                return self._on_disk(series, partition, record.content_sha256)
            return Opened(*self._lake.open(series, partition, record.content_sha256))
        except StoredDataError as error:
            problem = str(error)
        if record.content_sha256 is not None and self._lake.is_there(series, partition):
            note = Revision(partition, record.content_sha256, {STORED_FILE: Finding(False, {"problem": problem})})
            with self._ledger.transaction() as connection:
                revise(connection, series, [note])
        return Opened(problem=problem)

    def _on_disk(self, series: Series, partition: Partition, sha256: str | None) -> Opened:
        """Return a day with its rows on disk; raises StoredDataError as `Lake.pieces`."""
        with self._lake.pieces(series, partition, sha256) as pieces:
            spool = Spool(datasets.get(series.table))
            for piece in pieces:
                spool.add(piece)
            return Opened(spool.done(), pieces.stored, pieces.source)
