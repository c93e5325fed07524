"""Rows of large days in temporary files, so that memory does not grow with the day.

A file has no name: the system removes it with the process. It is in the system's folder for temporary files (`TMPDIR`), takes
some 80 bytes a row, and is mapped: a table over it has no bytes of its own, and pages that were read are given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import IO

import pyarrow as pa

from crypto_assets.machine.temporary import temporary_disk, temporary_file
from crypto_assets.model import Dataset
from crypto_assets.model.content import give_back, mapped
from crypto_assets.rows.words import in_order_of_words

PIECE_ROWS = 1 << 18


class RowsOnDisk:
    """Rows in a temporary file; safe to use from many threads."""

    def __init__(self, content: mmap) -> None:
        self._content = content
        self.table: pa.Table = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content))).read_all()
        """All rows, over the file. A function that copies a column needs memory for it."""

    @property
    def num_rows(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column, over the file."""
        return self.table.column(name)

    def pieces(self, rows: int = PIECE_ROWS) -> Iterator[pa.Table]:
        """Yield all rows, in order, in tables of at most so many; each is read only until the next one."""
        for start in range(0, self.num_rows, rows):
            yield self.table.slice(start, rows)
            self.give_back()

    def give_back(self) -> None:
        """Let the system have the memory of the pages that were read; they are read again where they are needed."""
        give_back(self._content)


def pieces_of(rows: pa.Table | RowsOnDisk, most: int = PIECE_ROWS) -> Iterator[pa.Table]:
    """Yield rows, in order, in tables of at most so many; those on disk one at a time."""
    if isinstance(rows, RowsOnDisk):
        yield from rows.pieces(most)
        return
    for start in range(0, rows.num_rows, most):
        yield rows.slice(start, most)


def whole(rows: pa.Table | RowsOnDisk) -> pa.Table:
    """Return rows as one table; those on disk take no memory until a column of them is used."""
    return rows.table if isinstance(rows, RowsOnDisk) else rows


class Spool:
    """Writes rows to a temporary file."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._file: IO[bytes] | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self.num_rows = 0

    def add(self, rows: pa.Table) -> None:
        """Append some rows; raises OutOfResources if the disk is full."""
        with temporary_disk():
            self._opened()[1].write_table(in_order_of_words(rows, self._dataset))
        self.num_rows += rows.num_rows

    def done(self) -> RowsOnDisk:
        """Return the rows; nothing may be added any more. Raises OutOfResources if the disk is full."""
        with temporary_disk():
            file, writer = self._opened()
            writer.close()
            with file:
                return RowsOnDisk(mapped(file))

    def _opened(self) -> tuple[IO[bytes], pa.ipc.RecordBatchFileWriter]:
        """Return the file, which a day without rows never needs while others are written."""
        if self._file is None or self._writer is None:
            self._file = temporary_file()
            self._writer = pa.ipc.new_file(self._file, self._dataset.schema)
        return self._file, self._writer
