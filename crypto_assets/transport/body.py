"""Reads the body of an answer with bounds on its size (packed and unpacked) and its slowness, and resumes it after a cut.

An answer that breaks off is requested again from that byte (`Range`), if the file is still the same (`If-Range`): the host
answers 206 with the rest, or 200 with the whole present file.

Only gzip is unpacked, only where the request asked for it, and in pieces: 64 kB can unpack to 64 MB.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import httpx

from crypto_assets.errors import BadContainer, OutOfResources
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.machine.temporary import temporary_disk, temporary_file
from crypto_assets.model.content import Content, mapped
from crypto_assets.transport.answer_memory import trim_memory
from crypto_assets.transport.bounds import Bound

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)


class TooSlow(Exception):
    """Bytes arrived more slowly than a healthy host sends them."""


class BrokenRange(Exception):
    """The rest of a body does not fit its beginning."""


class UnaskedCoding(Exception):
    """The answer has an encoding that was not requested; `status` is its status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Pace:
    """At least `bytes_per_s` over each `span_s`; a body within `deadline_s` over all attempts, or its bound if less."""

    bytes_per_s: float = 1_000.0
    span_s: float = 20.0
    deadline_s: float = 14_400.0


_PIECE, _SMALL = 1 << 20, 4 << 10

MOST_IN_MEMORY = 32 << 20
"""Bytes of the largest body in memory where a larger one may be on disk: some three million trades."""
_ROOM = threading.BoundedSemaphore(2)
"""Permits to read large bodies. A thread takes one and then waits for its host only, so every thread gets its turn."""

_SIXTEEN_PLUS_WINDOW = 31  # zlib: a gzip header and its largest window


class Unpacking:
    """Unpacks gzip in pieces of a bounded size."""

    def __init__(self) -> None:
        self._gzip = zlib.decompressobj(_SIXTEEN_PLUS_WINDOW)
        self._began = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield the unpacked bytes in pieces of at most 1 MB; raises httpx.DecodingError if they are not gzip."""
        self._began = self._began or bool(packed)
        try:
            while packed and not self._gzip.eof:
                yield self._gzip.decompress(packed, _PIECE)
                packed = self._gzip.unconsumed_tail
        except zlib.error as error:
            raise_if_ours(error)
            raise httpx.DecodingError(str(error)) from None

    def end(self) -> None:
        """Raise httpx.DecodingError if the end is missing."""
        if self._began and not self._gzip.eof:
            raise httpx.DecodingError("the end of the gzip is missing")


def unpacking_of(response: httpx.Response, asked: str) -> Unpacking | None:
    """Return the unpacker for an answer; None if it is not packed.

    Args:
        asked: the `accept-encoding` of the request.

    Raises:
        UnaskedCoding: an encoding that was not requested; nothing is unpacked.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip") and "gzip" in asked:
        return Unpacking()
    raise UnaskedCoding(f"Content-Encoding {coding[:40]!r}, which was not requested; not read", response.status_code)


