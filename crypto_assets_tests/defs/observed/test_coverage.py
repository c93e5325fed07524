"""The coverage of an exchange in the UI: pictures of each series, observed when a day was stored or lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import psycopg
import pytest
import time_machine

from crypto_assets.defs.observed import observed_key
from crypto_assets.defs.observed.coverage import COVERAGE
from crypto_assets.quality.report.charts import LIGHT, NEVER
from crypto_assets.quality.report.charts.strip import INLINE
from crypto_assets_tests.defs.observed.ticks import Ticks
from crypto_assets_tests.quality import ledger_rows
from crypto_assets_tests.quality.small_calendars import rows_of

NUMBERS = ("days", "days incomplete", "days available", "days missing")


@pytest.fixture
def ticks(postgres_url, tmp_path):
    ledger_rows.fill(postgres_url)
    ledger_rows.put_files(postgres_url, tmp_path)
    with time_machine.travel(ledger_rows.NOW, tick=False):
        yield Ticks(COVERAGE, ledger_rows.collection(), str(tmp_path), postgres_url)


def values(event) -> Mapping[str, object]:
    return {name: value.value for name, value in event.metadata.items()}


def test_each_series_has_a_picture_that_needs_no_click_with_the_incomplete_symbol_first(ticks):
    assert ticks.spec.key == observed_key("coverage", "binance")
    (event,) = ticks()
    found = values(event)
    assert next(iter(found)) == "verdict"
    assert found["verdict"] == "Incomplete: 7 of 60 days are missing or partial"
    assert [found[name] for name in NUMBERS] == [60, 7, 49, 2]
    pictures = {name: text for name, text in found.items() if str(text).startswith("![coverage]")}
    assert pictures
    assert all(len(text) < INLINE for text in (*pictures.values(), found["colours"]))
    shown = {name: rows_of(text) for name, text in pictures.items()}
    notes = [row.note for rows in shown.values() for row in rows]
    assert sum(int(note.split()[0]) for note in notes if note) == 7
    for rows in shown.values():
        incomplete = [int(row.note.split()[0]) if row.note else 0 for row in rows]
        assert incomplete == sorted(incomplete, reverse=True)
    assert any(state == LIGHT.states["missing"] for rows in shown.values() for row in rows for state, _, _ in row.bars)
    assert "missing" in found["colours"]
    assert NEVER not in found["colours"] or found.get(f"days {NEVER}")


def test_a_tick_without_a_change_is_one_query_and_a_stored_day_is_seen_at_the_next(ticks, postgres_url):
    assert ticks()
    assert ticks() == []
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "UPDATE collection.partitions SET state = 'available', updated_at = updated_at + interval '1 hour' "
            "WHERE state = 'missing'"
        )
    (event,) = ticks()
    assert values(event)["verdict"] == "Incomplete: 5 of 60 days are missing or partial"


def test_a_deleted_file_is_seen_within_the_hour(ticks, tmp_path):
    (before,) = ticks()
    next(tmp_path.rglob("data.parquet")).unlink()
    assert ticks() == []
    with time_machine.travel(ledger_rows.NOW + timedelta(hours=1), tick=False):
        (after,) = ticks()
    assert values(after)["days missing"] == values(before)["days missing"] + 1


def test_a_bucket_is_listed_after_a_run_has_ended_and_every_hour_and_not_for_each_day(ticks, postgres_url, monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "s3://bucket/lake")
    assert ticks()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE collection.partitions SET state = 'available', updated_at = updated_at + interval '1 hour' "
            "WHERE state = 'missing'"
        )
        connection.execute(
            "INSERT INTO collection.progress (run_id, state, total, done, failed, rows, bytes, days_per_s, rows_per_s, "
            "host, pid) "
            "VALUES ('one', 'running', 2, 2, 0, 0, 0, 0, 0, 'h', 1)"
        )
        assert ticks() == []
        connection.execute("UPDATE collection.progress SET state = 'done'")
        (event,) = ticks()
        assert values(event)["verdict"] == "Incomplete: 5 of 60 days are missing or partial"
        assert ticks() == []
        connection.execute(
            "UPDATE collection.partitions SET state = 'missing' WHERE day = (SELECT max(day) FROM collection.partitions)"
        )
    with time_machine.travel(ledger_rows.NOW + timedelta(hours=1), tick=False):
        assert ticks()
