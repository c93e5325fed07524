"""The tables of the warehouse follow from the datasets; names that people rely on stay, and a missing table is created."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
import pytest

from crypto_assets import datasets
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series, Track
from crypto_assets.storage.market_tables import TABLES, missing_tables
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse, emptied_loads
from crypto_assets.text.urls import READER, with_user
from crypto_assets_tests.storage.test_warehouse import DAY, load

# Column, type, and ! if NULL is refused; then the key. Scripts and other programs rely on these.
LAYOUT = {
    "agg_trades": (
        (
            "exchange text!, market_type text!, symbol text!, trade_time timestamp with time zone!, agg_trade_id bigint!, "
            "price numeric!, amount numeric!, first_trade_id bigint!, last_trade_id bigint!, side text!"
        ),
        "PRIMARY KEY (exchange, market_type, symbol, trade_time, agg_trade_id)",
        "RANGE (trade_time)",
    ),
    "funding_rates": (
        (
            "exchange text!, market_type text!, symbol text!, funding_time timestamp with time zone!, funding_rate numeric!, "
            "funding_interval_hours smallint!"
        ),
        "PRIMARY KEY (exchange, market_type, symbol, funding_time)",
        "RANGE (funding_time)",
    ),
    "ohlcv": (
        (
            "exchange text!, market_type text!, symbol text!, timeframe text!, open_time timestamp with time zone!, "
            "open numeric!, high numeric!, low numeric!, close numeric!, volume numeric!, quote_volume numeric, "
            "trade_count bigint, taker_buy_volume numeric, taker_buy_quote_volume numeric, source text!"
        ),
        "PRIMARY KEY (exchange, market_type, symbol, timeframe, open_time)",
        "RANGE (open_time)",
    ),
    "trade_statistics_1m": (
        (
            "exchange text!, market_type text!, symbol text!, open_time timestamp with time zone!, vwap numeric, "
            "buy_volume numeric!, sell_volume numeric!, quote_volume numeric, trade_count bigint!, largest_trade numeric!"
        ),
        "PRIMARY KEY (exchange, market_type, symbol, open_time)",
        "RANGE (open_time)",
    ),
    "trades": (
        (
            "exchange text!, market_type text!, symbol text!, trade_time timestamp with time zone!, trade_id bigint, "
            "trade_place integer, trade_uid text, price numeric!, amount numeric!, quote_amount numeric, side text!"
        ),
        "UNIQUE (exchange, market_type, symbol, trade_time, trade_id)",
        "RANGE (trade_time)",
    ),
}


@pytest.fixture
def connection(postgres_url: str) -> Any:
    migrate(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def test_tables_have_the_columns_and_keys_that_people_rely_on(connection: psycopg.Connection[Any]) -> None:
    columns = connection.execute(
        """SELECT c.relname, string_agg(attname || ' ' || format_type(atttypid, atttypmod)
            || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = 'market'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND relname <> 'instruments'
        GROUP BY 1"""
    ).fetchall()
    keys = connection.execute(
        """SELECT relname, pg_get_constraintdef(k.oid), pg_get_partkeydef(c.oid)
        FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
        WHERE connamespace = 'market'::regnamespace AND contype <> 'n' AND relname <> 'instruments'"""
    ).fetchall()
    assert dict(columns) == {name: layout[0] for name, layout in LAYOUT.items()}
    assert {name: rest for name, *rest in keys} == {name: list(layout[1:]) for name, layout in LAYOUT.items()}
    assert connection.execute(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'market' AND indexname NOT LIKE '%key' "
        "AND tablename <> 'instruments'"
    ).fetchone() == (0,)


def test_every_column_has_the_comment_that_its_dataset_says(connection: psycopg.Connection[Any]) -> None:
    found = connection.execute(
        """SELECT relname, attname, col_description(attrelid, attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = 'market'::regnamespace AND relkind = 'p' AND attnum > 0"""
    ).fetchall()
    assert len(found) == sum(len(table.columns) for table in TABLES.values())
    for name, column, comment in found:
        of_path = column in ("exchange", "market_type", "symbol", "timeframe", "source")
        assert comment if of_path else comment == datasets.get(name).column(column).meaning, f"{name}.{column}"


def test_nothing_that_readers_may_see_is_without_a_comment(connection: psycopg.Connection[Any]) -> None:
    found = connection.execute(
        """SELECT c.oid::regclass::text, obj_description(c.oid, 'pg_class'), array_agg(a.attname::text)
            FILTER (WHERE col_description(c.oid, a.attnum) IS NULL)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
            AND (c.relnamespace = 'market'::regnamespace OR c.relnamespace = 'collection'::regnamespace
                AND has_table_privilege(%s, c.oid, 'SELECT')) GROUP BY c.oid""",
        (READER,),
    ).fetchall()
    seen = {name for name, *_ in found}
    views = ("coverage", "gaps", "quality_now", "acknowledgements_now")
    assert seen == {f"market.{name}" for name in (*TABLES, "instruments", "latest_prices")} | {
        f"collection.{name}" for name in views
    }
    assert {name: (bool(comment), bare) for name, comment, bare in found} == dict.fromkeys(seen, (True, None))


def test_every_table_of_the_ledger_has_a_comment(connection: psycopg.Connection[Any]) -> None:
    found = connection.execute(
        """SELECT relname FROM pg_class WHERE relnamespace = 'collection'::regnamespace AND relkind IN ('r', 'v')
            AND obj_description(oid, 'pg_class') IS NULL AND relname <> 'migrations' -- Alembic's own"""
    ).fetchall()
    assert found == []


def test_a_table_that_was_dropped_is_made_again_and_its_days_are_due(
    connection: psycopg.Connection[Any], postgres_url: str
) -> None:
    with Warehouse(postgres_url) as warehouse:
        warehouse.replace([load({"1m": ["1", "2"]})])
        connection.execute("DROP TABLE market.ohlcv CASCADE")
        assert missing_tables(connection) == ["latest_prices", "ohlcv"], "the view reads the table"
        migrate(postgres_url)
        assert missing_tables(connection) == []
        assert [(due[1], due[4]) for due in emptied_loads(connection)] == [("ohlcv", [DAY])]
        warehouse.replace([load({"1m": ["1", "2"]})])
        rows = warehouse.read("ohlcv", Track(Series("binance", "spot", "ohlcv"), "BTC/USDT"), DAY, date(2024, 2, 1))
    assert list(rows["close"]) == [1.0, 2.0]


def test_who_may_not_make_a_missing_table_is_told_so(connection: psycopg.Connection[Any], postgres_url: str) -> None:
    connection.execute("DROP TABLE market.trades CASCADE")
    connection.execute(f"GRANT USAGE ON SCHEMA collection TO {READER}")
    connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA collection TO {READER}")
    with pytest.raises(ConfigError, match="this role may not create the tables"):
        migrate(with_user(postgres_url, READER))
