"""The body of an answer while it comes: bounded in size and in slowness, and continued where it was cut.

An answer that breaks off is asked for again from there (`Range`), if the file is still the same (`If-Range`): the host
answers 206 with the rest, or 200 with the whole of what it has now.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field

import httpx

from crypto_assets.errors import BadContainer

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)


class TooSlow(Exception):
    """Fewer bytes came than a host in order sends."""


class BrokenRange(Exception):
    """The rest of a body does not fit to its beginning."""


@dataclass(frozen=True, slots=True)
class Pace:
    """At least `bytes_per_s` over each `span_s`, and the end of an answer within `deadline_s` of its beginning."""

    bytes_per_s: float = 1_000.0
    span_s: float = 20.0
    deadline_s: float = 3_600.0


@dataclass(slots=True)
class Body:
    """What has come of one file, over one or more answers."""

    url: str
    pace: Pace
    most_bytes: int
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    headers: httpx.Headers | None = None
    _total: int | None = None
    _etag: str = ""
    _deadline: float = 0.0
    _span_began: float = 0.0
    _span_size: int = 0

    def range_headers(self) -> dict[str, str]:
        """Return what asks for the rest only; empty where nothing came yet or the host names no version."""
        if not self.size or not self._etag:
            return {}
        return {"range": f"bytes={self.size}-", "if-range": self._etag}

    def begin(self, response: httpx.Response) -> None:
        """Take the head of an answer.

        Raises:
            BrokenRange: a rest that does not begin where ours ends; what came is dropped, and can be asked for anew.
            BadContainer: larger than can be.
        """
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
            # A weak one names a meaning, not the bytes; and what is coded on the way cannot be joined.
            self._etag = "" if etag.startswith("W/") or "content-encoding" in response.headers else etag
        if self._total is not None:
            self._bound(self._total)
        self._span_began = time.monotonic()
        self._span_size = self.size
        self._deadline = self._span_began + self.pace.deadline_s

    def add(self, chunk: bytes) -> None:
        """Take some bytes.

        Raises:
            TooSlow: they came too slowly.
            BadContainer: more than can be.
        """
        self.chunks.append(chunk)
        self.size += len(chunk)
        self._bound(self.size)
        now = time.monotonic()
        if now - self._span_began >= self.pace.span_s or now > self._deadline:
            took, came = now - self._span_began, self.size - self._span_size
            if came < self.pace.bytes_per_s * took or now > self._deadline:
                raise TooSlow(
                    f"{came} bytes in {took:.0f} s, {self.size} of {self._total or 'unknown'} in all; expected at least "
                    f"{self.pace.bytes_per_s:g} bytes/s and an end within {self.pace.deadline_s:g} s"
                )
            self._span_began, self._span_size = now, self.size

    def whole(self) -> bytes:
        """Return all bytes; raises BrokenRange where they are not as many as the host said at first."""
        if self._etag and self._total is not None and self.size != self._total:
            found, expected = self.size, self._total
            self.drop()
            raise BrokenRange(f"expected {expected} bytes, found {found}")
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    def _bound(self, size: int) -> None:
        if size > self.most_bytes:
            self.drop()
            raise BadContainer(
                f"{self.url}: expected at most {self.most_bytes} bytes, found {size} or more; not read any further",
                url=self.url,
                most_bytes=self.most_bytes,
            )

    def drop(self) -> None:
        """Forget what came."""
        self.chunks.clear()
        self.size = 0
        self._etag = ""
        self._total = None


_SHOWN = 2_000


def beginning_of(response: httpx.Response) -> dict[str, str]:
    """Return the beginning of a refusal's body: some exchanges say there what they mean."""
    with contextlib.suppress(httpx.RequestError, httpx.StreamError):
        text = b""
        for chunk in response.iter_bytes():
            text += chunk
            if len(text) >= _SHOWN:
                break
        if text:
            return {"body": text[:_SHOWN].decode("utf-8", "replace")}
    return {}
