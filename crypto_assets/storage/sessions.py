"""Sessions of Postgres: check that the server gives them, and report waits for locks.

Locks on symbols last longer than a transaction, and notices come to a session. A pooler in transaction mode (pgbouncer:
`pool_mode = transaction`) lends a session for one transaction only: locks would stay in a session that others use next.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from crypto_assets.errors import ConfigError, PostgresUnavailable
from crypto_assets.machine.shortage import named_shortage
from crypto_assets.storage.own_servers import known_as_own
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.text.urls import postgres_place
from crypto_assets.text.visible import visible

CONNECT_TIMEOUT_S = 15
OPTIONS = "-c timezone=UTC"

SAY_AFTER_S = 5.0
"""Seconds before a wait for a lock is reported."""

SAY_AGAIN_S = 60.0

GIVE_UP_S = 900.0
"""Seconds after which a wait for a lock ends. A batch of days holds a lock for some minutes at most."""

_checked: set[str] = set()


def process_name() -> str:
    """Return `crypto_assets, process 4711 on myhost`: the name of our sessions in pg_stat_activity."""
    return f"crypto_assets, process {os.getpid()} on {socket.gethostname()}"[:63]


def say(text: str) -> None:
    """Write a line to stderr about a wait or a finding that has no other place."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


def require_session(url: str) -> None:
    """Check once in a process that a server gives each connection its own session.

    Raises:
        ConfigError: a pooler in transaction or statement mode is in between; nothing was stored or locked.
        PostgresUnavailable: the server does not answer.
    """
    if url in _checked or known_as_own(url):
        return
    try:
        with _connect(url) as one, _connect(url) as other:
            changes = _changes(one, other)
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        if "startup parameter" in str(error):
            raise needs_session(url, "it refuses startup options (ignore_startup_parameters)") from None
        raise unavailable(url, error) from error
    if changes:
        raise needs_session(url, "two connections were given one session")
    _checked.add(url)


def needs_session(url: str, found: str) -> ConfigError:
    """Return the error of a server behind a pooler that does not keep sessions."""
    return ConfigError(
        f"Postgres at {postgres_place(url)} answers through a pooler that does not keep sessions: {found}; expected a "
        "session for each connection, for locks and notices. Name the server itself in CRYPTO_ASSETS_POSTGRES_URL, or "
        "a pool in session mode (pgbouncer: pool_mode = session)"
    )


def _connect(url: str) -> psycopg.Connection[Any]:
    # No prepared statements: a pooler must be recognised, not cause an error about them.
    return psycopg.connect(
        url,
        connect_timeout=CONNECT_TIMEOUT_S,
        prepare_threshold=None,
        application_name="crypto_assets",
        options=OPTIONS,
    )


def _changes(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> bool:
    """Return whether connections share a session: end two transactions in both orders, then ask each connection again.

    A pooler lends the session that became free last, or first: either way one connection is given the session of the
    other. A pooler with several threads may give a session back late and so show two at first; the later turns see it.
    """
    first, second = _session(one), _session(other)
    if first == second:
        return True
    for early, late in ((one, other), (other, one)):
        for asked, its_own in ((one, first), (other, second)):
            early.commit()
            late.commit()
            if _session(asked) != its_own:
                return True
            if (_session(one), _session(other)) != (first, second):
                return True
    return False


def _session(connection: psycopg.Connection[Any]) -> int:
    """Return the process id of a connection's session, which its transaction now holds."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM
    return int(row[0])


# ---- waiting for a lock ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that may wait: its server, its process id there, and how to end its statement from outside."""

    url: str
    pid: int
    cancel: Callable[[], object]


def of_connection(connection: psycopg.Connection[Any]) -> Waiting:
    """Return the session of a connection."""
    info = connection.info
    url = make_conninfo(info.dsn, **({"password": info.password} if info.password else {}))
    return Waiting(url, info.backend_pid, lambda: connection.cancel_safe(timeout=5))


@contextmanager
def lock_wait(session: Waiting, what: str) -> Iterator[None]:
    """Report on stderr the holders of a lock if the block waits long, and end its statement after GIVE_UP_S.

    Raises:
        PostgresUnavailable: the wait was ended; the message names the holder and what to do.
    """
    done = threading.Event()
    given_up: list[str] = []

    def watch() -> None:
        deadline, pause = time.monotonic() + GIVE_UP_S, SAY_AFTER_S
        while not done.wait(max(min(pause, deadline - time.monotonic()), 0)):
            holders = _holders(session)
            if time.monotonic() >= deadline:
                given_up.append(holders)
                with suppress(psycopg.Error, OSError):
                    session.cancel()
                return
            if holders:
                say(f"waiting for {what}: held by {holders}")
            pause = SAY_AGAIN_S

    with named_shortage():
        threading.Thread(target=watch, name="lock wait", daemon=True).start()
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        if not given_up:
            raise
        raise _too_long(session, what, given_up[0]) from error
    finally:
        done.set()


def _too_long(session: Waiting, what: str, holders: str) -> PostgresUnavailable:
    return PostgresUnavailable(
        f"Postgres at {postgres_place(session.url)}: expected {what} to be free within {GIVE_UP_S:g} s, found it held by "
        f"{holders or 'a session that has just ended'}; end that process, or its session with "
        "SELECT pg_terminate_backend(number), then run this again"
    )


_HOLDERS = """
    SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'this machine'), a.state,
        to_char(coalesce(a.state_change, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
    FROM unnest(pg_blocking_pids(%s)) b JOIN pg_stat_activity a ON a.pid = b ORDER BY 1
"""


def _holders(session: Waiting) -> str:
    """Return who holds the lock that a session waits for; empty if nobody does, or Postgres does not say."""
    try:
        with _connect(session.url) as connection:
            rows = connection.execute(_HOLDERS, (session.pid,)).fetchall()
    except psycopg.Error:
        return ""
    return "; ".join(
        f"{name or 'a session'} (session {pid}, from {host}, {state or 'active'} since {since} UTC)"
        for pid, name, host, state, since in rows[:3]
    )
