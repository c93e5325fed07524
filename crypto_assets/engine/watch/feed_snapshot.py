"""Reads the listing of a feed, whole or only its end. Runs in threads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from crypto_assets import sources
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.engine.archive.by_name import probe_all
from crypto_assets.engine.archive.files import is_of, objects_of, shows_no_version, span_of, wanted_between
from crypto_assets.engine.archive.listing import list_pages
from crypto_assets.engine.archive.probing import PROBE_AFTER, RECENT_DAYS, delisted_after
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.ledger.catalog import Marks, WatchedFeed, entry_digest, fingerprint, unpack
from crypto_assets.model import ArchiveObject, Span, Track, days_between
from crypto_assets.sources import ArchiveFeed
from crypto_assets.sources.listings import Wanted
from crypto_assets.text.urls import host_of

if TYPE_CHECKING:
    from crypto_assets.transport.client import Client

RECENT = 10
"""Objects at the end of a feed that every look reads again."""

PATROL = timedelta(days=7)
"""In this time every feed is read once from beginning to end."""

CONFIRMED_AT_ONCE = 50
"""Files of one feed that a walk asks for by name, where a listing shows neither etag nor time."""

PROBE_EVERY = timedelta(hours=6)
"""How often late files are requested by name."""


class Watch:
    """One entry of a collection, as the sensor watches it: the preferred archive feed of each symbol of each series."""

    def __init__(self, collection: Collection, entry: SeriesEntry, patrol: timedelta = PATROL) -> None:
        self.entry = entry
        self.name = collection.name_of(entry)
        urls, source = collection.urls(entry.exchange), sources.get(entry.exchange)
        self.listing_url = urls.listing_url or source.listing_url
        self.archive_url = urls.archive_url or source.archive_url
        self.host = host_of(self.listing_url)
        self.digest = entry_digest(entry)
        self.patrol = patrol

    def site(self, client: Client) -> ArchiveSite:
        """Return the archive at the addresses of the collection."""
        return ArchiveSite(client, sources.get(self.entry.exchange), self.listing_url, self.archive_url)

    def feeds(self) -> dict[str, Track]:
        """Return the watched tracks by the path of their feed; series without an archive have none."""
        return {
            f"{track.series.market_type}/{track.series.dataset}/{track.symbol}/{feeds[0].name}": track
            for track in self.entry.tracks
            if (feeds := sources.archives(track.series))
        }

    def due_at(self, row: WatchedFeed, span: Span) -> datetime:
        """Return when the file of a span can appear, by the delays of earlier files."""
        if row.delay_s is not None:
            return span.end + timedelta(seconds=row.delay_s)
        return span.end + sources.archives(row.track.series)[0].timing.earliest

    def quiet(self, row: WatchedFeed, newest: Mapping[str, date]) -> bool:
        """Whether nothing more is expected: the entry has ended, or the symbol seems to be delisted.

        It seems delisted if others of its dataset, by `newest`, continue long after its last day.
        """
        if row.last_day is None:
            return False
        if self.entry.end is not None and row.last_day >= self.entry.end:
            return True
        return row.dataset in newest and newest[row.dataset] - row.last_day > delisted_after(row.track.series)


class Listed(NamedTuple):
    """An object, the ordinal of the last day of its span, and its fingerprint; a tuple, because there are millions."""

    obj: ArchiveObject
    last: int
    mark: bytes


@dataclass(slots=True)
class Reading:
    """The objects of a feed from some day on, ascending by the ordinal of the first day of each object's span.

    `probed` are the objects that no listing shows. `confirmed` are objects as the host described them when it was asked for
    each by name, because their listing shows neither etag nor time.
    """

    row: WatchedFeed
    walk: bool
    objects: dict[int, Listed]
    first_day: date | None
    probed: set[int] = field(default_factory=set)
    asked_by_name: bool = False
    confirmed: dict[int, Listed] = field(default_factory=dict)

    @property
    def marks(self) -> Marks:
        return {day: listed.mark for day, listed in self.objects.items()}

    @property
    def first(self) -> bool:
        """Whether the feed was never read, or not from the entry's start."""
        return self.row.since is None

    def is_whole(self, day: int) -> bool:
        """Return whether every file of a day is known; `day` is its ordinal."""
        series, symbol = self.row.track
        feed = sources.archives(series)[0]
        keys = feed.keys(sources.name_of(series, symbol), date.fromordinal(day))
        if len(keys) == 1:
            return True
        firsts = {feed.covers(key).first_day.toordinal() for key in keys}
        return firsts <= self.objects.keys() | unpack(self.row.recent).keys()


