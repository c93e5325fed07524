"""The bytes of a file, in memory or on disk."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from typing import IO

Content = bytes | mmap.mmap
"""The bytes of a file: in memory, or mapped from a temporary file that has no name."""

GIVEN_BACK_BYTES = 16 << 20
"""A reader of bytes on disk calls `give_back` each time it has read so many."""


def mapped(file: IO[bytes]) -> mmap.mmap:
    """Return the bytes of an open file that is not empty; they stay after it is closed."""
    file.flush()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def digest_of(content: Content, algorithm: str = "sha256") -> str:
    """Return a digest in hexadecimal; memory does not grow with bytes on disk."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for part in parts_of(content):
        digest.update(part)
    return digest.hexdigest()


def parts_of(content: Content) -> Iterator[bytes | memoryview]:
    """Yield bytes in order: those in memory at once, those on disk in parts, each of which is there until the next one."""
    if isinstance(content, bytes):
        yield content
        return
    with memoryview(content) as view:
        for start in range(0, len(view), GIVEN_BACK_BYTES):
            with view[start : start + GIVEN_BACK_BYTES] as part:
                yield part
            give_back(content)


def give_back(content: Content) -> None:
    """Let the system have the memory of pages that were read from disk; they are read again where they are needed."""
    if isinstance(content, mmap.mmap):
        content.madvise(mmap.MADV_DONTNEED)
