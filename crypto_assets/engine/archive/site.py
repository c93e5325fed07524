"""The addresses and the client of one exchange's archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets.sources import Exchange
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.client import Client, View

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection


@dataclass(frozen=True, slots=True)
class ArchiveSite:
    """The addresses of an exchange's archive, and the client that requests them.

    Without `archive_url` no file is requested by its name: an unlisted file counts as missing.
    """

    client: Client
    exchange: Exchange
    listing_url: str
    archive_url: str | None = None

    @classmethod
    def of(cls, client: Client, collection: Collection, exchange: Exchange) -> ArchiveSite:
        """Return the archive of an exchange, at the addresses of collection.yaml or its own."""
        urls = collection.urls(exchange.name)
        return cls(
            client,
            exchange,
            urls.listing_url or exchange.listing_url,
            urls.archive_url or exchange.archive_url,
        )

    @property
    def listing(self) -> View:
        """The client for listings, with their limits and their breaker."""
        return self.client.at(Endpoint(self.exchange.name, "listing", "listing"))
