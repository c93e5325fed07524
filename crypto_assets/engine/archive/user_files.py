"""Reads files that a person downloaded into a folder, plain or in zips, day by day (`sources/listings/folder.py`).

A file is read once, in pieces, to find where its days begin; a member of a zip is unpacked to a temporary file meanwhile,
never to memory. Then a day is one read at its place. What is found stays as long as the process, while the file is unchanged.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO

import httpx

from crypto_assets.errors import ListingError, NotPublished
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.machine.temporary import temporary_file
from crypto_assets.model import ArchiveObject, Span, days_between
from crypto_assets.sources.formats_zip import DAMAGED_ZIP, MAX_RATIO
from crypto_assets.sources.listings.folder import Folder, quarter_in

_PIECE = 1 << 20
_LONGEST_LINE = 1 << 16
_NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Member:
    """A file on disk, or in a zip on disk. Equal members have equal bytes as far as size, time and CRC tell."""

    path: Path
    inside: str
    size_bytes: int
    modified_ns: int
    crc: int = 0

    def __str__(self) -> str:
        return f"{self.path}/{self.inside}" if self.inside else str(self.path)


@dataclass(frozen=True, slots=True)
class _Piece:
    """The bytes of a day in a file."""

    start: int
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A file whose days are known. `proven` are the instants about which it says everything."""

    file: IO[bytes]
    pieces: dict[date, _Piece]
    proven: Span


Chosen = dict[date, tuple[Member, _Piece]]
"""The file of each day of a symbol, and the place of the day in it."""


class UserFiles:
    """The files of one series in a folder; safe to use from many threads."""

    def __init__(self, root: Path, folder: Folder) -> None:
        self._root, self._folder = root, folder

    def objects(self, name: str, days: Iterable[date]) -> dict[date, ArchiveObject]:
        """Return the days of one symbol that the files prove, of those asked for, each as an object with its MD5 as ETag.

        If several files have a day, one that has rows before it is preferred, then the newest. Days before the first row of
        all files are in none.

        Raises:
            ListingError: the folder or a file in it cannot be read, or is not as the exchange writes it (`Folder`).
        """
        chosen = self._chosen(name)
        with _lock:
            _last_chosen[self._root, self._folder.prefix, name] = chosen
        return {
            day: ArchiveObject(self._folder.key(name, day), found[1].size, found[1].md5, _instant(found[0].modified_ns))
            for day in days
            if (found := chosen.get(day)) is not None
        }

    def read(self, key: str) -> tuple[bytes, str]:
        """Return the bytes of a day and their MD5, from the file that `objects` named last.

        Raises:
            NotPublished: no file proves the day any more. ListingError: as for `objects`.
        """
        name, day = self._folder.parsed(key)
        with _lock:
            chosen = _last_chosen.get((self._root, self._folder.prefix, name))
        found = (chosen or self._chosen(name)).get(day)
        if found is None:
            raise NotPublished(f"{key}: no file in {self._root} has the whole day; `crypto-assets fill` tries it again")
        member, piece = found
        return os.pread(_indexed(member, self._folder).file.fileno(), piece.size, piece.start), piece.md5

    def _chosen(self, name: str) -> Chosen:
        members = [one for one in _members(self._root) if _base(one) == self._folder.file_name(name)]
        indexed = [(one, _indexed(one, self._folder)) for one in sorted(members, key=lambda one: one.modified_ns)]
        first = min((min(found.pieces) for _, found in indexed if found.pieces), default=None)
        chosen: dict[date, tuple[bool, Member, _Piece]] = {}
        for member, found in indexed:
            for day in _whole_days(found):
                piece = found.pieces.get(day, _Piece(0, 0, _NOTHING))
                inner = found.proven.start < Span.of_days(day, day).start
                known = chosen.get(day)
                if first is not None and day >= first and (known is None or inner >= known[0]):
                    chosen[day] = inner, member, piece
        return {day: one[1:] for day, one in chosen.items()}


