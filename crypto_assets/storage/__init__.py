"""Where partitions are kept: one file a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypto_assets.config import Settings


def postgres_url(settings: Settings) -> str:
    """Return the URL of the Postgres to use: the one that is named, else the embedded server, started if need be.

    Raises:
        PostgresUnavailable: the embedded server cannot be started. (A named server is not tried here.)
    """
    if settings.postgres_url:
        return settings.postgres_url
    from crypto_assets.storage.embedded_postgres import ensure_server

    return ensure_server(settings.home, durable=settings.postgres_durable)
