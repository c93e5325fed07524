"""Reads the S3 XML listings of an exchange's archive.

Both versions of ListObjects are supported (AWS API reference); a page has at most 1,000 keys, even if more are requested.

1: requests with `marker`. `NextMarker` is sent only if the request had a delimiter; without one the last key is the marker.
2: requests with `list-type=2` and `start-after`, then with the page's `NextContinuationToken`; `KeyCount` must match.

Names are encoded if `EncodingType` is `url`. The root's `Prefix` echoes the request and has the same local name as
`CommonPrefixes/Prefix`, so only direct children are read. Buckets also hold other trees (`data2/`, `data3/`, keys that start
with a slash): keys outside the requested prefix are left out. A host may answer its HTML browser page instead: that is an
error, not an empty listing.

An endless page, endless nesting and endless pages are errors too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from crypto_assets.errors import BadContainer, ListingError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import ArchiveObject
from crypto_assets.transport.bounds import LISTING

if TYPE_CHECKING:
    from crypto_assets.transport.client import View

PAGE = 1000

MOST_KEYS = 100_000
"""The most keys of one listing. The longest known listing has 7,000: a file and its checksum per day for nine years."""

MOST_PAGES = 300
"""The most pages of one listing. A server may end pages early, but not every page."""

_MOST_SIZE = 5 << 40
"""The most bytes of one object (S3 user guide)."""

_MOST_ETAG = 200
"""The most letters of an ETag: a digest and the number of its parts have 32 to 70."""

_MOST_TAGS = 100_000
"""The most tags of one page: 1,000 keys have 14,000 to 24,000. Each parsed element takes about 200 bytes."""


def list_objects(
    client: View,
    listing_url: str,
    prefix: str,
    *,
    after: str = "",
    until: str | None = None,
    page: int = PAGE,
    version: int = 1,
) -> Iterator[ArchiveObject]:
    """Yield the objects under a prefix in the order of their keys.

    Args:
        after: keys up to and including this text are skipped by the server, so they cost nothing.
        until: the first key beyond this text ends the listing.
        page: keys per page; 1 to get the first key only.
        version: of ListObjects, as the exchange's `listing_version` says.

    Raises:
        ListingError: not the XML of a listing, or an endless one.
        HostUnreachable, HostRefused: as `View.get`.
    """
    for objects in list_pages(client, listing_url, prefix, after=after, page=page, version=version):
        for obj in objects:
            if until is not None and obj.key > until:
                return
            yield obj


def list_pages(
    client: View, listing_url: str, prefix: str, *, after: str = "", page: int = PAGE, version: int = 1
) -> Iterator[list[ArchiveObject]]:
    """Yield the objects under a prefix page by page, as the server returns them; a page may be empty. See `list_objects`."""
    for answer in _pages(client, listing_url, prefix, "", after, page, version):
        # No exchange has a key with NUL, and Postgres accepts none.
        yield [obj for obj in answer.objects if obj.key.startswith(prefix) and "\0" not in obj.key]


def list_prefixes(client: View, listing_url: str, prefix: str, *, version: int = 1) -> Iterator[str]:
    """Yield the child prefixes of a prefix, each with its final slash; raises as `list_objects`."""
    for answer in _pages(client, listing_url, prefix, "/", "", None, version):
        yield from (child for child in answer.prefixes if child.startswith(prefix))


@dataclass(slots=True)
class _Page:
    """One page: the listed objects, and the texts of the root's other children by name."""

    objects: list[ArchiveObject]
    prefixes: list[str]
    texts: dict[str, str]
    entries: int
    """The number of Contents and CommonPrefixes elements, including empty ones."""

    @property
    def last(self) -> str:
        """The last name on the page; empty if there is none."""
        return max(self.objects[-1].key if self.objects else "", self.prefixes[-1] if self.prefixes else "")


def _pages(
    client: View, url: str, prefix: str, delimiter: str, after: str, size: int | None, version: int
) -> Iterator[_Page]:
    params = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(size) if size else ""}
    params |= {"marker": after} if version == 1 else {"list-type": "2", "start-after": after}
    place = after
    keys = 0
    for number in count(1):
        page = _read(_content(client, url, prefix, params), url, prefix)
        keys += page.entries
        if keys > MOST_KEYS or number > MOST_PAGES:
            raise ListingError(
                f"{url} (prefix {prefix}): expected at most {MOST_KEYS} keys on {MOST_PAGES} pages, found {keys} on {number} "
                "and no end; not read any further, check listing_url"
                "and no end; not asked any further, check listing_url"
            )
        yield page
        if page.texts.get("IsTruncated", "").strip() != "true":
            return
        if version == 1:
            # Without a delimiter there is no NextMarker: the last key is the marker.
            following = page.texts.get("NextMarker") or page.last
            params["marker"] = following
            goes_on = following > place
        else:
            following = page.texts.get("NextContinuationToken", "")
            # Tokens have no order; names have.
            goes_on = (
                bool(following) and following != params.get("continuation-token") and (page.last or place) >= place
            )
            params["continuation-token"] = following
        if not goes_on:
            raise ListingError(
                f"{url} (prefix {prefix}): expected a page after {place!r}, for IsTruncated is true, "
                f"found that it continues after {following!r}; check listing_url"
            )
        place = following if version == 1 else page.last or place


