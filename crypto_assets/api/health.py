"""What `/healthz` says: database, lake, and, where `crypto-assets up` runs in this home, its daemon and code server."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from pathlib import Path
from typing import Any

import yaml

from crypto_assets.errors import CryptoAssetsError, PostgresUnavailable
from crypto_assets.instance.liveness import ANSWER_S, HEARTBEAT_S, answers_grpc, is_up, last_heartbeat
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake

ANSWERS, SILENT, NOT_RUNNING = "answers", "does not answer", "not running"


class Health:
    """The state of the parts that this API and the collection need."""

    def __init__(self, ledger: Ledger, lake: Lake, home: Path) -> None:
        self._ledger = ledger
        self._lake = lake
        self._home = home
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="lake")
        self._asked: Future[str] | None = None
        self._lock = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Return `ok`, and of each part what it says. Of `up` only what should run counts against `ok`."""
        up = is_up(self._home)
        postgres, daemon = self._database()
        parts = {"postgres": postgres, "lake": self._ask_lake(), "up": ANSWERS if up else NOT_RUNNING}
        parts["code_server"] = (ANSWERS if answers_grpc(_socket(self._home)) else SILENT) if up else NOT_RUNNING
        ok = postgres == ANSWERS and parts["lake"] == ANSWERS
        if up:
            # A daemon that has just been started for the first time has no heartbeat yet.
            hangs = daemon["age_s"] is not None and daemon["age_s"] > HEARTBEAT_S
            ok = ok and parts["code_server"] == ANSWERS and not hangs
        return {"ok": ok, **parts, "daemon": daemon}

    def close(self) -> None:
        """Ask nothing any more; an answer that is still awaited is not waited for."""
        self._asker.shutdown(wait=False, cancel_futures=True)

    def _database(self) -> tuple[str, dict[str, Any]]:
        try:
            with self._ledger.transaction() as connection:
                found = last_heartbeat(connection)
        except PostgresUnavailable as error:
            return str(error), {"heartbeat": None, "age_s": None}
        if found is None:
            return ANSWERS, {"heartbeat": None, "age_s": None}
        return ANSWERS, {"heartbeat": found.at, "age_s": round(found.age_s, 1)}

    def _ask_lake(self) -> str:
        """Ask for the lake's id, one question at a time: a store that hangs keeps one thread, not one for each request."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._asker.submit(self._read_identity)
            asked = self._asked
        try:
            return asked.result(ANSWER_S)
        except TooLong:
            return f"no answer within {ANSWER_S:g} s"

    def _read_identity(self) -> str:
        try:
            self._lake.identity()
        except (CryptoAssetsError, OSError) as error:
            return str(error)
        return ANSWERS


def _socket(home: Path) -> Path:
    """Return where the code server of `up` listens, as its workspace says."""
    try:
        (place,) = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
        return Path(place["grpc_server"]["socket"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return home / "sockets" / "code-server"
