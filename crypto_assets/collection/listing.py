"""Listings in the XML of S3: what an exchange's archive holds.

A page has 1,000 keys at most, whatever is asked for. `NextMarker` is there only when a delimiter was sent; without one the
last key is the marker. The root's `Prefix` echoes the request and has the local name of `CommonPrefixes/Prefix`, so only
direct children are read. A host may answer its HTML browser page instead: that is an error, not an empty listing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from xml.etree import ElementTree

from crypto_assets.collection.http import Client
from crypto_assets.errors import ListingError
from crypto_assets.model import ArchiveObject

PAGE = 1000


def list_objects(
    client: Client, listing_url: str, prefix: str, *, after: str = "", until: str | None = None, page: int = PAGE
) -> Iterator[ArchiveObject]:
    """Yield the objects under a prefix in the order of their keys.

    Args:
        after: keys up to and including this text are left out; asked of the server, so it costs nothing.
        until: the first key beyond this text ends the listing.
        page: keys asked for at once; 1 to learn the first key only.

    Raises:
        ListingError: not the XML of a listing.
        HostUnreachable, HostRefused: as `Client.get`.
    """
    marker = after
    while True:
        root = _page(client, listing_url, {"prefix": prefix, "marker": marker, "max-keys": str(page)})
        objects = [_object(entry, listing_url) for entry in _children(root, "Contents")]
        for obj in objects:
            if until is not None and obj.key > until:
                return
            yield obj
        if _text(root, "IsTruncated") != "true":
            return
        marker = _following(root, objects[-1].key if objects else "", marker, listing_url, prefix)


def list_prefixes(client: Client, listing_url: str, prefix: str) -> Iterator[str]:
    """Yield the child prefixes of a prefix, each with its final slash; raises as `list_objects`."""
    marker = ""
    while True:
        root = _page(client, listing_url, {"prefix": prefix, "delimiter": "/", "marker": marker})
        found = [_text(entry, "Prefix") for entry in _children(root, "CommonPrefixes")]
        yield from (child for child in found if child)
        if _text(root, "IsTruncated") != "true":
            return
        marker = _following(root, found[-1] if found else "", marker, listing_url, prefix)


def _following(root: ElementTree.Element, last: str, marker: str, url: str, prefix: str) -> str:
    """Return the marker of the next page; raises ListingError where there is none beyond `marker`: an end that lies."""
    following = _text(root, "NextMarker") or last
    if following <= marker:
        raise ListingError(
            f"{url} (prefix {prefix}): expected a page after {marker!r}, for IsTruncated is true, "
            f"found that it goes on after {following!r}; check listing_url"
        )
    return following


def _page(client: Client, url: str, params: dict[str, str]) -> ElementTree.Element:
    response = client.get(url, {name: value for name, value in params.items() if value})
    try:
        root = ElementTree.fromstring(response.content)  # noqa: S314  expat ≥ 2.4 bounds entity expansion
    except ElementTree.ParseError as error:
        start = response.text[:80].strip()
        raise ListingError(
            f"{url} (prefix {params['prefix']}): expected S3 XML, found {start!r} ({error}); check listing_url"
        ) from None
    if _name(root) != "ListBucketResult":
        raise ListingError(
            f"{url} (prefix {params['prefix']}): expected ListBucketResult, found <{_name(root)}>; check listing_url"
        )
    return root


def _object(entry: ElementTree.Element, url: str) -> ArchiveObject:
    key = _text(entry, "Key")
    if not key:
        raise ListingError(f"{url}: expected a Key in each Contents, found one without")
    modified = _text(entry, "LastModified")
    try:
        return ArchiveObject(
            key=key,
            size_bytes=int(_text(entry, "Size") or 0),
            etag=(_text(entry, "ETag") or "").strip('"'),
            last_modified=datetime.fromisoformat(modified) if modified else None,
        )
    except ValueError as error:
        raise ListingError(f"{url}: expected a size and a time for {key}, found {error}; check listing_url") from None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in root if _name(child) == name]


def _text(root: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in root if _name(child) == name), "")
