"""Fixtures for the world of `world.py`: a sandbox with single written files, and a REST API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.model import ArchiveObject
from crypto_assets.sandbox.archive import FolderArchive, SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.listings import ListedPage, ListRequest, Wanted
from crypto_assets.sources.listings.s3 import S3Listing
from crypto_assets_tests.conftest import postgres_url_with_tables as postgres_url
from crypto_assets_tests.engine.world import World
from crypto_assets_tests.odd_server import OddServer
from crypto_assets_tests.workbench import Workbench

__all__ = ["postgres_url"]  # a fixture of all tests of this folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SandboxServer]]:
    """A folder, and the sandbox that serves it."""
    folder = tmp_path_factory.mktemp("archive")
    with SandboxServer(FolderArchive(folder)) as server:
        yield folder, server


@pytest.fixture
def world(
    served: tuple[Path, SandboxServer], odd_server: OddServer, postgres_url: str, tmp_path: Path
) -> Iterator[World]:
    """A world without files; files that a test publishes are removed after it."""
    folder, server = served
    yield World(Workbench(server, postgres_url, tmp_path / "lake"), folder, odd_server)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


FIRST, LAST, END = date(2024, 1, 30), date(2024, 2, 1), date(2024, 2, 29)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    archive = SyntheticArchive(
        {
            "spot": {"BTCUSDT": (date(2024, 1, 1), END), "ETHUSDT": (date(2024, 1, 1), END), "NEWUSDT": (LAST, END)},
            "linear": {"BTCUSDT": (date(2024, 1, 1), END)},
        },
        trades_per_day=1_440,  # one per minute: only then do built bars equal published ones
    )
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.forget_requests()
    yield running
    running.app.state.overrides.clear()


Open = Callable[..., Workbench]


@pytest.fixture
def bench(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Open:
    """A function that opens a workbench for some entries."""
    return lambda *entries: Workbench(sandbox, postgres_url, tmp_path / "lake", *entries)


@pytest.fixture
def bare_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let listings show keys only, as an HTML index of links does."""
    read = S3Listing.read

    def bare(self: S3Listing, wanted: Wanted, asked: ListRequest, url: str, content: bytes) -> ListedPage:
        page = read(self, wanted, asked, url, content)
        return replace(page, objects=[ArchiveObject(obj.key, 0, "") for obj in page.objects])

    monkeypatch.setattr(S3Listing, "read", bare)
