"""Where the lake's bytes lie: a folder, or a bucket. Both put whole objects or nothing.

Streams from pyarrow, ParquetWriter and s3fs publish what was written so far when an exception ends them, so an object is
encoded to a buffer first and put at once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from crypto_assets.errors import ConfigError, HostRefused, HostUnreachable


class Store(Protocol):
    """A flat space of objects under paths with slashes."""

    url: str

    def put(self, path: str, data: bytes) -> None:
        """Make `data` the whole content of `path`; a reader sees the former content or this, never a part."""

    def get(self, path: str) -> bytes | None:
        """Return the content of `path`, or None where there is none."""

    def paths(self, prefix: str) -> Iterator[str]:
        """Yield the paths that start with `prefix` (which ends in a slash), in order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix` that have something below them, in order."""

    def delete(self, path: str) -> None:
        """Remove `path`; nothing happens where there is none."""


class FolderStore:
    """A folder. Objects are written under a temporary name, synced, renamed, and the folder synced.

    OSError is passed on: a full disk or a folder that may not be written says so itself.
    """

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        target = self._root / path
        _make_folder(target.parent)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(target.parent)

    def get(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def paths(self, prefix: str) -> Iterator[str]:
        folder = self._root / prefix
        for base, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if not name.endswith(".part"):
                    yield str((Path(base) / name).relative_to(self._root))

    def children(self, prefix: str) -> Iterator[str]:
        folder = self._root / prefix
        if folder.is_dir():
            yield from sorted(child.name for child in folder.iterdir() if child.is_dir())

    def delete(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; a new one is as lasting as the file that comes into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class BucketStore:
    """A prefix of an S3 bucket, through a boto3 client; one put_object an object."""

    def __init__(self, url: str, client: Callable[[], Any] | None = None) -> None:
        self.url = url
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._make_client = client
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            if self._make_client is None:
                import boto3

                self._made = boto3.client("s3")
            else:
                self._made = self._make_client()
        return self._made

    def put(self, path: str, data: bytes) -> None:
        self._call("put_object", path, Body=data)

    def get(self, path: str) -> bytes | None:
        answer = self._call("get_object", path)
        return None if answer is None else bytes(answer)

    def paths(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"][len(self._prefix) :]

    def children(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"].rstrip("/").rpartition("/")[2]

    def delete(self, path: str) -> None:
        self._call("delete_object", path)

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", None, Prefix=self._prefix + prefix, **options, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: str, path: str | None, **arguments: Any) -> Any:
        """Return boto3's answer, of get_object the bytes; None where the key does not exist.

        Raises:
            HostUnreachable: no answer, or one that was cut.
            HostRefused: S3 has trouble or wants it slower (429, 5xx).
            ConfigError: no such bucket, no credentials, or they may not do this; the message says what S3 said.
        """
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        if path is not None:
            arguments["Key"] = self._prefix + path
        try:
            answer = getattr(self._client, method)(Bucket=self._bucket, **arguments)
            return answer["Body"].read() if method == "get_object" else answer
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in ("NoSuchKey", "404") and method == "get_object":
                return None
            message = (
                f"{self.url}: {method} of {path or 'the listing'}: S3 says {code}: "
                f"{error.response.get('Error', {}).get('Message', '')}"
            )
            if status == 429 or status >= 500:
                raise HostRefused(f"{message}; try again later", status=status) from error
            raise ConfigError(f"{message}; check the bucket, AWS_* and its permissions") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ConfigError(
                f"{self.url}: {method}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except BotoCoreError as error:
            raise HostUnreachable(f"{self.url}: {method}: {error}; check AWS_* and AWS_ENDPOINT_URL") from error


def open_store(url: str, s3_client: Callable[[], Any] | None = None) -> Store:
    """Return the store of a lake URL: s3://bucket/prefix or a folder."""
    if url.startswith("s3://"):
        return BucketStore(url, s3_client)
    return FolderStore(Path(url.removeprefix("file://")))
