"""Decides which budgets a ban pauses.

A ban is of our address at one host, so budgets of one host share it: feeds of one site, an API with several budgets, a
listing that collection.yaml has on the host of the files. Hosts are those that the source names. Any other address of
collection.yaml (a proxy, a mirror) stands before several of them; a ban that comes through it is of one of these, so it is
shared only as far as the source says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crypto_assets import sources
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection

_FILES = frozenset({"archive", "listing"})


def banned_together(endpoint: Endpoint, collection: Collection | None) -> list[Endpoint]:
    """Return the budgets that a ban of one of them pauses, always in one order: the first counts the bans."""
    exchange, budget = endpoint.exchange, endpoint.budget
    if exchange not in sources.names():
        return [endpoint]
    source: Any = sources.get(exchange)
    if collection is not None and (feeds := collection.urls(exchange).feeds):
        source = source.with_addresses(feeds)
    together = source.banned_with(budget)
    if together & _FILES and _files_share_a_host(exchange, collection):
        together = together.union(*(source.banned_with(one) for one in _FILES))
    return [replace(endpoint, budget=one) for one in sorted(together)]


def _files_share_a_host(exchange: str, collection: Collection | None) -> bool:
    """Return whether the files and their listing are on the same one of the source's own hosts."""
    source = sources.get(exchange)
    files, listing = source.archive_url, source.listing_url
    if collection is not None:
        urls = collection.urls(exchange)
        files, listing = urls.archive_url or files, urls.listing_url or listing
    if not files or not listing:
        return False
    host = host_of(files)
    return host == host_of(listing) and host in source.hosts
