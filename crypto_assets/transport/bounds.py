"""How large an answer may be and how long it may take, by what was asked for.

A host can be hostile, broken, or replaced by something on the way. What it sends is counted while it comes, unpacked too,
and is never read beyond its bound; so an answer costs at most its bound in memory. Only two large ones are read at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

_MB = 1 << 20
_SLOWEST_FILE = 100_000
"""Bytes a second: a large file may take longer than a small one, but not as long as it likes."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The most of one answer: its bytes, packed as well as unpacked, and the seconds of its body over all attempts."""

    most_bytes: int
    most_s: float
    large_bytes: int = 2 * _MB
    """From here on only two answers of the process are read at a time: many threads ask, and each may be answered so."""


CHECKSUM = Bound(4 << 10, 60.0)
"""64 digits and the name of a file: some 100 bytes."""

LISTING = Bound(8 * _MB, 300.0)
"""A page of 1,000 keys has 0.4 MB where keys are as long as Binance's; a key has at most 1,024 bytes (S3 user guide)."""

REST = Bound(8 * _MB, 300.0)
"""1,000 rows have 0.2 MB, exchangeInfo of all futures some 2 MB."""

JSON = Bound(64 * _MB, 600.0)
"""Whatever else is asked for; the largest answer known is exchangeInfo of all of Binance's spot with some 20 MB."""

HEAD = Bound(0, 0.0)
"""The answer to HEAD has no body."""

MOST_FILE_BYTES = 4 << 30


def file_bound(listed_bytes: int) -> Bound:
    """Return the bound of an archive file that is listed with a size: twice that, for it may have been replaced since."""
    most = min(2 * max(listed_bytes, 0) + _MB, MOST_FILE_BYTES)
    return Bound(most, 600.0 + most / _SLOWEST_FILE, large_bytes=256 * _MB)
