"""Circuit breakers in Postgres, shared by all processes: one for each exchange, kind of endpoint and host.

Closed: requests pass. Open: every request fails at once. Half-open: the open time is over, and one request of all processes
probes the host. An answer closes the breaker, a failure opens it for twice as long. A killed prober is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import repeatable

FAILURES = 5
"""Failures in a row, over all processes, that open the breaker."""

FIRST_OPEN_S, LONGEST_OPEN_S = 5.0, 300.0

PROBE_S = 60.0
"""After this long without news a probe counts as lost; longer than the timeout of a request."""

_SPAN_S = 1.0
"""The least time from the beginning of the first failure to the last: eight requests cut at one moment are one event."""

_COLUMNS = "exchange, egress, kind, host, failures, openings, open_until, last_error"
_KEY = "exchange = %(exchange)s AND egress = %(egress)s AND kind = %(kind)s AND host = %(host)s"

_READ = f"""
SELECT {_COLUMNS}, extract(epoch FROM open_until - clock_timestamp())::float8 AS probed_in_s FROM collection.breakers
WHERE (failures > 0 OR open_until IS NOT NULL) AND egress = coalesce(%s, egress) ORDER BY exchange, kind, host
"""

# A random quarter more or less, so that hosts that failed together are not probed together.
_FAILED = f"""
INSERT INTO collection.breakers AS b (exchange, egress, kind, host, failures, failing_since, last_error)
VALUES (%(exchange)s, %(egress)s, %(kind)s, %(host)s, 1,
        clock_timestamp() - make_interval(secs => %(took_s)s), %(error)s)
ON CONFLICT (exchange, egress, kind, host) DO UPDATE SET
    failures = b.failures + 1,
    failing_since = coalesce(b.failing_since, excluded.failing_since),
    last_error = excluded.last_error,
    changed_at = clock_timestamp(),
    (open_until, openings, probe_until) = (
        SELECT CASE WHEN NOT opens THEN b.open_until ELSE clock_timestamp() + make_interval(secs =>
                   least(%(first_s)s * 2 ^ least(b.openings, 20), %(longest_s)s) * (0.75 + random() / 2)) END,
               b.openings + opens::int,
               CASE WHEN opens THEN NULL ELSE b.probe_until END
        FROM (SELECT CASE WHEN b.open_until IS NOT NULL THEN %(probe)s
                          ELSE b.failures + 1 >= %(failures)s AND coalesce(b.failing_since, excluded.failing_since)
                               <= clock_timestamp() - make_interval(secs => %(span_s)s) END AS opens) decision)
RETURNING {_COLUMNS}, extract(epoch FROM open_until - clock_timestamp())::float8 AS probed_in_s
"""

_SUCCEEDED = f"""
UPDATE collection.breakers SET failures = 0, failing_since = NULL, openings = 0, open_until = NULL, probe_until = NULL,
    changed_at = clock_timestamp()
WHERE {_KEY}
"""

_CLAIM = f"""
UPDATE collection.breakers SET probe_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE {_KEY} AND open_until <= clock_timestamp() AND (probe_until IS NULL OR probe_until <= clock_timestamp())
"""

_RELEASE = f"UPDATE collection.breakers SET probe_until = NULL WHERE {_KEY}"


@dataclass(frozen=True, slots=True)
class Breaker:
    """A host that fails or failed lately. `probed_in_s` is 0 or less once the open time is over."""

    exchange: str
    egress: str
    kind: str
    host: str
    failures: int
    openings: int
    open_until: datetime | None
    last_error: str
    probed_in_s: float | None

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        if self.probed_in_s is None:
            return "closed"
        return "open" if self.probed_in_s > 0 else "half-open"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The exchange, kind of endpoint and host that a breaker belongs to."""

    exchange: str
    kind: str
    host: str


class Breakers:
    """Reads and changes the breakers of one egress address; safe to use from many threads and processes."""

    def __init__(
        self,
        database: Database,
        egress: str,
        *,
        failures: int = FAILURES,
        first_open_s: float = FIRST_OPEN_S,
        probe_s: float = PROBE_S,
    ) -> None:
        self._database = database
        self._egress = egress
        self._settings = {
            "failures": failures,
            "first_s": first_open_s,
            "longest_s": LONGEST_OPEN_S,
            "span_s": _SPAN_S,
            "lease_s": probe_s,
        }

    def read(self) -> list[Breaker]:
        """Return every breaker that is not closed or has counted failures."""
        return read(self._database, self._egress)

    def failed(self, key: Key, error: str, took_s: float, *, probe: bool) -> Breaker:
        """Count a failure that took some seconds, and return the breaker after it."""
        values = self._values(key) | {"error": error[:1000], "took_s": took_s, "probe": probe}
        # Not repeated: a failure counted twice opens the breaker too early.
        (found,) = self._database.change(
            lambda connection: connection.cursor(row_factory=class_row(Breaker)).execute(_FAILED, values).fetchall()
        )
        return found

    @repeatable
    def succeeded(self, key: Key) -> None:
        """Close the breaker and forget its failures."""
        with self._database.transaction() as connection:
            connection.execute(_SUCCEEDED, self._values(key))

    def claim(self, key: Key) -> bool:
        """Return whether this caller, and no other, may probe a host whose open time is over."""
        # Not repeated: a second claim would find the first, and nobody would probe until its lease ends.
        return self._database.change(lambda connection: bool(connection.execute(_CLAIM, self._values(key)).rowcount))

    @repeatable
    def release(self, key: Key) -> None:
        """Allow another probe, because this one was not made."""
        with self._database.transaction() as connection:
            connection.execute(_RELEASE, self._values(key))

    def _values(self, key: Key) -> dict[str, Any]:
        return {
            "exchange": key.exchange,
            "egress": self._egress,
            "kind": key.kind,
            "host": key.host,
            **self._settings,
        }


@repeatable
def read(database: Database, egress: str | None = None) -> list[Breaker]:
    """Return every breaker that is not closed or has failures, of one egress address or of all."""
    with database.transaction() as connection:
        return connection.cursor(row_factory=class_row(Breaker)).execute(_READ, (egress,)).fetchall()
