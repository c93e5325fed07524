"""Connections to Postgres, shared by the ledger and the warehouse."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from crypto_assets.errors import OutOfResources, PostgresUnavailable, Stopped
from crypto_assets.machine.shortage import named_shortage, shortage
from crypto_assets.storage.own_servers import known_as_own
from crypto_assets.storage.patience import Patience, outlast, patience_with
from crypto_assets.storage.postgres_faults import is_busy, is_lost, unavailable
from crypto_assets.storage.revisions import MISFITS, differs
from crypto_assets.storage.sessions import needs_session
from crypto_assets.text.urls import postgres_place

CONNECT_TIMEOUT_S = 15.0
_CANCEL_TIMEOUT_S = 0.2
_SLICE_S = 0.5
_SESSION: dict[str, Any] = {"application_name": "crypto_assets", "options": "-c timezone=UTC"}


# We handle their warnings here: we wait, or print one line.
for _name in ("psycopg", "psycopg.pool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_Problem: TypeAlias = PostgresUnavailable | OutOfResources
_Pool: TypeAlias = ConnectionPool[psycopg.Connection[Any]]

R = TypeVar("R")


class Database:
    """A small connection pool that opens at first use; base class of the ledger and the warehouse.

    Not for use across a fork: open one in each process.
    """

    def __init__(self, url: str, connections: int = 4, *, waits_s: float | None = None) -> None:
        """Set the pool up.

        Args:
            waits_s: seconds to wait for a server that does not answer; default: CRYPTO_ASSETS_STORE_PATIENCE_S.
        """
        self.url = url
        self._waits_s = waits_s
        self._connections = connections
        self._pool: _Pool | None = None
        self._lock = threading.Lock()
        self._in_use: set[psycopg.Connection[Any]] = set()
        self._stopped = False
        self._refused_at = 0.0

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
        """End the open transactions, without commit, and begin no more; threads in a transaction see it fail."""
        with self._lock:
            self._stopped = True
            in_use = list(self._in_use)
        for connection in in_use:
            with suppress(psycopg.Error):  # it has just ended by itself
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    @contextmanager
    def transaction(self, *, waits: bool = True) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection inside one transaction, committed when the block ends and rolled back when it raises.

        Args:
            waits: wait for a server that does not answer for a moment (`storage/patience.py`).

        Raises:
            PostgresUnavailable: the server does not answer, or the connection breaks; `passing` if the block may be
                repeated (`outlast`).
            Stopped: `stop` was called.
        """
        self._go_on()
        pool, connection = self._taken(waits=waits)
        try:
            self._in_use.add(connection)
            try:
                self._go_on()
                with connection:
                    yield connection
                    self._go_on()
            finally:
                self._in_use.discard(connection)
        except (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName) as error:
            # This connection met a statement that another one prepared.
            raise needs_session(self.url, "prepared statements are another connection's") from error
        except MISFITS as error:
            raise differs(self.url, str(error)) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._go_on()
            if isinstance(error, psycopg.InterfaceError) and not is_lost(error):
                raise
            raise unavailable(self.url, error) from error
        finally:
            pool.putconn(connection)

    def change(self, work: Callable[[psycopg.Connection[Any]], R]) -> R:
        """Return the result of `work` in one transaction that is committed once, however often the connection breaks.

        Use it for work that must not be done twice, or that reports its changes. If a connection breaks during the commit,
        the server is asked whether it committed. Temporary failures are retried, so `work` may be called again.

        Raises:
            PostgresUnavailable, Stopped: as `transaction` does.
        """
        tried: tuple[_Tried, R] | None = None

        def attempt() -> R:
            nonlocal tried
            with self.transaction() as connection:
                if tried is not None and _has_committed(connection, self.url, tried[0]):
                    return tried[1]
                found = work(connection)
                tried = _Tried.now(connection), found
            return found

        return outlast(attempt)

    def _go_on(self) -> None:
        if self._stopped:
            raise Stopped("the run is ending; this transaction was not committed")

    @cached_property
    def patience(self) -> Patience:
        """The waiting time shared by all users of this server in this process."""
        return patience_of(self.url)

    def _taken(self, *, waits: bool) -> tuple[_Pool, psycopg.Connection[Any]]:
        """Return a living connection, as soon as there is one, and the pool it belongs to."""
        attempt, busy_until = 0, time.monotonic() + CONNECT_TIMEOUT_S
        give_up_at = time.monotonic() + self._waits_s if waits and self._waits_s is not None else None
        while True:
            self._go_on()
            pool, began = self._opened(), time.monotonic()
            try:
                connection = pool.getconn(timeout=_SLICE_S)
            except PoolClosed:
                raise Stopped("the database was closed meanwhile; nothing was committed") from None
            except PoolTimeout as error:
                if not any(worker.is_alive() for worker in pool._workers):
                    self._drop(pool)
                    raise shortage(MemoryError()) or error from error
                if self._refused_at < began:  # all connections are in use, or a new one takes time
                    if time.monotonic() < busy_until:
                        continue
                    raise unavailable(self.url, error) from error
                problem = self._problem()
                if problem is None:
                    continue
                attempt += 1
                if not waits or (give_up_at is not None and time.monotonic() >= give_up_at):
                    if isinstance(problem, PostgresUnavailable):
                        problem.passing = False
                    raise problem from error
                if not _waited(self.patience, problem, attempt, self._is_stopped):
                    raise problem from error
                busy_until = time.monotonic() + CONNECT_TIMEOUT_S
                continue
            if _lives(connection):
                self.patience.answered()
                return pool, connection
            connection.close()
            pool.putconn(connection)

    def _drop(self, pool: _Pool) -> None:
        """Forget a pool whose only worker has ended, so that the next transaction opens another.

        A worker logs any failure and goes on; only where there is no memory for that does it end, and nobody would ever open
        a connection again: callers would wait for minutes for a server that answers.
        """
        with self._lock:
            if self._pool is pool:
                self._pool = None

    def _is_stopped(self) -> bool:
        return self._stopped

    def _problem(self) -> _Problem | None:
        """Return why no connection can be made, by trying to make one; the pool does not give the reason."""
        try:
            psycopg.connect(self.url, connect_timeout=int(CONNECT_TIMEOUT_S), **_SESSION).close()
        except psycopg.OperationalError as error:
            return at_first(self.url, error)
        return None

    def _opened(self) -> _Pool:
        with self._lock:
            if self._pool is None:
                with named_shortage():
                    self._pool = ConnectionPool(
                        self.url,
                        min_size=0,
                        max_size=self._connections,
                        kwargs=dict(_SESSION),
                        # The pool tries once: `_taken` asks it again, and knows how long it should.
                        reconnect_timeout=0,
                        reconnect_failed=self._note_refusal,
                        num_workers=1,
                        open=True,
                    )
            return self._pool

    def _note_refusal(self, _pool: object) -> None:
        self._refused_at = time.monotonic()


