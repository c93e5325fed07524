"""Finds what the listing of one symbol does not show: unlisted files, and the newest days of the other symbols.

A listing may be stale while the files exist: Binance's for aggTrades is said to have stopped at 2025-02-18 (facts differ;
another reading of it was current). So a day that should be there is requested by its name before it counts as missing.
`lifetime.py` decides whether a symbol without new files was delisted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from crypto_assets.engine.archive.listing import list_objects, list_prefixes
from crypto_assets.errors import OF_THIS_PROCESS, BadContainer, CryptoAssetsError, NotPublished
from crypto_assets.model import ArchiveObject, Series, Track
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.bounds import CHECKSUM

if TYPE_CHECKING:
    from crypto_assets.engine.archive.site import ArchiveSite
    from crypto_assets.sources import Exchange
    from crypto_assets.transport.client import Client, View

PROBES = 12
"""The most files of one symbol that one run requests by name."""

RECENT_DAYS = 7
"""A look at a listing requests by name only days that are at most this old."""

PROBE_AFTER = timedelta(hours=4)
"""This long after its usual time an unlisted file is requested by name."""

_DAYS_LATE, _MONTHS_LATE = timedelta(days=14), timedelta(days=80)

_SAMPLE = 12
"""The number of other symbols whose newest day is read, spread over all listed symbols."""

_PROBES_AT_ONCE = 4
_FIRST_STEP_DAYS = 40  # more than a month, because some files cover a month
_MEMORY = timedelta(minutes=10)


# ---- unlisted files ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Days with an unlisted file, all days that were requested by name, and why the others could not be."""

    found: Mapping[date, ArchiveObject]
    asked: frozenset[date]
    problem: str = ""


def probe(client: Client, archive_url: str, exchange: Exchange, key: str) -> ArchiveObject | None:
    """Return an object that exists although no listing shows it; None if it does not exist.

    The checksum is requested first: it has a hundred bytes, and a file without one cannot be used.

    Raises:
        HostUnreachable, HostRefused: the host does not answer the question.
    """
    try:
        archive = client.at(Endpoint(exchange.name, "archive", "archive"))
        if checksum := exchange.checksum_key(key):
            with contextlib.suppress(BadContainer):  # the file exists; the download will report what is wrong with it
                archive.get(f"{archive_url}/{checksum}", bound=CHECKSUM)
        headers = archive.head(f"{archive_url}/{key}").headers
    except NotPublished:
        return None
    modified = headers.get("last-modified")
    return ArchiveObject(
        key,
        int(headers.get("content-length") or 0),
        headers.get("etag", "").removeprefix("W/").strip('"'),
        parsedate_to_datetime(modified).astimezone(UTC) if modified else None,
    )


def unlisted(
    site: ArchiveSite,
    track: Track,
    days: Iterable[date],
    now: datetime,
) -> Unlisted:
    """Request unlisted days by name if they should exist by now: the newest, at most `PROBES`."""
    exchange, prefix = site.exchange, site.exchange.prefixes(*track)[0]
    keys: dict[str, list[date]] = {}
    for day in sorted(days, reverse=True):
        key = exchange.key(prefix, *track, day)
        end = datetime.combine(exchange.period(key)[1] + timedelta(days=1), time(), UTC)
        if now >= end + exchange.usual_delay(track.series) + PROBE_AFTER and (key in keys or len(keys) < PROBES):
            keys.setdefault(key, []).append(day)
    found, problem = probe_all(site.client, site.archive_url or exchange.archive_url, exchange, list(keys))
    asked = frozenset(day for held in keys.values() for day in held) if not problem else frozenset()
    return Unlisted({day: obj for key, obj in found.items() for day in keys[key]}, asked, problem)


def probe_all(
    client: Client, archive_url: str, exchange: Exchange, keys: Sequence[str]
) -> tuple[dict[str, ArchiveObject], str]:
    """Return the existing objects among `keys`, and why the host could not be asked for the rest, if so.

    The first key is requested alone: if the host does not answer, the others are not requested.
    """
    found: dict[str, ArchiveObject] = {}

    def ask(key: str) -> None:
        if obj := probe(client, archive_url, exchange, key):
            found[key] = obj

    try:
        for key in keys[:1]:
            ask(key)
        if keys[1:]:
            with ThreadPoolExecutor(_PROBES_AT_ONCE, "probe") as pool:
                list(pool.map(ask, keys[1:]))
    except OF_THIS_PROCESS:
        raise
    except CryptoAssetsError as error:
        return found, str(error)
    return found, ""


# ---- the newest days of other symbols ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest day of the sampled symbols, the size of the sample, and the symbols with recent days."""

    day: date | None
    asked: int
    symbols: tuple[str, ...]


_newest: dict[tuple[str, str, date], tuple[datetime, Newest]] = {}
_newest_lock = threading.Lock()


