"""Reads the listings of an exchange's archive page by page, whatever their kind (`crypto_assets.sources.listings`).

An endless page and endless pages are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from crypto_assets.errors import BadContainer, HostRefused, ListingError
from crypto_assets.model import ArchiveObject
from crypto_assets.sources.listings import ListedPage, Listing, ListRequest, Wanted
from crypto_assets.sources.own_faults import own_faults
from crypto_assets.transport.bounds import LISTING
from crypto_assets.transport.client import ATTEMPTS
from crypto_assets.transport.retry import Retry, WaitUntil, decide

if TYPE_CHECKING:
    from crypto_assets.engine.archive.site import ArchiveSite

PAGE = 1000

MOST_KEYS = 100_000
"""The most keys of one listing. The longest known listing has 7,000: a file and its checksum per day for nine years."""

MOST_PAGES = 300
"""The most pages of one listing. A server may end pages early, but not every page."""


def list_objects(site: ArchiveSite, listing: Listing, wanted: Wanted) -> Iterator[ArchiveObject]:
    """Yield the wanted objects in the order of the listing.

    The server skips keys up to `wanted.after`, so they cost nothing; the first key beyond `wanted.until` ends the listing.

    Raises:
        ListingError: not the listing that the exchange documents, or an endless one.
        HostUnreachable, HostRefused: as `View.get`.
    """
    for page in list_pages(site, listing, wanted):
        for obj in page:
            if wanted.until is not None and obj.key > wanted.until:
                return
            yield obj


def list_pages(site: ArchiveSite, listing: Listing, wanted: Wanted) -> Iterator[list[ArchiveObject]]:
    """Yield the objects page by page, as the server returns them; a page may be empty. See `list_objects`."""
    for page in _pages(site, listing, wanted):
        # No exchange has a key with NUL, and Postgres accepts none.
        yield [obj for obj in page.objects if obj.key > wanted.after and "\0" not in obj.key]


def list_prefixes(site: ArchiveSite, listing: Listing, prefix: str) -> Iterator[str]:
    """Yield the child prefixes of a prefix, each with its final slash; raises as `list_objects`."""
    for page in _pages(site, listing, Wanted(prefix, children=True)):
        yield from page.prefixes


def _pages(site: ArchiveSite, listing: Listing, wanted: Wanted) -> Iterator[ListedPage]:
    asked: ListRequest | None = listing.first(wanted)
    keys = 0
    for number in count(1):
        assert asked is not None  # noqa: S101  tells the type checker
        url = f"{site.listing_url}/{asked.path}" if asked.path else site.listing_url
        page = _page(site, listing, url, wanted, asked)
        keys += page.entries
        if keys > MOST_KEYS or number > MOST_PAGES:
            raise ListingError(
                f"{url} (prefix {wanted.prefix}): expected at most {MOST_KEYS} keys on {MOST_PAGES} pages, found {keys} on "
                f"{number} and no end; not read any further, check listing_url"
            )
        yield page
        asked = page.following
        if asked is None:
            return


def _page(site: ArchiveSite, listing: Listing, url: str, wanted: Wanted, asked: ListRequest) -> ListedPage:
    """Return the page of a request; after an answer with status 200 that asks to slow down, or passes, ask again."""
    attempt = 1
    while True:
        content = _content(site, url, wanted, asked)
        try:
            with own_faults(site.source.name, f"{url} (prefix {wanted.prefix})"):
                return listing.read(wanted, asked, url, content)
        except HostRefused as error:
            decision = decide(error.status, exchange=site.source.name)
            if isinstance(decision, WaitUntil):
                site.listing.asked_to_wait(decision, 200, f"of an error in the answer: {error}")
            if attempt == ATTEMPTS or not isinstance(decision, WaitUntil | Retry):
                raise
            if isinstance(decision, Retry):
                site.listing.back_off(attempt)
            attempt += 1


def _content(site: ArchiveSite, url: str, wanted: Wanted, asked: ListRequest) -> bytes:
    try:
        return site.listing.get(url, dict(asked.params), bound=LISTING).content
    except BadContainer:
        raise ListingError(
            f"{url} (prefix {wanted.prefix}): expected a page of at most {LISTING.most_bytes} bytes, found more; not read "
            "any further, check listing_url"
        ) from None
