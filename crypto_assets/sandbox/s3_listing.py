"""S3's ListObjects, versions 1 and 2: one page of keys and its XML."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from xml.sax.saxutils import escape

MOST_ENTRIES = 1_000
"""Most entries on one page, at any requested number."""

_LAST_CHARACTER = chr(0x10FFFF)


class Entry(Protocol):
    """The listing entry of one object."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def last_modified(self) -> datetime: ...


class Objects(Protocol):
    """Keys in the order of their UTF-8 bytes (the order of Python's strings too), and their entries."""

    def keys(self, prefix: str, after: str = "") -> Iterator[str]: ...
    def info(self, key: str) -> Entry | None: ...


class QueryError(ValueError):
    """An invalid query; the server answers 400."""


@dataclass(frozen=True, slots=True)
class Query:
    """A listing request. `marker`, `token` and `start_after` are as sent."""

    prefix: str = ""
    delimiter: str = ""
    max_keys: int = MOST_ENTRIES
    version: int = 1
    marker: str = ""
    token: str = ""
    start_after: str = ""

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Query:
        text = parameters.get("max-keys") or str(MOST_ENTRIES)
        if not (text.isascii() and text.isdigit() and int(text) < 2**31):
            raise QueryError(f"max-keys is {text!r}: expected a whole number from 0 to 2147483647")
        return cls(
            prefix=parameters.get("prefix", ""),
            delimiter=parameters.get("delimiter", ""),
            max_keys=int(text),
            version=2 if parameters.get("list-type") == "2" else 1,
            marker=parameters.get("marker", ""),
            token=parameters.get("continuation-token", ""),
            start_after=parameters.get("start-after", ""),
        )

    @property
    def after(self) -> str:
        """The last key or common prefix of the page before."""
        if self.version == 1:
            return self.marker
        if not self.token:
            return self.start_after
        try:
            return base64.b64decode(self.token.encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeError) as error:
            raise QueryError("continuation-token was not issued by this server") from error


@dataclass(slots=True)
class Page:
    """Objects and common prefixes of one page; `last` is the greater of their last ones."""

    objects: list[Entry] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""

    def __len__(self) -> int:
        return len(self.objects) + len(self.prefixes)


def list_page(source: Objects, query: Query, seconds: float) -> Page:
    """Collect one page. After `seconds` it ends early, truncated, with at least one entry.

    S3 may do that too: IsTruncated says whether there is more, the number of entries does not.
    """
    page = Page()
    limit = min(query.max_keys, MOST_ENTRIES)
    deadline = time.monotonic() + seconds
    after = query.after
    if _common_prefix(after, query) == after != "":
        after += _LAST_CHARACTER  # all of it was listed as one entry
    while limit:
        for key in source.keys(query.prefix, after):
            if len(page) == limit or (len(page) and time.monotonic() > deadline):
                page.truncated = True
                return page
            common = _common_prefix(key, query)
            if common:
                page.prefixes.append(common)
                page.last = common
                after = common + _LAST_CHARACTER
                break
            info = source.info(key)
            if info is not None:
                page.objects.append(info)
                page.last = key
        else:
            break
    return page


def _common_prefix(key: str, query: Query) -> str:
    """Return the part of `key` up to the first delimiter after the prefix, empty if there is none."""
    if not query.delimiter or not key.startswith(query.prefix):
        return ""
    at = key.find(query.delimiter, len(query.prefix))
    return "" if at < 0 else key[: at + len(query.delimiter)]


def page_xml(name: str, query: Query, page: Page) -> str:
    """Write a page as S3 does: NextMarker only if a delimiter was sent, the root's Prefix repeats the request."""
    parts = [_tag("Name", name), _tag("Prefix", query.prefix)]
    if query.version == 1:
        parts.append(_tag("Marker", query.marker))
        if page.truncated and query.delimiter:
            parts.append(_tag("NextMarker", page.last))
    else:
        if query.start_after:
            parts.append(_tag("StartAfter", query.start_after))
        if query.token:
            parts.append(_tag("ContinuationToken", query.token))
        if page.truncated:
            parts.append(_tag("NextContinuationToken", base64.urlsafe_b64encode(page.last.encode()).decode()))
        parts.append(_tag("KeyCount", str(len(page))))
    parts.append(_tag("MaxKeys", str(query.max_keys)))
    if query.delimiter:
        parts.append(_tag("Delimiter", query.delimiter))
    parts.append(_tag("IsTruncated", "true" if page.truncated else "false"))
    parts += [
        f"<Contents>{_tag('Key', entry.key)}"
        f"<LastModified>{entry.last_modified:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for entry in page.objects
    ]
    parts += [f"<CommonPrefixes>{_tag('Prefix', prefix)}</CommonPrefixes>" for prefix in page.prefixes]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}</ListBucketResult>'
    )


def error_xml(code: str, message: str, key: str = "") -> str:
    """Return S3's answer to a failed request."""
    about = _tag("Key", key) if key else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error>{_tag('Code', code)}{_tag('Message', message)}{about}"
        "<RequestId>sandbox</RequestId><HostId>sandbox</HostId></Error>"
    )


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text, {chr(34): '&quot;'})}</{name}>"
