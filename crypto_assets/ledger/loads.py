"""Read the days loaded into the warehouse, with the ledger's records of these days."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_assets.ledger.life_edges import cut_of
from crypto_assets.model import STORED_STATES
from crypto_assets.rows.derive import Life


@dataclass(frozen=True, slots=True)
class LoadedDay:
    """A day of a source dataset that was loaded: the lake's version, and the recorded load."""

    day: date
    dataset: str
    rows: int
    sha256: str
    content: str
    life: Life

    @property
    def same_version(self) -> bool:
        return self.content.startswith(self.sha256)


@dataclass(frozen=True, slots=True)
class Loads:
    """The loads of a table over some days: how many days are loaded, and which differ from the lake, sorted."""

    days: int = 0
    wrong: tuple[date, ...] = ()


_LOADS = """
SELECT t.n, count(DISTINCT p.day),
    coalesce(array_agg(DISTINCT p.day) FILTER (WHERE NOT starts_with(w.content, p.content_sha256)), '{}')
FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::date[])
    AS t (n, table_name, exchange, market_type, symbol, dataset, first, last)
JOIN collection.warehouse_loads w USING (table_name, exchange, market_type, symbol, dataset)
JOIN collection.partitions p USING (exchange, market_type, symbol, dataset, day)
WHERE w.day BETWEEN t.first AND t.last AND p.path IS NOT NULL AND p.state = ANY(%s)
GROUP BY t.n
"""


def count_loads(
    connection: psycopg.Connection[Any], asked: Sequence[tuple[int, str, str, str, str, str, date, date]]
) -> dict[int, Loads]:
    """Return the loads of some tables, by number; one query.

    Args:
        asked: number, table, exchange, market type, symbol, dataset, first and last day, both included. Several may share a
            number.
    """
    columns = map(list, zip(*asked, strict=True))
    rows = connection.execute(_LOADS, (*columns, sorted(STORED_STATES))).fetchall()
    return {number: Loads(days, tuple(wrong)) for number, days, wrong in rows}


def every_loaded_day(
    connection: psycopg.Connection[Any], asked: Sequence[tuple[int, str, str, str, str, str]]
) -> dict[int, list[date]]:
    """Return the stored days loaded into some tables, by number, sorted; one query.

    Args:
        asked: number, table, exchange, market type, symbol and dataset. Several may share a number.
    """
    rows = connection.execute(
        """SELECT t.n, array_agg(DISTINCT p.day ORDER BY p.day)
        FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
            AS t (n, table_name, exchange, market_type, symbol, dataset)
        JOIN collection.warehouse_loads w USING (table_name, exchange, market_type, symbol, dataset)
        JOIN collection.partitions p USING (exchange, market_type, symbol, dataset, day)
        WHERE p.path IS NOT NULL AND p.state = ANY(%s) GROUP BY t.n""",
        (*map(list, zip(*asked, strict=True)), sorted(STORED_STATES)),
    ).fetchall()
    return dict(rows)


def days_loaded(
    connection: psycopg.Connection[Any],
    table: str,
    market: tuple[str, str, str],
    datasets: Collection[str],
    days: Collection[date],
) -> list[LoadedDay]:
    """Return the days, among some days, that are stored and loaded into a table, by day and dataset.

    Args:
        market: exchange, market type and symbol.
    """
    rows = connection.execute(
        """SELECT p.day, p.dataset, p.rows, p.content_sha256, w.content, p.evidence FROM collection.partitions p
        JOIN collection.warehouse_loads w USING (exchange, market_type, symbol, dataset, day)
        WHERE w.table_name = %s AND (p.exchange, p.market_type, p.symbol) = (%s, %s, %s) AND p.dataset = ANY(%s)
            AND p.day = ANY(%s) AND p.path IS NOT NULL AND p.state = ANY(%s) ORDER BY p.day, p.dataset""",
        (table, *market, list(datasets), sorted(days), sorted(STORED_STATES)),
    ).fetchall()
    return [
        LoadedDay(day, dataset, count, sha256, content, cut_of(evidence))
        for day, dataset, count, sha256, content, evidence in rows
    ]
