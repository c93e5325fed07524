"""The progress of each run: one row in Postgres, written by the run after every batch."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.machine.run_process import is_gone
from crypto_assets.model.described import means
from crypto_assets.storage.database import Database

HEARTBEAT_S = 5.0
STALLED_AFTER_S = 30.0
"""A run that has not written for this long is stalled."""

GONE = "its process has ended; stored days stay"
"""The reason of a run that was killed and could not write its own end."""

RATE_OVER_S = 30.0
_KEPT_DAYS = 90


class RunState(StrEnum):
    """The state of a run.

    Readers see `stalled` for a run that no longer writes, and `failed` for one whose process has ended.
    """

    RUNNING = "running"
    PAUSED = "paused"
    STALLED = "stalled"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_STATES = (RunState.RUNNING, RunState.PAUSED, RunState.STALLED)


@dataclass(frozen=True, slots=True)
class Progress:
    """One row of `collection.progress`. Days are partitions; rates are over the last 30 s; `eta_s` is None while unknown.

    A run that is paused, stalled or ended has no rates and no time left.
    """

    run_id: str
    kind: str
    what: str
    state: RunState
    total: int
    done: int = field(metadata=means("Days with an outcome."))
    failed: int = field(metadata=means("Days of `done` that are incomplete."))
    rows: int
    bytes: int
    days_per_s: float = field(metadata=means("Over the last 30 s."))
    rows_per_s: float = field(metadata=means("Over the last 30 s."))
    eta_s: float | None = field(metadata=means("Seconds left; null while unknown."))
    last_partition: str
    reason: str
    host: str
    pid: int
    started_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", RunState(self.state))
        if self.state is not RunState.RUNNING:
            for name, value in (("days_per_s", 0.0), ("rows_per_s", 0.0), ("eta_s", None)):
                object.__setattr__(self, name, value)

    @property
    def remaining(self) -> int:
        return self.total - self.done

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {**asdict(self), "remaining": self.remaining, "state": self.state.value}
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in fields.items()}


_COLUMNS = tuple(Progress.__dataclass_fields__)
_GIVEN = [name for name in _COLUMNS if name not in ("started_at", "updated_at")]

_WRITE = f"""
INSERT INTO collection.progress AS p ({", ".join(_GIVEN)}) VALUES ({", ".join(f"%({name})s" for name in _GIVEN)})
ON CONFLICT (run_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _GIVEN)},
    updated_at = clock_timestamp()
"""

_READ = f"""
SELECT {", ".join(name for name in _COLUMNS if name not in ("state", "reason"))},
    CASE WHEN run_id = ANY(%(gone)s) THEN %(reason_gone)s ELSE reason END AS reason,
    CASE WHEN run_id = ANY(%(gone)s) THEN 'failed'
        WHEN state IN ('running', 'paused') AND updated_at < clock_timestamp() - %(stalled)s * interval '1 second'
        THEN 'stalled' ELSE state END AS state
