"""Requirements of a named Postgres: a session for each connection, and locks with a limited, reported wait."""

from __future__ import annotations

import threading

import psycopg
import pytest

from crypto_assets.errors import ConfigError, PostgresUnavailable
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage import revisions, sessions
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.sessions import lock_wait, of_connection, require_session
from crypto_assets.storage.warehouse import lock_symbol
from crypto_assets_tests.storage.pooler import transaction_pooler

_LOCK = "SELECT pg_advisory_lock(4711)"


def _tables_and_locks(url: str) -> tuple[int, int]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM pg_tables WHERE schemaname IN ('market', 'collection', 'dagster')), "
            "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()))"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("late", [0, 1, 2, 3])
@pytest.mark.parametrize("first_in", [False, True])
def test_a_pooler_that_lends_sessions_for_a_transaction_is_refused_before_anything_is_made(
    postgres_url, first_in, late
):
    with transaction_pooler(postgres_url, first_in=first_in, late=late) as url:
        for _ in range(3):  # it may have several sessions by now
            with pytest.raises(ConfigError, match="a pooler that does not keep sessions") as caught:
                migrate(url)
        message = str(caught.value)
        assert "127.0.0.1" in message
        assert "CRYPTO_ASSETS_POSTGRES_URL" in message
        assert "\n" not in message
    assert _tables_and_locks(postgres_url) == (0, 0)


def test_a_server_without_a_pooler_is_asked_once_in_a_process(postgres_url):
    require_session(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        require_session(postgres_url)
        assert connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchone() == (1,)


def test_a_statement_that_another_connection_has_prepared_is_said_as_a_pooler(postgres_url):
    def prepare_twice(ledger: Ledger) -> None:
        with ledger.transaction() as connection:
            connection.execute("PREPARE one AS SELECT 1")
            connection.execute("PREPARE one AS SELECT 1")

    with Ledger(postgres_url) as ledger, pytest.raises(ConfigError, match="a pooler that does not keep sessions"):
        prepare_twice(ledger)


def test_a_wait_for_a_lock_says_who_holds_it_and_ends(postgres_url, monkeypatch, capsys):
    monkeypatch.setattr(sessions, "SAY_AFTER_S", 0.05)
    monkeypatch.setattr(sessions, "SAY_AGAIN_S", 60.0)
    monkeypatch.setattr(sessions, "GIVE_UP_S", 0.6)
    with (
        psycopg.connect(postgres_url, autocommit=True, application_name="crypto_assets, process 7 on there") as holder,
        psycopg.connect(postgres_url, autocommit=True) as waiter,
    ):
        holder.execute(_LOCK)
        pid = holder.info.backend_pid
        with pytest.raises(PostgresUnavailable) as caught, lock_wait(of_connection(waiter), "the lock on BTC"):
            waiter.execute(_LOCK)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith(
            "waiting for the lock on BTC: held by crypto_assets, process 7 on there "
            f"(session {pid}, from this machine, idle since "
        )
        message = str(caught.value)
        assert "expected the lock on BTC to be free within 0.6 s" in message
        assert f"process 7 on there (session {pid}, " in message
        assert "pg_terminate_backend" in message
        # The session still works.
        assert waiter.execute("SELECT 1").fetchone() == (1,)


def test_a_lock_that_becomes_free_in_time_is_taken_without_an_error(postgres_url, monkeypatch, capsys):
    monkeypatch.setattr(sessions, "SAY_AFTER_S", 0.05)
    with (
        psycopg.connect(postgres_url, autocommit=True) as holder,
        psycopg.connect(postgres_url, autocommit=True) as waiter,
    ):
        holder.execute(_LOCK)
        said = threading.Event()
        monkeypatch.setattr(sessions, "say", lambda _: said.set())
        threading.Thread(target=lambda: (said.wait(10), holder.close()), daemon=True).start()
        with lock_wait(of_connection(waiter), "the lock"):
            waiter.execute(_LOCK)
        assert said.is_set()


def test_a_statement_that_somebody_else_cancels_is_no_wait_that_was_too_long(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 20")
        with pytest.raises(psycopg.errors.QueryCanceled), lock_wait(of_connection(connection), "nothing"):
            connection.execute("SELECT pg_sleep(5)")


def test_whoever_counts_rows_says_what_it_waits_for(postgres_url, monkeypatch):
    said: list[str] = []
    heard = threading.Event()
    monkeypatch.setattr(sessions, "SAY_AFTER_S", 0.05)
    monkeypatch.setattr(sessions, "say", lambda text: (said.append(text), heard.set()))
    names = "ohlcv", "binance", "spot", "BTC/USDT"
    with psycopg.connect(postgres_url) as holder, psycopg.connect(postgres_url) as waiter:
        lock_symbol(holder, *names)
        counting = threading.Thread(target=lock_symbol, args=(waiter, *names))
        counting.start()
        try:
            assert heard.wait(20)
        finally:
            holder.rollback()
            counting.join(30)
    assert said[0].startswith("waiting for the lock on the rows of ohlcv binance spot BTC/USDT: held by ")


def test_the_makers_of_tables_wait_for_each_other_with_words(postgres_url, monkeypatch):
    said: list[str] = []
    heard = threading.Event()
    monkeypatch.setattr(sessions, "SAY_AFTER_S", 0.05)
    monkeypatch.setattr(sessions, "say", lambda text: (said.append(text), heard.set()))
    with psycopg.connect(postgres_url, autocommit=True, application_name="crypto_assets, process 8 on there") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (revisions.LOCK,))
        maker = threading.Thread(target=migrate, args=(postgres_url,))
        maker.start()
        assert heard.wait(20)
        holder.execute("SELECT pg_advisory_unlock_all()")
        maker.join(30)
    assert said[0].startswith(
        "waiting for the lock under which tables are made: held by crypto_assets, process 8 on there"
    )
    assert _tables_and_locks(postgres_url)[0] > 10
