"""Our own stores fail while days are collected: temporary faults are outlasted, others end the run with one line."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from crypto_assets.engine.publication import journal
from crypto_assets.errors import PostgresUnavailable, Stopped
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage import patience
from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import outlast
from crypto_assets_tests.published import days
from crypto_assets_tests.storage.conftest import BTC, ENTRY, FIRST, LAST
from crypto_assets_tests.storage.cut_connections import LosesAnAnswer, end_connections
from crypto_assets_tests.workbench import Result, Workbench

BARS = Series("binance", "spot", "ohlcv", "1m")


def all_there(work: Workbench, result: Result, url: str) -> None:
    """Every day is stored once, in lake, warehouse and ledger, with the published values."""
    assert result.tally.states == {State.AVAILABLE: 3}
    assert result.tally.problems == []
    for day in days(FIRST, 3):
        expected = work.published(BARS, BTC, day)
        assert len(expected) == 1440
        assert work.in_lake(BARS, BTC, day) == expected
        assert work.in_warehouse("ohlcv", BTC, day, "timeframe = '1m'") == expected
    with psycopg.connect(url) as connection:

        def counted(table: str) -> int:
            row = connection.execute(f"SELECT count(*) FROM collection.{table}").fetchone()
            assert row is not None
            return int(row[0])

        assert counted("partitions") == 3
        assert counted("journal") == 0, "nothing is left to be undone"
        assert counted("corrections") == 0, "nothing took the place of anything"
    assert [path for path in (work.folder / "staging").rglob("*") if path.is_file()] == []


# ---- Postgres -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["noted", "kept", "loaded", "moved", "forgotten"])
def test_a_batch_whose_connection_is_ended_is_undone_and_stored_over_a_new_one(
    work: Workbench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    work.collect(FIRST, FIRST)
    with psycopg.connect(work.url, autocommit=True) as admin:  # so that the former file is kept during publication
        admin.execute("UPDATE collection.partitions SET content_sha256 = 'other', source_etag = 'other'")
        admin.execute("TRUNCATE collection.partitions, collection.warehouse_loads, market.ohlcv")
    (work.folder / work.lake.path(BARS, Partition(BTC, FIRST))).write_bytes(b"damaged")
    ended: list[str] = []

    def end_once(reached: str) -> None:
        if reached == step and not ended:
            ended.append(reached)
            end_connections(work.url)

    monkeypatch.setattr(journal, "reached", end_once)
    result = work.collect(FIRST, LAST)
    assert ended == [step], "the fault has happened"
    all_there(work, result, work.url)


def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    sandbox: SandboxServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = LosesAnAnswer(postgres_url)
    try:
        work = Workbench(sandbox, way.url, tmp_path / "lake", ENTRY)

        def arm(reached: str) -> None:
            if reached == "forgotten" and not way.lost:
                way.lose()

        monkeypatch.setattr(journal, "reached", arm)
        result = work.collect(FIRST, LAST)
        assert way.lost == 1, "the fault has happened"
        staged = work.folder / "staging"  # the journal does not know the files left there; `recover` removes them
        for path in [path for path in staged.rglob("*") if path.is_file()]:
            path.unlink()
        all_there(work, result, postgres_url)
    finally:
        way.close()


def test_connections_that_are_ended_while_they_are_idle_are_not_noticed(postgres_url: str) -> None:
    with Database(postgres_url) as database:
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(database.transaction())
        for _ in range(3):
            end_connections(postgres_url)
            with database.transaction() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_that_is_cut_says_that_it_may_be_repeated_and_outlast_repeats_it(postgres_url: str) -> None:
    calls = []
    with Database(postgres_url) as database:

        def count() -> int:
            calls.append(1)
            with database.transaction() as connection:
                if len(calls) == 1:
                    end_connections(postgres_url)
                row = connection.execute("SELECT 7").fetchone()
                assert row is not None
                return int(row[0])

        with pytest.raises(PostgresUnavailable, match="the connection was cut") as caught:
            count()
        assert caught.value.passing
        calls.clear()
        assert outlast(count) == 7
        assert len(calls) == 2


def test_a_server_without_a_free_connection_is_waited_for(postgres_url: str) -> None:
    name = conninfo_to_dict(postgres_url)["dbname"]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 1")  # this connection
        freed = threading.Timer(1.5, lambda: admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1"))
        freed.start()
        started = time.monotonic()
        with Database(postgres_url) as database, database.transaction() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - started > 1, "there was none before"
        freed.join()


def test_a_wait_says_what_is_waited_for_and_ends_when_the_run_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "SAY_AFTER_S", 0.0)
    stop = threading.Event()
    found: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as server:  # it accepts connections and sends nothing
        url = f"postgresql://user:secret@127.0.0.1:{server.getsockname()[1]}/db"
    patience.patience_with(url, "Postgres at the test").answered()

    def ask() -> None:
        patience.STOP.set(stop)
        try:
            with Database(url) as database, database.transaction():
                pass
        except Stopped as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    said = ""
    deadline = time.monotonic() + 20
    while "waiting for Postgres at the test" not in said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert [type(error) for error in found] == [Stopped]
    line = said.splitlines()[0]
    assert "nothing answers there (Connection refused)" in line
    assert "s more at most" in line
    assert "secret" not in said


def test_a_server_that_never_answered_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with (
        pytest.raises(PostgresUnavailable, match="check CRYPTO_ASSETS_POSTGRES_URL") as caught,
        Database("postgresql://user:secret@127.0.0.1:9/db") as database,
        database.transaction(),
    ):
        pass
    assert time.monotonic() - started < 5
    assert not caught.value.passing
    assert "secret" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_a_span_that_is_over_is_one_line_without_sql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "0.5")
    calls = []
    with Database(postgres_url) as database:

        def cut() -> None:
            calls.append(1)
            with database.transaction() as connection:
                end_connections(postgres_url)
                connection.execute("SELECT %s", ("a row of ours",))

        with pytest.raises(PostgresUnavailable) as caught:
            outlast(cut)
    assert len(calls) > 3, "it was tried again"
    assert not caught.value.passing
    text = str(caught.value)
    assert "\n" not in text
    assert "SELECT" not in text
    assert "a row of ours" not in text
    assert "what was stored stays; run this again" in text
