"""Where the lake's bytes lie: a folder, or a bucket. Both put whole objects or nothing.

Streams from pyarrow, ParquetWriter and s3fs publish what was written so far when an exception ends them, so an object is
encoded to a buffer first and put at once. `staging/` holds what nobody is to read yet.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import uuid4

from crypto_assets.errors import ConfigError, HostRefused, HostUnreachable, StoredDataError

STAGING = "staging/"


class Staged(Protocol):
    """New bytes on their way into a store, lasting but not yet under their name."""

    def verify(self, data: bytes) -> None:
        """Read them back; raises StoredDataError where they are not `data`."""

    def publish(self, path: str) -> None:
        """Make them the whole content of `path`; a reader sees the former content or this, never a part."""

    def discard(self) -> None:
        """Remove what is left in staging/."""


class Store(Protocol):
    """A flat space of objects under paths with slashes; `url` is the same for everyone who means the same place."""

    url: str

    def put(self, path: str, data: bytes) -> None:
        """Make `data` the whole content of `path`; a reader sees the former content or this, never a part."""

    def get(self, path: str) -> bytes | None:
        """Return the content of `path`, or None where there is none."""

    def open(self, path: str) -> BufferedIOBase | None:
        """Return the content of `path` as a file to read and seek in, or None; memory does not follow its size."""

    def paths(self, prefix: str) -> Iterator[str]:
        """Yield the paths that start with `prefix` (which ends in a slash), in order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix` that have something below them, in order."""

    def delete(self, path: str) -> None:
        """Remove `path`; nothing happens where there is none."""

    def stage(self, path: str, data: bytes) -> Staged:
        """Bring `data` as far as they can be without being seen; `path` lies in staging/."""

    def keep(self, path: str, kept: str) -> None:
        """Make the content of `path`, which is there, the content of `kept` too."""

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        """Remove what has lain in staging/ for long; return how many files. `spare` holds paths that stay."""


class FolderStore:
    """A folder. Objects are written in staging/, synced, renamed, and the folder synced.

    OSError is passed on: a full disk or a folder that may not be written says so itself.
    """

    def __init__(self, root: Path) -> None:
        self.url = str(root.resolve())
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        staged = _StagedFile(self._root, self._root / STAGING / f".{uuid4().hex}.part", data)
        try:
            staged.publish(path)
        except BaseException:
            staged.discard()
            raise

    def stage(self, path: str, data: bytes) -> Staged:
        return _StagedFile(self._root, self._root / path, data)

    def get(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str) -> BufferedIOBase | None:
        try:
            return (self._root / path).open("rb")
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
        file = self._root / path
        file.unlink(missing_ok=True)
        with suppress(OSError):  # it has other files, or is not there
            file.parent.rmdir()

    def keep(self, path: str, kept: str) -> None:
        source, target = self._root / path, self._root / kept
        if target.exists() and target.read_bytes() == source.read_bytes():
            return
        _make_folder(target.parent)
        try:
            target.unlink(missing_ok=True)
            # A second name for the same bytes. Files are replaced, never written into, so both stay what they are.
            os.link(source, target)
        except OSError:  # a file system without hard links, or another one
            self.put(kept, source.read_bytes())
        else:
            _sync(target.parent)

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        removed = 0
        limit = time.time() - older_than_s
        for base, folders, names in os.walk(self._root / STAGING, topdown=False):
            for name in names:
                file = Path(base) / name
                with suppress(FileNotFoundError):
                    # Not the time of the content: a second name for an old file is as young as its making.
                    if file.stat().st_ctime < limit and file.relative_to(self._root).as_posix() not in spare:
                        file.unlink()
                        removed += 1
            for name in folders:
                with suppress(OSError):
                    if (folder := Path(base) / name).stat().st_ctime < limit:
                        folder.rmdir()
        return removed


class _StagedFile:
    """A file that was written and synced; publishing renames it."""

    def __init__(self, root: Path, file: Path, data: bytes) -> None:
        self._root = root
        self._file = file
        _make_folder(root)
        file.parent.mkdir(parents=True, exist_ok=True)  # not synced: nobody misses what is lost in staging/
        try:
            _write(file, data)
        except BaseException:
            self.discard()
            raise

    def verify(self, data: bytes) -> None:
        _require_same(str(self._file), data, self._file.read_bytes())

    def publish(self, path: str) -> None:
        target = self._root / path
        _make_folder(target.parent)
        try:
            self._file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A part of the lake lies on another disk, behind a link: from staging/ there is no rename to it.
            beside = target.with_name(f".{uuid4().hex}.part")
            _write(beside, self._file.read_bytes())
            beside.replace(target)
            self._file.unlink()
        _sync(target.parent)

    def discard(self) -> None:
        self._file.unlink(missing_ok=True)
        if self._file.parent != self._root / STAGING:  # that one is everybody's
            with suppress(OSError):
                self._file.parent.rmdir()


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    file.chmod(0o644)


def _require_same(where: str, expected: bytes, found: bytes | None) -> None:
    if found != expected:
        size = "nothing" if found is None else f"{len(found)} bytes that are others"
        raise StoredDataError(
            f"{where}: expected the {len(expected)} bytes that were written, read back {size}; check the disk or the bucket"
        )


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


_PART_BYTES = 8 << 20
"""Bytes of an object that are in memory at once when it is opened to be read."""


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

    def open(self, path: str) -> BufferedIOBase | None:
        head = self._call("head_object", path)
        if head is None:
            return None
        # A local copy: what reads Parquet seeks to and fro.
        copy = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
        try:
            for start in range(0, head["ContentLength"], _PART_BYTES):
                span = f"bytes={start}-{min(start + _PART_BYTES, head['ContentLength']) - 1}"
                part = self._call("get_object", path, Range=span, IfMatch=head["ETag"])
                if part is None:
                    copy.close()
                    return None
                copy.write(part)
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return cast("BufferedIOBase", copy)

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

    def stage(self, path: str, data: bytes) -> Staged:  # noqa: ARG002  a put is whole or not at all, nothing to prepare
        return _StagedObject(self, data)

    def keep(self, path: str, kept: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._prefix + path}
        self._call("copy_object", kept, CopySource=source)

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        limit = datetime.now(UTC) - timedelta(seconds=older_than_s)
        old = [
            path
            for page in self._pages(STAGING)
            for entry in page.get("Contents", ())
            if entry["LastModified"] < limit and (path := entry["Key"][len(self._prefix) :]) not in spare
        ]
        for path in old:
            self.delete(path)
        return len(old)

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
            if code in ("NoSuchKey", "404") and method in ("get_object", "head_object"):
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


class _StagedObject:
    """Bytes held until they are put, at once and under their name; what lies there then is read back."""

    def __init__(self, store: BucketStore, data: bytes) -> None:
        self._store = store
        self._data = data

    def verify(self, data: bytes) -> None:
        _require_same(f"{self._store.url}: staged bytes", data, self._data)

    def publish(self, path: str) -> None:
        self._store.put(path, self._data)
        _require_same(f"{self._store.url}/{path}", self._data, self._store.get(path))

    def discard(self) -> None:
        self._data = b""


def open_store(url: str, s3_client: Callable[[], Any] | None = None) -> Store:
    """Return the store of a lake URL: s3://bucket/prefix or a folder."""
    if url.startswith("s3://"):
        return BucketStore(url, s3_client)
    return FolderStore(Path(url.removeprefix("file://")))
