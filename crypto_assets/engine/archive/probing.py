"""Finds what the listing of one symbol does not show: unlisted files, and the newest days of the other symbols.

A listing may be stale while the files exist: Binance's for aggTrades is said to have stopped at 2025-02-18 (facts differ;
another reading of it was current). So a day that should be there is requested by its name before it counts as missing.
`lifetime.py` decides whether a symbol without new files was delisted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.engine.archive.by_name import probe_all
from crypto_assets.engine.archive.files import holders_of, names_listed, spans_listed
from crypto_assets.engine.archive.holders import Files
from crypto_assets.model import Series, Span, Track
from crypto_assets.sources import ArchiveFeed
from crypto_assets.sources.publication import publication

if TYPE_CHECKING:
    from crypto_assets.engine.archive.site import ArchiveSite

PROBES = 12
"""The most files of one symbol that one run requests by name."""

RECENT_DAYS = 7
"""A look at a listing requests by name only days that are at most this old."""

PROBE_AFTER = timedelta(hours=4)
"""This long after its usual time an unlisted file is requested by name."""

_DAYS_LATE, _MONTHS_LATE = timedelta(days=14), timedelta(days=80)

_SAMPLE = 12
"""The number of other symbols whose newest day is read, spread over all listed symbols."""

_FIRST_STEP_DAYS = 40  # more than a month, because some files cover a month
_MEMORY = timedelta(minutes=10)


# ---- unlisted files ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The unlisted files that exist, with their days; all days that were requested by name; why the others could not be."""

    found: Sequence[Files]
    asked: frozenset[date]
    problem: str = ""


def unlisted(
    site: ArchiveSite,
    track: Track,
    days: Iterable[date],
    now: datetime,
) -> Unlisted:
    """Request unlisted days by name if they should exist by now: the newest, at most `PROBES` of them."""
    feed, name = sources.archives(track.series)[0], sources.name_of(*track)
    wanted: dict[tuple[str, ...], list[date]] = {}
    for day in sorted(days, reverse=True):
        keys = feed.keys(name, day)
        due_at = feed.covers(keys[-1]).end + feed.timing.earliest + PROBE_AFTER
        if now >= due_at and (keys in wanted or len(wanted) < PROBES):
            wanted.setdefault(keys, []).append(day)
    found, problem = probe_all(site, feed, list(dict.fromkeys(key for keys in wanted for key in keys)))
    asked = sorted(day for held in wanted.values() for day in held)
    holders = holders_of(feed, name, asked, found)
    return Unlisted(holders, frozenset() if problem else frozenset(asked), str(problem) if problem else "")


# ---- the newest days of other symbols ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest day of the sampled symbols, the size of the sample, and the symbols with recent days."""

    day: date | None
    asked: int
    symbols: tuple[str, ...]


_newest: dict[tuple[str, Series, date], tuple[datetime, Newest]] = {}
_newest_lock = threading.Lock()


def delisted_after(series: Series) -> timedelta:
    """Return how far the last file of a symbol must be behind the newest of the others before it may be delisted.

    Daily files were up to some days late, monthly files up to two weeks (binance-public-data #166, #181, #328, #414). After
    this time the question is asked, not decided: files of single symbols came a month late too (#302, #347).
    """
    return _MONTHS_LATE if publication(series).period == "month" else _DAYS_LATE


def newest_day(site: ArchiveSite, track: Track, now: datetime) -> Newest:
    """Return the newest days of the other symbols of a series; cached for ten minutes, as thousands of symbols need the same.

    Only files of the last weeks count: without any the sample tells nothing.
    """
    today = now.astimezone(UTC).date()
    memory = (site.listing_url, track.series, today)
    with _newest_lock:
        known = _newest.get(memory)
        if known and abs(now - known[0]) < _MEMORY:
            return known[1]
        found = _ask_others(site, track, today)
        for old in [name for name, (asked_at, _) in _newest.items() if abs(now - asked_at) >= _MEMORY]:
            del _newest[old]
        _newest[memory] = now, found
    return found


def _ask_others(site: ArchiveSite, track: Track, today: date) -> Newest:
    feed, own = sources.archives(track.series)[0], sources.name_of(*track)
    names = [name for name in (names_listed(site, feed) or ()) if name != own]
    step = max(1, len(names) // _SAMPLE)
    sample = names[::step][:_SAMPLE]
    since = today - 2 * delisted_after(track.series)
    newest: dict[str, date] = {}
    for name in sample:
        spans = spans_listed(site, feed, name, since, today, and_later=True)
        if day := max((span.last_day for span in spans), default=None):
            newest[name] = day
    return Newest(max(newest.values(), default=None), len(sample), tuple(newest))


def files_around(
    site: ArchiveSite,
    track: Track,
    day: date,
    first_listed: date,
    now: datetime,
) -> tuple[date | None, date | None]:
    """Return the last day of the files before an unlisted day, and the first day of the files after it.

    The preferred files are read first; the others only if these have none within some weeks before the day.

    Raises:
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    name, today = sources.name_of(*track), now.astimezone(UTC).date()
    befores, afters = [], []
    for feed in sources.archives(track.series):
        before, after = _around(site, feed, name, day, first_listed, max(day, today))
        befores += [before] if before else []
        afters += [after] if after else []
        if before and day - before <= timedelta(days=_FIRST_STEP_DAYS):
            break
    return max(befores, default=None), min(afters, default=None)


def _around(
    site: ArchiveSite, feed: ArchiveFeed, name: str, day: date, first_listed: date, today: date
) -> tuple[date | None, date | None]:
    """Return the last day before a day, and the first day after it, of the files of one feed.

    It searches an older file in growing steps back, down to the symbol's first file.
    """
    before, after, step = None, None, _FIRST_STEP_DAYS
    place = day - timedelta(days=step)
    for span in _onwards(site, feed, name, place, today):
        if span.first_day > day:
            after = span.first_day
            break
        before = span.last_day if span.last_day < day else before
    while before is None and place > first_listed:
        step = max(480, 2 * step)  # 480 days with their checksums fit on one page of 1,000 keys
        until, place = place, max(place - timedelta(days=step), first_listed)
        spans = spans_listed(site, feed, name, place, until)
        before = max((span.last_day for span in spans if span.last_day < day), default=None)
    return before, after


def _onwards(site: ArchiveSite, feed: ArchiveFeed, name: str, first: date, today: date) -> Iterator[Span]:
    """Yield the spans of the files from a day on; a listing that is asked by time is asked for growing times."""
    if feed.since is None:
        yield from spans_listed(site, feed, name, first, today, and_later=True)
        return
    step = 2 * _FIRST_STEP_DAYS
    while first <= today:
        last = min(first + timedelta(days=step), today)
        yield from spans_listed(site, feed, name, first, last)
        first, step = last + timedelta(days=1), 2 * step
