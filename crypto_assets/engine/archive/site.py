"""The addresses and the client of one source's archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.engine.archive.user_files import UserFiles, UserFilesView
from crypto_assets.model import Series
from crypto_assets.sources import Source
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.client import Client, View

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection


USER_FILES = "file:"
"""Stands before the keys of files that a person downloaded, where others have a host."""


@dataclass(frozen=True, slots=True)
class ArchiveSite:
    """The addresses of an archive, and the client that requests them.

    Without `archive_url` no file is requested by its name: an unlisted file counts as missing.
    """

    client: Client
    source: Source
    listing_url: str
    archive_url: str | None = None
    user_files: UserFilesView | None = None

    @classmethod
    def of(cls, client: Client, collection: Collection, series: Series) -> ArchiveSite:
        """Return the archive of a series, at the addresses of collection.yaml or the source's own."""
        source, urls = sources.get(series.exchange), collection.urls(series.exchange)
        own = sources.user_files(series)
        if own and urls.files:
            view = UserFilesView(UserFiles(urls.files, own.folder), USER_FILES)
            return cls(client, source, str(urls.files), USER_FILES, view)
        return cls(
            client,
            source,
            urls.listing_url or source.listing_url,
            urls.archive_url or source.archive_url,
        )

    @property
    def files_url(self) -> str:
        """The address of files, for requests by name that are always allowed."""
        return self.archive_url or self.source.archive_url

    @property
    def listing(self) -> View:
        """The client for listings, with their limits and their breaker."""
        return self.client.at(Endpoint(self.source.name, "listing", "listing"))

    @property
    def archive(self) -> View | UserFilesView:
        """The client for files, with their limits and their breaker; or the files that a person downloaded."""
        if self.user_files:
            return self.user_files
        return self.client.at(Endpoint(self.source.name, "archive", "archive"))
