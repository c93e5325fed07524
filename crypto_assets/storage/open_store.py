"""The store of a lake's URL. boto3 is imported only where the lake is in a bucket."""

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
    # What a home holds is for its owner alone; a lake elsewhere may be for others to read.
    return FolderStore(folder, mode=0o700 if settings().home in folder.absolute().parents else 0o755)
