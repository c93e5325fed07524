"""The stored file of a day as a run finds it: verified, and where it is damaged the ledger is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.engine.publication.update_findings import STORED_FILE, Revision, revise
from crypto_assets.errors import StoredDataError
from crypto_assets.model import Finding, Partition, Series, SourceFile, StoredFile
from crypto_assets.storage.parquet import UnreadRows

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger, PartitionRecord
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Opened:
    """What the lake has of a day: rows (or `unread` ones), file and source; or none of these and what is wrong."""

    rows: pa.Table | None = None
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
        """Return a day as the lake has it, if its file is the one that the ledger says.

        Its bytes are read and compared with the ledger either way; without `decoded` nothing more is done with them.

        A file that is there and is not that one makes its day `missing` in the ledger before anything else is tried: whatever
        comes of collecting it again, nobody takes it for good. A lake without the file may just be another lake; that is
        compared elsewhere (`ledger/lakes.py`).
        """
        partition = Partition(record.symbol, record.day)
        try:
            if not decoded and record.content_sha256 and record.path and record.rows:
                rows = self._lake.open_unread(series, partition, record.content_sha256, record.rows)
                stored = StoredFile(record.path, record.rows, len(rows.data), record.content_sha256)
                return Opened(None, stored, record.source_file, unread=rows)
            return Opened(*self._lake.open(series, partition, record.content_sha256))
        except StoredDataError as error:
            problem = str(error)
        if record.content_sha256 is not None and self._lake.is_there(series, partition):
            note = Revision(partition, record.content_sha256, {STORED_FILE: Finding(False, {"problem": problem})})
            with self._ledger.transaction() as connection:
                revise(connection, series, [note])
        return Opened(problem=problem)
