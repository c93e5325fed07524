"""Where rows came from and where they are stored: the exchange's file, the source of a day, the file of the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One file an exchange publishes, as its listing shows it.

    `etag` is without quotes. `last_modified` is UTC.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Where the rows of a stored partition came from.

    `sha256` is over the downloaded bytes, `published_sha256` is the exchange's own (None: it publishes none). `source` is
    `archive` or `rest`.
    """

    key: str
    size_bytes: int
    etag: str
    sha256: str
    published_sha256: str | None = None
    last_modified: datetime | None = None
    source: str = "archive"


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