@dataclass(slots=True)
class Body:
    """The bytes received of one file, over one or more answers."""

    url: str
    pace: Pace
    bound: Bound
    asked_coding: str = "identity"
    to_disk: bool = False
    """Whether a large body may be kept in a temporary file."""
    chunks: list[bytes | bytearray] = field(default_factory=list)
    size: int = 0
    headers: httpx.Headers | None = None
    overdue: bool = False
    """Whether it took longer than its bound allows; another attempt would take as long."""
    _total: int | None = None
    _etag: str = ""
    _unpacking: Unpacking | None = None
    _packed: int = 0
    _large: bool = False
    _deadline: float | None = None
    _span_began: float = 0.0
    _span_size: int = 0
    _file: IO[bytes] | None = None

    def range_headers(self) -> dict[str, str]:
        """Return the headers that request the rest only; empty if nothing arrived yet or the host names no version."""
        if not self.size or not self._etag:
            return {}
        return {"range": f"bytes={self.size}-", "if-range": self._etag}

    def begin(self, response: httpx.Response) -> None:
        """Read the head of an answer.

        Raises:
            BrokenRange: the rest does not begin where the received bytes end; they are dropped and can be requested again.
            BadContainer: larger than the bound.
            UnaskedCoding: an encoding that was not requested.
        """
        unpacking = unpacking_of(response, self.asked_coding)
        if response.status_code == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            total = None if found is None or found[3] == "*" else int(found[3])
            if (
                found is None
                or int(found[1]) != self.size
                or (self._total is not None and total not in (None, self._total))
                or response.headers.get("etag", self._etag) != self._etag
            ):
                self.drop()
                raise BrokenRange(
                    f"expected bytes from {self.size} of {self._total}, found {response.headers.get('content-range')!r}"
                )
            self._total = self._total if total is None else total
        else:
            self.drop()
            self.headers = response.headers
            length = response.headers.get("content-length", "")
            self._total = int(length) if length.isascii() and length.isdigit() else None
            etag = response.headers.get("etag", "")
            # A weak etag names a meaning, not the bytes; and a body encoded on the way cannot be joined.
            self._etag = "" if etag.startswith("W/") or unpacking else etag
        if self._total is not None:
            self._check(self._total)
        self._unpacking, self._packed = unpacking, 0
        self._span_began = time.monotonic()
        self._span_size = self.size
        if self._deadline is None:
            self._deadline = self._span_began + self._longest_s

    def add(self, chunk: bytes) -> None:
        """Add some bytes as they arrived.

        Raises:
            TooSlow: they arrived too slowly.
            BadContainer: more than the bound.
        """
        if self._unpacking is None:
            self._keep(chunk)
        else:
            self._packed += len(chunk)  # gzip that unpacks to nothing may be endless too
            self._check(self._packed)
            for piece in self._unpacking.pieces(chunk):
                self._keep(piece)
        self._keep_pace()

    def _keep(self, chunk: bytes) -> None:
        self._check(self.size + len(chunk))
        if self.size > self.bound.large_bytes and not self._large:
            self._wait_for_room()
        self.size += len(chunk)
        if self.to_disk and self.size > MOST_IN_MEMORY:
            self._write(chunk)
        elif len(chunk) >= _SMALL:
            self.chunks.append(chunk)
        elif self.chunks and isinstance(self.chunks[-1], bytearray) and len(self.chunks[-1]) < _PIECE:
            self.chunks[-1] += chunk
        else:  # small pieces are joined: each object has 40 bytes of overhead
            self.chunks.append(bytearray(chunk))

    def _write(self, chunk: bytes) -> None:
        try:
            with temporary_disk():
                if self._file is None:
                    self._file = temporary_file()
                    self._file.writelines(self.chunks)
                    self.chunks.clear()
                self._file.write(chunk)
        except (OSError, OutOfResources):
            self.drop()  # a part of the bytes may be written: the next attempt begins again
            raise

    def _keep_pace(self) -> None:
        now = time.monotonic()
        self.overdue = self._deadline is not None and now > self._deadline
        if now - self._span_began >= self.pace.span_s or self.overdue:
            took, came = now - self._span_began, self.size - self._span_size
            if came < self.pace.bytes_per_s * took or self.overdue:
                raise TooSlow(
                    f"{came} bytes in {took:.0f} s, {self.size} of {self._total or 'unknown'} in all; expected at least "
                    f"{self.pace.bytes_per_s:g} bytes/s and an end within {self._longest_s:g} s"
                )
            self._span_began, self._span_size = now, self.size

    def _wait_for_room(self) -> None:
        began = time.monotonic()
        _ROOM.acquire()
        self._large = True
        waited = time.monotonic() - began  # this is not the host's slowness
        self._span_began += waited
        self._deadline = None if self._deadline is None else self._deadline + waited

    def close(self) -> None:
        """Make room for another large body; call it after each attempt."""
        if self._large:
            self._large = False
            trim_memory()
            _ROOM.release()

    @property
    def _longest_s(self) -> float:
        return min(self.pace.deadline_s, self.bound.most_s)

    def whole(self) -> Content:
        """Return all bytes; large ones mapped from a temporary file, where that is allowed.

        Raises:
            BrokenRange: their number is not the one that the host announced first.
        """
        if self._unpacking is not None:
            self._unpacking.end()
        if self._etag and self._total is not None and self.size != self._total:
            found, expected = self.size, self._total
            self.drop()
            raise BrokenRange(f"expected {expected} bytes, found {found}")
        if self._file is not None:
            with temporary_disk(), self._file as file:
                return mapped(file)
        return bytes(self.chunks[0]) if len(self.chunks) == 1 else b"".join(self.chunks)

    def _check(self, size: int) -> None:
        if size > self.bound.most_bytes:
            self.drop()
            raise BadContainer(
                f"{self.url}: expected at most {self.bound.most_bytes} bytes, found {size} or more; the rest was not read",
                url=self.url,
                most_bytes=self.bound.most_bytes,
            )

    def drop(self) -> None:
        """Drop the received bytes."""
        self.chunks.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is not needed
                self._file.close()
            self._file = None
        self.size = 0
        self._etag = ""
        self._total = None


_SHOWN = 2_000
_SHOWN_WITHIN_S = 5.0


def beginning_of(response: httpx.Response, asked_coding: str = "identity") -> dict[str, str]:
    """Return the beginning of a refusal's body, where some exchanges give the reason. The time for it is bounded."""
    text = b""
    deadline = time.monotonic() + _SHOWN_WITHIN_S
    with contextlib.suppress(httpx.RequestError, httpx.StreamError, UnaskedCoding):
        unpacking = unpacking_of(response, asked_coding)
        for chunk in response.iter_raw():
            text += chunk if unpacking is None else next(unpacking.pieces(chunk), b"")
            if len(text) >= _SHOWN or time.monotonic() > deadline:
                break
    return {"body": text[:_SHOWN].decode("utf-8", "replace")} if text else {}
