"""Downloads one archive object and checks it against its published SHA-256. Does not look inside the file."""

from __future__ import annotations

import hashlib
import re

from crypto_assets.errors import BadContainer, ChecksumMismatch, CryptoAssetsError, HostRefused, NotPublished
from crypto_assets.model import ArchiveObject, SourceFile
from crypto_assets.sources import Exchange
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.bounds import CHECKSUM, file_bound
from crypto_assets.transport.client import Client, View
from crypto_assets.transport.retry import Later, Permanent, decide

_SHA256 = re.compile(r"^\s*([0-9a-fA-F]{64})\b")


def download(client: Client, archive_url: str, exchange: Exchange, obj: ArchiveObject) -> tuple[bytes, SourceFile]:
    """Return the bytes of one archive object and where they came from.

    Raises:
        NotPublished: the host answers 404 for the object, or for its checksum.
        ChecksumMismatch: the bytes differ from the published checksum; the error's `content` holds them.
        BadContainer: far more bytes than the listing says; they were not read.
        HostUnreachable, HostRefused: as for `View.get`.
    """
    archive = client.at(Endpoint(exchange.name, "archive", "archive"))
    url = f"{archive_url}/{obj.key}"
    try:
        response = archive.get(url, bound=file_bound(obj.size_bytes))
    except NotPublished as error:
        place = error.evidence.get("redirected_to")
        raise NotPublished(
            f"{url}{f' (redirected to {place})' if place else ''}: listed, but the host answers 404; "
            "`crypto-assets fill` tries it again",
            **error.evidence,
        ) from None
    content = response.content
    computed = hashlib.sha256(content).hexdigest()
    published = None
    checksum_key = exchange.checksum_key(obj.key)
    if checksum_key:
        sha256 = published_sha256(archive, archive_url, checksum_key)
        published = f"sha256:{sha256}" if sha256 else None
        if sha256 != computed:
            mismatch = ChecksumMismatch(
                f"{obj.key}: published sha256 {sha256 or 'unreadable'}, downloaded {computed} ({len(content)} bytes); "
                "will be tried again",
                published=published,
                downloaded=f"sha256:{computed}",
            )
            mismatch.content = content
            raise mismatch
    etag = response.headers.get("etag", obj.etag).strip('"')
    return content, SourceFile(obj.key, len(content), etag, computed, published, obj.last_modified)


def published_sha256(client: View, archive_url: str, key: str) -> str | None:
    """Return the SHA-256 published now under a checksum's key; None if the text is not a SHA-256 or too large to be one.

    Raises:
        NotPublished: nothing is published under the key.
        HostUnreachable, HostRefused: as for `View.get`.
    """
    try:
        text = client.get(f"{archive_url}/{key}", bound=CHECKSUM).text
    except BadContainer:
        return None
    except NotPublished:
        raise NotPublished(
            f"{key}: expected a checksum beside the file, found none; will be tried again", key=key
        ) from None
    match = _SHA256.match(text)
    return match[1].lower() if match else None


def withheld(error: CryptoAssetsError, exchange: Exchange) -> bool:
    """Return whether the host answered and does not give a listed file: 404, 410, 403, a redirect that is not followed.

    An answer that can pass (429, 503), a ban, no answer, and a proxy that wants a password (407) say nothing about the file.
    """
    if isinstance(error, HostRefused):
        return error.status != 407 and isinstance(decide(error, exchange=exchange.name), Later | Permanent)
    return isinstance(error, NotPublished)
