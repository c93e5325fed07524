"""The lake in a bucket: the objects under a prefix, through boto3.

Each request may be repeated: a put is atomic, and a repeated put writes the same bytes. If a bucket fails for a moment (5xx,
a slow-down, a cut or hanging connection), `_call` repeats the request within the time limit of `storage/patience.py`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase
from mmap import mmap
from typing import Any, cast
from urllib.parse import urlsplit

from crypto_assets.config.loopback import keep_loopback_direct
from crypto_assets.errors import ConfigError, LakeUnavailable
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.machine.temporary import temporary_file
from crypto_assets.model.content import Content
from crypto_assets.storage.files import MOST_BYTES, too_long
from crypto_assets.storage.inside import folder_inside, inside
from crypto_assets.storage.patience import SAY_AFTER_S, patience_with, span_s
from crypto_assets.storage.stores import STAGING, Staged, require_same

NOT_IMPLEMENTED = 501

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""Seconds of silence that end an attempt. A put of 200 MB is answered within seconds of its last byte."""

_PASSING_CODES = frozenset(
    {
        *("RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete", "OperationAborted"),
        *("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
    }
)
"""Temporary errors that come with 4xx, or may (botocore's `_retry.json`)."""

_NOT_THE_SAME = ("PreconditionFailed", "412")

_PART_BYTES = 8 << 20
"""Bytes of an object in memory at once when it is opened for reading."""


_ATTEMPTS_TO_COPY = 5
"""A day is replaced rarely; five replacements during one read are no coincidence."""


class _Replaced(Exception):
    """The object was replaced while its parts were read."""


class BucketStore:
    """A prefix of an S3 bucket, through a boto3 client; one put_object an object."""

    def __init__(self, url: str, client: Callable[[], Any] | None = None) -> None:
        self.url = url
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._make_client = client
        self._made: Any = None
        self._patience = patience_with(url, f"the lake {url}")

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

    def put(self, path: str, data: Content) -> None:
        self._call("put_object", path, Body=data)

    def create(self, path: str, data: bytes) -> bool:
        try:
            return self._call("put_object", path, Body=data, IfNoneMatch="*") is not None
        except LakeUnavailable as error:
            if error.status != NOT_IMPLEMENTED:
                raise
        # A server without conditional writes: of two concurrent writers the last one wins, then both read its content.
        if self.get(path) is not None:
            return False
        self.put(path, data)
        return True

    def get(self, path: str) -> bytes | None:
        answer = self._call("get_object", path)
        return None if answer is None else bytes(answer)

    def open(self, path: str) -> BufferedIOBase | None:
        for _ in range(_ATTEMPTS_TO_COPY):
            try:
                return self._copied(path)
            except _Replaced:
                continue  # the new object is complete too
        raise LakeUnavailable(
            f"{self.url}/{path}: expected one object during the read, found another one {_ATTEMPTS_TO_COPY} times; "
            "some process replaces it again and again; run this again when it has stopped",
            found="",
        )

    def _copied(self, path: str) -> BufferedIOBase | None:
        """Return a local copy of an object at one moment; raises _Replaced if it is replaced meanwhile."""
        head = self._call("head_object", path)
        if head is None:
            return None
        # A local copy: a Parquet reader seeks back and forth.
        copy = temporary_file()
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

    def stage(self, path: str, data: Content) -> Staged:  # noqa: ARG002  a put is atomic, there is nothing to prepare
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
        """Return boto3's answer; for get_object the bytes; None if the key does not exist.

        Raises:
            LakeUnavailable: S3 gave no answer, a cut one, or an error (429, 5xx) until the time limit was over.
            ConfigError: no such bucket, no credentials, or no permission; the message repeats what S3 said.
            Stopped: the run was stopped during the wait.
        """
        if path is not None:
            arguments["Key"] = self._key(path)
        if self._patience.hangs:
            raise LakeUnavailable(
                f"{self.url}: {method} of {path or 'the listing'}: not asked, it gives no answer", found=""
            )
        attempt, first = 0, time.monotonic()
        while True:
            began = time.monotonic()
            try:
                with self._patience.asking(f"{method} of {path or 'the listing'}"):
                    answer = self._ask(method, path, arguments)
            except LakeUnavailable as error:
                attempt += 1
                # Other threads may get answers meanwhile; each answer restarts the time limit of all threads.
                is_over = began - first > span_s()
                if is_over or not (error.passing and self._patience.wait(attempt, error.evidence["found"])):
                    error.passing = False
                    if time.monotonic() - began > SAY_AFTER_S:
                        self._patience.hung()
                    raise
            except (ConfigError, _Replaced):
                self._patience.answered()
                raise
            else:
                self._patience.answered()
                return answer

    def _ask(self, method: str, path: str | None, arguments: dict[str, Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        if isinstance(body := arguments.get("Body"), mmap):
            body.seek(0)  # boto3 reads it as a file; an attempt before may have read it
        try:
            answer = getattr(self._client, method)(Bucket=self._bucket, **arguments)
            if method != "get_object":
                return answer
            if answer["ContentLength"] > MOST_BYTES:
                raise too_long(f"{self.url}/{path}", answer["ContentLength"])
            return answer["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_THE_SAME and "IfMatch" in arguments:
                raise _Replaced from None
            return self._refused(error, method, path, conditional="IfNoneMatch" in arguments)
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ConfigError(
                f"{self.url}: {method}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except BotoCoreError as error:
            raise_if_ours(error, self.url)
            raise self._unreachable(error, method, path) from error

    def _refused(self, error: Any, method: str, path: str | None, *, conditional: bool) -> None:
        """Return if the answer means that the object does not exist, or exists already; else raise."""
        said = error.response.get("Error", {})
        code = said.get("Code", "")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in ("NoSuchKey", "404") and method in ("get_object", "head_object"):
            return
        if code in ("PreconditionFailed", "ConditionalRequestConflict") and conditional:
            return
        found = f"S3 says {code}: {said.get('Message', '')}"
        where = f"{self.url}: {method} of {path or 'the listing'}"
        if status == 429 or status >= 500 or code in _PASSING_CODES:
            raise LakeUnavailable(
                f"{where}: {found} ({self._place}); what was stored stays, run this again later",
                status=status,
                passing=status != NOT_IMPLEMENTED,
                found=found,
            ) from error
        raise ConfigError(f"{where}: {found}; check the bucket, AWS_* and its permissions") from error

    def _unreachable(self, error: Any, method: str, path: str | None) -> LakeUnavailable:
        from botocore.exceptions import (
            ConnectTimeoutError,
            EndpointConnectionError,
            HTTPClientError,
            IncompleteReadError,
        )

        passing = isinstance(error, HTTPClientError | IncompleteReadError)
        if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
            passing = self._patience.known  # otherwise its address may be wrong
        found = " ".join(str(error).split())[:300]
        return LakeUnavailable(
            f"{self.url}: {method} of {path or 'the listing'}: {found} ({self._place}); what was stored stays; check "
            "AWS_* and AWS_ENDPOINT_URL, then run this again",
            passing=passing,
            found=found,
        )

    @property
    def _place(self) -> str:
        """The bucket's server, as host:port."""
        found = urlsplit(self._client.meta.endpoint_url)
        return f"at {found.hostname}:{found.port or (443 if found.scheme == 'https' else 80)}"


class _StagedObject:
    """Bytes in memory until they are put under their final name; then the object is read back."""

    def __init__(self, store: BucketStore, data: Content) -> None:
        self._store = store
        self._data = data

    def verify(self, data: Content) -> None:
        if data is not self._data:
            require_same(f"{self._store.url}: staged bytes", data, io.BytesIO(self._data))

    def publish(self, path: str) -> None:
        self._store.put(path, self._data)
        if isinstance(self._data, bytes):  # one request instead of several
            found = self._store.get(path)
            back: BufferedIOBase | None = None if found is None else io.BytesIO(found)
        else:
            back = self._store.open(path)
        require_same(f"{self._store.url}/{path}", self._data, back)

    def discard(self) -> None:
        self._data = b""
