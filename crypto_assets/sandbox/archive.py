"""The objects of a Binance-like archive: synthetic ones, or the files of a folder.

Path:    data/{spot | futures/um}/{daily | monthly}/{dataset}/{symbol}/[{interval}/]{symbol}-{tag}-{date | month}.zip
         where `tag` is the interval for klines and the dataset otherwise; each has a `.CHECKSUM` (SHA-256) next to it.

A listing shows size and ETag (MD5) of every object, and these need the bytes. So an object is generated when it is
first listed or downloaded; its size and digests are kept forever (a few hundred bytes), its bytes as long as
`cache_bytes` allows. The first listing of a thousand keys of quiet days takes a few seconds, later ones almost no time; for
busy days (seconds for each object) the server ends a page early instead of answering late, as S3 may do.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

from crypto_assets.sandbox import layout
from crypto_assets.sandbox.cache import BoundedCache
from crypto_assets.sandbox.layout import Folder
from crypto_assets.sandbox.market import Instrument, Market, days_between, instant, instrument, month_end
from crypto_assets.sandbox.outage import Quiet, SilentMarket

CHECKSUM = ".CHECKSUM"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The listing entry of one object. `etag` is MD5 in hex, without quotes."""

    key: str
    size: int
    etag: str
    last_modified: datetime


