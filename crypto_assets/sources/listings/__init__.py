"""The ways in which archives list their files, one module each. Pure: a request and an answer are values.

`engine/archive/listing.py` sends the requests, bounds the answers and follows the pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from crypto_assets.model import ArchiveObject, Span


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a listing: the files under a prefix, or the child prefixes if `children`.

    `after` and `until` bound the keys: after it, and up to it inclusive ("" and None: no bound). `span` has the same bounds
    in time, for a listing that is asked by time. `page` is the number of keys on a page, None: as the host likes.
    """

    prefix: str
    children: bool = False
    after: str = ""
    until: str | None = None
    span: Span | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A request below the listing's URL. `place` is the last name of the pages before; it is not sent."""

    path: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of a listing: its files and child prefixes in their order, and the request for the next page, if any.

    `entries` counts everything on the page, for the bound on endless listings.
    """

    objects: Sequence[ArchiveObject] = ()
    prefixes: Sequence[str] = ()
    following: ListRequest | None = None
    entries: int = 0


class Listing(Protocol):
    """A kind of listing. It shows of a file what it has: etag, size, time, or only the key.

    Where it shows neither etag nor time, a file that is published again is found by asking for it by name.
    """

    def first(self, wanted: Wanted) -> ListRequest:
        """Return the request for the first page."""

    def read(self, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        """Return the page that answers a request; `url` names it in errors.

        Raises:
            ListingError: the answer is not the listing that the exchange documents.
        """
