"""The migrations, in a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from crypto_assets.errors import OtherVersion, PostgresUnavailable
from crypto_assets.model import Series, Track
from crypto_assets.storage.market_views import VIEWS
from crypto_assets.storage.migrations import HEAD, migrate
from crypto_assets.storage.migrations.columns import COLUMNS
from crypto_assets.storage.warehouse import TABLES, Warehouse
from crypto_assets_tests.storage.test_warehouse import DAY, query, url

__all__ = ["url"]


def schema_of(url: str) -> list[tuple[Any, ...]]:
    return query(
        url,
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema IN ('market', 'collection') ORDER BY 1, 2, ordinal_position",
    )


def test_an_empty_database_is_migrated_and_a_second_time_nothing_happens(postgres_url: str) -> None:
    migrate(postgres_url)
    before = schema_of(postgres_url)
    migrate(postgres_url)
    assert schema_of(postgres_url) == before
    tables = {f"{schema}.{table}" for schema, table, _, _ in before}
    assert {name for name in tables if name.startswith("market.")} == {
        f"market.{name}" for name in (*TABLES, *VIEWS, "instruments")
    }
    assert tables >= {
        f"collection.{name}"
        for name in (
            *("archive_objects", "partitions", "warehouse_loads", "migrations"),
            *("versions", "corrections", "growth", "journal"),
        )
    }
    ohlcv = [column for _, table, column, _ in before if table == "ohlcv"]
    assert tuple(ohlcv) == TABLES["ohlcv"].columns


def test_the_newest_revision_is_the_one_that_is_looked_for(postgres_url: str) -> None:
    migrate(postgres_url)
    assert query(postgres_url, "SELECT version_num FROM collection.migrations") == [(HEAD,)]


def test_the_columns_that_a_start_looks_for_are_those_of_a_new_database(url: str) -> None:
    found: dict[str, list[str]] = {}
    for schema, table, column, _ in schema_of(url):
        if schema == "collection":
            found.setdefault(table, []).append(column)
    assert found == COLUMNS, "the tables have changed: add a revision, and write their columns in migrations/columns.py"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "ALTER VIEW collection.coverage RENAME COLUMN provisional TO early",
            "found: no column collection.coverage.provisional; ",
        ),
        ("DROP VIEW collection.gaps", 'found: relation "collection.gaps" does not exist; '),
        (
            "DROP VIEW collection.coverage; ALTER TABLE collection.growth DROP COLUMN rows",
            'found: no column collection.growth.rows, relation "collection.coverage" does not exist; ',
        ),
        ("ALTER TABLE collection.growth ADD COLUMN mine text", ""),
    ],
)
def test_a_start_names_what_an_earlier_database_does_not_have_and_what_to_do(url: str, change: str, said: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(change)
    before = schema_of(url)
    if said:
        with pytest.raises(OtherVersion, match=re.escape(said)) as told:
            migrate(url)
        assert "or name another database in CRYPTO_ASSETS_POSTGRES_URL and collect again" in str(told.value)
    else:
        migrate(url)  # a column of somebody's own is no fault
    assert schema_of(url) == before


def test_many_may_migrate_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(migrate, [postgres_url] * 6)) == [None] * 6
    assert query(postgres_url, "SELECT count(*) FROM collection.migrations") == [(1,)]


def test_every_table_and_measure_says_what_it_is(url: str) -> None:
    undocumented = query(
        url,
        "SELECT relname FROM pg_class WHERE relnamespace = 'market'::regnamespace AND relkind = 'p' "
        "AND obj_description(oid) IS NULL",
    )
    assert undocumented == []


@pytest.mark.parametrize(
    "use",
    [
        migrate,
        lambda url: Warehouse(url).read("ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), DAY, DAY),
    ],
    ids=["migrate", "warehouse"],
)
def test_a_server_that_does_not_answer_is_named_without_its_password(
    use: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crypto_assets.storage.database.CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setenv("CRYPTO_ASSETS_STORE_PATIENCE_S", "1")
    with pytest.raises(PostgresUnavailable, match=r"127\.0\.0\.1:9/db") as caught:
        use("postgresql://me:very-secret@127.0.0.1:9/db")
    assert "very-secret" not in str(caught.value)