FROM collection.progress
"""

_END = """
UPDATE collection.progress SET state = %s, reason = %s, days_per_s = 0, rows_per_s = 0, eta_s = NULL
WHERE run_id = ANY(%s) AND state IN ('running', 'paused')
"""


class ProgressWriter:
    """Writes the row of one run; safe to use from many threads. A run continues when the database does not answer."""

    def __init__(
        self,
        database: Database,
        run_id: str,
        kind: str,
        what: str,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._values: dict[str, Any] = {
            "run_id": run_id,
            "kind": kind,
            "what": what,
            "state": RunState.RUNNING.value,
            "total": total,
            "done": 0,
            "failed": 0,
            "rows": 0,
            "bytes": 0,
            "days_per_s": 0.0,
            "rows_per_s": 0.0,
            "eta_s": None,
            "last_partition": "",
            "reason": "",
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])

    def begin(self) -> None:
        """Write the first row, and delete old rows of other runs."""
        with contextlib.suppress(CryptoAssetsError), self._database.transaction(waits=False) as connection:
            connection.execute(
                "DELETE FROM collection.progress WHERE updated_at < now() - %s * interval '1 day'", (_KEPT_DAYS,)
            )
        self.write()

    def count(self, *, done: int, failed: int, rows: int, size_bytes: int, last_partition: str) -> None:
        """Store the counts so far, and write the row."""
        with self._lock:
            self._values |= {"done": done, "failed": failed, "rows": rows, "bytes": size_bytes}
            self._values["last_partition"] = last_partition
        self.write()

    def state(self, state: RunState, reason: str = "") -> None:
        """Change the state, and write the row."""
        with self._lock:
            self._values |= {"state": state.value, "reason": reason.replace("\0", "\ufffd")}
        self.write()

    def write(self) -> None:
        """Write the row unchanged, to show readers that the run is alive."""
        with self._lock:
            self._measure()
            with contextlib.suppress(CryptoAssetsError), self._database.transaction(waits=False) as connection:
                connection.execute(_WRITE, self._values)

    def _measure(self) -> None:
        """Set the rates over the last 30 s, and the time left."""
        values, now = self._values, self._clock()
        self._samples.append((now, values["done"], values["rows"]))
        while len(self._samples) > 2 and self._samples[1][0] < now - RATE_OVER_S:
            self._samples.popleft()
        since, done, rows = self._samples[0]
        took = max(now - since, 0.001)
        going = values["state"] == RunState.RUNNING
        values["days_per_s"] = round((values["done"] - done) / took, 3) if going else 0.0
        values["rows_per_s"] = round((values["rows"] - rows) / took, 1) if going else 0.0
        left = values["total"] - values["done"]
        values["eta_s"] = round(left / values["days_per_s"], 1) if values["days_per_s"] > 0 else None


def read_progress(
    database: Database,
    *,
    run_id: str | None = None,
    states: Sequence[RunState] | None = None,
    host: str | None = None,
    pid: int | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Progress]:
    """Return the runs that match all given values, newest first; `run_id` may be the start of an id."""
    conditions = {
        "starts_with(run_id, %(run_id)s)": ("run_id", run_id),
        "state = ANY(%(states)s)": ("states", [str(state) for state in states] if states is not None else None),
        "host = %(host)s": ("host", host),
        "pid = %(pid)s": ("pid", pid),
        "started_at >= %(since)s": ("since", since),
    }
    given = {text: pair for text, pair in conditions.items() if pair[1] is not None}
    values: dict[str, Any] = dict(given.values())
    query = (
        f"SELECT * FROM ({_READ}) runs WHERE {' AND '.join(given) or 'true'} ORDER BY started_at DESC LIMIT %(limit)s"
    )
    with database.transaction() as connection:
        values |= {"gone": _gone(connection), "reason_gone": GONE, "limit": limit, "stalled": STALLED_AFTER_S}
        cursor = connection.cursor(row_factory=class_row(Progress))
        return cursor.execute(query, values).fetchall()


def ended_runs(connection: psycopg.Connection[Any]) -> tuple[int, datetime | None]:
    """Return the number of runs that have ended, and when the last one wrote its end."""
    [row] = connection.execute(
        "SELECT count(*), max(updated_at) FROM collection.progress WHERE state NOT IN ('running', 'paused')"
    ).fetchall()
    return row[0], row[1]


def end_gone(database: Database) -> list[str]:
    """Mark the runs of this machine whose process has ended as failed; return their ids."""
    with database.transaction() as connection:
        if gone := _gone(connection):
            connection.execute(_END, (RunState.FAILED.value, GONE, gone))
    return gone


def end_run(database: Database, run_id: str, state: RunState, reason: str) -> None:
    """Write the end of a run that could not write it; an end written by the run itself stays."""
    with database.transaction() as connection:
        connection.execute(_END, (state.value, reason, [run_id]))


def _gone(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the runs that look alive although their process on this machine has ended."""
    found = connection.execute(
        "SELECT run_id, host, pid FROM collection.progress WHERE state IN ('running', 'paused') AND host = %s",
        (socket.gethostname(),),
    )
    return [run_id for run_id, host, pid in found if is_gone(f"{host} {pid} 0")]
