"""Publishes files of the lake together with their rows in Postgres, so that a kill at any moment leaves both or neither.

    step        what is done                                                    undone by
    noted       a row in collection.journal for each file, committed            deleting it
    staged      the new bytes, synced, in staging/                              deleting them
    verified    they are read back
    kept        the former file, in versions/ or staging/                       deleting it
    loaded      warehouse, ledger, versions and corrections, in a transaction   its rollback
    moved       the new file replaces the former one                            putting the former one back
    forgotten   the rows of the journal, in the same transaction                its rollback
    committed   the transaction                                                 nothing: the day is published
    cleared     the rest of staging/

So a row of the journal means that the transaction has not committed. The publisher holds an advisory lock on the folder of
each symbol. Postgres frees the lock when the process is dead: the next process that gets it undoes the row. After an
exception the same undo runs at once. A row that the journal cannot have written (`ledger/journal_notes.py`) is removed and
reported in a line, and nothing else is done about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import psycopg

from crypto_assets.errors import CryptoAssetsError, UnsafePath
from crypto_assets.ledger.corrections import is_version
from crypto_assets.ledger.journal_notes import NotedFile, forget, note, noted_files, take_out
from crypto_assets.storage.revisions import require_head
from crypto_assets.storage.sessions import lock_wait, of_connection, process_name, say
from crypto_assets.storage.stores import STAGING, Staged

if TYPE_CHECKING:
    from crypto_assets.model.content import Content
    from crypto_assets.storage.database import Database
    from crypto_assets.storage.lake import Lake

LEFT_OVER_S = 3600.0
"""Age after which unknown files in staging/ are removed."""


def _nowhere(step: str) -> None:
    """Called at every step with its name; tests end the process there."""


reached: Callable[[str], None] = _nowhere


@dataclass(slots=True)
class Replacement:
    """One file to publish; `data` is dropped as soon as it is staged.

    `former_sha256` is of the present bytes at its path, None if there are none. `version_path` is where those bytes are kept
    for good, None if nobody will need them.
    """

    folder: str
    path: str
    data: Content
    sha256: str
    former_sha256: str | None = None
    version_path: str | None = None


@dataclass(slots=True)
class _Step:
    """A replacement in progress."""

    file: Replacement
    at: str
    kept: str | None
    staged: Staged | None = None

    @property
    def noted(self) -> NotedFile:
        """Return the row of the journal."""
        file = self.file
        return NotedFile(file.folder, file.path, self.at, self.kept, file.former_sha256, file.sha256)


class Journal:
    """Publishes files of one lake, and undoes what killed processes left; safe to use from many threads."""

    def __init__(self, lake: Lake, database: Database, run_id: str | None = None) -> None:
        self._lake = lake
        self._store = lake.store
        self._database = database
        self._run_id = run_id

    def recover(self) -> int:
        """Undo what killed processes left and remove old files in staging/; return the number of restored files.

        Files that another process is publishing now are left alone.
        """
        with self._database.transaction() as connection:
            noted = noted_files(connection, self._store.url)
        undone = 0
        for folder in dict.fromkeys(file.folder for file in noted):
            with self._database.transaction() as connection:
                locked = connection.execute(
                    "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (self._lock_name(folder),)
                ).fetchone()
                if locked == (True,):
                    undone += self._undo(connection, [folder])
        self._store.sweep(LEFT_OVER_S, {path for file in noted for path in (file.staged, file.kept) if path})
        return undone

    @contextmanager
    def alone(self, folders: Sequence[str]) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection while nobody else publishes in some folders; what dead processes left there is undone first.

        Raises:
            PostgresUnavailable: the server does not answer; or the connection breaks, which frees its locks; or another
                process has held one of the folders for too long.
        """
        with self._database.transaction() as connection:
            try:
                if folders:
                    # A lost host keeps no lock for long. Locked in the order of names, so that nobody waits in a circle.
                    connection.execute(
                        """SELECT set_config('tcp_keepalives_idle', '20', false),
                            set_config('tcp_keepalives_interval', '5', false),
                            set_config('tcp_keepalives_count', '4', false), set_config('application_name', %s, false)""",
                        (process_name(),),
                    )
                    what = f"the lock on {folders[0]}" + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
                    with lock_wait(of_connection(connection), what):
                        connection.execute(
                            "SELECT pg_advisory_lock(hashtextextended(n, 0)) "
                            "FROM (SELECT unnest(%s::text[]) AS n ORDER BY 1) s",
                            ([self._lock_name(folder) for folder in folders],),
                        )
                    connection.commit()
                    if self._undo(connection, folders):
                        connection.commit()
                yield connection
            finally:
                if folders:
                    # Session locks outlast transactions. A broken connection has no locks to free.
                    with suppress(psycopg.Error):
                        if connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                            connection.rollback()
                        connection.execute("SELECT pg_advisory_unlock_all()")

    @contextmanager
    def publishing(
        self, connection: psycopg.Connection[Any], files: Sequence[Replacement], pool: Executor
    ) -> Iterator[None]:
        """Publish some files together with what the block writes through the connection of `alone`; commits.

        When this returns, everything is published; when it raises, nothing is. Only if Postgres no longer answers does the
        undo wait for the next publisher of these folders, or for `recover`.
        """
        token = f"{STAGING}{uuid4().hex}/"
        steps = [
            _Step(
                file,
                f"{token}{number}.staged",
                file.former_sha256 and (file.version_path or f"{token}{number}.former"),
            )
            for number, file in enumerate(files)
        ]
        try:
            if steps:
                note(connection, self._store.url, [step.noted for step in steps], self._run_id)
                connection.commit()
                reached("noted")
                _all(pool, self._prepare, steps)
            require_head(connection, self._database.url)
            yield
            reached("loaded")
            _all(pool, self._move, steps)
            if steps:
                forget(connection, self._store.url, [step.file.path for step in steps])
            reached("forgotten")
            connection.commit()
        except BaseException:
            if steps:
                self._undo_now(connection, sorted({step.file.folder for step in steps}))
            raise
        reached("committed")
        for step in steps:
            # A file left here blocks nothing; `recover` removes it later.
            with suppress(OSError, CryptoAssetsError):
                self._clear(step)
        reached("cleared")

    # ---- the steps --------------------------------------------------------------------------------------------------

    def _prepare(self, step: _Step) -> None:
        step.staged = self._store.stage(step.at, step.file.data)
        reached("staged")
        step.staged.verify(step.file.data)
        step.file.data = b""
        reached("verified")
        if step.kept is not None:
            self._store.keep(step.file.path, step.kept)
            reached("kept")

    def _move(self, step: _Step) -> None:
        assert step.staged is not None  # noqa: S101  _prepare came before
        step.staged.publish(step.file.path)
        reached("moved")

    def _clear(self, step: _Step) -> None:
        if step.kept is not None and step.kept.startswith(STAGING):
            self._store.delete(step.kept)
        if step.staged is not None:
            step.staged.discard()

    # ---- the undo ---------------------------------------------------------------------------------------------------

    def _undo_now(self, connection: psycopg.Connection[Any], folders: Sequence[str]) -> None:
        try:
            connection.rollback()
            self._undo(connection, folders)
            connection.commit()
        except (psycopg.Error, CryptoAssetsError, OSError):
            # The connection broke, perhaps during the commit; a new one shows whether it happened.
            with suppress(psycopg.Error, CryptoAssetsError, OSError):
                self.recover()

    def _undo(self, connection: psycopg.Connection[Any], folders: Sequence[str]) -> int:
        """Put back every file of locked folders that is in the journal; return their number."""
        undone = 0
        for noted in take_out(connection, self._store.url, folders):
            try:
                if noted.problem:
                    raise UnsafePath(noted.problem)
                self._put_back(connection, noted)
                undone += 1
            except UnsafePath as error:
                say(
                    f"a row of collection.journal is not believed ({noted}): {error}; it is removed, and nothing outside "
                    "of the lake was touched. If nobody has edited that table, please report it"
                )
        return undone

    def _put_back(self, connection: psycopg.Connection[Any], noted: NotedFile) -> None:
        found = _sha256(self._lake.readable(noted.path))
        if noted.former_sha256 is None:
            if found == noted.sha256:
                self._store.delete(noted.path)
        elif found != noted.former_sha256 and noted.kept is not None:
            former = self._lake.readable(noted.kept)
            if former and _sha256(former) == noted.former_sha256:
                self._store.put(noted.path, former)
        if noted.kept is not None and not is_version(connection, noted.kept):
            self._store.delete(noted.kept)
        self._store.delete(noted.staged)

    def _lock_name(self, folder: str) -> str:
        return f"publish {self._store.url} {folder}"


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


T = TypeVar("T")


def _all(pool: Executor, work: Callable[[_Step], None], steps: Sequence[_Step]) -> None:
    """Do some work for every step; raises the first error, after all work has ended."""
    errors: list[BaseException] = []
    for future in [pool.submit(work, step) for step in steps]:
        try:
            future.result()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]
