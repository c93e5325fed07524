"""Read gzip files, with the bounds that zips have: cut, damaged, followed by other bytes, or hostile ones are refused."""

from __future__ import annotations

import struct
import zlib

from crypto_assets.errors import BadContainer
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.sources.formats import most_unpacked

_MAGIC = b"\x1f\x8b"
_SIZE_BYTES = 4
_CHUNK, _PIECE = 1 << 20, 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
"""zlib reads the header of gzip, and compares the checksum and the size at the end (RFC 1952)."""


def gunzip(key: str, content: bytes) -> bytes | bytearray:
    """Return the text of a gzip file; several members follow each other in it, as RFC 1952 (2.2) allows.

    A file that was made of nothing (44 bytes with the name of its text) has an empty text: that is no damage.

    Raises:
        BadContainer: not gzip, cut, damaged, followed by other bytes, or too large when unpacked. OutOfResources: this
            process has not enough memory; the file was not judged.
    """
    if not content:
        raise BadContainer(f"{key}: expected a gzip file, found an empty file; it will be tried again when it changes")
    if not content.startswith(_MAGIC):
        raise BadContainer(
            f"{key}: expected a gzip file, found {len(content)} bytes that begin with {content[:40]!r}; "
            "it will be tried again when it changes"
        )
    most = most_unpacked(len(content))
    # The last four bytes count the last member's text, modulo 4 GB: the buffer of the usual file needs no resize.
    (claimed,) = struct.unpack("<I", content[-_SIZE_BYTES:]) if len(content) >= _SIZE_BYTES else (0,)
    begin = end = 0
    try:
        text = bytearray(claimed if claimed <= most else 0)
        while begin < len(content):
            begin, end = _member(key, content, begin, text, end, most)
    except (zlib.error, MemoryError) as error:
        raise_if_ours(error, key)
        raise BadContainer(
            f"{key}: expected a whole gzip file, found {len(content)} bytes that are damaged ({error}); "
            "it will be tried again when it changes"
        ) from None
    del text[end:]
    return text


def _member(key: str, content: bytes, begin: int, text: bytearray, end: int, most: int) -> tuple[int, int]:
    """Write the text of the member at `begin` to `text` at `end`; return where both end then."""
    if not content.startswith(_MAGIC, begin):
        raise BadContainer(
            f"{key}: expected the end of the gzip file, found {len(content) - begin} more bytes: "
            f"{content[begin : begin + 40]!r}; look at it in quarantine/"
        )
    unpack = zlib.decompressobj(_GZIP)
    waiting = b""
    while not unpack.eof:
        if not waiting:
            waiting = content[begin : begin + _PIECE]
            begin += len(waiting)
        found = unpack.decompress(waiting, _CHUNK)
        waiting = unpack.unconsumed_tail
        if end + len(found) > most:
            raise BadContainer(
                f"{key}: expected a text of at most {most} bytes in {len(content)} bytes of gzip, found a longer one; "
                "not unpacked"
            )
        text[end : end + len(found)] = found
        end += len(found)
        if not (found or waiting or unpack.eof) and begin == len(content):
            raise BadContainer(
                f"{key}: expected a whole gzip file, found one that is cut after {len(content)} bytes; "
                "it will be tried again when it changes"
            )
    return begin - len(unpack.unused_data), end
