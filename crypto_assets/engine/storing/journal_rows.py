"""Rows of collection.journal, and whether they are ours: a row decides which files of the lake are written and deleted.

Whoever may write to the database may write a row. So one is believed only where it names what the journal itself notes: the
file of a day, in the folder of its symbol; bytes in staging/; and a former file in staging/ or among the versions of that
day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from crypto_assets.errors import UnsafePath
from crypto_assets.storage.inside import inside, short
from crypto_assets.storage.lake import folder_of_day

_IN_STAGING = re.compile(r"staging/[^/]+/[0-9]+\.(staged|former)")
_VERSION = re.compile(r"[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, slots=True)
class NotedFile:
    """A file that was being published; `kept` is where its former bytes are, None where there were none."""

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
        """Return why the journal cannot have noted this; empty where it can."""
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
        return f"kept: expected a former file in staging/ or {day}, found {short(self.kept)}"


def _is(path: str, what: str) -> bool:
    match = _IN_STAGING.fullmatch(path)
    return match is not None and match[1] == what
