"""The known objects of every watched archive feed. Discoveries that wait for Dagster are in `discoveries.py`.

A listed object takes eight bytes: the first day of its span, which gives the key, and a fingerprint of etag, size and
last_modified. Six million objects take 48 MB; as rows of `archive_objects`, which has everything ever located or collected
with all digests, they would take 1.2 GB. A feed's marks and its discoveries change in one transaction: each change is
discovered exactly once, even if processes are killed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.config.collection import SeriesEntry
from crypto_assets.ledger.discoveries import LEASE, Discovery, add_discoveries
from crypto_assets.ledger.pauses import ALL, of_exchange
from crypto_assets.model import STORED_STATES, ArchiveObject, Series, State, Track
from crypto_assets.storage.database import Database

MARK_BYTES = 8
_MARK = struct.Struct(">H6s")
_EPOCH = date(2000, 1, 1).toordinal()

Marks = dict[int, bytes]
"""The ordinal of the first day of an object's span → its fingerprint."""


def fingerprint(obj: ArchiveObject) -> bytes:
    """Return six bytes that change with etag, size or last_modified."""
    modified = obj.last_modified.timestamp() if obj.last_modified else ""
    return hashlib.blake2b(f"{obj.etag} {obj.size_bytes} {modified}".encode(), digest_size=6).digest()


def pack(marks: Marks) -> bytes:
    """Return the stored form of marks, ascending by day."""
    return b"".join(_MARK.pack(day - _EPOCH, mark) for day, mark in sorted(marks.items()))


def unpack(packed: bytes) -> Marks:
    """Return marks from their stored form."""
    return {_EPOCH + day: mark for day, mark in _MARK.iter_unpack(packed)}


@dataclass(frozen=True, slots=True)
class WatchedFeed:
    """One row of `collection.watched_feeds`: the preferred archive feed of one symbol of a series.

    `path` names it in its exchange: `spot/ohlcv_1m/BTC/USDT/daily`.
    """

    exchange: str
    path: str
    market_type: str
    symbol: str
    dataset: str
    since: date | None
    first_day: date | None
    last_day: date | None
    objects: int
    recent: bytes
    delay_s: int | None
    tries: int
    looked_at: datetime | None
    probed_at: datetime | None
    problem: str | None

    @property
    def track(self) -> Track:
        return Track(Series.named(self.exchange, self.market_type, self.dataset), self.symbol)


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of a look at one feed, to be written; `marks` is None if unchanged."""

    row: WatchedFeed
    since: date | None
    first_day: date | None
    last_day: date | None
    delay_s: int | None
    tries: int
    next_look_at: datetime
    next_walk_at: datetime | None = None
    probed_at: datetime | None = None
    marks: Marks | None = None
    recent: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """The work of a tick for one entry; `blocked` says why the listing host is not asked, `paused` who paused the exchange.

    `known`: a feed that was read before is due, so new files may be found; otherwise only first looks are.
    """

    registered: bool
    looks: bool
    known: bool
    walks: bool
    requests: bool
    blocked: str | None
    failures: int
    paused: str | None


def entry_digest(entry: SeriesEntry) -> str:
    """Return a text that changes with what an entry watches, but not with its position in collection.yaml."""
    ends = [] if entry.end is None else [entry.end.isoformat()]
    text = repr((entry.exchange, entry.market_type, entry.datasets, entry.symbols, entry.start.isoformat(), *ends))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_DUE = """
