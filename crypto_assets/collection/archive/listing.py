"""Listings in the XML of S3: what an exchange's archive holds.

Both versions of ListObjects are spoken (AWS API reference); a page has 1,000 keys at most, whatever is asked for.

1: asks with `marker`. `NextMarker` is there only if a delimiter was sent; without one the last key is the marker.
2: asks with `list-type=2` and `start-after`, then with the page's `NextContinuationToken`; `KeyCount` must be what came.

Names are encoded where `EncodingType` is `url`. The root's `Prefix` echoes the request and has the local name of
`CommonPrefixes/Prefix`, so only direct children are read. Buckets hold foreign trees
too (`data2/`, `data3/`, keys that start with a slash): what does not start with the prefix asked for is left out. A host
may answer its HTML browser page instead: that is an error, not an empty listing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from crypto_assets.errors import ListingError
from crypto_assets.model import ArchiveObject

if TYPE_CHECKING:
    from crypto_assets.collection.transport.http import Client, View

PAGE = 1000


def list_objects(
    client: Client | View,
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
        after: keys up to and including this text are left out; asked of the server, so it costs nothing.
        until: the first key beyond this text ends the listing.
        page: keys asked for at once; 1 to learn the first key only.
        version: of ListObjects, as the exchange's `listing_version` says.

    Raises:
        ListingError: not the XML of a listing.
        HostUnreachable, HostRefused: as `Client.get`.
    """
    for objects in list_pages(client, listing_url, prefix, after=after, page=page, version=version):
        for obj in objects:
            if until is not None and obj.key > until:
                return
            yield obj


def list_pages(
    client: Client | View, listing_url: str, prefix: str, *, after: str = "", page: int = PAGE, version: int = 1
) -> Iterator[list[ArchiveObject]]:
    """Yield the objects under a prefix as the server's pages have them, some of which may be empty; as `list_objects`."""
    for answer in _pages(client, listing_url, prefix, "", after, page, version):
        yield [obj for obj in answer.objects if obj.key.startswith(prefix)]


def list_prefixes(client: Client | View, listing_url: str, prefix: str, *, version: int = 1) -> Iterator[str]:
    """Yield the child prefixes of a prefix, each with its final slash; raises as `list_objects`."""
    for answer in _pages(client, listing_url, prefix, "/", "", None, version):
        yield from (child for child in answer.prefixes if child.startswith(prefix))


@dataclass(slots=True)
class _Page:
    """One answer: what it lists, and the texts of the root's other children by name."""

    objects: list[ArchiveObject]
    prefixes: list[str]
    texts: dict[str, str]
    entries: int
    """Contents and CommonPrefixes, empty ones too."""

    @property
    def last(self) -> str:
        """The last name on the page, empty where it has none."""
        return max(self.objects[-1].key if self.objects else "", self.prefixes[-1] if self.prefixes else "")


def _pages(
    client: Client | View, url: str, prefix: str, delimiter: str, after: str, size: int | None, version: int
) -> Iterator[_Page]:
    params = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(size) if size else ""}
    params |= {"marker": after} if version == 1 else {"list-type": "2", "start-after": after}
    place = after
    while True:
        response = client.get(url, {name: value for name, value in params.items() if value})
        page = _read(response.content, url, prefix)
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
                f"found that it goes on after {following!r}; check listing_url"
            )
        place = following if version == 1 else page.last or place


def _read(content: bytes, url: str, prefix: str) -> _Page:
    """Return a page of 1,000 keys in about 3 ms.

    Raises:
        ListingError: not the XML of a listing, or one that lacks entries.
    """
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  expat ≥ 2.4 bounds entity expansion
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # an encoding that does not exist, a null byte
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
            # A real answer had an empty child prefix.
            page.prefixes += [entry.text for entry in child if _name(entry) == "Prefix" and entry.text]
            page.entries += 1
        else:
            page.texts[name] = child.text or ""
    if page.texts.get("EncodingType") == "url":
        # S3 writes a blank as a plus sign there, as botocore reads it.
        page.objects = [replace(obj, key=unquote_plus(obj.key)) for obj in page.objects]
        page.prefixes = [unquote_plus(prefix) for prefix in page.prefixes]
        if "NextMarker" in page.texts:
            page.texts["NextMarker"] = unquote_plus(page.texts["NextMarker"])
    count = page.texts.get("KeyCount")
    if count is not None and count.strip() != str(page.entries):
        raise ListingError(
            f"{url} (prefix {prefix}): expected {count} entries, as KeyCount says, found {page.entries}; "
            "the page is not whole, look again later"
        )
    return page


def _object(entry: ElementTree.Element, url: str) -> ArchiveObject:
    # Children share the namespace of their parent, if there is one.
    text, namespace = entry.findtext, entry.tag.removesuffix("Contents")
    key = text(namespace + "Key", "")
    if not key:
        raise ListingError(f"{url}: expected a Key in each Contents, found one without")
    modified = text(namespace + "LastModified")
    try:
        return ArchiveObject(
            key,
            int(text(namespace + "Size") or 0),
            text(namespace + "ETag", "").strip('"'),
            _instant(modified) if modified else None,
        )
    except ValueError as error:
        raise ListingError(f"{url}: expected a size and a time for {key}, found {error}; check listing_url") from None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
