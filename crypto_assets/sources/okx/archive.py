"""OKX's archive: daily files on https://static.okx.com, found by the index `market-data-history`.

Path: cdn/okex/traderecords/{trades|candlesticks}/daily/{YYYYMMDD}/{INSTID}-{trades|candlesticks}-{YYYY-MM-DD}.zip
      cdn/okex/traderecords/swaprates/daily/{YYYYMMDD}/allswap-fundingrates-{YYYY-MM-DD}.zip: all perpetuals in one file
Day:  of a file is UTC+8, so it runs from 16:00 UTC of the day before to 16:00 UTC; two files hold a UTC day together.
Index: GET https://www.okx.com/api/v5/public/market-data-history, documented since 2025-09-02: at most 20 days a call,
      5 requests in 2 seconds. `begin` and `end` are milliseconds, both included, and name files by the first instant of their
      day. Spot is asked for by `instIdList`, contracts by `instFamilyList`, the daily funding rates by `instFamilyList=ANY`;
      a family holds other contracts too, which are left out here. The storage itself lists nothing.
      It gives a URL for each file; its path is the key, also where it differs from the paths above. Its `sizeMB` is rounded
      and proves nothing.
Published two days after the UTC+8 day (OKX's documentation: "T+2"). No checksum; the ETag is the MD5, in letters of
either case. First days as measured by others: trades 2021-09, bars 2019-12, funding rates 2021-09.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from crypto_assets.errors import HostRefused, ListingError
from crypto_assets.model import ArchiveObject, Series, Span
from crypto_assets.model.epoch import milliseconds
from crypto_assets.sources.feeds import Digest, Timing
from crypto_assets.sources.listings.json_index import JsonIndex
from crypto_assets.sources.okx.rows import read_rows
from crypto_assets.sources.okx.symbols import exchange_name, family_of, kind_of
from crypto_assets.sources.packing import CSV_IN_ZIP, Text

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.model import Instrument

_FOLDER = "cdn/okex/traderecords"
_DAY = timedelta(days=1)
_ZONE = timezone(timedelta(hours=8))
_RATE_LIMIT = "50011"
# No service for now, timeout, busy, system error: "try again later" (OKX's error codes).
_PASSING = frozenset({"50001", "50004", "50013", "50026"})


@dataclass(frozen=True, slots=True)
class _Tree:
    """One part of the archive: its folder, its word in the names of files, its number in the index, and its first day."""

    folder: str
    word: str
    module: int
    since: date
    bundle: str = ""


_TREES = {
    "trades": _Tree("trades", "trades", 1, date(2021, 9, 1)),
    "ohlcv": _Tree("candlesticks", "candlesticks", 2, date(2019, 12, 1)),
    "funding_rates": _Tree("swaprates", "fundingrates", 3, date(2021, 9, 1), bundle="allswap"),
}


@dataclass(frozen=True)
class OkxFiles:
    """The daily files of one series.

    The index is asked for one symbol, and the paths of its files begin with their day: `prefix` names the folder and, after a
    `#`, the symbol.
    """

    series: Series

    name = "daily"
    final = True
    universe = None
    packing = CSV_IN_ZIP
    timing = Timing(timedelta(days=1), timedelta(days=2), timedelta(days=5))

    @property
    def bundles(self) -> bool:
        return bool(self._tree.bundle)

    @property
    def whole(self) -> bool:
        return self.series.table == "funding_rates"  # an interval is the time between two rows

    @property
    def since(self) -> date:
        return self._tree.since

    @cached_property
    def listing(self) -> JsonIndex:
        return JsonIndex(OkxIndex(self._tree))

    def prefix(self, name: str) -> str:
        return f"{_FOLDER}/{self._tree.folder}/daily/#{name}"

    def keys(self, name: str, day: date) -> tuple[str, ...]:
        return self._key(name, day), self._key(name, day + _DAY)

    def covers(self, key: str) -> Span:
        match = self._file.fullmatch(key)
        if not match:
            raise ValueError(f"{key}: expected a key like {self._key('BTC-USDT', date(2024, 1, 31))}")
        start = datetime.combine(date.fromisoformat(match[1]), time(), _ZONE).astimezone(UTC)
        return Span(start, start + _DAY)

    def digest(self, key: str) -> Digest:  # noqa: ARG002  of every file
        return Digest("md5", None)

    def parse(self, symbol: str, key: str, text: Text, instrument: Instrument | None = None) -> pa.Table:
        return read_rows(self.series, exchange_name(symbol), key, text, instrument, bundle=self.bundles)

    @property
    def _tree(self) -> _Tree:
        return _TREES[self.series.table]

    def _key(self, name: str, day: date) -> str:
        return f"{_FOLDER}/{self._tree.folder}/daily/{day:%Y%m%d}/{_file_name(self._tree, name, day.isoformat())}"

    @cached_property
    def _file(self) -> re.Pattern[str]:
        name = self._tree.bundle or r"(?!all(?:spot|swap|futures|option)-)[^/]+"
        return re.compile(rf"(?:[^/]+/)+{name}-{self._tree.word}-(\d{{4}}-\d{{2}}-\d{{2}})\.zip", re.ASCII)


@dataclass(frozen=True, slots=True)
class OkxIndex:
    """The index `market-data-history` of one part of the archive."""

    tree: _Tree

    path = "api/v5/public/market-data-history"
    longest = timedelta(days=20)

    def params(self, prefix: str, window: Span) -> Mapping[str, str]:
        name = _name(prefix)
        kind = kind_of(name)
        if self.tree.bundle:
            asked = {"instFamilyList": "ANY"}
        elif kind == "SPOT":
            asked = {"instIdList": name}
        else:
            asked = {"instFamilyList": family_of(name)}
        return {
            "module": str(self.tree.module),
            "instType": kind,
            **asked,
            "dateAggrType": "daily",
            "begin": str(milliseconds(window.start)),
            "end": str(milliseconds(window.end) - 1),
        }

    def objects(self, prefix: str, answer: Any) -> list[ArchiveObject]:
        code = answer["code"]
        if code != "0":
            shown = f"{self.path} ({prefix}): expected code 0, found {str(code)[:20]} {str(answer.get('msg'))[:200]}"
            if code == _RATE_LIMIT or code in _PASSING:
                raise HostRefused(f"{shown}; it will be tried again", status=429 if code == _RATE_LIMIT else 503)
            raise ListingError(f"{shown}; check listing_url and the symbol")
        wanted = re.compile(re.escape(_file_name(self.tree, _name(prefix), "DAY")).replace("DAY", r"\d{4}-\d{2}-\d{2}"))
        found: dict[str, str] = {}
        for group in answer["data"]:
            for detail in group["details"]:
                for file in detail["groupDetails"]:
                    if not wanted.fullmatch(file["filename"]):
                        continue
                    key = _key_of(file["url"])
                    if key.rpartition("/")[2] != file["filename"] or found.setdefault(file["filename"], key) != key:
                        raise ValueError(f"one URL that ends in {file['filename'][:100]}, found {file['url'][:200]}")
        return [ArchiveObject(key, 0, "") for key in found.values()]


def _file_name(tree: _Tree, name: str, day: str) -> str:
    return f"{tree.bundle or name}-{tree.word}-{day}.zip"


def _name(prefix: str) -> str:
    return prefix.partition("#")[2]


def _key_of(url: str) -> str:
    """Return the key in a URL: its path, from `cdn/` on where it has that (a proxy may put something before)."""
    path = unquote(urlsplit(url).path)
    _, found, rest = path.partition("/cdn/")
    return f"cdn/{rest}" if found else path.lstrip("/")