class Reader:
    """Reads one listing host; every method may be called from many threads."""

    def __init__(self, client: Client, watch: Watch, newest: Mapping[str, date], now: datetime) -> None:
        self._site = watch.site(client)
        self._watch = watch
        self._newest = newest
        self._now = now
        self._today = now.astimezone(UTC).date()

    def read(self, row: WatchedFeed, walk: bool) -> Reading:
        """Return the listed objects of the entry's days; only the last ones if the rest is known and `walk` is false.

        Raises:
            ListingError, HostUnreachable, HostRefused: the listing could not be read.
        """
        start = self._watch.entry.start
        known = sorted(unpack(row.recent))
        from_start = row.since is None or walk
        since = start if from_start else date.fromordinal(known[0]) if known else None
        feed = sources.archives(row.track.series)[0]
        # A feed that was never read is listed from its first key on, the day of the listing, where a listing can tell.
        begin = None if row.since is None and feed.since is None else since
        objects: dict[int, Listed] = {}
        while True:
            for found in self._listed(row, begin):
                objects |= found
                if since and begin is None and objects and max(objects) < since.toordinal() - 1:
                    break  # history before the entry's start: skip to the start
            else:
                break
            begin = since
        first_days = [row.first_day] if row.first_day else []
        if objects:
            first_days.append(date.fromordinal(min(objects)))
        wanted = {day: objects[day] for day in sorted(objects) if objects[day].last >= start.toordinal()}
        reading = Reading(row, walk, wanted, min(first_days, default=None))
        self._probe(reading, {*objects, *known})
        if walk:
            bare = {first: listed for first, listed in wanted.items() if shows_no_version(listed.obj)}
            reading.confirmed = self._confirmed(feed, bare)
        return reading

    def _confirmed(self, feed: ArchiveFeed, objects: Mapping[int, Listed]) -> dict[int, Listed]:
        """Ask for some of the listed files by name, others at each walk, so that all are asked for in a few walks."""
        rounds = max(1, -(-len(objects) // CONFIRMED_AT_ONCE))
        turn = int(self._now.timestamp() // self._watch.patrol.total_seconds()) % rounds
        mine = {listed.obj.key: first for first, listed in objects.items() if first % rounds == turn}
        found, _ = probe_all(self._site, feed, list(mine))
        return {mine[key]: Listed(obj, objects[mine[key]].last, fingerprint(obj)) for key, obj in sorted(found.items())}

    def _listed(self, row: WatchedFeed, begin: date | None) -> Iterator[dict[int, Listed]]:
        """Yield the objects of each page by the ordinal of their first day, up to the entry's end.

        Args:
            begin: the first day; None: from the first key on.
        """
        feed, name = sources.archives(row.track.series)[0], sources.name_of(*row.track)
        end = self._watch.entry.until(date.max).toordinal()
        for page in self._pages(feed, name, begin):
            found = {}
            for obj in page:
                if (span := span_of(feed, obj.key)) and is_of(feed, name, obj.key, span):
                    found[span.first_day.toordinal()] = Listed(obj, span.last_day.toordinal(), fingerprint(obj))
            yield {first: listed for first, listed in found.items() if first <= end}
            if max(found, default=0) > end:
                return

    def _pages(self, feed: ArchiveFeed, name: str, begin: date | None) -> Iterator[list[ArchiveObject]]:
        last = self._watch.entry.until(self._today)
        if feed.listing is None:
            days = days_between(max(begin or self._watch.entry.start, feed.since or date.min), last)
            yield list(objects_of(self._site, feed, name, days).values())
        elif begin is None and feed.since is not None:
            yield from self._pages(feed, name, max(feed.since, self._watch.entry.start))
        elif begin is None:
            yield from list_pages(self._site, feed.listing, Wanted(feed.prefix(name)))
        else:
            wanted = wanted_between(feed, name, begin, max(begin, last))
            yield from list_pages(self._site, feed.listing, replace(wanted, until=None))

    def _probe(self, reading: Reading, listed: set[int]) -> None:
        """Request days of the last week by name that should exist by now and are not listed."""
        row = reading.row
        if row.since is None or not row.recent or self._watch.quiet(row, self._newest):
            return
        if row.probed_at is not None and self._now - row.probed_at < PROBE_EVERY:
            return
        feed, name = sources.archives(row.track.series)[0], sources.name_of(*row.track)
        spans: dict[str, Span] = {}
        newest = self._newest.get(row.dataset)
        for day in days_between(self._today - timedelta(days=RECENT_DAYS), self._today - timedelta(days=1)):
            for key in feed.keys(name, day):
                span = feed.covers(key)
                others_have_later = newest is not None and newest > span.last_day
                late = self._now >= self._watch.due_at(row, span) + PROBE_AFTER
                unknown = self._watch.entry.has(day) and span.first_day.toordinal() not in listed
                if unknown and (late or others_have_later):
                    spans[key] = span
        if spans:
            reading.asked_by_name = True
            found, _ = probe_all(self._site, feed, list(spans)[::-1])
            added = {
                spans[key].first_day.toordinal(): Listed(obj, spans[key].last_day.toordinal(), fingerprint(obj))
                for key, obj in found.items()
            }
            reading.probed = set(added)
            reading.objects = dict(sorted((reading.objects | added).items()))
