"""A hostile exchange costs little memory: twelve threads send it requests at once, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer

MOST_MB = 300


class Hostile:
    """A sandbox exchange, and a process that sends it requests."""

    def __init__(self, server: SandboxServer, process: subprocess.Popen[str]) -> None:
        self._server = server
        self._process = process

    def asked(self, fault: str, kind: str) -> dict[str, Any]:
        """Return the errors of requests of a kind, twelve at once, while a fault was on, and the memory that they took."""
        faults = self._server.app.state.faults
        faults.on(fault, kinds=(kind,))
        assert self._process.stdin
        assert self._process.stdout
        times = 2 if fault == "endless-pages" else 12  # this fault causes a hundred requests each
        self._process.stdin.write(json.dumps({"kind": kind, "times": times, "base": self._server.archive_url}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        faults.off()
        return json.loads(line)


@pytest.fixture(scope="module")
def hostile(guard_url: str) -> Iterator[Hostile]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process's memory can be set back on Linux only")
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 1, 3))
    command = [sys.executable, "-m", "crypto_assets_tests.engine.hostile_process", guard_url]
    with (
        SandboxServer(archive) as server,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process,
    ):
        yield Hostile(server, process)
        assert process.stdin
        process.stdin.close()


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("gzip-bomb", "object", "which was not requested"),
        ("gzip-bomb", "checksum", "which was not requested"),
        ("gzip-bomb", "listing", "which was not requested"),
        ("gzip-bomb", "rest", "expected at most 8388608 bytes"),
        ("endless", "object", "expected at most 1148576 bytes"),
        ("endless", "checksum", "published sha256 unreadable"),
        ("endless", "listing", "a page of at most 8388608 bytes"),
        ("endless", "rest", "expected at most 8388608 bytes"),
        ("endless-pages", "listing", "expected at most 100000 keys on 300 pages"),
        ("deep-xml", "listing", "more than 100000 tags"),
        ("terminal-codes", "listing", r"\x9d0;owned\x9c\x7f\u202e\u2028binance spot forged"),
        ("redirect-host", "object", "not followed"),
        ("redirect-host", "rest", "not followed"),
        ("redirect-loopback", "checksum", "not followed"),
        ("redirect-http", "listing", "not followed"),
        ("redirect-loop", "object", "redirects without end"),
    ],
)
def test_what_a_hostile_exchange_costs(hostile: Hostile, fault: str, kind: str, says: str) -> None:
    found = hostile.asked(fault, kind)
    assert all(says in error for error in found["errors"]), found
    assert found["peak_mb"] < MOST_MB, found
