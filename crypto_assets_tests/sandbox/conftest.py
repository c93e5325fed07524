"""Shared by the tests of the sandbox: read its files with the standard library only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import date

import httpx
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer

Rows = list[list[str]]


def read_csv(content: bytes) -> tuple[str, Rows]:
    """Return the name of the only member of a zip, and its rows as text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.infolist()
        assert member.compress_type == zipfile.ZIP_DEFLATED
        text = archive.read(member).decode("ascii")
    assert text.endswith("\n")
    return member.filename, [line.split(",") for line in text[:-1].split("\n")]


@pytest.fixture(scope="session")
def read() -> Callable[[bytes], tuple[str, Rows]]:
    return read_csv


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive({"spot": ["BTCUSDT"]}, date(2024, 1, 1), date(2024, 1, 3), trades_per_day=2_000)


@pytest.fixture(scope="module")
def running(archive: SyntheticArchive) -> Iterator[SandboxServer]:
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    running.app.state.faults.off()
    yield running
    running.app.state.faults.off()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client
