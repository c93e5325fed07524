"""Fixtures that every test may use: real servers, made once per session, a fresh database per test, real files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.text.urls import database_of, with_database


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """The URL of an embedded PostgreSQL server (not durable), its database `crypto_assets` included."""
    # Not tmp_path: pytest's folders are 0700, and as root the server runs under an id of its own.
    home = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    home.chmod(0o711)
    yield ensure_server(home, durable=False, grace_s=5)
    delete_server(home)
    home.rmdir()


@contextmanager
def new_database(server_url: str, template: str | None = None) -> Iterator[str]:
    """The URL of an empty database, or a copy of the one that a URL names, that is dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        like = f" TEMPLATE {database_of(template)}" if template else ""
        connection.execute(f"CREATE DATABASE {name}{like}")
    try:
        yield with_database(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """The URL `postgresql://…` of an empty database of this test's own."""
    with new_database(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server_url: str) -> Iterator[str]:
    """The URL of a database that the tests of one module share."""
    with new_database(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real files: CRYPTO_ASSETS_REALDATA, or ../shared/realdata beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    folder = Path(os.environ.get("CRYPTO_ASSETS_REALDATA", beside))
    if not (folder / "binance_vision").is_dir():
        pytest.skip(f"no real data in {folder}; name the folder in CRYPTO_ASSETS_REALDATA")
    return folder
