"""A real server of the API on loopback, whose answers are compared with the OpenAPI document."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from crypto_assets.api.app import create_app
from crypto_assets_tests.api.described import as_described


# Each answer is compared with its model in the OpenAPI document.
@contextmanager
def serving(postgres: str, collection: Path) -> Iterator[httpx.Client]:
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(postgres, collection, str(collection.parent / "lake")), log_level="critical")
    )
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        hooks = {"response": [as_described]}
        with httpx.Client(base_url=url, trust_env=False, timeout=30, event_hooks=hooks) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)


def get(client: httpx.Client, path: str, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert list(content) == ["error", "expected", "found", "what_to_do"]
    return dict(content)
