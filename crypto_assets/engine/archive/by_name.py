"""Requests archive files by their names: those that no listing shows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from crypto_assets.errors import OF_THIS_PROCESS, BadContainer, CryptoAssetsError, NotPublished
from crypto_assets.model import ArchiveObject
from crypto_assets.sources import ArchiveFeed
from crypto_assets.transport.bounds import CHECKSUM

if TYPE_CHECKING:
    from crypto_assets.engine.archive.site import ArchiveSite

_AT_ONCE = 4


def probe(site: ArchiveSite, feed: ArchiveFeed, key: str) -> ArchiveObject | None:
    """Return an object that exists although no listing shows it; None if it does not exist.

    Where files have checksums, the checksum is requested first: it is small, and a file without one cannot be used.

    Raises:
        HostUnreachable, HostRefused: the host does not answer the question.
    """
    try:
        digest = feed.digest(key)
        if digest and digest.key:
            with contextlib.suppress(BadContainer):  # the file exists; the download will report what is wrong with it
                site.archive.get(f"{site.files_url}/{digest.key}", bound=CHECKSUM)
        headers = site.archive.head(f"{site.files_url}/{key}").headers
    except NotPublished:
        return None
    modified = headers.get("last-modified")
    return ArchiveObject(
        key,
        int(headers.get("content-length") or 0),
        headers.get("etag", "").removeprefix("W/").strip('"'),
        parsedate_to_datetime(modified).astimezone(UTC) if modified else None,
    )


def probe_all(
    site: ArchiveSite, feed: ArchiveFeed, keys: Sequence[str]
) -> tuple[dict[str, ArchiveObject], CryptoAssetsError | None]:
    """Return the existing objects among `keys`, and why the host could not be asked for the rest, if so.

    The first key is requested alone: if the host does not answer, the others are not requested.
    """
    found: dict[str, ArchiveObject] = {}

    def ask(key: str) -> None:
        if obj := probe(site, feed, key):
            found[key] = obj

    try:
        for key in keys[:1]:
            ask(key)
        if keys[1:]:
            with ThreadPoolExecutor(_AT_ONCE, "probe") as pool:
                list(pool.map(ask, keys[1:]))
    except OF_THIS_PROCESS:
        raise
    except CryptoAssetsError as error:
        return found, error
    return found, None
