"""Read gzip files, with the bounds that zips have: cut, damaged, followed by other bytes, or hostile ones are refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from mmap import mmap

from crypto_assets.errors import BadContainer
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model.content import GIVEN_BACK_BYTES, give_back
from crypto_assets.sources.formats_zip import most_unpacked

_MAGIC = b"\x1f\x8b"
_CHUNK, _PIECE = 1 << 20, 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
"""zlib reads the header of gzip, and compares the checksum and the size at the end (RFC 1952)."""


def gzip_blocks(key: str, content: bytes | mmap) -> Iterator[bytes]:
    """Yield the text of a gzip file; several members follow each other in it, as RFC 1952 (2.2) allows.

    A file that was made of nothing (44 bytes with the name of its text) has an empty text: that is no damage.

    Raises:
        BadContainer: not gzip, cut, damaged, followed by other bytes, or too large when unpacked. OutOfResources: this
            process has not enough memory; the file was not judged.
    """
    if not content:
        raise BadContainer(f"{key}: expected a gzip file, found an empty file; it will be tried again when it changes")
    if content[: len(_MAGIC)] != _MAGIC:
        raise BadContainer(
            f"{key}: expected a gzip file, found {len(content)} bytes that begin with {content[:40]!r}; "
            "it will be tried again when it changes"
        )
    most, begin, size = most_unpacked(len(content)), 0, 0
    try:
        while begin < len(content):
            member = _Member(key, content, begin)
            for block in member.blocks():
                size += len(block)
                if size > most:
                    raise BadContainer(
                        f"{key}: expected a text of at most {most} bytes in {len(content)} bytes of gzip, found a longer "
                        "one; not unpacked"
                    )
                yield block
            begin = member.end
    except (zlib.error, MemoryError) as error:
        raise_if_ours(error, key)
        raise BadContainer(
            f"{key}: expected a whole gzip file, found {len(content)} bytes that are damaged ({error}); "
            "it will be tried again when it changes"
        ) from None


class _Member:
    """One member of a gzip file; `end` is where it ends, once its blocks have been read."""

    def __init__(self, key: str, content: bytes | mmap, begin: int) -> None:
        if content[begin : begin + len(_MAGIC)] != _MAGIC:
            raise BadContainer(
                f"{key}: expected the end of the gzip file, found {len(content) - begin} more bytes: "
                f"{content[begin : begin + 40]!r}; look at it in quarantine/"
            )
        self._key, self._content = key, content
        self.end = begin

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes in blocks of at most 1 MB."""
        unpack, waiting = zlib.decompressobj(_GZIP), b""
        while not unpack.eof:
            if not waiting:
                waiting = self._content[self.end : self.end + _PIECE]
                self.end += len(waiting)
                if self.end % GIVEN_BACK_BYTES < _PIECE:
                    give_back(self._content)
            found = unpack.decompress(waiting, _CHUNK)
            waiting = unpack.unconsumed_tail
            if found:
                yield found
            elif not (waiting or unpack.eof) and self.end == len(self._content):
                raise BadContainer(
                    f"{self._key}: expected a whole gzip file, found one that is cut after {len(self._content)} bytes; "
                    "it will be tried again when it changes"
                )
        self.end -= len(unpack.unused_data)
