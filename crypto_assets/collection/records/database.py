"""Connections to Postgres, shared by the ledger and the warehouse."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from crypto_assets.errors import OutOfResources, PostgresUnavailable, Stopped
from crypto_assets.shortage import named_shortage, no_files_left, said_in
from crypto_assets.storage.revisions import MISFITS, differs
from crypto_assets.storage.sessions import needs_session
from crypto_assets.urls import postgres_place

CONNECT_TIMEOUT_S = 15.0
_CANCEL_TIMEOUT_S = 0.2


class Database:
    """A small pool of connections that opens with the first use; base of the ledger and the warehouse.

    Not for use across a fork: open one in each process.
    """

    def __init__(self, url: str, connections: int = 4) -> None:
        self.url = url
        self._connections = connections
        self._pool: ConnectionPool[psycopg.Connection[Any]] | None = None
        self._lock = threading.Lock()
        self._in_use: set[psycopg.Connection[Any]] = set()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._pool is not None:
                self._pool.close(timeout=5)
                self._pool = None

    def stop(self) -> None:
        """End the transactions in hand, which other threads then see fail, and begin no more; nothing of them is kept."""
        with self._lock:
            self._stopped = True
            in_use = list(self._in_use)
        for connection in in_use:
            with suppress(psycopg.Error):  # it has just ended by itself
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection inside one transaction, committed when the block ends and rolled back when it raises.

        Raises:
            PostgresUnavailable: the server does not answer, or the connection breaks.
            Stopped: `stop` was called.
        """
        self._go_on()
        try:
            with self._opened().connection(timeout=CONNECT_TIMEOUT_S) as connection:
                self._in_use.add(connection)
                try:
                    self._go_on()
                    yield connection
                    self._go_on()
                finally:
                    self._in_use.discard(connection)
        except (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName) as error:
            # One connection has met what another has prepared.
            raise needs_session(self.url, "prepared statements are another connection's") from error
        except MISFITS as error:
            raise differs(self.url, str(error)) from error
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise unavailable(self.url, error) from error

    def _go_on(self) -> None:
        if self._stopped:
            raise Stopped("the run is ending; this transaction was not committed")

    def _opened(self) -> ConnectionPool[psycopg.Connection[Any]]:
        with self._lock:
            if self._pool is None:
                with named_shortage():
                    self._pool = ConnectionPool(
                        self.url,
                        min_size=0,
                        max_size=self._connections,
                        kwargs={"application_name": "crypto_assets", "options": "-c timezone=UTC"},
                        # The pool retries in the background for this long; then `connection()` says so.
                        reconnect_timeout=CONNECT_TIMEOUT_S,
                        num_workers=1,
                        open=True,
                    )
            return self._pool


def unavailable(url: str, error: Exception) -> PostgresUnavailable | OutOfResources:
    """Return the error that names the server, never the password; or what this process has too little of to ask it."""
    found = " ".join(str(error).split())[:300]
    at = f"Postgres at {postgres_place(url)}"
    # What the server itself says has a number of SQL's; the rest is libpq's, and the C library's through it.
    if getattr(error, "sqlstate", None) is None and (ours := said_in(found, at) or no_files_left(at)):
        return ours
    if "password authentication failed" in found or "no password supplied" in found:
        advice = "correct user and password in CRYPTO_ASSETS_POSTGRES_URL"
    elif "database" in found and "does not exist" in found:
        advice = "create the database with createdb, or correct its name in CRYPTO_ASSETS_POSTGRES_URL"
    else:
        advice = "check CRYPTO_ASSETS_POSTGRES_URL and that the server runs"
    return PostgresUnavailable(f"Postgres at {postgres_place(url)}: expected an answer, found: {found}; {advice}")
