"""Fixtures that every test may use: real servers, made once per session, a fresh database per test, real files."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings

from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.storage.migrations import migrate
from crypto_assets.text.urls import database_of, with_database
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.odd_server import Answer, OddServer, running
from crypto_assets_tests.ports import free_port

# Importing all modules and collecting all tests makes a million objects that stay. Looking through them for garbage again
# and again takes as long as all the rest (4.9 s of CPU in place of 9.3); once collected, they are looked through no more.
gc.disable()


# By default Hypothesis fails an example that takes longer than 0.2 s: under load any touch of a file or a server does.
settings.register_profile("any load", deadline=None)
settings.load_profile("any load")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


LONGEST = (
    "sandbox/test_selftest.py",
    "test_readme.py",
    "cli/test_cli.py",
    "cli/test_demo.py",
    "defs/test_automation.py",
    "defs/test_stops.py",
    "instance/test_up.py",
    "instance/test_up_automation.py",
    "instance/test_up_stopped_runs.py",
    "storage/test_other_versions.py",
    "cli/test_bad_input.py",
    "cli/test_bad_arguments.py",
    "cli/test_bad_hosts.py",
    "machine/test_shortage.py",
    "defs/test_recovery.py",
    "engine/test_lifetimes.py",
    "engine/publication/test_crashes.py",
    "quality/test_hostile_locks.py",
    "instance/test_up_access.py",
    "storage/test_embedded_postgres.py",
    "engine/test_contradictions.py",
    "storage/test_store_faults.py",
    "storage/test_bucket_faults.py",
    "defs/test_io_managers.py",
    "defs/test_ui.py",
)
"""Files that take longest, the longest first: workers begin with them, so that no one stands alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


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


@pytest.fixture(scope="session")
def tables(postgres_server_url: str) -> Iterator[str]:
    """The URL of a database with the project's tables and no rows: copying it takes a third of making the tables."""
    with new_database(postgres_server_url) as url:
        migrate(url)
        yield url


@pytest.fixture
def postgres_url_with_tables(postgres_server_url: str, tables: str) -> Iterator[str]:
    """The URL of a database of this test's own that has the project's tables; folders of tests take it for `postgres_url`."""
    with new_database(postgres_server_url, tables) as url:
        yield url


@pytest.fixture(scope="session")
def all_tables(postgres_server_url: str, tables: str) -> Iterator[str]:
    """The URL of a database with the project's tables and Dagster's, and no rows."""
    from crypto_assets.instance.storage import InstanceStorage

    with new_database(postgres_server_url, tables) as url:
        storage = InstanceStorage(url)
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            part.dispose()
        yield url


@pytest.fixture
def postgres_url_with_all_tables(postgres_server_url: str, all_tables: str) -> Iterator[str]:
    """The URL of a database of this test's own that has the project's tables and Dagster's."""
    with new_database(postgres_server_url, all_tables) as url:
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


@pytest.fixture(scope="session")
def odd_server() -> Iterator[OddServer]:
    """One server for all tests: starting and stopping one takes longer than a test."""
    with running(OddServer()) as server:
        yield server


@pytest.fixture
def serve(odd_server: OddServer) -> Callable[[Answer], OddServer]:
    """Let the server answer with a function from now on; call it once in a test."""

    def answer_with(answer: Answer) -> OddServer:
        odd_server.answer = answer
        odd_server.requests.clear()
        return odd_server

    return answer_with


@pytest.fixture(scope="session")
def guard_url(postgres_server_url: str) -> Iterator[str]:
    """The URL of a database, tables included, in which the guards of all tests keep what they know."""
    with new_database(postgres_server_url) as url:
        migrate(url)
        yield url


@pytest.fixture
def guard(guard_url: str) -> Iterator[Guard]:
    """A guard without limits; its address is this test's own, so it knows of no failures and cool-downs of others."""
    with Guard(guard_url, egress=uuid4().hex, limits={}) as guard:
        yield guard


@pytest.fixture
def client(guard: Guard) -> Iterator[Client]:
    with Client(guard, timeout_s=10) as client:
        yield client


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are as many as ever, without the waits between them, but for those that a host asks for."""
    monkeypatch.setattr("crypto_assets.transport.client.backoff_s", lambda attempt: 0.0)


@pytest.fixture
def closed_port() -> int:
    """A port of loopback that refuses connections."""
    return free_port()
