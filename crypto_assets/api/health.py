"""The answer of `/healthz`: database, lake, and, if `crypto-assets up` runs in this home, its daemon and code server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from pathlib import Path
from typing import Any

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance.liveness import ANSWER_S, HEARTBEAT_S, Heartbeat, answers_grpc, is_up, last_heartbeat
from crypto_assets.instance.parts import code_socket
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake

ANSWERS, SILENT, NOT_RUNNING = "answers", "does not answer", "not running"


class Health:
    """The state of the parts that this API and the collection need."""

    def __init__(self, ledger: Ledger, lake: Lake, home: Path) -> None:
        self._ledger = ledger
        self._lake = lake
        self._home = home
        self._asker = ThreadPoolExecutor(2, thread_name_prefix="health")
        self._asked: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Return `ok`, and the state of each part. Parts of `up` count against `ok` only if they should run."""
        up = is_up(self._home)
        asked = self._ask("postgres", self._heartbeat), self._ask("lake", self._lake.identity)
        postgres, found = _answer(asked[0])
        lake, _ = _answer(asked[1])
        parts = {"postgres": postgres, "lake": lake, "up": ANSWERS if up else NOT_RUNNING}
        # Asked in any case: containers run it without `up`.
        serves = answers_grpc(code_socket(self._home))
        parts["code_server"] = ANSWERS if serves else SILENT if up else NOT_RUNNING
        daemon = {"heartbeat": found and found.at, "age_s": found and round(found.age_s, 1)}
        ok = postgres == ANSWERS and lake == ANSWERS
        if up:
            # A daemon started for the first time has no heartbeat yet.
            hangs = found is not None and found.age_s > HEARTBEAT_S
            ok = ok and parts["code_server"] == ANSWERS and not hangs
        return {"ok": ok, **parts, "daemon": daemon}

    def close(self) -> None:
        """Stop asking; do not wait for pending answers."""
        self._asker.shutdown(wait=False, cancel_futures=True)

    def _heartbeat(self) -> Heartbeat | None:
        with self._ledger.transaction(waits=False) as connection:
            return last_heartbeat(connection)

    def _ask(self, part: str, question: Callable[[], Any]) -> Future[Any]:
        """Ask a part, one question at a time: a hanging part keeps one thread, not one for each request."""
        with self._lock:
            asked = self._asked.get(part)
            if asked is None or asked.done():
                asked = self._asked[part] = self._asker.submit(question)
            return asked


def _answer(asked: Future[Any]) -> tuple[str, Any]:
    """Return the state of a part within the time limit of an answer, and its answer; None if there was none."""
    try:
        return ANSWERS, asked.result(ANSWER_S)
    except TooLong:
        return f"no answer within {ANSWER_S:g} s", None
    except (CryptoAssetsError, OSError) as error:
        return str(error), None