WITH delivered AS (
    UPDATE collection.discoveries SET delivered_at = %(now)s
    WHERE run_key = ANY(%(delivered)s) AND delivered_at IS NULL
)
SELECT EXISTS (SELECT FROM collection.watched_feeds p WHERE p.entry = w.entry),
    EXISTS (SELECT FROM collection.watched_feeds p WHERE p.entry = w.entry AND next_look_at <= %(now)s),
    EXISTS (SELECT FROM collection.watched_feeds p WHERE p.entry = w.entry AND next_look_at <= %(now)s AND since IS NOT NULL),
    EXISTS (SELECT FROM collection.watched_feeds p WHERE p.entry = w.entry AND next_walk_at <= %(now)s),
    EXISTS (SELECT FROM collection.discoveries d WHERE d.entry = w.entry AND delivered_at IS NULL
        AND (run_key IS NULL OR run_key <> ALL(%(delivered)s) AND requested_at <= %(lease)s)),
    (SELECT message || ' (failed ' || failures || ' times, asked again at '
        || to_char(retry_at AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC)'
        FROM collection.listing_hosts h WHERE h.exchange = w.exchange AND h.host = w.host AND retry_at > %(now)s),
    coalesce((SELECT failures FROM collection.listing_hosts h WHERE h.exchange = w.exchange AND h.host = w.host), 0),
    (SELECT scope || ' by ' || who || coalesce(': ' || nullif(reason, ''), '') FROM collection.controls
        WHERE action = 'pause' AND scope IN (%(all)s, w.scope) LIMIT 1)
FROM unnest(%(entries)s::text[], %(exchanges)s::text[], %(hosts)s::text[], %(scopes)s::text[]) WITH ORDINALITY
    AS w (entry, exchange, host, scope, n) ORDER BY n
"""

_REGISTER = """
WITH wanted AS (
    SELECT * FROM unnest(%(paths)s::text[], %(symbols)s::text[], %(datasets)s::text[]) AS w (path, symbol, dataset)
), moved AS (
    -- Dagster has no partitions for other days. A discovery outside stays, and is moved when the entry grows again.
    UPDATE collection.discoveries d SET
        entry = %(entry)s, first_day = greatest(d.first_day, %(start)s), last_day = least(d.last_day, %(end)s)
    FROM wanted w
    WHERE d.delivered_at IS NULL AND d.exchange = %(exchange)s AND d.market_type = %(market_type)s
        AND d.symbol = w.symbol AND d.dataset = w.dataset AND d.entry <> %(entry)s
        AND d.last_day >= %(start)s AND d.first_day <= %(end)s
)
INSERT INTO collection.watched_feeds AS p (exchange, path, market_type, symbol, dataset, entry, next_look_at)
SELECT %(exchange)s, path, %(market_type)s, symbol, dataset, %(entry)s, %(now)s FROM wanted ORDER BY path
ON CONFLICT (exchange, path) DO UPDATE SET
    entry = excluded.entry, symbol = excluded.symbol, dataset = excluded.dataset,
    -- An entry with an earlier start is read again from there.
    since = CASE WHEN p.since <= %(start)s THEN p.since END,
    -- A feed whose next look is hours away expected nothing more, as after the entry's end, which is later now.
    next_look_at = CASE
        WHEN p.since <= %(start)s
            AND NOT coalesce(p.last_day < %(end)s AND p.next_look_at > p.looked_at + interval '1 hour', false)
        THEN p.next_look_at ELSE excluded.next_look_at END
"""

_NAMES = ", ".join(f"p.{name}" for name in WatchedFeed.__dataclass_fields__)

_WRITE_TYPES = {
    "path": "text",
    "since": "date",
    "first_day": "date",
    "last_day": "date",
    "delay_s": "int",
    "tries": "int",
    "next_look_at": "timestamptz",
    "next_walk_at": "timestamptz",
    "probed_at": "timestamptz",
    "problem": "text",
    "objects": "int",
    "recent": "bytea",
}

# A failed look does not change the time of the next walk, nor does a successful one; a walk sets it.
_WRITE = f"""
UPDATE collection.watched_feeds p SET since = s.since, first_day = s.first_day, last_day = s.last_day, delay_s = s.delay_s,
    tries = s.tries, next_look_at = s.next_look_at, next_walk_at = coalesce(s.next_walk_at, p.next_walk_at),
    walked_at = CASE WHEN s.next_walk_at IS NULL THEN p.walked_at ELSE %(now)s END,
    probed_at = coalesce(s.probed_at, p.probed_at), problem = s.problem, looked_at = %(now)s,
    objects = coalesce(s.objects, p.objects), recent = coalesce(s.recent, p.recent)
FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _WRITE_TYPES.items())}) AS s ({", ".join(_WRITE_TYPES)})
WHERE p.exchange = %(exchange)s AND p.path = s.path
"""

_STORED = """
SELECT w.n, p.day, p.source_etag, p.source_size_bytes, p.source_last_modified
FROM unnest(%(symbols)s::text[], %(datasets)s::text[], %(firsts)s::date[], %(lasts)s::date[])
    WITH ORDINALITY AS w (symbol, dataset, first, last, n)
JOIN collection.partitions p ON p.exchange = %(exchange)s AND p.market_type = %(market_type)s AND p.symbol = w.symbol
    AND p.dataset = w.dataset AND p.day BETWEEN w.first AND w.last
WHERE p.state = ANY(%(states)s)
"""


class Catalog(Database):
    """Reads and writes the state of discovery; safe to use from many processes."""

    def due(self, watched: Sequence[tuple[str, str, str]], delivered: Sequence[str], now: datetime) -> list[Due]:
        """Return the work of each entry, in one query.

        Args:
            watched: the digest, the exchange and the listing host of each entry.
            delivered: run keys that Dagster has taken.
        """
        values = {
            "entries": [digest for digest, _, _ in watched],
            "exchanges": [exchange for _, exchange, _ in watched],
            "hosts": [host for _, _, host in watched],
            "scopes": [of_exchange(exchange) for _, exchange, _ in watched],
            "all": ALL,
            "delivered": list(delivered),
            "now": now,
            "lease": now - LEASE,
        }
        with self.transaction() as connection:
            return [Due(*row) for row in connection.execute(_DUE, values).fetchall()]

    def register(self, entry: SeriesEntry, feeds: Mapping[str, Track], now: datetime) -> None:
        """Watch the feeds of an entry by path. Known facts stay; what a changed entry adds is looked at at once."""
        values = {
            "entry": entry_digest(entry),
            "exchange": entry.exchange,
            "market_type": entry.market_type,
            "start": entry.start,
            "end": entry.until(date.max),
            "paths": list(feeds),
            "symbols": [symbol for _, symbol in feeds.values()],
            "datasets": [series.dataset for series, _ in feeds.values()],
            "now": now,
        }
        with self.transaction() as connection:
            connection.execute(_REGISTER, values)

    def to_look_at(self, digest: str, now: datetime, limit: int) -> list[WatchedFeed]:
        """Return feeds to look at: those read before come first, sorted by waiting time."""
        return self._feeds("p.next_look_at <= %s ORDER BY p.since IS NULL, p.next_look_at", digest, now, limit)

    def to_walk(self, digest: str, now: datetime, limit: int) -> list[WatchedFeed]:
        """Return feeds whose whole listing must be read again."""
        return self._feeds("p.next_walk_at <= %s ORDER BY p.next_walk_at", digest, now, limit)

    def _feeds(self, condition: str, digest: str, now: datetime, limit: int) -> list[WatchedFeed]:
        query = f"SELECT {_NAMES} FROM collection.watched_feeds p WHERE p.entry = %s AND {condition} LIMIT %s"
        with self.transaction() as connection, connection.cursor(row_factory=class_row(WatchedFeed)) as cursor:
            return cursor.execute(query, (digest, now, limit)).fetchall()

    def newest_days(self, digest: str) -> dict[str, date]:
        """Return the last listed day of any symbol of an entry, by dataset."""
        query = (
            "SELECT dataset, max(last_day) FROM collection.watched_feeds "
            "WHERE entry = %s AND last_day IS NOT NULL GROUP BY dataset"
        )
        with self.transaction() as connection:
            return dict(connection.execute(query, (digest,)).fetchall())

    def lock(self, connection: psycopg.Connection[Any], rows: Sequence[WatchedFeed]) -> dict[str, Marks]:
        """Lock feeds and return the marks of those without another look since the rows were read."""
        names = sorted(row.path for row in rows)
        locked = connection.execute(
            "SELECT path, looked_at FROM collection.watched_feeds WHERE exchange = %s AND path = ANY(%s) "
            "ORDER BY path FOR UPDATE",
            (rows[0].exchange, names),
        ).fetchall()
        looked_at = dict(locked)
        same = {row.path for row in rows if row.path in looked_at and looked_at[row.path] == row.looked_at}
        stored = connection.execute(
            "SELECT path, marks FROM collection.feed_marks WHERE exchange = %s AND path = ANY(%s)",
            (rows[0].exchange, list(same)),
        ).fetchall()
        return {path: {} for path in same} | {path: unpack(marks) for path, marks in stored}

    def write(
        self,
        connection: psycopg.Connection[Any],
        seen: Sequence[Seen],
        found: Iterable[Discovery],
        digest: str,
        now: datetime,
    ) -> None:
        """Write the results of looks, and the resulting discoveries; in the caller's transaction."""
        if not seen:
            return
        exchange = seen[0].row.exchange
        columns: dict[str, list[Any]] = {name: [getattr(item, name, None) for item in seen] for name in _WRITE_TYPES}
        columns["path"] = [item.row.path for item in seen]
        columns["objects"] = [None if item.marks is None else len(item.marks) for item in seen]
        connection.execute(_WRITE, {**columns, "exchange": exchange, "now": now})
        changed = [(exchange, item.row.path, pack(item.marks)) for item in seen if item.marks is not None]
        with connection.cursor() as cursor:
            if changed:
                cursor.executemany(
                    "INSERT INTO collection.feed_marks VALUES (%s, %s, %s) "
                    "ON CONFLICT (exchange, path) DO UPDATE SET marks = excluded.marks",
                    changed,
                )
        add_discoveries(connection, digest, found, now)

    def stored(
        self,
        connection: psycopg.Connection[Any],
        entry: SeriesEntry,
        wanted: Sequence[tuple[Series, str, date, date]],
    ) -> list[dict[date, tuple[str | None, int | None, datetime | None]]]:
        """Return the stored days for each symbol and range, with etag, size and time of their object."""
        result: list[dict[date, tuple[str | None, int | None, datetime | None]]] = [{} for _ in wanted]
        values = {
            "exchange": entry.exchange,
            "market_type": entry.market_type,
            "symbols": [symbol for _, symbol, _, _ in wanted],
            "datasets": [series.dataset for series, _, _, _ in wanted],
            "firsts": [first for _, _, first, _ in wanted],
            "lasts": [last for _, _, _, last in wanted],
            "states": [state.value for state in (*STORED_STATES, State.NO_DATA)],
        }
        for number, day, *source in connection.execute(_STORED, values):
            result[number - 1][day] = (source[0], source[1], source[2])
        return result

    def failed(self, exchange: str, host: str, message: str, now: datetime, retry_at: datetime) -> None:
        """Record that a look failed at this host."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO collection.listing_hosts AS h VALUES (%s, %s, 1, %s, %s, %s) ON CONFLICT (exchange, host) DO "
                "UPDATE SET failures = h.failures + 1, message = excluded.message, failed_at = excluded.failed_at, "
                "retry_at = excluded.retry_at",
                (exchange, host, message, now, retry_at),
            )

    def answered(self, exchange: str, host: str) -> None:
        """Delete the failures of a host."""
        with self.transaction() as connection:
            connection.execute(
                "DELETE FROM collection.listing_hosts WHERE exchange = %s AND host = %s", (exchange, host)
            )


def last_listed_days(connection: psycopg.Connection[Any]) -> dict[Track, date]:
    """Return the last listed day of every watched symbol that has one."""
    rows = connection.execute(
        "SELECT exchange, market_type, dataset, symbol, last_day FROM collection.watched_feeds WHERE last_day IS NOT NULL"
    ).fetchall()
    return {Track(Series.named(*names), symbol): day for *names, symbol, day in rows}


def failing_listings(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return why the listing of an archive cannot be read now, by exchange; nothing for one that answers."""
    rows = connection.execute(
        "SELECT DISTINCT ON (exchange) exchange, message FROM collection.listing_hosts ORDER BY exchange, failed_at DESC"
    ).fetchall()
    return {exchange: message.removesuffix("; it will be tried again later") for exchange, message in rows}