@dataclass(frozen=True, slots=True)
class UserFilesView:
    """Answers requests for files as a host would."""

    files: UserFiles
    base: str

    def get(self, url: str, *_: object, **__: object) -> httpx.Response:
        """Return a day's bytes; raises NotPublished as a 404 does."""
        content, md5 = self.files.read(url.removeprefix(self.base + "/"))
        return httpx.Response(200, content=content, headers={"etag": f'"{md5}"'})

    def download(self, url: str, **_: object) -> tuple[bytes, httpx.Headers]:
        """Return a day's bytes and the headers of `get`; raises as `get`."""
        answer = self.get(url)
        return answer.content, answer.headers

    def head(self, url: str) -> httpx.Response:
        return self.get(url)


def _whole_days(indexed: _Indexed) -> list[date]:
    """Return the days that a file proves to their end. Its first day may begin with the symbol's first trade."""
    if not indexed.pieces:
        return []
    start, end = indexed.proven.start.date(), indexed.proven.end.date()
    return days_between(start, end - timedelta(days=1)) if start < end else []


_MOST_OPEN = 100
"""Files whose days are known, each open; the one that was not used for longest is closed and, if asked for, read again."""

_lock = threading.Lock()
_zips: dict[tuple[Path, int, int], list[Member]] = {}
_indexes: OrderedDict[tuple[Member, str], _Indexed] = OrderedDict()
_index_locks: dict[tuple[Member, str], threading.Lock] = {}
_last_chosen: dict[tuple[Path, str, str], Chosen] = {}


def file_names(root: Path) -> frozenset[str]:
    """Return the names of all CSV files below a folder, or in one zip, without their folders.

    Raises:
        ListingError: it cannot be read.
    """
    return frozenset(_base(member) for member in _members(root))


