"""HTML indexes: a page with a link for every file and folder of a folder.

A link shows a name and nothing else: no size, time or etag. A republished file is found by a conditional request of the
patrol.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote, urlsplit

from crypto_assets.errors import ListingError
from crypto_assets.model import ArchiveObject
from crypto_assets.sources.listings import ListedPage, Listing, ListRequest, Wanted

_LINK = re.compile(rb"""<a\s[^<>]{0,500}?href\s*=\s*(?:"([^"<>]{1,2000})"|'([^'<>]{1,2000})')""", re.IGNORECASE)
_IS_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<body|<a\s|<ul|<pre)", re.IGNORECASE)

_MOST_LINKS = 100_000
"""A folder with a file for each day of ten years has 3,700 links; the folder of all symbols about 1,500."""


@dataclass(frozen=True, slots=True)
class HtmlIndex:
    """The index of one folder, whole on one page: `after` and `until` are applied here."""

    def first(self, wanted: Wanted) -> ListRequest:
        return ListRequest(_folder(wanted.prefix))

    def read(self, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        folder = asked.path
        links = [(one or other).decode("utf-8", "replace") for one, other in _LINK.findall(content)]
        names = [_name(link, folder) for link in links]
        if not is_html(content) or not any(name is not None for name in names) or len(links) > _MOST_LINKS:
            start = content[:80].decode("utf-8", "replace").strip()
            raise ListingError(
                f"{url} (prefix {wanted.prefix}): expected an HTML index with 1 to {_MOST_LINKS} links to files and folders, "
                f"found {len(links)} links in {start!r}; check listing_url"
            )
        keys = sorted({folder + name for name in names if name})
        inside = [key for key in keys if key.startswith(wanted.prefix) and key > wanted.after]
        if wanted.until is not None:
            inside = [key for key in inside if key <= wanted.until]
        return ListedPage(
            [ArchiveObject(key, 0, "") for key in inside if not key.endswith("/")],
            [key for key in inside if key.endswith("/")],
            None,
            len(links),
        )


@dataclass(frozen=True, slots=True)
class S3OrHtmlIndex:
    """A bucket with an HTML index in front of it: the host that listing_url names decides by its answer which of them it is.

    It is asked as S3 first. A web host ignores the parameters and answers the index of the top folder: then the folder is
    asked for by its path, and read as an index.
    """

    s3: Listing
    html: HtmlIndex = HtmlIndex()

    def first(self, wanted: Wanted) -> ListRequest:
        return self.s3.first(wanted)

    def read(self, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        if asked.path:
            return self.html.read(wanted, asked, url, content)
        if not is_html(content):
            return self.s3.read(wanted, asked, url, content)
        following = self.html.first(wanted)
        return ListedPage(following=following) if following.path else self.html.read(wanted, following, url, content)


def is_html(content: bytes) -> bool:
    """Return whether an answer begins as a page of HTML does."""
    return _IS_HTML.match(content) is not None


def _folder(prefix: str) -> str:
    return prefix[: prefix.rfind("/") + 1]


def _name(link: str, folder: str) -> str | None:
    """Return the name that a link adds to a folder, with a slash if it is a folder; empty for the way up; None for others."""
    parts = urlsplit(unescape(link))
    path = unquote(parts.path)
    if parts.scheme or parts.netloc:
        return None
    if path.rstrip("/") in ("..", "."):
        return ""
    if path.startswith("/"):
        if not path.startswith(f"/{folder}"):
            return None
        path = path.removeprefix(f"/{folder}")
    path = path.removeprefix("./")
    name = path.removesuffix("/")
    return path if name and "/" not in name and name not in ("..", ".") else None
