"""Why an embedded PostgreSQL does not run, from its log, and the command's message: once, with what to do."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.last_words import last_words
from crypto_assets.storage.own_servers import is_own
from crypto_assets.storage.postgres_faults import unavailable

READY = "2024-01-01 00:00:00 UTC [1] LOG:  database system is ready to accept connections\n"
FULL = """2024-01-01 00:00:01 UTC [9] PANIC:  could not write to file "pg_wal/xlogtemp.9": No space left on device
2024-01-01 00:00:02 UTC [1] LOG:  shutting down due to startup process failure
"""
SETTING = """2024-01-01 00:00:01 UTC [1] LOG:  invalid value for parameter "work_mem": "x"
2024-01-01 00:00:01 UTC [1] FATAL:  configuration file "/data/postgresql.conf" contains errors
"""
HINT = """2024-01-01 00:00:01 UTC [1] FATAL:  could not map anonymous shared memory: Cannot allocate memory
2024-01-01 00:00:01 UTC [1] HINT:  Reduce shared_buffers.
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (READY + FULL, "is full (No space left on device); make room there, then run this again"),
        (FULL + READY, ""),
        (READY, ""),
        (READY + "2024-01-01 00:00:03 UTC [7] FATAL:  the database system is shutting down\n", ""),
        (READY + "2024-01-01 00:00:03 UTC [7] FATAL:  terminating connection due to administrator command\n", ""),
        (
            SETTING,
            'invalid value for parameter "work_mem": "x"; configuration file "/data/postgresql.conf" contains errors',
        ),
        (HINT, "could not map anonymous shared memory: Cannot allocate memory (Reduce shared_buffers.)"),
        (None, ""),
    ],
)
def test_the_reason_is_the_last_one_since_the_server_was_ready(tmp_path: Path, log: str | None, words: str) -> None:
    if log is not None:
        (tmp_path / supervisor.LOG).write_text(log)
    found = last_words(tmp_path)
    assert found.endswith(words)
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection to server on socket failed: Connection refused"),
        psycopg.errors.DiskFull('could not extend file "base/1": No space left on device'),
    ],
)
def test_a_full_disk_is_said_with_its_place_and_what_to_do_once(tmp_path: Path, error: Exception) -> None:
    (tmp_path / supervisor.LOG).write_text(READY + FULL)
    url = f"postgresql://u@/d?host={tmp_path}"
    is_own(url, lambda: last_words(tmp_path))
    said = str(unavailable(url, error))
    assert said.count("make room") == 1
    assert said.count("what was stored stays") == 1
    assert "the disk of " in said
