"""Downloads and parses the archive files of some days of one symbol.

A file that several days or symbols share is downloaded once: its bytes stay in a small memory for the run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.download import download
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.instruments import converted
from crypto_assets.errors import ChecksumMismatch, CryptoAssetsError, InvalidRows, MalformedFile
from crypto_assets.model import ArchiveObject, Instrument, SourceFile, Span, Track
from crypto_assets.rows.arrange import row_text
from crypto_assets.sources.epoch import microseconds

MEMORY_BYTES = 256 << 20
"""Bytes of shared files that are kept: a bundle of all trades of a day has some 200 MB."""


class RefusedFile(Exception):
    """A file of some days cannot be used, or its files together: `error` says why.

    `contents` are the bytes of each file of `obj`, in its order; empty bytes if they were not received.
    """

    def __init__(self, error: CryptoAssetsError, obj: ArchiveObject | SourceFile, contents: tuple[bytes, ...]) -> None:
        super().__init__(str(error))
        self.error, self.obj, self.contents = error, obj, contents


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """The rows of some files in file order, where they came from, and the bytes of each file of `source`, in its order."""

    rows: pa.Table
    source: SourceFile
    contents: tuple[bytes, ...]


Download = Callable[[ArchiveObject], tuple[bytes, SourceFile]]


def read_files(
    site: ArchiveSite, shared: SharedFiles, track: Track, holder: Files, instrument: Instrument | None
) -> ReadFiles:
    """Return the rows of the files of one holder.

    Rows of several files are those of their days only: the rest belongs to the days beside them.

    Raises:
        RefusedFile: the bytes of a file differ from their digest, or cannot be read, or are of another time.
        NotPublished, HostUnreachable, HostRefused: as for `download`.
    """
    feed, several = holder.feed, len(holder.objects) > 1

    def receive(obj: ArchiveObject) -> tuple[bytes, SourceFile]:
        return download(site, feed, obj)

    tables, found, contents = [], [], []
    for obj in holder.objects:
        try:
            if several or feed.bundles:
                content, source = shared.get(track.series.exchange, obj, receive)
            else:
                content, source = receive(obj)
        except (ChecksumMismatch, MalformedFile) as error:
            raise RefusedFile(error, obj, (getattr(error, "content", b""),)) from error
        source = converted(source, instrument)
        found.append(source)
        contents.append(content)
        try:
            rows = sources.parse(*track, obj.key, content, instrument)
            tables.append(_of_days(rows, track, holder, obj) if several else rows)
        except (MalformedFile, InvalidRows) as error:
            raise RefusedFile(error, source, (content,)) from error
    rows = pa.concat_tables(tables) if several else tables[0]
    return ReadFiles(rows, SourceFile.joined(found), tuple(contents))


def _of_days(rows: pa.Table, track: Track, holder: Files, obj: ArchiveObject) -> pa.Table:
    """Return the rows of a holder's days; raises InvalidRows for a row outside the span of its file."""
    dataset = datasets.get(track.series.table)
    times = rows.column(dataset.time_column).cast(pa.int64()).to_numpy()
    span = holder.feed.covers(obj.key)
    start, end = _us(span)
    outside = np.flatnonzero((times < start) | (times >= end))
    if len(outside):
        raise InvalidRows(
            f"{obj.key}: expected times inside {span}, found {len(outside)} rows outside; the first is "
            f"row {outside[0]}: {row_text(rows, dataset, int(outside[0]))}"
        )
    first, last = _us(Span.of_days(holder.days[0], holder.days[-1]))
    inside = (times >= first) & (times < last)
    return rows if inside.all() else rows.filter(pa.array(inside))


def _us(span: Span) -> tuple[int, int]:
    return microseconds(span.start), microseconds(span.end)


@dataclass
class SharedFiles:
    """The bytes of files that several days or symbols share, the latest used; safe to use from many threads."""

    most_bytes: int = MEMORY_BYTES
    _kept: OrderedDict[tuple[str, str, str], tuple[bytes, SourceFile]] = field(default_factory=OrderedDict)
    _locks: dict[tuple[str, str, str], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, exchange: str, obj: ArchiveObject, receive: Download) -> tuple[bytes, SourceFile]:
        """Return a file, received once; a thread that wants the same file waits for it."""
        name = exchange, obj.key, obj.etag
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    return self._kept[name]
            received = receive(obj)
            with self._lock:
                self._locks.pop(name, None)  # a thread that waits for it has it; another one finds the file
                self._kept[name] = received
                while len(self._kept) > 1 and sum(len(content) for content, _ in self._kept.values()) > self.most_bytes:
                    self._kept.popitem(last=False)
            return received
