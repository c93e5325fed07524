"""Stored days that the lake or Postgres does not have, remembered for a minute: to look lists the whole lake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from crypto_assets.collection.records.lakes import Pair, Place, lost_days
from crypto_assets.collection.records.ledger import Ledger
from crypto_assets.config import Collection as Configured
from crypto_assets.storage.lake import Lake

REMEMBERED_S = 60.0
"""So much later at most a file that somebody deletes is seen; one that comes back is seen at once."""

_KEPT = 32
"""Questions whose answers are remembered at once."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer, when it was made by the clock here and by that of the database, and the collection that it is of."""

    at_s: float
    since: datetime
    collection: Configured
    reasons: Mapping[Place, str]


class RecentLosses:
    """Answers what is lost; safe to use from many threads, of which one looks and the others wait for its answer."""

    def __init__(self, ledger: Ledger, lake: Lake, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._lake = lake
        self._clock = clock
        self._seen: dict[tuple[frozenset[Pair] | None, date | None, date | None], _Seen] = {}
        self._lock = threading.Lock()

    def of(
        self,
        collection: Configured,
        pairs: Collection[Pair] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Mapping[Place, str]:
        """Return the lost days and why, as `lost_days` finds them; arguments and errors are its own."""
        asked = (None if pairs is None else frozenset(pairs), first, last)
        with self._lock:
            seen = self._seen.pop(asked, None)
            if seen is None or not self._holds(seen, collection):
                with self._ledger.transaction() as connection:
                    [(since,)] = connection.execute("SELECT clock_timestamp()").fetchall()
                at_s = self._clock()
                reasons = lost_days(self._ledger, self._lake, pairs, first, last, collection).reasons
                seen = _Seen(at_s, since, collection, reasons)
            self._seen[asked] = seen
            while len(self._seen) > _KEPT:
                del self._seen[next(iter(self._seen))]
            return seen.reasons

    def _holds(self, seen: _Seen, collection: Configured) -> bool:
        """Return whether an answer is young, and nothing was recorded since of the days that it names."""
        if self._clock() - seen.at_s >= REMEMBERED_S or seen.collection != collection:
            return False
        if not seen.reasons:
            return True
        places = [(s.exchange, s.market_type, s.dataset, symbol, day) for s, symbol, day in seen.reasons]
        with self._ledger.transaction() as connection:
            [(changed,)] = connection.execute(
                """SELECT EXISTS (SELECT 1 FROM collection.partitions WHERE updated_at > %s
                AND (exchange, market_type, dataset, symbol, day) IN (
                    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[])))""",
                (seen.since, *map(list, zip(*places, strict=True))),
            ).fetchall()
        return not changed