@lru_cache(maxsize=64)
def patience_of(url: str) -> Patience:
    """Return this process's patience with a server."""
    return patience_with(url, f"Postgres at {postgres_place(url)}")


def at_first(url: str, error: Exception) -> _Problem:
    """Return the error of a failed connection; `passing` only if the address is known to be right."""
    found = unavailable(url, error)
    if isinstance(found, PostgresUnavailable):
        found.passing = found.passing and (patience_of(url).known or known_as_own(url) or is_busy(error))
    return found


C = TypeVar("C")


def connected(
    url: str,
    make: Callable[[], C],
    errors: type[Exception] | tuple[type[Exception], ...] = psycopg.OperationalError,
    stopped: Callable[[], bool] = lambda: False,
) -> C:
    """Return a connection made by `make`; wait until the server gives one.

    Args:
        errors: the exceptions of `make` for a failed connection.

    Raises:
        PostgresUnavailable: no connection within the time limit, or the address may be wrong.
        Stopped: the run was stopped meanwhile.
    """
    patience, attempt = patience_of(url), 0
    while True:
        try:
            found = make()
        except errors as error:
            problem, attempt = at_first(url, error), attempt + 1
            if not _waited(patience, problem, attempt, stopped):
                raise problem from error
        else:
            patience.answered()
            return found


def _waited(patience: Patience, problem: _Problem, attempt: int, stopped: Callable[[], bool]) -> bool:
    """Wait a little; return False if waiting is useless now."""
    if isinstance(problem, OutOfResources) or not problem.passing:
        return False
    found = str(problem).partition("found: ")[2].partition(";")[0]
    if patience.wait(attempt, found, stopped):
        return True
    problem.passing = False
    return False


class _Tried(NamedTuple):
    """A transaction that may have committed: its number, and the server's log position just before."""

    number: str
    place: str

    @classmethod
    def now(cls, connection: psycopg.Connection[Any]) -> _Tried:
        (found,) = connection.execute("SELECT pg_current_xact_id()::text, pg_current_wal_insert_lsn()::text").fetchall()
        return cls(*found)


# A server that crashed before it wrote the end of its log gives the same numbers again.
_STATUS = "SELECT CASE WHEN pg_current_wal_insert_lsn() >= %s::pg_lsn THEN pg_xact_status(%s::xid8) END"


def _has_committed(connection: psycopg.Connection[Any], url: str, tried: _Tried) -> bool:
    """Return whether a transaction with a broken connection was committed; its server process may end a little later."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with connection.transaction():  # a savepoint: the error ends only this question
                ((status,),) = connection.execute(_STATUS, (tried.place, tried.number)).fetchall()
        except psycopg.errors.InvalidParameterValue:  # a number from the future
            return False
        if status != "in progress":
            return bool(status == "committed")
        time.sleep(_CANCEL_TIMEOUT_S)
    raise unavailable(url, psycopg.OperationalError("a transaction whose connection was cut has not ended"))


def _lives(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server still holds its end of an idle connection; asks it only if it has sent something.

    When a session was ended, its last words and the end lie in the socket: checking costs microseconds.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return connection.info.transaction_status == TransactionStatus.IDLE
