"""An S3 server on loopback that can fail: moto's server behind a door that answers 500, hangs or slows down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"

_STATUS = {"InternalError": "500 Internal", "SlowDown": "503 Slow Down", "AccessDenied": "403 Forbidden"}
_AROUND = "X-Let-Through"
_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>on purpose</Message></Error>"


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Print nothing about requests."""


class Bucket:
    """A bucket that works until `fail` is called; counts the requests that arrive while it fails.

    Nobody may write to a path that contains `denied`; empty: every path is writable.
    """

    def __init__(self) -> None:
        self.name = f"market-{uuid4().hex[:8]}"
        self.refused = 0
        self._mode: tuple[str, int] = "", 0
        self.denied = ""
        self._healed = threading.Event()
        self._lock = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __enter__(self) -> Self:
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent)
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  one that hangs is not waited for
        self._server.block_on_close = False  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106  of a server on loopback that asks for none
        )
        self.client.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": REGION})
        # The proof can read while the bucket fails for everybody else.
        self.client.meta.events.register(
            "before-sign.s3", lambda request, **_: request.headers.add_header(_AROUND, "1")
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": REGION,
        }

    def fail(self, how: str, times: int = 1 << 30) -> None:
        """Make the next requests fail: `InternalError` (500), `SlowDown` (503), `cut` (no answer), or `hang`."""
        with self._lock:
            self._mode = how, times
            self._healed.clear()

    def heal(self) -> None:
        """Answer again, also the hanging requests."""
        with self._lock:
            self._mode = "", 0
            self._healed.set()

    def objects_named(self, name: str) -> list[str]:
        """Return the keys that end in a name, even while the bucket fails."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].endswith(name)]

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return every object by its key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        listed = [item for page in pages for item in page.get("Contents", [])]
        return {
            item["Key"]: self.client.get_object(Bucket=self.name, Key=item["Key"])["Body"].read() for item in listed
        }

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_" + _AROUND.upper().replace("-", "_") in environ:
            return self._moto(environ, start)
        with self._lock:
            how, left = self._mode
            if left:
                self._mode = how, left - 1
                self.refused += 1
        if self.denied and self.denied in environ["PATH_INFO"] and environ["REQUEST_METHOD"] == "PUT":
            how, left = "AccessDenied", 1
        if not left:
            return self._moto(environ, start)
        if how == "hang":
            self._healed.wait()
            return self._moto(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if how == "cut":
            environ["werkzeug.socket"].shutdown(2)
            return []
        start(_STATUS[how], [("Content-Type", "application/xml")])
        return [_ERROR % how.encode()]
