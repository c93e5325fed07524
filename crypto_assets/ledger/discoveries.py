"""Discoveries: days whose archive objects appeared or changed, stored until Dagster has a run for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from crypto_assets.ledger.pauses import of_run
from crypto_assets.model import Series, Track

LEASE = timedelta(seconds=60)
"""A request that Dagster has not confirmed is repeated after this time, under the same run key, and Dagster then finds its
existing run. Two daemons that request at the same moment would both find none."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """Consecutive days of one symbol whose objects appeared or changed.

    `kind` is `history` (the first look), `new`, `late` (older than listed ones), `probed` (exists, but is not listed) or
    `republished`. `entry` is the digest of its entry, once it is stored. `stops` counts its runs that were stopped.
    """

    series: Series
    symbol: str
    kind: str
    priority: int
    first_day: date
    last_day: date
    content: str
    discovery_id: int = 0
    found_at: datetime | None = None
    run_key: str | None = None
    entry: str = ""
    stops: int = 0

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)


_COLUMNS = """exchange, market_type, dataset, symbol, kind, priority, first_day, last_day, content, discovery_id, found_at,
    run_key, entry, stops"""

_ADD = """
INSERT INTO collection.discoveries
    (entry, exchange, market_type, symbol, dataset, kind, priority, first_day, last_day, content, found_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

# With two daemons the second one waits, and then the condition is no longer true.
_UNCONFIRMED = f"""
SELECT {_COLUMNS} FROM collection.discoveries WHERE entry = ANY(%(entries)s) AND delivered_at IS NULL
    AND requested_at <= %(lease)s AND run_key IN (SELECT run_key FROM collection.discoveries
        WHERE entry = ANY(%(entries)s) AND delivered_at IS NULL AND requested_at <= %(lease)s
        GROUP BY run_key ORDER BY max(priority) DESC, min(discovery_id) LIMIT %(most)s)
ORDER BY priority DESC, discovery_id FOR UPDATE
"""

_WAITING = f"""
SELECT {_COLUMNS} FROM collection.discoveries WHERE entry = ANY(%s) AND delivered_at IS NULL AND run_key IS NULL
ORDER BY priority DESC, discovery_id LIMIT %s FOR UPDATE
"""

_REQUEST = """
UPDATE collection.discoveries d SET run_key = k.run_key, requested_at = %s
FROM unnest(%s::bigint[], %s::text[]) AS k (discovery_id, run_key) WHERE d.discovery_id = k.discovery_id
"""

# A run that a person cancels is not repeated, also if its process gets a signal at the same moment.
_HAND_BACK = """
UPDATE collection.discoveries SET run_key = NULL, requested_at = NULL, delivered_at = NULL, stops = stops + 1
WHERE run_key = %s AND NOT EXISTS (SELECT FROM collection.controls WHERE scope = %s AND action = 'cancel')
"""


def add_discoveries(
    connection: psycopg.Connection[Any], digest: str, found: Iterable[Discovery], now: datetime
) -> None:
    """Add discoveries of the entry with a digest, in the caller's transaction."""
    rows = [
        (
            *(digest, one.series.exchange, one.series.market_type, one.symbol, one.series.dataset, one.kind),
            *(one.priority, one.first_day, one.last_day, one.content, now),
        )
        for one in found
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_ADD, rows)


def unconfirmed(
    connection: psycopg.Connection[Any], digests: Sequence[str], now: datetime, most: int
) -> list[Discovery]:
    """Lock and return the discoveries of the most urgent run keys that were requested a lease ago and not confirmed.

    Args:
        digests: of the entries.
        most: largest number of run keys.
    """
    values = {"entries": list(digests), "lease": now - LEASE, "most": most}
    return [_discovery(*row) for row in connection.execute(_UNCONFIRMED, values).fetchall()]


def waiting(connection: psycopg.Connection[Any], digests: Sequence[str], most: int) -> list[Discovery]:
    """Lock and return the most urgent discoveries of some entries that are not requested."""
    return [_discovery(*row) for row in connection.execute(_WAITING, (list(digests), most)).fetchall()]


def mark_requested(connection: psycopg.Connection[Any], run_keys: Mapping[int, str], now: datetime) -> None:
    """Record the run key under which each discovery, by its id, is requested now."""
    if run_keys:
        connection.execute(_REQUEST, (now, list(run_keys), list(run_keys.values())))


def hand_back(url: str, run_key: str, run_id: str) -> int:
    """Let the discoveries of a stopped run wait again, and return their number: 0 if a person cancelled that run.

    They get another run key, so each run is followed by one other run at most. Days that the run has stored are compared with
    the archive again, not downloaded.

    Raises:
        psycopg.Error: the database does not answer.
    """
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        return connection.execute(_HAND_BACK, (run_key, of_run(run_id))).rowcount


def _discovery(exchange: str, market_type: str, dataset: str, symbol: str, *rest: Any) -> Discovery:
    return Discovery(Series.named(exchange, market_type, dataset), symbol, *rest)
