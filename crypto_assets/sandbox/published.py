"""Files that a dialect publishes one by one: it names them and writes their bytes, the rest is here."""

from __future__ import annotations

import gzip
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from crypto_assets.sandbox.cache import BoundedCache
from crypto_assets.sandbox.market import Instrument, Ints
from crypto_assets.sandbox.objects import Digests, ObjectInfo
from crypto_assets.sandbox.text import Decimal
from crypto_assets.sandbox.world import World


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that appears at `published`; `build` returns its bytes, None if there is nothing to publish."""

    key: str
    published: datetime
    build: Callable[[], bytes | None]


class PublishedFiles:
    """The archive of the files that `files` yields. It is asked once; bytes are built when first listed or downloaded."""

    synthetic = True

    def __init__(
        self,
        world: World,
        name: str,
        files: Callable[[], Iterable[PublishedFile]],
        cache_bytes: int = 64_000_000,
    ) -> None:
        self.name = name
        self._world = world
        self._files = {file.key: file for file in files()}
        self._order = sorted(self._files)
        self._cache_bytes = cache_bytes
        self._market: object = None
        self._digests: dict[str, Digests | None] = {}
        self._bytes: BoundedCache[str, bytes] = BoundedCache(cache_bytes, len)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        start = bisect_right(self._order, after) if after >= prefix else bisect_right(self._order, prefix[:-1])
        for key in self._order[start:]:
            if key.startswith(prefix):
                if key > after and self.info(key) is not None:
                    yield key
            elif key > prefix:
                return

    def info(self, key: str) -> ObjectInfo | None:
        file = self._published(key)
        if file is None:
            return None
        if key not in self._digests:
            self.read(key)
        told = self._digests[key]
        return None if told is None else ObjectInfo(key, told.size, told.md5, file.published)

    def read(self, key: str) -> bytes | None:
        file = self._published(key)
        if file is None:
            return None

        def make() -> bytes:
            content = file.build()
            self._digests[key] = None if content is None else Digests.of(content)
            return content or b""

        content = self._bytes.get(key, make)
        return None if self._digests[key] is None else content

    def _published(self, key: str) -> PublishedFile | None:
        if self._market is not self._world.market:
            # A fault of the market: all files follow.
            self._market = self._world.market
            self._digests, self._bytes = {}, BoundedCache(self._cache_bytes, len)
        file = self._files.get(key)
        return file if file is not None and file.published <= self._world.time else None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Prices, amounts and quote amounts of one symbol as decimal text, with the digits of its tick and lot."""

    item: Instrument

    def price(self, values: Ints) -> Decimal:
        return Decimal(values, self.item.price_decimals, self.item.price_decimals)

    def amount(self, values: Ints) -> Decimal:
        return Decimal(values, self.item.amount_decimals, self.item.amount_decimals)

    def quote(self, values: Ints) -> Decimal:
        return Decimal(values, self.item.quote_decimals, self.item.quote_decimals)


def gzip_member(chunks: Iterable[bytes], header: str = "") -> bytes:
    """Return gzip of a header line (none if empty) and rows; the same input gives the same bytes."""
    first = f"{header}\n".encode() if header else b""
    return gzip.compress(first + b"".join(bytes(chunk) for chunk in chunks), 1, mtime=0)