def _content(client: View, url: str, prefix: str, params: dict[str, str]) -> bytes:
    try:
        return client.get(url, {name: value for name, value in params.items() if value}, bound=LISTING).content
    except BadContainer:
        raise ListingError(
            f"{url} (prefix {prefix}): expected a page of at most {LISTING.most_bytes} bytes, found more; not read any "
            "further, check listing_url"
        ) from None


def _parsed(content: bytes) -> ElementTree.Element:
    """Return the root element; raises ValueError before parsing if parsing would take more memory than a page can."""
    if content.count(b"<") > _MOST_TAGS or content.count(b"=") > _MOST_TAGS:  # `=`: attributes
        raise ValueError(f"more than {_MOST_TAGS} tags or attributes")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("a document type, which listings do not have")
    # Decoded as UTF-8 whatever encoding the XML names: in another one the counted bytes would not be the tags.
    return ElementTree.fromstring(content, ElementTree.XMLParser(encoding="utf-8"))  # noqa: S314  bounded above


def _read(content: bytes, url: str, prefix: str) -> _Page:
    """Return a parsed page; 1,000 keys take about 3 ms.

    Raises:
        ListingError: not the XML of a listing, or entries are missing.
    """
    try:
        root = _parsed(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # an encoding that does not exist, a null byte
        raise_if_ours(error, url)
        start = content[:80].decode("utf-8", "replace").strip()
        raise ListingError(
            f"{url} (prefix {prefix}): expected S3 XML, found {start!r} ({error}); check listing_url"
        ) from None
    if _name(root) != "ListBucketResult":
        raise ListingError(
            f"{url} (prefix {prefix}): expected ListBucketResult, found <{_name(root)}>; check listing_url"
        )
    page = _Page([], [], {}, 0)
    names: dict[str, str] = {}
    for child in root:
        name = names.get(child.tag) or names.setdefault(child.tag, _name(child))
        if name == "Contents":
            page.objects.append(_object(child, url))
            page.entries += 1
        elif name == "CommonPrefixes":
            # One real answer had an empty child prefix.
            page.prefixes += [entry.text for entry in child if _name(entry) == "Prefix" and entry.text]
            page.entries += 1
        else:
            page.texts[name] = child.text or ""
    if page.texts.get("EncodingType") == "url":
        # S3 writes a blank here as a plus sign; botocore reads it the same way.
        page.objects = [replace(obj, key=unquote_plus(obj.key)) for obj in page.objects]
        page.prefixes = [unquote_plus(prefix) for prefix in page.prefixes]
        if "NextMarker" in page.texts:
            page.texts["NextMarker"] = unquote_plus(page.texts["NextMarker"])
    reported = page.texts.get("KeyCount")
    if reported is not None and reported.strip() != str(page.entries):
        raise ListingError(
            f"{url} (prefix {prefix}): expected {reported} entries, as KeyCount says, found {page.entries}; "
            "the page is incomplete, look again later"
        )
    return page


def _object(entry: ElementTree.Element, url: str) -> ArchiveObject:
    # Children have the namespace of their parent, if any.
    text, namespace = entry.findtext, entry.tag.removesuffix("Contents")
    key = text(namespace + "Key", "")
    if not key:
        raise ListingError(f"{url}: expected a Key in each Contents, found one without")
    modified = text(namespace + "LastModified")
    try:
        size = int(text(namespace + "Size") or 0)
        if not 0 <= size < _MOST_SIZE:
            raise ValueError(f"the size {size}")
        etag = text(namespace + "ETag", "").strip('"')
        if len(etag) > _MOST_ETAG:
            raise ValueError(f"an ETag of {len(etag)} letters")
        return ArchiveObject(
            key,
            size,
            etag,
            _instant(modified) if modified else None,
        )
    except ValueError as error:
        raise ListingError(
            f"{url}: expected a size and a time for {key[:200]}, found {error}; check listing_url"
        ) from None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
