"""Looks at the archive of one entry: lists the feeds that are due, and finds objects that appeared or changed.

A feed is listed again when its next day can appear (its own last delays say when), at growing intervals while it is late,
and hourly for its last ten objects in any case. Each feed is also walked from beginning to end once per patrol, for files
that appeared late or were published again far back. Discoveries are committed as they come; a look ends soon after the first
news.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets import sources
from crypto_assets.engine.watch.feed_snapshot import RECENT, Listed, Reader, Reading, Watch
from crypto_assets.errors import CryptoAssetsError, HostUnreachable
from crypto_assets.ledger.catalog import MARK_BYTES, Catalog, Marks, Seen, WatchedFeed, pack
from crypto_assets.ledger.discoveries import Discovery
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import ArchiveObject, Series
from crypto_assets.model.provenance import same_file

if TYPE_CHECKING:
    from crypto_assets.transport.client import Client

EVERY = timedelta(hours=1)
QUIET_EVERY = timedelta(hours=6)
"""How often the end of a feed is read in any case; less often where nothing more is expected: the symbol seems delisted, or
the entry ends."""

WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 30, 60))
"""Intervals between looks for a late object, and at a feed whose look failed."""

LISTINGS = 16
"""Listings read at once; eight at once were fine with Binance's host, which answered within a second."""

BUDGET_S = 20.0
"""Seconds after which a look ends; Dagster gives a sensor 60. The next look continues with what is still due."""

SETTLE_S, GRACE_S = 0.3, 0.4
"""Seconds after the first news in which further listings are requested, and then in which answers are still accepted: the
discoveries of the first answer are requested within a second."""

OTHERS_S = 3.0
"""Seconds after the news of another entry in which an entry is looked at: they often publish at the same minute. First looks,
which may take long, end as soon as the entry with the news does."""

_GLANCE_S = 0.1
"""How often a look that waits for its host learns of the news of other entries."""

HANGING_S = 5.0
"""Seconds after the budget in which answers are still accepted: a host that sends slowly must not block the tick."""

GIVE_UP = 3
"""Failures in a row, before any success, that end a look: then the host is failing."""

FRESH_DAYS = 3
_CONFIRMED = "confirmed"
PRIORITIES = {"fresh": 10, "new": 5, "late": 5, "probed": 5, "republished": 3, _CONFIRMED: 3, "history": 1}
"""Priorities of the run that collects a discovery; the last three days are fresh, unless they were republished."""

_CHUNK = 256
_WALKS = 8


@dataclass(slots=True)
class Look:
    """The result of one look: feeds looked at and walked, discoveries, and `news` if these are more than first looks.

    `unread` are the feeds that could not be read, with the time of another attempt.
    """

    looked: int = 0
    walked: int = 0
    found: int = 0
    news: bool = False
    failures: int = 0
    error: CryptoAssetsError | None = None
    unread: list[Seen] = field(default_factory=list)

    @property
    def has_read(self) -> bool:
        """Whether anything could be read."""
        return self.looked + self.walked > 0


@dataclass(slots=True)
class News:
    """When the first news of a tick came, by the monotonic clock; None: not yet. The looks of a tick share it."""

    at: float | None = None

    def note(self) -> None:
        """Note the first news."""
        self.at = self.at or time.monotonic()


def look(
    client: Client,
    watch: Watch,
    catalog: Catalog,
    now: datetime,
    budget_s: float = BUDGET_S,
    *,
    at_once: int = LISTINGS,
    elsewhere: News | None = None,
    patience_s: float = OTHERS_S,
) -> Look:
    """List the due feeds, commit the discoveries, and return the result.

    A feed whose listing cannot be read is tried again later. If nothing at all could be read, `error` says why, and every
    feed stays due.

    Args:
        at_once: listings read at the same time.
        elsewhere: the news of other looks of the same tick.
        patience_s: this look ends so many seconds after such news.
    """
    return _Looker(client, watch, catalog, now).run(budget_s, at_once, elsewhere or News(), patience_s)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """News about one symbol, of one kind and priority: the days, ascending, and the object of each."""

    series: Series
    symbol: str
    kind: str
    priority: int
    days: dict[int, Listed]
    stored_only: bool = False
    """Whether only stored days are news: their files were asked for by name, and others may never have been wanted."""

    def discoveries(self) -> Iterator[Discovery]:
        """Yield one discovery for each run of consecutive days."""
        days = list(self.days)
        cuts = [place for place in range(1, len(days)) if days[place] - days[place - 1] > 1]
        for start, end in pairwise([0, *cuts, len(days)] if days else []):
            first, last = days[start], days[end - 1]
            content = hashlib.sha256(b"".join(self.days[day].mark for day in days[start:end])).hexdigest()[:16]
            yield Discovery(
                self.series,
                self.symbol,
                self.kind,
                self.priority,
                date.fromordinal(first),
                date.fromordinal(last),
                content,
            )


