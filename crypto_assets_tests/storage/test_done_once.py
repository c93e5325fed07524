"""A change whose commit gets no answer, because the connection is cut, is made once and gives its result."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.model import ArchiveObject
from crypto_assets.storage import patience
from crypto_assets.storage.database import Database, _has_committed, _Tried
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.patience import Patience
from crypto_assets.transport.breaker import Breakers, Key
from crypto_assets_tests.storage.cut_connections import LosesAnAnswer, end_connections

KEY = Key("binance", "archive", "data.example.com")


@pytest.fixture(scope="module")
def migrated(module_postgres_url: str) -> str:
    migrate(module_postgres_url)
    return module_postgres_url


@pytest.fixture
def url(migrated: str) -> str:
    with psycopg.connect(migrated) as connection:
        connection.execute("TRUNCATE collection.breakers, collection.controls, collection.archive_objects")
    return migrated


@pytest.fixture
def way(url: str) -> Iterator[LosesAnAnswer]:
    with LosesAnAnswer(url) as way:
        yield way
        assert way.lost == 1, "the fault has happened"


@pytest.fixture
def database(way: LosesAnAnswer) -> Iterator[Ledger]:
    with Ledger(way.url) as ledger:
        yield ledger


def test_a_failure_is_counted_once(way: LosesAnAnswer, database: Ledger) -> None:
    breakers = Breakers(database, "default")
    way.lose()
    assert breakers.failed(KEY, "no answer", 1.0, probe=False).failures == 1
    (found,) = breakers.read()
    assert found.failures == 1


def test_who_has_claimed_a_probe_is_told_so(way: LosesAnAnswer, database: Ledger) -> None:
    breakers = Breakers(database, "default", failures=2, first_open_s=0.0)
    for _ in range(2):
        breakers.failed(KEY, "no answer", 5.0, probe=False)
    way.lose()
    assert breakers.claim(KEY)
    assert not breakers.claim(KEY), "it is claimed"


def test_who_has_resumed_what_was_paused_is_told_so(way: LosesAnAnswer, database: Ledger) -> None:
    controls = Controls(database)
    controls.pause("all", "somebody")
    way.lose()
    assert controls.resume("all")
    assert controls.read() == []


def test_objects_that_are_new_are_said_to_be_new(way: LosesAnAnswer, database: Ledger) -> None:
    found = ArchiveObject("data/a.zip", 10, "etag", None)
    way.lose()
    assert database.record_objects("binance", [found]) == (["data/a.zip"], [])
    assert database.record_objects("binance", [found]) == ([], [])


def test_a_change_that_was_rolled_back_is_made_again(url: str) -> None:
    """The connection ends before the commit: nothing has happened, and the second attempt makes the change."""
    calls: list[int] = []

    def change(connection: psycopg.Connection[tuple[object, ...]]) -> int:
        calls.append(1)
        connection.execute(
            "INSERT INTO collection.controls (scope, action, reason, who) VALUES ('all', 'pause', '', 'y')"
        )
        if len(calls) == 1:
            end_connections(url)
        return len(calls)

    with Database(url) as database:
        assert database.change(change) == 2
        with database.transaction() as connection:
            counted = connection.execute("SELECT count(*) FROM collection.controls WHERE scope = 'all'").fetchone()
    assert counted == (1,)


@pytest.mark.parametrize("lost", [("9999999999", "0/0"), ("1", "FFFF/0")])
def test_a_server_that_has_lost_the_end_of_its_log_has_committed_nothing_of_it(url: str, lost: tuple[str, str]) -> None:
    with Database(url) as database, database.transaction() as connection:
        assert not _has_committed(connection, url, _Tried(*lost))
        assert connection.execute("SELECT 1").fetchone() == (1,), "the transaction continues"


class AnswersMeanwhile:
    """A lock during whose release another thread gets an answer: this otherwise happens once in a million times."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._patience._lock = threading.Lock()
        self._patience.answered()
        self._patience._lock = self  # type: ignore[assignment]


def test_an_answer_in_one_thread_while_another_begins_to_wait_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "backoff_s", lambda _: 0.0)
    shared = Patience("the store")
    shared._lock = AnswersMeanwhile(shared)  # type: ignore[assignment]
    assert shared.wait(1, "cut")
