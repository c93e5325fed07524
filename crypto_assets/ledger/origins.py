"""Check that the stored days came from the configured archive: two exchanges must not be mixed in one series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from crypto_assets import sources
from crypto_assets.errors import StoredDataError
from crypto_assets.text.urls import host_of, is_loopback

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection
    from crypto_assets.storage.database import Database

THIS_MACHINE = "a server on this machine"
"""The origin of everything that a loopback address served: a sandbox has another port each time it starts."""


def origin_of(collection: Collection, exchange: str) -> str:
    """Return the origin of the days that a collection collects of an exchange: scheme and host of its archive."""
    url = collection.urls(exchange).archive_url or sources.get(exchange).archive_url
    parts = urlsplit(url)
    return THIS_MACHINE if is_loopback(parts.hostname or "") else f"{parts.scheme}://{host_of(url)}".lower()


def remember_origins(database: Database, collection: Collection, exchanges: Iterable[str] | None = None) -> None:
    """Record where days come from; call it after `require_origins`, or when a person confirms another origin.

    Args:
        exchanges: default: all of the collection.
    """
    names = sorted(_exchanges(collection) if exchanges is None else exchanges)
    with database.transaction() as connection:
        connection.execute(
            """INSERT INTO collection.origins (exchange, origin)
            SELECT * FROM unnest(%s::text[], %s::text[])
            ON CONFLICT (exchange, origin) DO UPDATE SET last_used = clock_timestamp()""",
            (names, [origin_of(collection, name) for name in names]),
        )


def other_origins(database: Database, collection: Collection, exchanges: Iterable[str] | None = None) -> list[str]:
    """Return one line for each exchange whose stored days came from another archive than the configured one.

    Args:
        exchanges: some of those of the collection; default: all.
    """
    names = _exchanges(collection) if exchanges is None else _exchanges(collection) & set(exchanges)
    with database.transaction() as connection:
        if connection.execute("SELECT to_regclass('collection.origins')").fetchone() == (None,):
            return []
        known = connection.execute(
            """SELECT DISTINCT ON (exchange) exchange, origin FROM collection.origins o
            WHERE exchange = ANY(%s) AND EXISTS (
                SELECT FROM collection.partitions p WHERE p.exchange = o.exchange AND p.path IS NOT NULL)
            ORDER BY exchange, last_used DESC""",
            (sorted(names),),
        ).fetchall()
    return [
        f"{exchange}: the stored days came from {origin}, and collection.yaml names {now}: they must not be mixed. "
        f"Begin in a new folder, or set `exchanges.{exchange}.archive_url` back; if both have the same data, "
        "`crypto-assets fill --new-origin` accepts it"
        for exchange, origin in known
        if origin != (now := origin_of(collection, exchange))
    ]


def require_origins(database: Database, collection: Collection) -> None:
    """Check, before anything is collected, that stored days came from the configured archives.

    Raises:
        StoredDataError: they came from another one. Nothing was collected.
    """
    if others := other_origins(database, collection):
        raise StoredDataError("; ".join(others))


def _exchanges(collection: Collection) -> set[str]:
    return {entry.exchange for entry in collection.series}
