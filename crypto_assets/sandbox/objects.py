"""The objects of an archive: what a listing shows of one, and where they come from; also the files of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

CHECKSUM = ".CHECKSUM"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The listing entry of one object. `etag` is MD5 in hex, without quotes."""

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Digests:
    """Size and digests of one object's bytes, in hex."""

    size: int
    md5: str
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Digests:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return cls(len(content), md5, hashlib.sha256(content).hexdigest())


class Archive(Protocol):
    """The objects of one archive. Methods may block and are called from threads."""

    name: str
    synthetic: bool

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix` and follow `after`, in the order of their UTF-8 bytes."""

    def info(self, key: str) -> ObjectInfo | None:
        """Return size, ETag and time of one object; None if it does not exist."""

    def read(self, key: str) -> bytes | None:
        """Return the content of one object; None if it does not exist."""


class FolderArchive:
    """The files below a folder, read at each request; a key is the path relative to the folder."""

    synthetic = False

    def __init__(self, folder: Path, name: str = "folder") -> None:
        self.name = name
        self._folder = folder.resolve()
        if not self._folder.is_dir():
            raise NotADirectoryError(f"{folder}: expected a folder of archive files")
        self._known: dict[str, tuple[int, int, str]] = {}

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        # Start at the deepest folder with every match, so that a small listing does not walk everything.
        top = self._path(prefix.rpartition("/")[0])
        if top is None or not top.is_dir():
            return
        found = (path.relative_to(self._folder).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(key for key in found if key.startswith(prefix) and key > after)

    def info(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        state = path.stat()
        known = self._known.get(key)
        if known is None or known[:2] != (state.st_mtime_ns, state.st_size):
            with path.open("rb") as file:
                known = state.st_mtime_ns, state.st_size, hashlib.file_digest(file, "md5").hexdigest()
            self._known[key] = known
        return ObjectInfo(key, state.st_size, known[2], datetime.fromtimestamp(state.st_mtime, UTC))

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        return path.read_bytes() if path is not None and path.is_file() else None

    def _path(self, key: str) -> Path | None:
        """Return the path of a key, None if it would lie outside the folder."""
        try:
            path = (self._folder / key).resolve()
        except ValueError:  # a zero byte in the key
            return None
        return path if path.is_relative_to(self._folder) else None
