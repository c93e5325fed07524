"""The objects of Binance's archive of a world.

Path:    data/{tree}/{daily | monthly}/{dataset}/{symbol}/[{interval}/]{symbol}-{tag}-{date | month}.zip
         where `tree` is spot, futures/um or futures/cm, and `tag` is the interval for klines and the dataset otherwise;
         each has a `.CHECKSUM` (SHA-256) next to it.

A day is published at 08:00 UTC of the next day, a month on the 3rd of the next month. A month has files if all its days are
listed days. Funding rates exist by month only.

A listing shows size and ETag (MD5) of every object, and these need the bytes. So an object is generated when it is
first listed or downloaded; its size and digests are kept until the market changes (a few hundred bytes), its bytes as long as
`cache_bytes` allows. The first listing of a thousand keys of quiet days takes a few seconds, later ones almost no time; for
busy days (seconds for each object) the server ends a page early instead of answering late, as S3 may do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from crypto_assets.sandbox.cache import BoundedCache
from crypto_assets.sandbox.dialects.binance import layout
from crypto_assets.sandbox.dialects.binance.layout import Folder
from crypto_assets.sandbox.market import Market, days_between, instant, month_end
from crypto_assets.sandbox.objects import CHECKSUM, Digests, ObjectInfo
from crypto_assets.sandbox.world import World


@dataclass(frozen=True, slots=True)
class _Found:
    """An existing file: its folder, first day and publication time."""

    folder: Folder
    period: date
    published: datetime


class BinanceArchive:
    """The objects of Binance's archive of a world; `cache_bytes`: most bytes of generated objects kept in memory."""

    synthetic = True
    name = "synthetic-data.binance.vision"

    def __init__(self, world: World, cache_bytes: int = 256_000_000) -> None:
        self._world = world
        self._cache_bytes = cache_bytes
        self._folders: dict[str, Folder] = {}
        for item, first, last in world.listed.values():
            self._folders |= {folder.path: folder for folder in layout.folders(item, first, last)}
        # No folder path is a prefix of another (all end in a slash, only the innermost folders have files), so the keys of
        # sorted folders are sorted keys.
        self._order = sorted(self._folders)
        self._made: _Made | None = None

    @property
    def _now_made(self) -> _Made:
        """What was generated from the world's present market."""
        made, market = self._made, self._world.market
        if made is None or made.market is not market:
            made = self._made = _Made(market, self._cache_bytes)
        return made

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        # Start at the folder that may hold the first key, or the folder before it.
        start = max(0, bisect_right(self._order, max(prefix, after)) - 1)
        for path in self._order[start:]:
            if path.startswith(prefix) or prefix.startswith(path):
                names = [path + name for name in self._names(self._folders[path])]
                yield from (key for key in names[bisect_right(names, after) :] if key.startswith(prefix))
            elif path > prefix:
                return

    def info(self, key: str) -> ObjectInfo | None:
        found = self._find(key)
        if found is None:
            return None
        if key.endswith(CHECKSUM):
            content = self._checksum(key, found)
            return ObjectInfo(key, len(content), Digests.of(content).md5, found.published)
        digests = self._digests_of(key, found)
        return ObjectInfo(key, digests.size, digests.md5, found.published)

    def read(self, key: str) -> bytes | None:
        found = self._find(key)
        if found is None:
            return None
        return self._checksum(key, found) if key.endswith(CHECKSUM) else self._zip(key, found)

    def _names(self, folder: Folder) -> list[str]:
        """Return the names in one folder in order; a zip comes before its checksum, and dates sort as their text does."""
        names = []
        for period in self._periods(folder):
            name = folder.file_name(period)
            names += [name, name + CHECKSUM]
        return names

    def _periods(self, folder: Folder) -> Iterator[date]:
        """Yield the first days of the published days or months."""
        now = self._world.time
        for day in days_between(folder.first_day, folder.last_day):
            if folder.monthly and (day.day != 1 or month_end(day) > folder.last_day):
                continue
            if _published(folder, day) > now:
                return
            if layout.has_rows(self._world.market, folder, day):
                yield day

    def _find(self, key: str) -> _Found | None:
        """Look up a zip or its checksum, without generating it."""
        path, slash, name = key.rpartition("/")
        folder = self._folders.get(path + slash)
        period = folder.period(name.removesuffix(CHECKSUM)) if folder else None
        if folder is None or period is None:
            return None
        last = month_end(period) if folder.monthly else period
        published = _published(folder, period)
        if period < folder.first_day or last > folder.last_day or published > self._world.time:
            return None
        return _Found(folder, period, published) if layout.has_rows(self._world.market, folder, period) else None

    def _zip(self, key: str, found: _Found) -> bytes:
        made = self._now_made

        def make() -> bytes:
            content = layout.build(made.market, found.folder, found.period, found.published)
            if key not in made.digests:
                made.digests[key] = Digests.of(content)
            return content

        return made.files.get(key, make)

    def _digests_of(self, key: str, found: _Found) -> Digests:
        made = self._now_made
        if key not in made.digests:
            content = self._zip(key, found)
            return made.digests.get(key) or Digests.of(content)
        return made.digests[key]

    def _checksum(self, key: str, found: _Found) -> bytes:
        """Return the content of a checksum file; `key` is its own key."""
        of = key.removesuffix(CHECKSUM)
        return f"{self._digests_of(of, found).sha256}  {of.rpartition('/')[2]}\n".encode()


def _published(folder: Folder, period: date) -> datetime:
    if folder.monthly:
        return instant(month_end(period) + timedelta(days=3), 8)
    return instant(period + timedelta(days=1), 8)


class _Made:
    """The digests and bytes of the files that were generated from one market."""

    def __init__(self, market: Market, cache_bytes: int) -> None:
        self.market = market
        self.digests: dict[str, Digests] = {}
        self.files: BoundedCache[str, bytes] = BoundedCache(cache_bytes, len)
