"""An index in JSON that is asked by time: windows of some days, one request each, from the first day to the last.

What an exchange calls its parameters and its fields is the exchange's: an `Index` says it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from crypto_assets.errors import ListingError
from crypto_assets.model import ArchiveObject, Span
from crypto_assets.sources.listings import ListedPage, ListRequest, Wanted

_MOST_VALUES = 1_000_000
"""The most values of one answer: 20 days have some 20 files of one symbol, with ten values each."""


class Index(Protocol):
    """The index of one series, as its exchange documents it."""

    @property
    def path(self) -> str:
        """The path of the index below the listing's URL."""

    @property
    def longest(self) -> timedelta:
        """The longest time of one request."""

    def params(self, prefix: str, window: Span) -> Mapping[str, str]:
        """Return the parameters of the request for the files under a prefix that hold instants of a window."""

    def objects(self, prefix: str, answer: Any) -> Sequence[ArchiveObject]:
        """Return the files under a prefix in an answer.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it has another form. ListingError, HostRefused: it is an error.
        """


@dataclass(frozen=True, slots=True)
class JsonIndex:
    """A listing by an index in JSON. It shows nothing of a file but that it is there."""

    index: Index

    def first(self, wanted: Wanted) -> ListRequest:
        span = wanted.span
        if span is None:
            raise ListingError(f"{wanted.prefix}: expected a span of time to ask the index for, found none")
        return self._request(wanted.prefix, span, span.start)

    def read(self, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        span, start = wanted.span, datetime.fromisoformat(asked.place)
        assert span is not None  # noqa: S101  `first` refuses it; tells the type checker
        objects = self._objects(wanted, url, content)
        end = start + self.index.longest
        following = self._request(wanted.prefix, span, end) if end < span.end else None
        return ListedPage(objects, (), following, len(objects))

    def _request(self, prefix: str, span: Span, start: datetime) -> ListRequest:
        """Return the request for the window that begins at `start`, which is the place of the page."""
        window = Span(start, min(start + self.index.longest, span.end))
        return ListRequest(self.index.path, self.index.params(prefix, window), start.isoformat())

    def _objects(self, wanted: Wanted, url: str, content: bytes) -> list[ArchiveObject]:
        """Return the files of an answer in the order of their keys."""
        where = f"{url} (prefix {wanted.prefix})"
        if content.count(b",") > _MOST_VALUES:
            raise ListingError(f"{where}: expected at most {_MOST_VALUES} values, found more; check listing_url")
        try:
            found = self.index.objects(wanted.prefix, json.loads(content))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            start = content[:200].decode("utf-8", "replace").strip()
            raise ListingError(
                f"{where}: expected the index of files in JSON, found {start!r} "
                f"({type(error).__name__}: {str(error)[:200]}); check listing_url"
            ) from None
        return sorted(found, key=lambda obj: obj.key)
