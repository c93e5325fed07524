"""Downloads and parses the archive files of some days of one symbol.

A file that several days or symbols share is downloaded once: its bytes stay in a small memory for the run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, islice

import numpy as np
import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.download import download
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.archive.split_days import split_days
from crypto_assets.engine.archive.split_on_disk import SplitOnDisk
from crypto_assets.engine.instruments import converted
from crypto_assets.errors import ChecksumMismatch, CryptoAssetsError, InvalidRows, MalformedFile
from crypto_assets.model import ArchiveObject, Instrument, Series, SourceFile, Span, Track
from crypto_assets.model.content import Content
from crypto_assets.model.epoch import microseconds
from crypto_assets.rows.arrange import Arranged, row_text

MEMORY_BYTES = 256 << 20
"""Bytes of shared files that are kept: a bundle of all trades of a day has some 200 MB."""


class RefusedFile(Exception):
    """A file of some days cannot be used, or its files together: `error` says why.

    `contents` are the bytes of each file of `obj`, in its order; empty bytes if they were not received.
    """

    def __init__(
        self, error: CryptoAssetsError, obj: ArchiveObject | SourceFile, contents: tuple[Content, ...]
    ) -> None:
        super().__init__(str(error))
        self.error, self.obj, self.contents = error, obj, contents


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """The days of some files, in order, where they came from, and the contents of each file of `source`, in its order.

    `rows` are all rows in the order of the files; of large files some of each day (`split_on_disk.py`): with the earliest and
    the latest one, and those with the smallest and the largest number.
    """

    days: list[Arranged]
    rows: pa.Table
    source: SourceFile
    contents: tuple[Content, ...]


Download = Callable[[ArchiveObject], tuple[Content, SourceFile]]


def read_files(
    site: ArchiveSite, shared: SharedFiles, track: Track, holder: Files, instrument: Instrument | None
) -> ReadFiles:
    """Return the days of the files of one holder; those of large files are on disk.

    Rows of several files are those of their days only: the rest belongs to the days beside them.

    Raises:
        RefusedFile: the bytes of a file differ from their digest, or cannot be read, or are of another time.
        NotPublished, HostUnreachable, HostRefused: as for `download`.
    """
    reading = _Reading(site, shared, track, holder, instrument)
    try:
        days, rows = days_of(
            track.series, reading.pieces(), holder.obj.key, holder.period, holder.days, files=len(holder.objects)
        )
    except InvalidRows as error:
        source = reading.source if reading.is_done else reading.sources[-1]
        contents = reading.contents if reading.is_done else reading.contents[-1:]
        raise RefusedFile(error, source, tuple(contents)) from error
    return ReadFiles(days, rows, reading.source, tuple(reading.contents))


def days_of(
    series: Series,
    pieces: Iterator[pa.Table],
    key: str,
    period: tuple[date, date],
    days: Sequence[date],
    *,
    files: int = 1,
) -> tuple[list[Arranged], pa.Table]:
    """Return the rows of each wanted day of some files, and `ReadFiles.rows`.

    Args:
        pieces: the rows of the files in their order; if they are more than the files, a file is large.
        period: the first and the last day of the files.

    Raises:
        InvalidRows: as for `split_days`; and what `pieces` raises.
    """
    first = list(islice(pieces, files + 1))
    large = len(first) > files
    if large and series.table == "ohlcv" and period[0] == period[1]:  # a day has 86,400 bars at most
        first, large = [*first, *pieces], False
    if not large:
        rows = first[0] if len(first) == 1 else pa.concat_tables(first)
        return split_days(series, rows, key, period, days), rows
    split = SplitOnDisk(series, key, period, days)
    for piece in chain(_one_by_one(first), pieces):
        split.add(piece)
    return split.days(), split.outline()


class _Reading:
    """Downloads and parses the files of one holder, one after the other."""

    def __init__(
        self, site: ArchiveSite, shared: SharedFiles, track: Track, holder: Files, instrument: Instrument | None
    ) -> None:
        self._site, self._shared, self._track, self._holder = site, shared, track, holder
        self._instrument = instrument
        self.sources: list[SourceFile] = []
        self.contents: list[Content] = []

    @property
    def is_done(self) -> bool:
        """Whether all files were downloaded."""
        return len(self.sources) == len(self._holder.objects)

    @property
    def source(self) -> SourceFile:
        """Where the rows came from."""
        return SourceFile.joined(self.sources)

    def pieces(self) -> Iterator[pa.Table]:
        """Yield the rows of the files, in order; raises as `read_files`."""
        several = len(self._holder.objects) > 1
        for obj in self._holder.objects:
            content, source = self._received(obj, shared=several or self._holder.feed.bundles)
            self.sources.append(source)
            self.contents.append(content)
            span = _Span(self._holder, obj.key, self._track.series) if several else None
            try:
                for rows in sources.pieces(*self._track, obj.key, content, self._instrument):
                    yield span.of_days(rows) if span else rows
                if span:
                    span.refuse()
            except (MalformedFile, InvalidRows) as error:
                raise RefusedFile(error, source, (content,)) from error

    def _received(self, obj: ArchiveObject, *, shared: bool) -> tuple[Content, SourceFile]:
        def receive(one: ArchiveObject) -> tuple[Content, SourceFile]:
            return download(self._site, self._holder.feed, one)

        try:
            received = self._shared.get(self._track.series.exchange, obj, receive) if shared else receive(obj)
        except (ChecksumMismatch, MalformedFile) as error:
            raise RefusedFile(error, obj, (getattr(error, "content", b""),)) from error
        content, source = received
        return content, converted(source, self._instrument)


class _Span:
    """The rows of one file of several: those of the holder's days, and those outside the span that the file covers."""

    def __init__(self, holder: Files, key: str, series: Series) -> None:
        self._key, self._dataset = key, datasets.get(series.table)
        self._span = holder.feed.covers(key)
        self._days = _us(Span.of_days(holder.days[0], holder.days[-1]))
        self._rows = self._outside = 0
        self._first = ""

    def of_days(self, rows: pa.Table) -> pa.Table:
        """Return the rows of the holder's days."""
        times = rows.column(self._dataset.time_column).cast(pa.int64()).to_numpy()
        start, end = _us(self._span)
        outside = np.flatnonzero((times < start) | (times >= end))
        if len(outside) and not self._outside:
            self._first = f"row {self._rows + outside[0]}: {row_text(rows, self._dataset, int(outside[0]))}"
        self._outside += len(outside)
        self._rows += rows.num_rows
        first, last = self._days
        inside = (times >= first) & (times < last)
        return rows if inside.all() else rows.filter(pa.array(inside))

    def refuse(self) -> None:
        """Raise InvalidRows if rows were outside the span of the file."""
        if self._outside:
            raise InvalidRows(
                f"{self._key}: expected times inside {self._span}, found {self._outside} rows outside; the first is "
                f"{self._first}"
            )


def _one_by_one(tables: list[pa.Table]) -> Iterator[pa.Table]:
    """Yield each table and remove it from the list, so that its memory is free after use."""
    while tables:
        yield tables.pop(0)


def _us(span: Span) -> tuple[int, int]:
    return microseconds(span.start), microseconds(span.end)


@dataclass
class SharedFiles:
    """The bytes of files that several days or symbols share, the latest used; safe to use from many threads."""

    most_bytes: int = MEMORY_BYTES
    _kept: OrderedDict[tuple[str, str, str], tuple[Content, SourceFile]] = field(default_factory=OrderedDict)
    _locks: dict[tuple[str, str, str], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, exchange: str, obj: ArchiveObject, receive: Download) -> tuple[Content, SourceFile]:
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
