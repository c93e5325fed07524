"""A process that cannot start a thread or open a socket says so: it calls no host and no server down."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from crypto_assets.errors import OutOfResources, PostgresUnavailable
from crypto_assets.machine.shortage import no_files_left
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.machine.test_shortage import KEY, sandbox
from crypto_assets_tests.storage.other_user import needs_root

__all__ = ["sandbox"]

_FEW_THREADS = """
import os, resource, sys, threading
from concurrent.futures import wait
from crypto_assets import sources
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.sources.limits import Endpoint
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets.errors import CryptoAssetsError
hold = threading.Event()
def most(number):
    resource.setrlimit(resource.RLIMIT_NPROC, (number, 1000))
threading.Thread(target=hold.wait, daemon=True).start()
archive = Endpoint("binance", "archive", "archive")
guard = Guard(sys.argv[1], egress="few threads", limits={})
sources.names()  # numpy among what is imported with them starts threads
guard.abandoned(guard.admit(archive, "data.example"))  # its own connections and threads are there from here on
client = Client(guard, attempts=1).at(archive)
os.setgroups([]); os.setgid(51998); os.setuid(51998)
most(1)
try:
    client.get("http://data.example/a")
except CryptoAssetsError as error:
    print(type(error).__name__, error)
try:
    DaemonPool(2, "none").submit(print)
except CryptoAssetsError as error:
    print(type(error).__name__, error)
most(len(os.listdir("/proc/self/task")) + 2)
with DaemonPool(8, "few") as pool:
    done = [pool.submit(lambda number=number: number) for number in range(40)]
    print(sum(one.result(10) for one in done))
hold.set()
"""


@needs_root
def test_a_process_that_cannot_start_threads_says_so_and_uses_those_that_it_has(guard_url: str) -> None:
    """Root has no such limit, so another account tries it."""
    command = [sys.executable, "-c", _FEW_THREADS, guard_url]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stderr
    first, second, summed = told.stdout.splitlines()
    assert first.startswith(
        "OutOfResources http://data.example/a: this process cannot start another thread or process ("
    )
    assert second.startswith("OutOfResources this process cannot start another thread or process (")
    assert summed == str(sum(range(40)))


@pytest.fixture
def no_files() -> Iterator[Any]:
    """Take every remaining file descriptor of a low limit during the test."""
    held: list[int] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def take() -> None:
        top = os.dup(0)
        os.close(top)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(top, 3), before[1]))
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                return

    def give() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        while held:
            os.close(held.pop())

    yield take, give
    give()


def test_a_host_is_not_called_unreachable_where_no_socket_can_be_opened(
    sandbox: SandboxServer, no_files: Any, guard: Guard
) -> None:
    archive = Endpoint("binance", "archive", "archive")
    take, give = no_files
    with Client(guard, attempts=1) as client:
        assert client.at(archive).get(sandbox.archive_url + "/" + KEY).status_code == 200
    with Client(guard, attempts=1) as client:
        for url in (sandbox.archive_url, "http://data.example"):  # an address, and a name for the resolver
            take()
            try:
                with pytest.raises(OutOfResources) as told:
                    client.at(archive).get(f"{url}/a")
                assert no_files_left() is not None
            finally:
                give()
            assert told.value.evidence["resource"] == "open files"
        assert no_files_left() is None


def test_postgres_is_not_called_down_where_no_socket_can_be_opened(postgres_url: str, no_files: Any) -> None:
    from crypto_assets.storage.database import unavailable

    take, give = no_files
    take()
    try:
        with pytest.raises(psycopg.OperationalError) as told:
            psycopg.connect(postgres_url)
        error = unavailable(postgres_url, told.value)
    finally:
        give()
    assert isinstance(error, OutOfResources)
    assert "this process has too many open files" in str(error)
    assert isinstance(unavailable(postgres_url, psycopg.OperationalError("connection refused")), PostgresUnavailable)


def test_a_pool_whose_first_thread_starts_works() -> None:
    with DaemonPool(3, "some") as pool:
        names = {pool.submit(lambda: threading.current_thread().name).result() for _ in range(5)}
    assert names <= {"some_0", "some_1", "some_2"}


def test_a_call_for_which_no_thread_could_be_started_does_not_run_later(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, refusals, done = threading.Thread.start, [RuntimeError("can't start new thread")], []

    def start(self: threading.Thread) -> None:
        if refusals:
            raise refusals.pop()
        plain(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with DaemonPool(2, "late") as pool:
        with pytest.raises(OutOfResources):
            pool.submit(done.append, "first")
        pool.submit(done.append, "second").result(10)
    assert done == ["second"]
