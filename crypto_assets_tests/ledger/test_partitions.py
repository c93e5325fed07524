"""The ledger, in a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.ledger.known_days import days_in_states
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import ArchiveObject, Finding, Outcome, Partition, Series, SourceFile, State, StoredFile
from crypto_assets.storage.migrations import migrate

BARS = Series("binance", "spot", "ohlcv", "1m")
DAY = date(2024, 1, 1)
SOURCE = SourceFile("k1.zip", 70, "e1", "a" * 64, f"sha256:{'a' * 64}", datetime(2024, 1, 2, tzinfo=UTC))
STORED = StoredFile("exchange=binance/data.parquet", 1440, 90_000, "c" * 64)
GOOD = Outcome(
    BARS,
    Partition("BTC/USDT", DAY),
    State.AVAILABLE,
    source=SOURCE,
    stored=STORED,
    findings={"complete": Finding(True, {"found": 1440}), "unique_key": Finding(False, {"doubles": 2})},
)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def only(ledger: Ledger) -> Any:
    [record] = ledger.partitions()
    return record


def failed(state: State = State.MISSING, **evidence: Any) -> Outcome:
    return Outcome(BARS, GOOD.partition, state, "it went wrong", evidence)


def test_an_outcome_comes_back_as_it_was_recorded(ledger: Ledger) -> None:
    ledger.record_outcomes([GOOD], "run-1")
    record = only(ledger)
    assert (record.exchange, record.market_type, record.symbol, record.dataset, record.day) == (
        "binance",
        "spot",
        "BTC/USDT",
        "ohlcv_1m",
        DAY,
    )
    assert (record.state, record.reason, record.run_id, record.attempt_error) == (State.AVAILABLE, "", "run-1", None)
    assert (record.rows, record.size_bytes, record.content_sha256, record.path) == (
        1440,
        90_000,
        "c" * 64,
        STORED.path,
    )
    assert (record.source, record.source_key, record.source_etag, record.source_size_bytes) == (
        "archive",
        "k1.zip",
        "e1",
        70,
    )
    assert (record.source_sha256, record.source_published_digest) == ("a" * 64, f"sha256:{'a' * 64}")
    assert record.source_last_modified == datetime(2024, 1, 2, tzinfo=UTC)
    assert record.failed_checks == ["unique_key"]
    assert record.findings["unique_key"] == {"passed": False, "doubles": 2}


def test_days_of_many_series_are_one_query(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    hours, later = Series("binance", "spot", "ohlcv", "1h"), DAY + timedelta(days=1)
    outcomes = [
        replace(GOOD, series=series, partition=Partition(symbol, day), state=state)
        for series in (BARS, hours)
        for symbol in ("BTC/USDT", "ETH/USDT")
        for day, state in ((DAY, State.AVAILABLE), (later, State.DEGRADED))
    ]
    ledger.record_outcomes(outcomes, "run-1")
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(str(query))
        return execute(cursor, query, *arguments, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    wanted = {(BARS, "BTC/USDT"): [DAY, later], (hours, "ETH/USDT"): [later], (hours, "SOL/USDT"): [DAY]}
    records = ledger.records_of(wanted)
    assert sum("collection." in query for query in asked) == 1
    assert {place: record.state for place, record in records.items()} == {
        (BARS, "BTC/USDT", DAY): State.AVAILABLE,
        (BARS, "BTC/USDT", later): State.DEGRADED,
        (hours, "ETH/USDT", later): State.DEGRADED,
    }
    assert records[BARS, "BTC/USDT", DAY] in ledger.partitions(datasets=["ohlcv_1m"])
    asked.clear()
    with ledger.transaction() as connection:
        days = days_in_states(connection, list(wanted), DAY, None, [State.AVAILABLE, State.DEGRADED])
        good = days_in_states(connection, list(wanted), DAY, DAY, [State.AVAILABLE])
    assert sum("collection." in query for query in asked) == 2
    assert list(days.values()) == [[DAY, later], [DAY, later], []]
    assert list(good.values()) == [[DAY], [DAY], []]
    assert ledger.records_of({}) == {}


@pytest.mark.parametrize("state", [State.MISSING, State.PENDING, State.NO_DATA])
def test_a_failed_attempt_does_not_erase_what_is_stored(ledger: Ledger, state: State) -> None:
    ledger.record_outcomes([GOOD], "run-1")
    before = only(ledger)
    ledger.record_outcomes([failed(state, error="HostUnreachable")], "run-2")
    after = only(ledger)
    assert after.attempt_error == "it went wrong"
    assert replace(after, attempt_error=None, run_id="run-1", updated_at=before.updated_at) == before
    ledger.record_outcomes([GOOD], "run-3")
    assert only(ledger).attempt_error is None


@pytest.mark.parametrize("error", ["ChecksumMismatch", "BadContainer", "InvalidRows"])
def test_a_new_version_that_was_refused_leaves_the_stored_one_but_not_as_complete(ledger: Ledger, error: str) -> None:
    ledger.record_outcomes([GOOD], "run-1")
    ledger.record_outcomes([failed(error=error)], "run-2")
    record = only(ledger)
    assert (record.state, record.reason, record.evidence) == (State.CORRECTED, "it went wrong", {"error": error})
    assert (record.path, record.content_sha256, record.source_etag) == (STORED.path, "c" * 64, "e1")
    ledger.record_outcomes([GOOD], "run-3")
    assert (only(ledger).state, only(ledger).reason, only(ledger).attempt_error) == (State.AVAILABLE, "", None)


def test_a_day_that_was_never_stored_has_the_state_of_its_last_outcome(ledger: Ledger) -> None:
    ledger.record_outcomes([failed(State.PENDING)], None)
    ledger.record_outcomes([failed(State.MISSING, error="BadContainer")], None)
    record = only(ledger)
    assert (record.state, record.reason, record.path, record.collected_at) == (
        State.MISSING,
        "it went wrong",
        None,
        None,
    )


def test_a_partition_that_stands_twice_counts_as_its_last(ledger: Ledger) -> None:
    ledger.record_outcomes([failed(), GOOD], None)
    assert only(ledger).state is State.AVAILABLE


def test_evidence_that_postgres_cannot_hold_does_not_end_the_run(ledger: Ledger) -> None:
    outcome = replace(
        failed(mean=float("nan"), text="a\x00b", nested={"x": [float("inf")]}),
        reason="cut at \x00",
        findings={"f": Finding(False, {"v": float("-inf")})},
    )
    ledger.record_outcomes([outcome], None)
    record = only(ledger)
    assert record.evidence == {"mean": "nan", "text": "a�b", "nested": {"x": ["inf"]}}
    assert record.reason == r"cut at \x00"
    assert record.findings == {"f": {"passed": False, "v": "-inf"}}


def test_outcomes_of_a_transaction_that_fails_are_not_recorded(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        ledger.record_outcomes([GOOD], "run-1", connection=connection)
        assert ledger.partitions() == []
        connection.rollback()
    assert ledger.partitions() == []


def test_rows_are_known_since_they_were_first_stored(ledger: Ledger) -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    other = replace(GOOD, stored=replace(STORED, sha256="d" * 64))
    another = replace(GOOD, stored=replace(STORED, sha256="e" * 64))

    def known_from(outcome: Outcome, days: int, **more: Any) -> int:
        ledger.record_outcomes([outcome], at=start + timedelta(days=days), **more)
        known = only(ledger).known_from
        return -1 if known is None else (known - start).days

    assert known_from(failed(), 0) == -1
    assert known_from(GOOD, 1) == 1
    assert known_from(GOOD, 2) == 1, "the same file"
    assert known_from(failed(), 3) == 1, "a failed attempt"
    assert known_from(other, 4, same_rows={GOOD.partition}) == 1, "another file with the same rows"
    assert known_from(another, 5) == 5, "other rows"


def test_what_dagster_was_told_is_remembered_until_the_next_outcome(ledger: Ledger) -> None:
    eth = replace(GOOD, partition=Partition("ETH/USDT", DAY))
    ledger.record_outcomes([GOOD, eth], "run-1")

    def told() -> list[str]:
        return [record.symbol for record in ledger.partitions() if record.reported_at is not None]

    assert told() == []
    ledger.mark_reported([GOOD], "run-2")
    assert told() == [], "another run's outcome"
    ledger.mark_reported([GOOD], "run-1")
    assert told() == ["BTC/USDT"]
    ledger.mark_reported([], "run-1")
    ledger.record_outcomes([GOOD, eth], "run-3")
    assert told() == []
    ledger.mark_reported([GOOD, eth], "run-3")
    assert told() == ["BTC/USDT", "ETH/USDT"]
    ledger.record_outcomes([GOOD], None)
    ledger.mark_reported([GOOD], None)
    assert told() == ["BTC/USDT", "ETH/USDT"]


def test_partitions_are_found_by_everything_that_is_given(ledger: Ledger) -> None:
    linear = Series("binance", "linear", "funding_rates")
    outcomes = [
        replace(GOOD, partition=Partition(symbol, DAY + timedelta(days=n)))
        for symbol in ("BTC/USDT", "ETH/USDT")
        for n in range(3)
    ] + [replace(failed(), series=linear, partition=Partition("BTC/USDT:USDT", DAY))]
    ledger.record_outcomes(outcomes, None)

    def found(**given: Any) -> list[tuple[str, int]]:
        return [(record.symbol, record.day.day) for record in ledger.partitions(**given)]

    assert found(symbols=["ETH/USDT"], first=DAY, last=date(2024, 1, 2)) == [("ETH/USDT", 1), ("ETH/USDT", 2)]
    assert found(market_type="linear") == [("BTC/USDT:USDT", 1)]
    assert found(states=[State.MISSING]) == [("BTC/USDT:USDT", 1)]
    assert found(datasets=["ohlcv_1m"], first=date(2024, 1, 3)) == [("BTC/USDT", 3), ("ETH/USDT", 3)]
    assert (found(symbols=[]), found(exchange="okx")) == ([], [])


def test_the_summary_counts_states_rows_bytes_and_failed_checks(ledger: Ledger) -> None:
    days = [replace(GOOD, partition=Partition("BTC/USDT", DAY + timedelta(days=n))) for n in range(3)]
    ledger.record_outcomes([*days, replace(failed(), partition=Partition("BTC/USDT", date(2023, 12, 31)))], None)
    [summary] = ledger.summary()
    assert (summary.symbol, summary.dataset) == ("BTC/USDT", "ohlcv_1m")
    assert summary.states == {State.AVAILABLE: 3, State.MISSING: 1}
    assert (summary.rows, summary.size_bytes, summary.failed_checks) == (4320, 270_000, 3)
    assert summary.checks == 3 * len(GOOD.findings)
    assert (summary.first_day, summary.last_day) == (date(2023, 12, 31), date(2024, 1, 3))


def test_objects_are_new_then_known_then_changed(ledger: Ledger, postgres_url: str) -> None:
    modified = datetime(2024, 1, 2, tzinfo=UTC)
    one, two = ArchiveObject("1.zip", 10, "e1", modified), ArchiveObject("2.zip", 20, "e2")

    def versions() -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute("SELECT key, xmin FROM collection.archive_objects ORDER BY key").fetchall()

    new, changed = ledger.record_objects("binance", [two, one, one])
    assert (sorted(new), changed) == (["1.zip", "2.zip"], [])
    before = versions()
    assert ledger.record_objects("binance", [one, two]) == ([], [])
    assert versions() == before  # nothing new: no row is written
    assert ledger.record_objects("binance", [one, replace(two, etag="e3")]) == ([], ["2.zip"])
    assert ledger.record_objects("binance", [replace(one, size_bytes=11)]) == ([], ["1.zip"])
    assert ledger.record_objects("okx", [one]) == (["1.zip"], [])


def test_the_checksums_of_an_object_are_forgotten_when_it_changes(ledger: Ledger, postgres_url: str) -> None:
    def checksums() -> Any:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute(
                "SELECT etag, published_digest, computed_sha256 FROM collection.archive_objects"
            ).fetchall()

    ledger.record_objects("binance", [ArchiveObject("k1.zip", 70, "e1")])
    ledger.record_outcomes([GOOD], None)
    assert checksums() == [("e1", f"sha256:{'a' * 64}", "a" * 64)]
    ledger.record_objects("binance", [ArchiveObject("k1.zip", 70, "e2")])
    assert checksums() == [("e2", None, None)]


def test_writers_in_opposite_orders_do_not_deadlock(ledger: Ledger) -> None:
    objects = [ArchiveObject(f"{n}.zip", 1, "e") for n in range(1000)]
    outcomes = [replace(GOOD, partition=Partition("BTC/USDT", DAY + timedelta(days=n))) for n in range(300)]
    errors: list[Exception] = []

    def write(step: int) -> None:
        try:
            for size in range(5):
                changed = [replace(obj, size_bytes=size, etag=f"{step}{size}") for obj in objects]
                ledger.record_objects("binance", changed[::step])
                ledger.record_outcomes(outcomes[::step], None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(step,)) for step in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(ledger.partitions()) == 300


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
    with pytest.raises(PostgresUnavailable, match=r"127\.0\.0\.1:9") as caught:
        migrate("postgresql://me:very-secret@127.0.0.1:9/db")
    assert "very-secret" not in str(caught.value)


def test_every_file_of_a_day_is_recorded_and_read_back(ledger: Ledger, postgres_url: str) -> None:
    early = SourceFile("k1.zip", 70, "e1", "a" * 64, f"md5:{'1' * 32}", datetime(2024, 1, 2, tzinfo=UTC))
    day = SourceFile.joined([early, SourceFile("k2.zip", 30, "e2", "b" * 64)])
    ledger.record_objects("binance", [ArchiveObject("k1.zip", 70, "e1"), ArchiveObject("k2.zip", 30, "e2")])
    ledger.record_outcomes([replace(GOOD, source=day)], None)
    (record,) = ledger.partitions()
    assert record.source_file == day
    assert [(one["key"], one["published_digest"]) for one in record.source_files] == [
        ("k1.zip", f"md5:{'1' * 32}"),
        ("k2.zip", None),
    ]
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT key, published_digest, computed_sha256 FROM collection.archive_objects ORDER BY key"
        ).fetchall()
    assert rows == [("k1.zip", f"md5:{'1' * 32}", "a" * 64), ("k2.zip", None, "b" * 64)]
    ledger.record_outcomes([GOOD], None)
    (record,) = ledger.partitions()
    assert (record.source_file, record.source_files) == (SOURCE, [])
