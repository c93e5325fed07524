"""Loads of the warehouse that have to be repeated: their table was emptied by hand, or its rows are not those of the lake."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import psycopg

from crypto_assets.model import Series
from crypto_assets.storage.warehouse import TABLES

OF_PAIRS = """JOIN unnest(%(exchanges)s::text[], %(market_types)s::text[], %(datasets)s::text[], %(symbols)s::text[])
    AS wanted (exchange, market_type, dataset, symbol) USING (exchange, market_type, dataset, symbol)"""
"""SQL that leaves some symbols of some series of a table; its values are `names_of`."""


def names_of(pairs: Iterable[tuple[Series, str]]) -> dict[str, list[str]]:
    """Return the values of `OF_PAIRS`."""
    found = sorted({(s.exchange, s.market_type, s.dataset, symbol) for s, symbol in pairs})
    return {
        name: [one[place] for one in found]
        for place, name in enumerate(("exchanges", "market_types", "datasets", "symbols"))
    }


def emptied_loads(
    connection: psycopg.Connection[Any],
    pairs: Iterable[tuple[Series, str]] | None = None,
    first: date | None = None,
    last: date | None = None,
) -> list[tuple[str, str, Series, str, str | None, list[date]]]:
    """Return leaf, table, series, symbol, a difference and days of all loads that have to be repeated.

    Either their leaf was emptied or dropped by hand since, or rows were counted and are not those of the lake: then the
    difference says how. Rows that were deleted one by one since are not seen: to count them takes as long as to read them.
    """
    stamps = "CASE table_name " + " ".join(
        f"WHEN '{name}' THEN to_char(day, '{_STAMPS[table.leaf]}')" for name, table in TABLES.items()
    )
    rows = connection.execute(
        f"""WITH loads AS (
            SELECT table_name || '_' || {stamps} END AS leaf, table_name, exchange, market_type, dataset, symbol, day,
                content, differs
            FROM collection.warehouse_loads {"" if pairs is None else OF_PAIRS} WHERE rows > 0
            AND day BETWEEN coalesce(%(first)s::date, '-infinity') AND coalesce(%(last)s::date, 'infinity')
        ), emptied AS (
            SELECT leaf FROM (SELECT DISTINCT leaf FROM loads) l
            WHERE coalesce(pg_relation_size(to_regclass('market.' || leaf)), 0) = 0
        )
        SELECT l.leaf, table_name, exchange, market_type, dataset, symbol, CASE WHEN e.leaf IS NULL THEN differs END,
            array_agg(day ORDER BY day)
        FROM loads l LEFT JOIN emptied e USING (leaf) WHERE content = '' OR e.leaf IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7""",
        {"first": first, "last": last, **names_of(pairs or ())},
    ).fetchall()
    return [
        (leaf, table, Series.named(exchange, market_type, dataset), symbol, differs, days)
        for leaf, table, exchange, market_type, dataset, symbol, differs, days in rows
    ]


_STAMPS = {"day": "YYYYMMDD", "month": "YYYYMM", "year": "YYYY"}
