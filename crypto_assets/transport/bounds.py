"""Bounds on the size and duration of an answer, by the kind of request.

A host can be hostile, broken, or replaced by something on the way. Its bytes are counted as they arrive and as they are
unpacked, and never read beyond the bound. A file of an archive with more than 32 MB is written to a temporary file; any other
answer takes at most its bound in memory. Only two large answers are read at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

_MB = 1 << 20
_SLOWEST_FILE = 100_000
"""Bytes a second: a large file may take longer than a small one, but not unlimited time."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The limits of one answer: its bytes, packed and unpacked, and the seconds of its body over all attempts."""

    most_bytes: int
    most_s: float
    large_bytes: int = 2 * _MB
    """Above this size the process reads only two answers at a time: many threads send requests, and each may get one."""


CHECKSUM = Bound(4 << 10, 60.0)
"""64 digits and the name of a file: about 100 bytes."""

LISTING = Bound(8 * _MB, 300.0)
"""A page of 1,000 keys as long as Binance's has 0.4 MB; a key has at most 1,024 bytes (S3 user guide)."""

REST = Bound(8 * _MB, 300.0)
"""1,000 rows have 0.2 MB; exchangeInfo of all futures has about 2 MB."""

JSON = Bound(64 * _MB, 600.0)
"""All other requests; the largest known answer is Binance's exchangeInfo of all spot symbols, about 20 MB."""

HEAD = Bound(0, 0.0)
"""The answer to HEAD has no body."""

MOST_FILE_BYTES = 4 << 30


def file_bound(listed_bytes: int) -> Bound:
    """Return the bound of an archive file: twice its listed size, because it may have been replaced since."""
    most = min(2 * max(listed_bytes, 0) + _MB, MOST_FILE_BYTES)
    return Bound(most, 600.0 + most / _SLOWEST_FILE, large_bytes=256 * _MB)
