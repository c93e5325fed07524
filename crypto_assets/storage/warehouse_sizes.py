"""Measure the tables of the warehouse on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from crypto_assets.storage.market_tables import TABLES


@dataclass(frozen=True, slots=True)
class TableSize:
    """The bytes of one table with all its leaves: rows (with their map of free space), and indexes."""

    name: str
    heap_bytes: int
    index_bytes: int

    @property
    def in_words(self) -> str:
        whole = self.heap_bytes + self.index_bytes
        return f"{whole / 1e6:,.1f} MB (rows {self.heap_bytes / 1e6:,.1f} MB, indexes {self.index_bytes / 1e6:,.1f} MB)"

    def as_json(self) -> dict[str, int]:
        return {"heap_bytes": self.heap_bytes, "index_bytes": self.index_bytes}


def table_sizes(connection: psycopg.Connection[Any]) -> list[TableSize]:
    """Return the size of every table that has rows, in the order of the datasets."""
    rows = connection.execute(
        """SELECT name, sum(pg_table_size(t.relid))::bigint, sum(pg_indexes_size(t.relid))::bigint
        FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)
        CROSS JOIN LATERAL pg_partition_tree(to_regclass('market.' || name)) AS t
        WHERE t.isleaf AND t.level > 0 AND pg_relation_size(t.relid) > 0 GROUP BY name, place ORDER BY place""",
        (list(TABLES),),
    ).fetchall()
    return [TableSize(*row) for row in rows]
