"""Pauses and cancellations: requested by people, programs or the run itself, stored in Postgres, obeyed by every run.

A pause has a scope: `all`, `exchange:binance` or `run:<run id>`. It lasts until somebody resumes it, even after restarts.
LISTEN/NOTIFY informs runs of changes; they also read again periodically, in case a notice was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import repeatable

ALL = "all"
ITSELF = "the run itself"
"""The author of a pause by a run that met too many failures in a row."""

_CHANNEL = "crypto_assets_controls"
_READ_AGAIN_S = 5.0

_PUT = """
INSERT INTO collection.controls AS c (scope, action, reason, who) VALUES (%(scope)s, %(action)s, %(reason)s, %(who)s)
ON CONFLICT (scope, action) DO UPDATE SET reason = excluded.reason, who = excluded.who, at = excluded.at
    WHERE %(who)s <> %(itself)s
"""


_READ = """
SELECT scope, action, reason, who, at FROM collection.controls
WHERE scope = ANY(coalesce(%s::text[], ARRAY[scope])) ORDER BY at, scope
"""


@dataclass(frozen=True, slots=True)
class Control:
    """One pause or cancellation in force."""

    scope: str
    action: Literal["pause", "cancel"]
    reason: str
    who: str
    at: datetime

    def __str__(self) -> str:
        return f"{self.scope} by {self.who}" + (f": {self.reason}" if self.reason else "")


def of_exchange(exchange: str) -> str:
    return f"exchange:{exchange}"


def of_run(run_id: str) -> str:
    return f"run:{run_id}"


def me() -> str:
    """Return who runs this process, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user id has no name, as in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Controls:
    """Reads and changes pauses and cancellations; safe to use from many threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, scope: str, who: str, reason: str = "") -> None:
        """Pause a scope; pausing again replaces reason and author, unless the run itself asks again."""
        self._put(scope, "pause", who, reason)

    def cancel(self, run_id: str, who: str, reason: str = "") -> None:
        """Cancel a run; it ends within a second, wherever it runs."""
        self._put(of_run(run_id), "cancel", who, reason)

    def resume(self, scope: str, who: str | None = None) -> bool:
        """End the pause of exactly this scope (with `who`: only if it is by them); return whether there was one."""

        def end(connection: psycopg.Connection[Any]) -> bool:
            found = connection.execute(
                "DELETE FROM collection.controls WHERE scope = %s AND action = 'pause' AND who = coalesce(%s, who)",
                (scope, who),
            )
            connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, scope))
            return bool(found.rowcount)

        return self._database.change(end)

    @repeatable
    def forget(self, run_id: str) -> None:
        """Remove the pauses and cancellations of a run that has ended."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM collection.controls WHERE scope = %s", (of_run(run_id),))

    @repeatable
    def read(self, scopes: Sequence[str] | None = None) -> list[Control]:
        """Return the pauses and cancellations in force, oldest first; with `scopes` only those of these scopes."""
        with self._database.transaction() as connection:
            return connection.cursor(row_factory=class_row(Control)).execute(*_query(scopes)).fetchall()

    @repeatable
    def _put(self, scope: str, action: str, who: str, reason: str) -> None:
        values = {"scope": scope, "action": action, "who": who, "reason": reason, "itself": ITSELF}
        with self._database.transaction() as connection:
            connection.execute(_PUT, values)
            connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, scope))


async def watch(url: str, scopes: Sequence[str], changed: Callable[[list[Control]], None]) -> None:
    """Call `changed` with the controls of the scopes whenever they may have changed, until cancelled.

    Waits while the database does not answer; code that needs its rows reports that.
    """
    while True:
        with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, application_name="crypto_assets control", options="-c timezone=UTC"
            ) as connection:
                await connection.execute(f"LISTEN {_CHANNEL}")
                while True:
                    cursor = connection.cursor(row_factory=class_row(Control))
                    changed(await (await cursor.execute(*_query(scopes))).fetchall())
                    async for _ in connection.notifies(timeout=_READ_AGAIN_S, stop_after=1):
                        pass
        await asyncio.sleep(1)


def _query(scopes: Sequence[str] | None) -> tuple[str, tuple[list[str] | None]]:
    return _READ, (None if scopes is None else list(scopes),)