class _Looker:
    def __init__(self, client: Client, watch: Watch, catalog: Catalog, now: datetime) -> None:
        self._watch = watch
        self._catalog = catalog
        self._now = now
        self._today = now.astimezone(UTC).date()
        self._newest = catalog.newest_days(watch.digest)
        self._reader = Reader(client, watch, self._newest, now)
        self._look = Look()

    def run(self, budget_s: float, at_once: int, elsewhere: News, patience_s: float) -> Look:
        tasks = self._tasks()
        pending: dict[Future[Reading], WatchedFeed] = {}
        pool = DaemonPool(at_once, "listing")
        ask_until = time.monotonic() + budget_s
        take_until = ask_until + HANGING_S
        try:
            while True:
                while len(pending) < at_once and time.monotonic() <= ask_until and (task := next(tasks, None)):
                    pending[pool.submit(self._reader.read, *task)] = task[0]
                patience = take_until - time.monotonic()
                if not pending or patience <= 0 or (not self._look.has_read and self._look.failures >= GIVE_UP):
                    break
                news = self._look.news
                done, _ = wait(pending, min(patience, _GLANCE_S), FIRST_COMPLETED)
                self._take({future: pending.pop(future) for future in done})
                if self._look.news and not news:
                    elsewhere.note()
                    ask_until = min(ask_until, time.monotonic() + SETTLE_S)
                    take_until = ask_until + GRACE_S
                elif elsewhere.at is not None and elsewhere.at + patience_s < ask_until:
                    ask_until = elsewhere.at + patience_s
                    take_until = ask_until + GRACE_S
        finally:
            # A hanging host does not hold up the tick; its feeds stay due.
            pool.shutdown(wait=False, cancel_futures=True)
        if self._look.has_read:
            self._look.error = None
            with self._catalog.transaction() as connection:
                self._catalog.write(connection, self._look.unread, [], self._watch.digest, self._now)
        elif pending and not self._look.error and elsewhere.at is None:
            self._look.error = HostUnreachable(
                f"{self._watch.host}: expected a listing within {budget_s + HANGING_S:.0f} s, found none; "
                "it will be tried again later",
                host=self._watch.host,
            )
        return self._look

    def _tasks(self) -> Iterator[tuple[WatchedFeed, bool]]:
        """Yield the due work: looks, in chunks, and some walks, which are looks too."""
        asked: set[str] = set()
        walks = {row.path: row for row in self._catalog.to_walk(self._watch.digest, self._now, _WALKS)}
        while rows := self._catalog.to_look_at(self._watch.digest, self._now, _CHUNK + len(asked)):
            rows = [row for row in rows if row.path not in asked]
            if not rows:
                break
            asked |= {row.path for row in rows}
            yield from ((row, row.path in walks) for row in rows)
        yield from ((row, True) for path, row in walks.items() if path not in asked)

    # ---- in the caller's thread: comparing and committing --------------------------------------------------------------

    def _take(self, done: dict[Future[Reading], WatchedFeed]) -> None:
        readings = []
        for future, row in done.items():
            try:
                readings.append(future.result())
            except CryptoAssetsError as error:
                self._look.failures += 1
                self._look.error = self._look.error or error
                later = self._now + WAITS[min(row.tries, len(WAITS) - 1)]
                self._look.unread.append(
                    replace(_as_it_was(row, later), tries=row.tries + 1, problem=str(error)[:1000])
                )
        if not readings:
            return
        self._look.walked += sum(reading.walk for reading in readings)
        self._look.looked += sum(not reading.walk for reading in readings)
        same: list[Reading] = []
        other: list[Reading] = []
        for reading in readings:
            (same if self._unchanged(reading) else other).append(reading)
        with self._catalog.transaction() as connection:
            seen = [self._seen(reading, None) for reading in same]
            found: list[Discovery] = []
            if other:
                former = self._catalog.lock(connection, [reading.row for reading in other])
                # Another daemon has looked at the rest meanwhile: our listing may be older.
                other = [reading for reading in other if reading.row.path in former]
                news = [(reading, self._news(reading, former[reading.row.path])) for reading in other]
                candidates = [item for reading, kinds in news for item in self._candidates(reading, kinds)]
                found = self._not_stored(connection, candidates)
                seen += [
                    self._seen(reading, former[reading.row.path] | reading.marks if kinds else None)
                    for reading, kinds in news
                ]
                self._look.news |= any(discovery.kind != "history" for discovery in found)
                self._look.found += len(found)
            self._catalog.write(connection, seen, found, self._watch.digest, self._now)

    def _unchanged(self, reading: Reading) -> bool:
        if reading.first or reading.walk or reading.probed:
            return False
        return pack(reading.marks)[-RECENT * MARK_BYTES :] == reading.row.recent

    def _news(self, reading: Reading, former: Marks) -> dict[int, str]:
        """Return the kind of news by the first day of each object that has changed."""
        kinds = {}
        newest = max(former, default=0)
        for day, mark in reading.marks.items():
            if day in former:
                if former[day] != mark:
                    kinds[day] = "republished"
            elif reading.first:
                kinds[day] = "history"
            elif day in reading.probed:
                kinds[day] = "probed"
            else:
                kinds[day] = "new" if day > newest else "late"
        return dict.fromkeys(reading.confirmed, _CONFIRMED) | kinds

    def _candidates(self, reading: Reading, kinds: dict[int, str]) -> Iterator[_Candidate]:
        """Yield the days affected by the news, by kind and priority."""
        entry, today = self._watch.entry, self._today.toordinal()
        start, end = entry.start.toordinal(), entry.until(self._today - timedelta(days=1)).toordinal()
        found: dict[tuple[str, int], dict[int, Listed]] = {}
        for first, kind in sorted(kinds.items()):
            listed = reading.confirmed[first] if kind == _CONFIRMED else reading.objects[first]
            for day in range(max(first, start), min(listed.last, end) + 1):
                if not reading.is_whole(day):  # another file of the day is to come
                    continue
                fresh = today - day <= FRESH_DAYS and kind not in ("republished", _CONFIRMED)
                found.setdefault((kind, PRIORITIES["fresh" if fresh else kind]), {})[day] = listed
        for (kind, priority), days in found.items():
            stored_only = kind == _CONFIRMED
            yield _Candidate(*reading.row.track, "republished" if stored_only else kind, priority, days, stored_only)

    def _not_stored(self, connection: psycopg.Connection[Any], candidates: Sequence[_Candidate]) -> list[Discovery]:
        """Return the discoveries, one for each range of days, without days already stored from these very objects."""
        if not candidates:
            return []
        wanted = [
            (c.series, c.symbol, date.fromordinal(min(c.days)), date.fromordinal(max(c.days))) for c in candidates
        ]
        result: list[Discovery] = []
        for candidate, there in zip(
            candidates, self._catalog.stored(connection, self._watch.entry, wanted), strict=True
        ):
            for day, source in there.items():
                listed = candidate.days.get(day.toordinal())
                if listed and _is_of(source, listed.obj):
                    del candidate.days[day.toordinal()]
            if candidate.stored_only:
                stored = {day.toordinal() for day in there}
                candidate = replace(candidate, days={day: one for day, one in candidate.days.items() if day in stored})
            result += candidate.discoveries()
        return result

    def _seen(self, reading: Reading, marks: Marks | None) -> Seen:
        row = reading.row
        ends = [row.last_day] if row.last_day else []
        if reading.objects:
            ends.append(date.fromordinal(max(listed.last for listed in reading.objects.values())))
        last_day = max(ends, default=None)
        delay_s = self._delay(reading) or row.delay_s
        tries, next_look_at = self._next_look(replace(row, last_day=last_day, delay_s=delay_s))
        walked = reading.first or reading.walk
        return Seen(
            row,
            self._watch.entry.start if walked else row.since,
            reading.first_day,
            last_day,
            delay_s,
            tries,
            next_look_at,
            # The first walks of thousands of feeds are spread over the whole patrol.
            self._now + self._watch.patrol * (_share(row.path) if reading.first else 1.0) if walked else None,
            self._now if reading.asked_by_name else None,
            marks,
            None if marks is None else pack(marks)[-RECENT * MARK_BYTES :],
        )

    def _delay(self, reading: Reading) -> int | None:
        """Return the shortest time, in seconds, from the end of a span to its publication, among the last objects."""
        feed = sources.archives(reading.row.track.series)[0]
        delays = [
            (obj.last_modified - feed.covers(obj.key).end).total_seconds()
            for obj, *_ in list(reading.objects.values())[-RECENT:]
            if obj.last_modified
        ]
        return min((int(delay) for delay in delays if 0 < delay < 3 * 86_400), default=None)

    def _next_look(self, row: WatchedFeed) -> tuple[int, datetime]:
        """Return how often the expected object was looked for in vain, and the time of the next look."""
        if self._watch.quiet(row, self._newest):
            return 0, self._now + QUIET_EVERY
        if row.last_day is None:  # not listed yet
            return 0, self._now + EVERY
        series, symbol = row.track
        feed, name = sources.archives(series)[0], sources.name_of(series, symbol)
        following = feed.keys(name, row.last_day + timedelta(days=1))[-1]
        due_at = self._watch.due_at(row, feed.covers(following))
        if due_at > self._now:
            return 0, min(due_at, self._now + EVERY)
        return row.tries + 1, self._now + min(WAITS[min(row.tries, len(WAITS) - 1)], EVERY)


def _as_it_was(row: WatchedFeed, next_look_at: datetime) -> Seen:
    return Seen(row, row.since, row.first_day, row.last_day, row.delay_s, row.tries, next_look_at)


def _is_of(source: tuple[str | None, int | None, datetime | None], obj: ArchiveObject) -> bool:
    """Whether a stored day came from this very object."""
    etag, size, modified = source
    if "+" in (etag or ""):  # the day came from several files, this is one of them
        return not obj.etag or obj.etag in str(etag).split("+")
    return same_file(obj, obj.key, etag, size, modified) and (not obj.size_bytes or size == obj.size_bytes)


def _share(path: str) -> float:
    """Return a fixed number in [0, 1) for a feed."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=4).digest(), "big") / 2**32
