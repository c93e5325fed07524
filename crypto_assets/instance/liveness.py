"""Check that the parts of `crypto-assets up` work: ask each a small question.

An open port proves nothing: the kernel accepts connections even for a process that hangs.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg

ANSWER_S = 5.0
"""Seconds within which a healthy part answers."""

HEARTBEAT_S = 300.0
"""Dagster's daemon writes a heartbeat every 30 s; after this many seconds without one it counts as hanging."""

# The standard health service of gRPC in Dagster's code server: {"service": "DagsterApi"} → {"status": SERVING}.
_HEALTH, _ASKED, _SERVING = "/grpc.health.v1.Health/Check", b"\n\nDagsterApi", b"\x08\x01"


def answers_http(url: str) -> bool:
    """Return whether a server answers with success."""
    try:
        return httpx.get(url, timeout=ANSWER_S, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def answers_grpc(socket: Path) -> bool:
    """Return whether the code server on a unix socket reports that it serves."""
    import grpc  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            return bool(channel.unary_unary(_HEALTH)(_ASKED, timeout=ANSWER_S) == _SERVING)
        except grpc.RpcError:
            return False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of Dagster's daemon, and its age in seconds by the database's clock."""

    at: datetime
    age_s: float


def last_heartbeat(connection: psycopg.Connection[Any]) -> Heartbeat | None:
    """Return the last heartbeat; None if there was none yet."""
    if connection.execute("SELECT to_regclass('dagster.daemon_heartbeats')").fetchone() == (None,):
        return None
    rows: list[tuple[datetime | None, Decimal]] = connection.execute(
        "SELECT max(timestamp), extract(epoch FROM now() AT TIME ZONE 'UTC' - max(timestamp)) FROM dagster.daemon_heartbeats"
    ).fetchall()
    ((at, age_s),) = rows
    return None if at is None else Heartbeat(at.replace(tzinfo=UTC), float(age_s))


class Heartbeats:
    """Whether the daemon wrote a new heartbeat since the last call; compares no clocks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._last: Heartbeat | None = None

    def __call__(self) -> bool | None:
        """Return whether there is a new heartbeat; None if the database does not answer."""
        try:
            with psycopg.connect(self._url, connect_timeout=int(ANSWER_S), autocommit=True) as connection:
                found = last_heartbeat(connection)
        except psycopg.Error:
            return None
        former, self._last = self._last, found
        return found is not None and (former is None or found.at != former.at)


def is_up(home: Path) -> bool:
    """Return whether `crypto-assets up` runs in a home: it holds a lock while it runs."""
    try:
        with (home / "up.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
