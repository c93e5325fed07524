"""Where rows came from and where they are stored: the exchange's file, the source of a day, the file of the lake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_BETWEEN = " + "
"""Stands between the keys of files that hold a day together. No key of an archive has it."""


def together(keys: Sequence[str]) -> str:
    """Return the keys of the files of a day as one text."""
    return _BETWEEN.join(keys)


def keys_in(key: str) -> list[str]:
    """Return the keys of the files that a day came from, in order of time; usually one."""
    return key.split(_BETWEEN)


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One file an exchange publishes, as its listing shows it.

    `etag` is without quotes, empty if the listing has none. `last_modified` is UTC. `parts` are the files, in order of time,
    if a day needs several.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None = None
    parts: tuple[ArchiveObject, ...] = ()

    @classmethod
    def joined(cls, objects: Sequence[ArchiveObject]) -> ArchiveObject:
        """Return files that hold a day together as one: sizes summed, the latest time. A single file is itself.

        A file that is published again changes the etag of the whole.
        """
        if len(objects) == 1:
            return objects[0]
        return cls(
            _BETWEEN.join(one.key for one in objects),
            sum(one.size_bytes for one in objects),
            "+".join(one.etag for one in objects),
            _latest(objects),
            tuple(objects),
        )

    @property
    def files(self) -> tuple[ArchiveObject, ...]:
        """The files themselves, one or more."""
        return self.parts or (self,)


def same_file(
    obj: ArchiveObject,
    key: str | None,
    etag: str | None,
    size_bytes: int | None = None,
    last_modified: datetime | None = None,
) -> bool:
    """Return whether a listed file is the one of this key, etag, size and time, as far as its listing shows them."""
    if obj.key != key:
        return False
    if obj.etag.strip("+"):
        return obj.etag == etag
    same_time = obj.last_modified is None or last_modified is None or obj.last_modified == last_modified
    return same_time and (not obj.size_bytes or size_bytes is None or obj.size_bytes == size_bytes)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Where the rows of a stored partition came from.

    `sha256` is over the downloaded bytes, `published_digest` is the exchange's own, as `sha256:…` or `md5:…` in hexadecimal
    (None: it publishes none). `source` is `archive` or `rest`. `parts` are the files, in order of time, if the day came from
    several. `contract_size` is the size by which amounts in contracts were converted, as text; None: they were not.
    """

    key: str
    size_bytes: int
    etag: str
    sha256: str
    published_digest: str | None = None
    last_modified: datetime | None = None
    source: str = "archive"
    parts: tuple[SourceFile, ...] = ()
    contract_size: str | None = None

    @classmethod
    def joined(cls, files: Sequence[SourceFile]) -> SourceFile:
        """Return files that hold a day together as one; a single file is itself.

        `sha256` is over the files' own as text, one after another. `published_digest` is None if one file has none.
        """
        if len(files) == 1:
            return files[0]
        published = [one.published_digest for one in files if one.published_digest is not None]
        return cls(
            _BETWEEN.join(one.key for one in files),
            sum(one.size_bytes for one in files),
            "+".join(one.etag for one in files),
            hashlib.sha256("".join(one.sha256 for one in files).encode()).hexdigest(),
            _BETWEEN.join(published) if len(published) == len(files) else None,
            _latest(files),
            files[0].source,
            tuple(files),
            files[0].contract_size,
        )

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files themselves, one or more."""
        return self.parts or (self,)

    @property
    def described_parts(self) -> list[dict[str, Any]]:
        """The parts as JSON: key, size_bytes, etag, sha256, published_digest, last_modified (ISO 8601)."""
        return [
            {
                "key": one.key,
                "size_bytes": one.size_bytes,
                "etag": one.etag,
                "sha256": one.sha256,
                "published_digest": one.published_digest,
                "last_modified": one.last_modified.isoformat() if one.last_modified else None,
            }
            for one in self.parts
        ]


def parts_of(described: Sequence[Mapping[str, Any]], source: str) -> tuple[SourceFile, ...]:
    """Return the parts that `SourceFile.described_parts` describes.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return tuple(
        SourceFile(
            str(one["key"]),
            int(one["size_bytes"]),
            str(one["etag"]),
            str(one["sha256"]),
            one["published_digest"],
            datetime.fromisoformat(one["last_modified"]) if one["last_modified"] else None,
            source,
        )
        for one in described
    )


def _latest(files: Sequence[ArchiveObject] | Sequence[SourceFile]) -> datetime | None:
    return max((one.last_modified for one in files if one.last_modified is not None), default=None)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One Parquet file of the lake.

    `path` is relative to the lake's root. `sha256` is over the Parquet bytes, which depend on rows and source only: the same
    content has the same sha256.
    """

    path: str
    rows: int
    size_bytes: int
    sha256: str
