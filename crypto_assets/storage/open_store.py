"""Open the store of a lake URL. boto3 is imported only for a lake in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crypto_assets.storage.stores import FolderStore, Store


def open_store(url: str, s3_client: Callable[[], Any] | None = None) -> Store:
    """Return the store of a lake URL: s3://bucket/prefix or a folder."""
    if url.startswith("s3://"):
        from crypto_assets.storage.bucket import BucketStore

        return BucketStore(url, s3_client)
    from crypto_assets.config.environment import settings

    folder = Path(url.removeprefix("file://"))
    # A home is private to its owner; a lake elsewhere may be readable for others.
    return FolderStore(folder, mode=0o700 if settings().home in folder.absolute().parents else 0o755)
