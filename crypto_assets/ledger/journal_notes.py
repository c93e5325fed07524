"""Read and write rows of collection.journal, and check that a row is ours. A row decides which lake files are deleted.

Anybody who may write to the database may write a row. A row is accepted only if it has what the journal itself writes: the
file of a day in the folder of its symbol; bytes in staging/; and an earlier file in staging/ or among the versions of that
day.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from crypto_assets.errors import UnsafePath
from crypto_assets.storage.inside import inside, short
from crypto_assets.storage.lake_paths import folder_of_day

_IN_STAGING = re.compile(r"staging/[^/]+/[0-9]+\.(staged|former)")
_VERSION = re.compile(r"[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, slots=True)
class NotedFile:
    """A file being published; `kept` is where its earlier bytes are, None if there were none."""

    folder: str
    path: str
    staged: str
    kept: str | None
    former_sha256: str | None
    sha256: str

    def __str__(self) -> str:
        return f"path {short(self.path)}, staged {short(self.staged)}, kept {short(self.kept or 'nothing')}"

    @property
    def problem(self) -> str:
        """Return why the journal cannot have written this; empty if it can."""
        try:
            for path in filter(None, (self.path, self.staged, self.kept)):
                inside("the lake", path)
        except UnsafePath as error:
            return str(error)
        if folder_of_day(self.path) != self.folder:
            return f"path: expected the file of a day below {self.folder}, found {short(self.path)}"
        if not _is(self.staged, "staged"):
            return f"staged: expected new bytes in staging/, found {short(self.staged)}"
        day = f"versions/{self.path.rpartition('/')[0]}/"
        if self.kept is None or _is(self.kept, "former"):
            return ""
        if self.kept.startswith(day) and _VERSION.fullmatch(self.kept.removeprefix(day)):
            return ""
        return f"kept: expected an earlier file in staging/ or {day}, found {short(self.kept)}"


def _is(path: str, what: str) -> bool:
    match = _IN_STAGING.fullmatch(path)
    return match is not None and match[1] == what


def note(connection: psycopg.Connection[Any], lake: str, files: Sequence[NotedFile], run_id: str | None) -> None:
    """Write a row for each file that this process is about to publish in the lake at a URL."""
    connection.execute(
        """INSERT INTO collection.journal
            (lake, path, folder, staged, kept, former_sha256, sha256, run_id, host, pid)
        SELECT %s, j.*, %s, %s, %s
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) j""",
        (
            *(lake, run_id, socket.gethostname(), os.getpid()),
            [file.path for file in files],
            [file.folder for file in files],
            [file.staged for file in files],
            [file.kept for file in files],
            [file.former_sha256 for file in files],
            [file.sha256 for file in files],
        ),
    )


def noted_files(connection: psycopg.Connection[Any], lake: str) -> list[NotedFile]:
    """Return every file in the journal of a lake, by folder."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM collection.journal WHERE lake = %s ORDER BY folder", (lake,)
    ).fetchall()
    return [NotedFile(*row) for row in rows]


def take_out(connection: psycopg.Connection[Any], lake: str, folders: Iterable[str]) -> list[NotedFile]:
    """Delete the rows of some folders and return them; call this with the locks of the folders, to undo the rows."""
    rows = connection.execute(
        f"DELETE FROM collection.journal WHERE lake = %s AND folder = ANY(%s) RETURNING {_COLUMNS}",
        (lake, list(folders)),
    ).fetchall()
    return [NotedFile(*row) for row in rows]


def forget(connection: psycopg.Connection[Any], lake: str, paths: Iterable[str]) -> None:
    """Delete the rows of published files."""
    connection.execute("DELETE FROM collection.journal WHERE lake = %s AND path = ANY(%s)", (lake, list(paths)))


_COLUMNS = ", ".join(NotedFile.__dataclass_fields__)
