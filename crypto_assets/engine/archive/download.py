"""Downloads one archive file and checks it against its published digest. Does not look inside the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets.errors import BadContainer, ChecksumMismatch, CryptoAssetsError, HostRefused, NotPublished
from crypto_assets.model import ArchiveObject, SourceFile
from crypto_assets.model.content import Content, digest_of
from crypto_assets.sources import ArchiveFeed, Source
from crypto_assets.sources.feeds import Digest
from crypto_assets.transport.bounds import CHECKSUM, file_bound
from crypto_assets.transport.retry import Later, Permanent, decide

if TYPE_CHECKING:
    from crypto_assets.engine.archive.site import ArchiveSite

_HEX_DIGITS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True, slots=True)
class Published:
    """A digest as the exchange publishes it: `sha256:<hex>` or `md5:<hex>`."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def is_of(self, content: Content) -> bool:
        """Return whether some bytes have this digest."""
        return digest_of(content, self.algorithm) == self.hex


def download(site: ArchiveSite, feed: ArchiveFeed, obj: ArchiveObject) -> tuple[Content, SourceFile]:
    """Return the bytes of one archive file, large ones on disk, and where they came from.

    Raises:
        NotPublished: the host answers 404 for the object, or for its checksum.
        ChecksumMismatch: the bytes differ from the published digest; the error's `content` holds them.
        BadContainer: far more bytes than the listing says; they were not read.
        HostUnreachable, HostRefused: as for `View.get`.
    """
    url = f"{site.files_url}/{obj.key}"
    try:
        content, headers = site.archive.download(url, bound=file_bound(obj.size_bytes))
    except NotPublished as error:
        place = error.evidence.get("redirected_to")
        raise NotPublished(
            f"{url}{f' (redirected to {place})' if place else ''}: listed, but the host answers 404; "
            "`crypto-assets fill` tries it again",
            **error.evidence,
        ) from None
    etag = headers.get("etag", obj.etag).removeprefix("W/").strip('"')
    digest = feed.digest(obj.key)
    published = published_digest(site, digest, etag) if digest else None
    # An etag that is no digest (of an upload in parts) proves nothing; a checksum file that cannot be read refuses the file.
    unreadable = digest is not None and digest.key is not None and published is None
    if digest and (unreadable or (published and not published.is_of(content))):
        found = digest_of(content, digest.algorithm)
        mismatch = ChecksumMismatch(
            f"{obj.key}: published {digest.algorithm} {published.hex if published else 'unreadable'}, "
            f"downloaded {found} ({len(content)} bytes); will be tried again",
            published=str(published) if published else None,
            downloaded=f"{digest.algorithm}:{found}",
        )
        mismatch.content = content
        raise mismatch
    sha256 = digest_of(content)
    text = str(published) if published else None
    return content, SourceFile(obj.key, len(content), etag, sha256, text, obj.last_modified)


def published_digest(site: ArchiveSite, digest: Digest, etag: str) -> Published | None:
    """Return the digest published now; None if its text is none, or too large to be one, or the etag is none.

    Raises:
        NotPublished: nothing is published under the digest's key.
        HostUnreachable, HostRefused: as for `View.get`.
    """
    digits = _HEX_DIGITS[digest.algorithm]
    if digest.key is None:
        match = re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", etag)
        return Published(digest.algorithm, etag.lower()) if match else None
    try:
        text = site.archive.get(f"{site.files_url}/{digest.key}", bound=CHECKSUM).content.decode("ascii", "replace")
    except BadContainer:
        return None
    except NotPublished:
        raise NotPublished(
            f"{digest.key}: expected a checksum beside the file, found none; will be tried again", key=digest.key
        ) from None
    match = re.match(rf"\s*([0-9a-fA-F]{{{digits}}})\b", text)
    return Published(digest.algorithm, match[1].lower()) if match else None


def withheld(error: CryptoAssetsError, source: Source) -> bool:
    """Return whether the host answered and does not give a listed file: 404, 410, 403, a redirect that is not followed.

    An answer that can pass (429, 503), a ban, no answer, and a proxy that wants a password (407) say nothing about the file.
    """
    if isinstance(error, HostRefused):
        return error.status != 407 and isinstance(decide(error, exchange=source.name), Later | Permanent)
    return isinstance(error, NotPublished)
