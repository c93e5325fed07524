"""The lake's bytes in a bucket: a prefix of it, through boto3."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase
from typing import Any, cast

from crypto_assets.environment import keep_loopback_direct
from crypto_assets.errors import ConfigError, HostRefused, HostUnreachable
from crypto_assets.shortage import raise_if_ours
from crypto_assets.storage.files import MOST_BYTES, too_long
from crypto_assets.storage.inside import folder_inside, inside
from crypto_assets.storage.stores import STAGING, Staged, require_same

NOT_IMPLEMENTED = 501

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
            keep_loopback_direct()
            if self._make_client is None:
                import boto3

                self._made = boto3.client("s3")
            else:
                self._made = self._make_client()
        return self._made

    def put(self, path: str, data: bytes) -> None:
        self._call("put_object", path, Body=data)

    def create(self, path: str, data: bytes) -> bool:
        try:
            return self._call("put_object", path, Body=data, IfNoneMatch="*") is not None
        except HostRefused as error:
            if error.status != NOT_IMPLEMENTED:
                raise
        # A server without conditional writes: of two that write at once the last one holds, and both read it afterwards.
        if self.get(path) is not None:
            return False
        self.put(path, data)
        return True

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

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        found: dict[str, int] = {}
        start = len(self._prefix + folder)  # which ends in a slash
        for page in self._pages(folder, StartAfter=f"{self._prefix}{folder}{first}"):
            for entry in page.get("Contents", ()):
                child, _, file = entry["Key"][start:].partition("/")
                if child > last:
                    return found
                if file == name:
                    found[child] = entry["Size"]
        return found

    def delete(self, path: str) -> None:
        self._call("delete_object", path)

    def stage(self, path: str, data: bytes) -> Staged:  # noqa: ARG002  a put is whole or not at all, nothing to prepare
        return _StagedObject(self, data)

    def keep(self, path: str, kept: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._key(path)}
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

    def _key(self, path: str) -> str:
        inside(self.url, path)
        return self._prefix + path

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        folder_inside(self.url, prefix)
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
            arguments["Key"] = self._key(path)
        try:
            answer = getattr(self._client, method)(Bucket=self._bucket, **arguments)
            if method != "get_object":
                return answer
            if answer["ContentLength"] > MOST_BYTES:
                raise too_long(f"{self.url}/{path}", answer["ContentLength"])
            return answer["Body"].read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in ("NoSuchKey", "404") and method in ("get_object", "head_object"):
                return None
            if code in ("PreconditionFailed", "ConditionalRequestConflict") and "IfNoneMatch" in arguments:
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
            raise_if_ours(error, self.url)
            raise HostUnreachable(f"{self.url}: {method}: {error}; check AWS_* and AWS_ENDPOINT_URL") from error


class _StagedObject:
    """Bytes held until they are put, at once and under their name; what lies there then is read back."""

    def __init__(self, store: BucketStore, data: bytes) -> None:
        self._store = store
        self._data = data

    def verify(self, data: bytes) -> None:
        require_same(f"{self._store.url}: staged bytes", data, self._data)

    def publish(self, path: str) -> None:
        self._store.put(path, self._data)
        require_same(f"{self._store.url}/{path}", self._data, self._store.get(path))

    def discard(self) -> None:
        self._data = b""
