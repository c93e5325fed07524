"""S3's XML listings (AWS API reference, ListObjects); a page has at most 1,000 keys, even if more are requested.

1: requests with `marker`. `NextMarker` is sent only if the request had a delimiter; without one the last key is the marker.
2: requests with `list-type=2` and `start-after`, then with the page's `NextContinuationToken`; `KeyCount` must match.

Names are encoded if `EncodingType` is `url`. The root's `Prefix` echoes the request and has the same local name as
`CommonPrefixes/Prefix`, so only direct children are read. Buckets also hold other trees (`data2/`, `data3/`, keys that start
with a slash): keys outside the requested prefix are left out. A host may answer its HTML browser page instead: that is an
error, not an empty listing. Endless nesting is an error too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from crypto_assets.errors import ListingError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import ArchiveObject
from crypto_assets.sources.listings import ListedPage, ListRequest, Wanted

_MOST_SIZE = 5 << 40
"""The most bytes of one object (S3 user guide)."""

_MOST_ETAG = 200
"""The most letters of an ETag: a digest and the number of its parts have 32 to 70."""

_MOST_TAGS = 100_000
"""The most tags of one page: 1,000 keys have 14,000 to 24,000. Each parsed element takes about 200 bytes."""


@dataclass(frozen=True, slots=True)
class S3Listing:
    """ListObjects in one of its versions. `path` is the bucket's place below the listing's URL, usually empty."""

    version: Literal[1, 2]
    path: str = ""

    def first(self, wanted: Wanted) -> ListRequest:
        params = {
            "prefix": wanted.prefix,
            "delimiter": "/" if wanted.children else "",
            "max-keys": str(wanted.page) if wanted.page else "",
        }
        if self.version == 1:
            params |= {"marker": wanted.after}
        else:
            params |= {"list-type": "2", "start-after": wanted.after}
        return self._request(params, wanted.after)

    def read(self, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        page = _read(content, url, wanted.prefix)
        return ListedPage(
            [obj for obj in page.objects if obj.key.startswith(wanted.prefix)],
            [child for child in page.prefixes if child.startswith(wanted.prefix)],
            self._following(wanted, asked, page, url),
            page.entries,
        )

    def _following(self, wanted: Wanted, asked: ListRequest, page: _Page, url: str) -> ListRequest | None:
        """Return the request for the next page; raises ListingError if it would not come after this one."""
        if page.texts.get("IsTruncated", "").strip() != "true":
            return None
        params, place = dict(asked.params), asked.place
        if self.version == 1:
            # Without a delimiter there is no NextMarker: the last key is the marker.
            following = reached = page.texts.get("NextMarker") or page.last
            goes_on = following > place
            params["marker"] = following
        else:
            following, reached = page.texts.get("NextContinuationToken", ""), page.last or place
            # Tokens have no order; names have.
            goes_on = bool(following) and following != params.get("continuation-token") and reached >= place
            params["continuation-token"] = following
        if not goes_on:
            raise ListingError(
                f"{url} (prefix {wanted.prefix}): expected a page after {place!r}, for IsTruncated is true, "
                f"found that it continues after {following!r}; check listing_url"
            )
        return self._request(params, reached)

    def _request(self, params: dict[str, str], place: str) -> ListRequest:
        return ListRequest(self.path, {name: value for name, value in params.items() if value}, place)


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