class Source(Protocol):
    """The source of a sandbox's archive. Methods may block and are called from threads."""

    name: str
    synthetic: bool

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix` and follow `after`, in the order of their UTF-8 bytes."""

    def info(self, key: str) -> ObjectInfo | None:
        """Return size, ETag and time of one object; None if it does not exist."""

    def read(self, key: str) -> bytes | None:
        """Return the content of one object; None if it does not exist."""


@dataclass(frozen=True, slots=True)
class _Digests:
    size: int
    md5: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An existing file: its folder, first day and publication time."""

    folder: Folder
    period: date
    published: datetime


def _digests(content: bytes) -> _Digests:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return _Digests(len(content), md5, hashlib.sha256(content).hexdigest())


class SyntheticArchive:
    """An archive of a synthetic market, see `market.py`.

    Args:
        symbols: by market (`spot`, `linear`) the exchange's own symbols; or a mapping of symbol to first and last listed day.
        first_day, last_day: for symbols without their own days; both included.
        trades_per_day: of every symbol; from 1,440 on every minute has a trade.
        now: objects published later do not exist yet; None: the real time. May be changed later: time passes.
        cache_bytes: most bytes of generated objects kept in memory.

    A day is published at 08:00 UTC of the next day, a month on the 3rd of the next month. A month has files if all
    its days are listed days. Funding rates exist by month only. A dated future such as BTCUSDT_240628 ends at 08:00 of
    the day in its name.
    """

    synthetic = True
    name = "synthetic-data.binance.vision"

    def __init__(
        self,
        symbols: Mapping[str, Sequence[str] | Mapping[str, tuple[date, date]]],
        first_day: date = date(2024, 1, 1),
        last_day: date = date(2024, 1, 10),
        seed: int = 0,
        trades_per_day: int = 6_000,
        now: datetime | None = None,
        cache_bytes: int = 256_000_000,
    ) -> None:
        self.now = now
        self._folders: dict[str, Folder] = {}
        self.listed: dict[tuple[str, str], tuple[Instrument, date, date]] = {}
        # REST serves no older trades by id, by market and symbol (binance-public-data #376).
        self.oldest_ids: dict[tuple[str, str], int] = {}
        for market, listed in symbols.items():
            spans = listed if isinstance(listed, Mapping) else dict.fromkeys(listed, (first_day, last_day))
            for symbol, (first, last) in spans.items():
                item = instrument(market, symbol, trades_per_day)
                self.listed[market, symbol] = item, first, last
                self._folders |= {folder.path: folder for folder in layout.folders(item, first, last)}
        # No folder path is a prefix of another (all end in a slash, only the innermost folders have files), so the keys of
        # sorted folders are sorted keys.
        self._order = sorted(self._folders)
        self._seed = seed
        self._cache_bytes = cache_bytes
        self._expired = [Quiet(end, None, symbol, listed=False) for _, symbol in self.listed if (end := expiry(symbol))]
        self.stand_still([])

    @property
    def market(self) -> Market:
        """The market; the published files follow from it."""
        return self._market

    def stand_still(self, quiet: Sequence[Quiet]) -> None:
        """Stop all trading in exactly these spans, in all published data. Contracts still expire."""
        quiet = [*self._expired, *quiet]
        self._market = SilentMarket(self._seed, quiet) if quiet else Market(self._seed)
        self._known: dict[str, _Digests] = {}
        self._bytes: BoundedCache[str, bytes] = BoundedCache(self._cache_bytes, len)

    def listed_until(self, market: str, symbol: str) -> datetime:
        """Return when a symbol ends: by a fault or its name, else with its last day."""
        item, _, last_day = self.listed[market, symbol]
        end = instant(last_day + timedelta(days=1), 0)
        return min(self._market.listed_until(item) or end, end)

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
            return ObjectInfo(key, len(content), _digests(content).md5, found.published)
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
        now = self.now or datetime.now(UTC)
        for day in days_between(folder.first_day, folder.last_day):
            if folder.monthly and (day.day != 1 or month_end(day) > folder.last_day):
                continue
            if _published(folder, day) > now:
                return
            if layout.has_rows(self._market, folder, day):
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
        if period < folder.first_day or last > folder.last_day or published > (self.now or datetime.now(UTC)):
            return None
        return _Found(folder, period, published) if layout.has_rows(self._market, folder, period) else None

    def _zip(self, key: str, found: _Found) -> bytes:
        def make() -> bytes:
            content = layout.build(self._market, found.folder, found.period, found.published)
            if key not in self._known:
                self._known[key] = _digests(content)
            return content

        return self._bytes.get(key, make)

    def _digests_of(self, key: str, found: _Found) -> _Digests:
        if key not in self._known:
            self._zip(key, found)
        return self._known[key]

    def _checksum(self, key: str, found: _Found) -> bytes:
        """Return the content of a checksum file; `key` is its own key."""
        of = key.removesuffix(CHECKSUM)
        return f"{self._digests_of(of, found).sha256}  {of.rpartition('/')[2]}\n".encode()


def _published(folder: Folder, period: date) -> datetime:
    if folder.monthly:
        return instant(month_end(period) + timedelta(days=3), 8)
    return instant(period + timedelta(days=1), 8)


def expiry(symbol: str) -> datetime | None:
    """Return when a dated future expires: at 08:00 UTC of the day in its name, such as BTCUSDT_240628; else None."""
    base, _, digits = symbol.partition("_")
    if not base or len(digits) != 6 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return instant(datetime.strptime(digits, "%y%m%d").date(), 8)  # noqa: DTZ007 - a day
    except ValueError:
        return None


class FolderArchive:
    """The files below a folder, read at each request; a key is the path relative to the folder."""

    synthetic = False

    def __init__(self, folder: Path, name: str = "data.binance.vision") -> None:
        self.name = name
        self._folder = folder.resolve()
        if not self._folder.is_dir():
            raise NotADirectoryError(f"{folder}: expected a folder of archive files")
        self._known: dict[str, tuple[int, int, str]] = {}

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        # Start at the deepest folder with every match, so that a small listing does not walk everything.
        top = self._path(prefix.rpartition("/")[0])
        if top is None or not top.is_dir():
            return
        found = (path.relative_to(self._folder).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(key for key in found if key.startswith(prefix) and key > after)

    def info(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        state = path.stat()
        known = self._known.get(key)
        if known is None or known[:2] != (state.st_mtime_ns, state.st_size):
            with path.open("rb") as file:
                known = state.st_mtime_ns, state.st_size, hashlib.file_digest(file, "md5").hexdigest()
            self._known[key] = known
        return ObjectInfo(key, state.st_size, known[2], datetime.fromtimestamp(state.st_mtime, UTC))

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        return path.read_bytes() if path is not None and path.is_file() else None

    def _path(self, key: str) -> Path | None:
        """Return the path of a key, None if it would lie outside the folder."""
        try:
            path = (self._folder / key).resolve()
        except ValueError:  # a zero byte in the key
            return None
        return path if path.is_relative_to(self._folder) else None
