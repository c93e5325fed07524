"""Read zips with one CSV, with bounds: cut, damaged, encrypted or hostile ones are refused."""

from __future__ import annotations

import encodings.cp437  # noqa: F401  zipfile reads names with it, and would open its file only then
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from mmap import mmap
from pathlib import PurePosixPath
from typing import IO, Any

from crypto_assets.errors import BadContainer
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model.content import GIVEN_BACK_BYTES, give_back

MAX_UNPACKED_BYTES = 8 << 30
"""Larger than the largest day ever published (book tickers, some GB); a zip that claims more is a zip bomb."""

MAX_RATIO, MAX_RATIO_LARGE = 200, 40
"""Text of numbers deflates 4 to 30 times; up to 100 times with long runs of equal bars, but such files are small."""

_LARGE = 64 << 20
"""Largest text of equal bars: a day of seconds without a trade has 9 MB."""

_CHUNK = 1 << 20

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Allowed compression methods of zip members. Other decoders raise their own errors, and take the memory that a damaged
header asks for."""

DAMAGED_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    # zipfile raises these if offsets, lengths or names in the directory are damaged.
    *(OSError, ValueError, OverflowError, RuntimeError, struct.error, MemoryError),
)
"""Errors of zipfile and gzip for damaged bytes; `raise_if_ours` filters out shortages of this process."""


def zip_blocks(key: str, content: bytes | mmap, most_whole: int) -> Iterator[bytes | bytearray]:
    """Yield the bytes of the only member of a zip, which must be named like the zip, with .csv.

    Args:
        most_whole: a member of at most so many bytes is one block.

    Raises:
        BadContainer: not a zip, cut, empty, encrypted, several members, another name, or too large when unpacked.
            OutOfResources: this process has not enough memory or open files; the zip was not judged.
    """
    expected = PurePosixPath(key).name.removesuffix(".zip") + ".csv"
    if not content:
        raise BadContainer(f"{key}: expected a zip, found an empty file; it will be tried again when it changes")
    try:
        with zipfile.ZipFile(_file_of(content)) as archive:
            member = _only_member(key, content, archive, expected)
            with archive.open(member) as stream:
                if member.file_size <= _CHUNK:
                    yield stream.read()
                    return
                size = member.file_size if member.file_size <= most_whole else _CHUNK
                while block := _filled(stream, size):
                    yield block
    except DAMAGED_ZIP as error:
        raise_if_ours(error, key)
        raise BadContainer(
            f"{key}: expected a whole zip, found {len(content)} bytes that are not one ({error}); "
            "it will be tried again when it changes"
        ) from None


def _only_member(key: str, content: bytes | mmap, archive: zipfile.ZipFile, expected: str) -> zipfile.ZipInfo:
    """Return the only member of a zip; raises as `zip_blocks`."""
    members = archive.infolist()
    if len(members) != 1 or members[0].filename != expected:
        found = ", ".join(member.filename[:80] for member in members[:5]) or "nothing"
        raise BadContainer(
            f"{key}: expected one member {expected}, found {len(members)} ({found}); look at it in quarantine/"
        )
    member = members[0]
    if member.file_size > (most := most_unpacked(len(content))):
        raise BadContainer(
            f"{key}: expected a text of at most {most} bytes in the {len(content)} bytes of the zip, "
            f"found one that claims {member.file_size} bytes; not unpacked"
        )
    if member.flag_bits & 1:
        raise BadContainer(f"{key}: expected a plain zip, found an encrypted member")
    if member.compress_type not in METHODS:
        raise BadContainer(f"{key}: expected a deflated member, found compression method {member.compress_type}")
    return member


def _filled(stream: IO[bytes], size: int) -> bytearray:
    """Return the next bytes of a stream, at most `size`.

    In pieces into the final buffer: read() costs 1.8 times as much and needs twice the memory.
    """
    text, end = bytearray(size), 0
    while end < size and (chunk := stream.read(min(_CHUNK, size - end))):
        text[end : end + len(chunk)] = chunk
        end += len(chunk)
    del text[end:]
    return text


def _file_of(content: bytes | mmap) -> io.BytesIO | _MappedFile:
    return io.BytesIO(content) if isinstance(content, bytes) else _MappedFile(content)


class _MappedFile(io.RawIOBase):
    """Mapped bytes as a file to read; several readers may share the map."""

    def __init__(self, content: mmap) -> None:
        self._content, self._place, self._read = content, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._content)}[whence]
        if start + place < 0:
            raise ValueError(f"expected a place from 0 on, found {start + place}")
        self._place = start + place
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        found = self._content[self._place : self._place + len(buffer)]
        buffer[: len(found)] = found
        self._place += len(found)
        self._read += len(found)
        if self._read > GIVEN_BACK_BYTES:
            self._read = 0
            give_back(self._content)
        return len(found)


def most_unpacked(size: int) -> int:
    """Return the largest allowed unpacked size for a zip or gzip file of some size."""
    return min(4096 + MAX_RATIO * size, max(_LARGE, MAX_RATIO_LARGE * size), MAX_UNPACKED_BYTES)