def delisted_after(exchange: Exchange, series: Series, symbol: str, day: date) -> timedelta:
    """Return how far the last file of a symbol must be behind the newest of the others before it may be delisted.

    Daily files were up to some days late, monthly files up to two weeks (binance-public-data #166, #181, #328, #414). After
    this time the question is asked, not decided: files of single symbols came a month late too (#302, #347).
    """
    prefix = exchange.prefixes(series, symbol)[0]
    first, last = exchange.period(exchange.key(prefix, series, symbol, day))
    return _DAYS_LATE if first == last else _MONTHS_LATE


def newest_day(site: ArchiveSite, track: Track, now: datetime) -> Newest:
    """Return the newest days of the other symbols of a series; cached for ten minutes, as thousands of symbols need the same.

    Only files of the last weeks count: without any the sample tells nothing.
    """
    universe = site.exchange.universe_prefix(track.series)
    today = now.astimezone(UTC).date()
    memory = (site.listing_url, f"{universe} {track.series.timeframe}", today)
    with _newest_lock:
        known = _newest.get(memory)
        if known and abs(now - known[0]) < _MEMORY:
            return known[1]
        found = _ask_others(_Asker(site.listing, site.listing_url, site.exchange), track, today)
        for old in [name for name, (asked_at, _) in _newest.items() if abs(now - asked_at) >= _MEMORY]:
            del _newest[old]
        _newest[memory] = now, found
    return found


def _ask_others(ask: _Asker, track: Track, today: date) -> Newest:
    exchange, (series, symbol) = ask.exchange, track
    universe, own = exchange.universe_prefix(series), exchange.exchange_symbol(symbol)
    prefix = exchange.prefixes(series, symbol)[0]
    mine = f"{universe}{own}/"
    if not prefix.startswith(mine):
        return Newest(None, 0, ())
    names = [
        child.removeprefix(universe).rstrip("/")
        for child in list_prefixes(ask.client, ask.url, universe, version=exchange.listing_version)
    ]
    names = [name for name in names if name != own]
    step = max(1, len(names) // _SAMPLE)
    sample = names[::step][:_SAMPLE]
    since = today - 2 * delisted_after(exchange, series, symbol, today)
    newest: dict[str, date] = {}
    for name in sample:
        theirs = prefix.replace(mine, f"{universe}{name}/", 1)
        key = exchange.key(prefix, series, symbol, since).replace(prefix, theirs, 1).replace(f"/{own}-", f"/{name}-", 1)
        if day := ask.newest(theirs, key):
            newest[name] = day
    return Newest(max(newest.values(), default=None), len(sample), tuple(newest))


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks a listing which days it has."""

    client: View
    url: str
    exchange: Exchange

    def newest(self, prefix: str, key: str) -> date | None:
        """Return the last day listed at or after a key."""
        return max((last for _, last in self.periods(prefix, key)), default=None)

    def periods(self, prefix: str, key: str, until: str | None = None) -> Iterator[tuple[date, date]]:
        """Yield the first and last day of each object from a key on, up to `until` if given."""
        version = self.exchange.listing_version
        after = key.removesuffix(".zip")
        for obj in list_objects(self.client, self.url, prefix, after=after, until=until, version=version):
            with contextlib.suppress(ValueError):  # a checksum, or a file without data
                yield self.exchange.period(obj.key)

    def around(self, prefix: str, track: Track, day: date, first_listed: date) -> tuple[date | None, date | None]:
        """Return the last day before a day, and the first day after it, of the files under a prefix.

        It searches an older file in growing steps back, down to the symbol's first file.
        """
        before, after, span = None, None, _FIRST_STEP_DAYS
        place = day - timedelta(days=span)
        for first, last in self.periods(prefix, self.exchange.key(prefix, *track, place)):
            if first > day:
                after = first
                break
            before = last if last < day else before
        while before is None and place > first_listed:
            span = max(480, 2 * span)  # 480 days with their checksums fit on one page of 1,000 keys
            until = self.exchange.key(prefix, *track, place)
            place = max(place - timedelta(days=span), first_listed)
            listed = self.periods(prefix, self.exchange.key(prefix, *track, place), until)
            before = max((last for _, last in listed if last < day), default=None)
        return before, after


def files_around(
    site: ArchiveSite,
    track: Track,
    day: date,
    first_listed: date,
) -> tuple[date | None, date | None]:
    """Return the last day of the files before an unlisted day, and the first day of the files after it.

    The preferred files are read first; the others only if these have none within some weeks before the day.

    Raises:
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    ask = _Asker(site.listing, site.listing_url, site.exchange)
    befores, afters = [], []
    for prefix in site.exchange.prefixes(*track):
        before, after = ask.around(prefix, track, day, first_listed)
        befores += [before] if before else []
        afters += [after] if after else []
        if before and day - before <= timedelta(days=_FIRST_STEP_DAYS):
            break
    return max(befores, default=None), min(afters, default=None)
