"""Reads the listing of a prefix, whole or only its end. Runs in threads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from crypto_assets import sources
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.engine.archive.listing import list_pages
from crypto_assets.engine.archive.probing import PROBE_AFTER, RECENT_DAYS, delisted_after, probe_all
from crypto_assets.ledger.catalog import Marks, Prefix, entry_digest, fingerprint, unpack
from crypto_assets.model import ArchiveObject, Series, Track, days_between
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of

if TYPE_CHECKING:
    from crypto_assets.transport.client import Client

RECENT = 10
"""Objects at the end of a prefix that every look reads again."""

PATROL = timedelta(days=7)
"""In this time every prefix is read once from beginning to end."""

PROBE_EVERY = timedelta(hours=6)
"""How often late files are requested by name."""


class Watch:
    """One entry of a collection, as the sensor watches it."""

    def __init__(self, collection: Collection, entry: SeriesEntry, patrol: timedelta = PATROL) -> None:
        self.entry = entry
        self.name = collection.name_of(entry)
        self.exchange = sources.get(entry.exchange)
        urls = collection.urls(entry.exchange)
        self.listing_url = urls.listing_url or self.exchange.listing_url
        self.archive_url = urls.archive_url or self.exchange.archive_url
        self.host = host_of(self.listing_url)
        self.digest = entry_digest(entry)
        self.patrol = patrol

    def prefixes(self) -> dict[str, Track]:
        """Return the preferred prefix of each symbol of each series."""
        return {self.exchange.prefixes(*track)[0]: track for track in self.entry.tracks}

    def due_at(self, row: Prefix, last_of_period: date) -> datetime:
        """Return when the object whose period ends on a day can appear, by the delays of earlier objects."""
        end = datetime(last_of_period.year, last_of_period.month, last_of_period.day, tzinfo=UTC) + timedelta(days=1)
        if row.delay_s is not None:
            return end + timedelta(seconds=row.delay_s)
        return end + self.exchange.usual_delay(row.track[0])

    def quiet(self, row: Prefix, newest: Mapping[str, date]) -> bool:
        """Whether nothing more is expected: the entry has ended, or the symbol seems to be delisted.

        It seems delisted if others of its dataset, by `newest`, continue long after its last day.
        """
        if row.last_day is None:
            return False
        if self.entry.end is not None and row.last_day >= self.entry.end:
            return True
        return row.dataset in newest and newest[row.dataset] - row.last_day > delisted_after(
            self.exchange, *row.track, row.last_day
        )


class Listed(NamedTuple):
    """An object, the ordinal of the last day of its period, and its fingerprint; a tuple, because there are millions."""

    obj: ArchiveObject
    last: int
    mark: bytes


@dataclass(slots=True)
class Reading:
    """The objects of a prefix from some day on, ascending by the ordinal of the first day of each object's period.

    `probed` are the objects that no listing shows.
    """

    row: Prefix
    walk: bool
    objects: dict[int, Listed]
    first_day: date | None
    probed: set[int] = field(default_factory=set)
    asked_by_name: bool = False

    @property
    def marks(self) -> Marks:
        return {day: listed.mark for day, listed in self.objects.items()}

    @property
    def first(self) -> bool:
        """Whether the prefix was never read, or not from the entry's start."""
        return self.row.since is None


class Reader:
    """Reads one listing host; every method may be called from many threads."""

    def __init__(self, client: Client, watch: Watch, newest: Mapping[str, date], now: datetime) -> None:
        self._client = client
        self._listing = client.at(Endpoint(watch.exchange.name, "listing", "listing"))
        self._watch = watch
        self._newest = newest
        self._now = now
        self._today = now.astimezone(UTC).date()

    def read(self, row: Prefix, walk: bool) -> Reading:
        """Return the listed objects of the entry's days; only the last ones if the rest is known and `walk` is false.

        Raises:
            ListingError, HostUnreachable, HostRefused: the listing could not be read.
        """
        start = self._watch.entry.start
        known = sorted(unpack(row.recent))
        from_start = row.since is None or walk
        since = start if from_start else date.fromordinal(known[0]) if known else None
        # A prefix that was never read is listed from its first key on, the day of the listing.
        after = "" if row.since is None or since is None else self._just_before(row, since)
        objects: dict[int, Listed] = {}
        while True:
            for found in self._listed(row, after):
                objects |= found
                if since and not after and objects and max(objects) < since.toordinal() - 1:
                    break  # history before the entry's start: skip to the start
            else:
                break
            after = self._just_before(row, since)
        first_days = [row.first_day] if row.first_day else []
        if objects:
            first_days.append(date.fromordinal(min(objects)))
        wanted = {day: objects[day] for day in sorted(objects) if objects[day].last >= start.toordinal()}
        reading = Reading(row, walk, wanted, min(first_days, default=None))
        self._probe(reading, {*objects, *known})
        return reading

    def _listed(self, row: Prefix, after: str) -> Iterator[dict[int, Listed]]:
        """Yield the objects of each page by the ordinal of their first day, up to the entry's end."""
        version = self._watch.exchange.listing_version
        end = self._watch.entry.until(date.max).toordinal()
        for page in list_pages(self._listing, self._watch.listing_url, row.prefix, after=after, version=version):
            found = {}
            for obj in page:
                if period := self._period(obj, row.prefix, *row.track):
                    first, last = period
                    found[first] = Listed(obj, last, fingerprint(obj))
            yield {first: listed for first, listed in found.items() if first <= end}
            if max(found, default=0) > end:
                return

    def _just_before(self, row: Prefix, day: date) -> str:
        series, symbol = row.track
        return self._watch.exchange.key(row.prefix, series, symbol, day).removesuffix(".zip")

    def _period(self, obj: ArchiveObject, prefix: str, series: Series, symbol: str) -> tuple[int, int] | None:
        """Return the ordinals of an object's first and last day; None for a checksum, or a key unlike its day."""
        if not obj.key.endswith(".zip"):
            return None
        try:
            first, last = self._watch.exchange.period(obj.key)
        except ValueError:
            return None
        if self._watch.exchange.key(prefix, series, symbol, first) != obj.key:
            return None
        return first.toordinal(), last.toordinal()

    def _probe(self, reading: Reading, listed: set[int]) -> None:
        """Request days of the last week by name that should exist by now and are not listed."""
        row = reading.row
        if row.since is None or not row.recent or self._watch.quiet(row, self._newest):
            return
        if row.probed_at is not None and self._now - row.probed_at < PROBE_EVERY:
            return
        series, symbol = row.track
        keys: dict[str, tuple[int, int]] = {}
        newest = self._newest.get(row.dataset)
        for day in days_between(self._today - timedelta(days=RECENT_DAYS), self._today - timedelta(days=1)):
            key = self._watch.exchange.key(row.prefix, series, symbol, day)
            first, last = self._watch.exchange.period(key)
            others_have_later = newest is not None and newest > last
            late = self._now >= self._watch.due_at(row, last) + PROBE_AFTER
            if self._watch.entry.has(first) and first.toordinal() not in listed and (late or others_have_later):
                keys[key] = first.toordinal(), last.toordinal()
        if keys:
            reading.asked_by_name = True
            found, _ = probe_all(self._client, self._watch.archive_url, self._watch.exchange, list(keys)[::-1])
            added = {keys[key][0]: Listed(obj, keys[key][1], fingerprint(obj)) for key, obj in found.items()}
            reading.probed = set(added)
            reading.objects = dict(sorted((reading.objects | added).items()))