def _members(root: Path) -> list[Member]:
    """Return all CSV files below a folder, or in one zip."""
    if not root.exists():
        raise ListingError(f"{root}: expected a folder or a zip, found nothing; check `files` in collection.yaml")
    try:
        paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        found: list[Member] = []
        for path in paths:
            if path.suffix.lower() == ".zip":
                found += _members_of_zip(path)
            elif path.suffix.lower() == ".csv":
                stat = path.stat()
                found.append(Member(path, "", stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        raise_if_ours(error, str(root))
        raise ListingError(f"{root}: cannot be read: {error}") from None
    return found


def _members_of_zip(path: Path) -> list[Member]:
    stat = path.stat()
    identity = path, stat.st_size, stat.st_mtime_ns
    with _lock:
        if identity not in _zips:
            try:
                with zipfile.ZipFile(path) as archive:
                    _zips[identity] = [
                        Member(path, one.filename, one.file_size, stat.st_mtime_ns, one.CRC)
                        for one in archive.infolist()
                        if one.filename.lower().endswith(".csv") and not _is_of_mac(one.filename)
                    ]
            except DAMAGED_ZIP as error:
                raise_if_ours(error, str(path))
                raise ListingError(
                    f"{path}: expected a whole zip, found {stat.st_size} bytes that are not one ({error}); download it again"
                ) from None
        return _zips[identity]


def _is_of_mac(name: str) -> bool:
    return name.startswith("__MACOSX/")


def _base(member: Member) -> str:
    return Path(member.inside).name if member.inside else member.path.name


def _indexed(member: Member, folder: Folder) -> _Indexed:
    key = member, folder.prefix
    with _lock:
        lock = _index_locks.setdefault(key, threading.Lock())
    with lock:
        if (known := _indexes.get(key)) is None:
            known = _index(member, folder)
        with _lock:
            _indexes[key] = known
            _indexes.move_to_end(key)
            if len(_indexes) > _MOST_OPEN:
                _indexes.popitem(last=False)
        return known


def _index(member: Member, folder: Folder) -> _Indexed:
    """Read a file once and return where its days are.

    Raises:
        ListingError: lines without a time, days that go back, or a damaged zip.
    """
    days = _Days(member, folder)
    try:
        if not member.inside:
            file: IO[bytes] = member.path.open("rb")
            days.read(iter(lambda: file.read(_PIECE), b""))
        else:
            file = temporary_file()
            with zipfile.ZipFile(member.path) as archive, archive.open(member.inside) as stream:
                claimed, packed = member.size_bytes, archive.getinfo(member.inside).compress_size
                if claimed > 4096 + MAX_RATIO * packed:
                    raise ListingError(
                        f"{member}: expected a text, found {packed} bytes that claim {claimed}; not unpacked"
                    )
                days.read(_copied(stream, file))
    except DAMAGED_ZIP as error:
        raise_if_ours(error, str(member))
        raise ListingError(f"{member}: expected a whole file, found {error}; download it again") from None
    return _Indexed(file, days.pieces(), days.proven())


def _copied(stream: IO[bytes], file: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        file.write(piece)
        yield piece
    file.flush()


class _Days:
    """Finds the days in the lines of a file that comes in pieces; its times ascend."""

    def __init__(self, member: Member, folder: Folder) -> None:
        self._member, self._folder = member, folder
        self._starts: list[tuple[date, int, int, str]] = []
        self._day: date | None = None
        self._begin = self._place = 0
        self._hash = hashlib.md5(usedforsecurity=False)
        self._first = self._last = 0

    def read(self, pieces: Iterable[bytes]) -> None:
        rest = b""
        for piece in pieces:
            text = rest + piece
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > _LONGEST_LINE:
                raise ListingError(
                    f"{self._member}: expected lines of a CSV, found {len(rest)} bytes without a line end"
                )
            self._lines(text[:end])
        self._lines(rest)
        self._close()

    def _lines(self, text: bytes) -> None:
        """Take whole lines: at once if all are of one day, else half by half."""
        if not text:
            return
        if not self._place and text[:1].isalpha():  # a header
            text = self._without_header(text)
            if not text:
                return
        first, last = self._time(text, 0), self._time(text, text.rstrip(b"\n").rfind(b"\n") + 1)
        if last < first or first < self._last:
            raise ListingError(
                f"{self._member}: expected times that rise, found {max(first, self._last)} before {min(first, last)}; "
                "it was edited or is cut, download it again"
            )
        if _day(first) != _day(last):
            middle = text.find(b"\n", len(text) // 2) + 1
            if not 0 < middle < len(text):
                middle = text.find(b"\n") + 1
            self._lines(text[:middle])
            self._lines(text[middle:])
            return
        if _day(first) != self._day:
            self._close()
            self._day, self._begin = _day(first), self._place
        self._hash.update(text)
        self._place += len(text)
        self._first, self._last = self._first or first, last

    def _without_header(self, text: bytes) -> bytes:
        end = text.find(b"\n") + 1 or len(text)
        self._place = end
        return text[end:]

    def _close(self) -> None:
        if self._day is not None:
            self._starts.append((self._day, self._begin, self._place - self._begin, self._hash.hexdigest()))
            self._hash = hashlib.md5(usedforsecurity=False)

    def _time(self, text: bytes, start: int) -> int:
        """Return the epoch second of the line that starts at a place."""
        cells = text[start : start + _LONGEST_LINE].split(b"\n", 1)[0].split(b",")
        place = self._folder.time_places.get(len(cells))
        whole = cells[place].partition(b".")[0] if place is not None else b""
        if not whole.isdigit() or not 10**9 <= int(whole) < 41 * 10**8:
            columns = " or ".join(map(str, self._folder.time_places))
            shown = b",".join(cells)[:80].decode("utf-8", "replace")
            raise ListingError(f"{self._member}: expected {columns} columns with a time in seconds, found {shown!r}")
        return int(whole)

    def pieces(self) -> dict[date, _Piece]:
        return {day: _Piece(start, size, md5) for day, start, size, md5 in self._starts}

    def proven(self) -> Span:
        """Return the span from the first row to the end of the last one, or the quarter that the path names."""
        first, last = (datetime.fromtimestamp(second, UTC) for second in (self._first, self._last))
        found = Span(first, last + self._folder.row_length)
        named = quarter_in(str(self._member))
        if named and named.start <= found.start and found.end <= named.end:
            return named
        return found


def _day(second: int) -> date:
    return datetime.fromtimestamp(second, UTC).date()


def _instant(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC)
