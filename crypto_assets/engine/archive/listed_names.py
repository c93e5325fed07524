"""What archives list of a whole market: the names of its symbols, and the first and last day of one of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.engine.archive.files import first_listed_day, names_listed
from crypto_assets.engine.archive.probing import files_around
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.model import Series, Track
from crypto_assets.transport.client import Client

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection


def names_of_market(client: Client, collection: Collection, market: Iterable[Series]) -> set[str]:
    """Return the exchange's own names of all symbols that any feed of some series lists; empty if no listing shows them.

    Delisted symbols may be in one feed only: after a time Binance has monthly files alone. Bars of all timeframes are below
    one prefix, which is listed once.

    Raises:
        ListingError, HostUnreachable, HostRefused, CircuitOpen: a listing could not be read.
    """
    feeds = {
        (feed.universe, site.listing_url): (site, feed)
        for series in market
        for site in (ArchiveSite.of(client, collection, series),)
        for feed in sources.archives(series)
        if feed.universe is not None
    }
    return {name for site, feed in feeds.values() for name in names_listed(site, feed) or ()}


def life_in_archive(
    client: Client, collection: Collection, track: Track, now: datetime
) -> tuple[date | None, date | None]:
    """Return the first and last day of a symbol with a file, None if there is none; raises as `names_of_market`."""
    site = ArchiveSite.of(client, collection, track.series)
    name = sources.name_of(*track)
    firsts = (first_listed_day(site, feed, name) for feed in sources.archives(track.series))
    first = min((day for day in firsts if day), default=None)
    if first is None:
        return None, None
    last, _ = files_around(site, track, now.date() + timedelta(days=1), first, now)
    return first, last
