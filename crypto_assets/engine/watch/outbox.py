"""Discoveries on their way to Dagster: what is requested, under which key, and whether Dagster has it.

A discovery is committed with the marks it follows from, so it happens once. It is handed out with a run key that is
written down first; the sensor's cursor names the keys of its last requests, and Dagster keeps that cursor only once the
runs exist. So a key that comes back in the cursor is delivered, and one that does not is requested again, as it was: Dagster
starts one run for a key of a sensor, however often it is asked.

| killed                                                | then                                                            |
|-------------------------------------------------------|-----------------------------------------------------------------|
| before the marks are committed                        | the next look finds the same change                             |
| after that, before the key is written                 | the next tick hands the discovery out                           |
| after that, before Dagster has all runs or the cursor | handed out again after `LEASE`, same key: Dagster makes what lacks |
| after the cursor is kept                              | the next tick marks it delivered                                |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import dict_row

from crypto_assets.engine.watch.catalog import LEASE, Catalog
from crypto_assets.model import Series

REQUESTS = 25
"""Requests in one tick: Dagster takes 0.2–1 s to submit each, and new ones should not wait behind all of a long history."""

SYMBOLS = 500
PARTITIONS = 20_000
"""Symbols and partitions of one run at most: a kill or a cancel concerns one of them, and several run at once."""

_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class Request:
    """One run to be requested: some symbols over the days from first to last, both included."""

    run_key: str
    kinds: tuple[str, ...]
    priority: int
    first_day: date
    last_day: date
    pairs: tuple[tuple[Series, str], ...]


def hand_out(catalog: Catalog, digest: str, now: datetime, most: int = REQUESTS) -> list[Request]:
    """Return the most urgent requests of an entry, and remember that they were made.

    Those that Dagster did not confirm come first, unchanged; then what waits, symbols with the same days together.
    """
    with catalog.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        again = cursor.execute(
            # Two daemons: the second waits, and then the condition holds no more.
            "SELECT * FROM collection.discoveries WHERE entry = %(entry)s AND delivered_at IS NULL "
            "AND requested_at <= %(lease)s AND run_key IN (SELECT run_key FROM collection.discoveries "
            "WHERE entry = %(entry)s AND delivered_at IS NULL AND requested_at <= %(lease)s "
            "GROUP BY run_key ORDER BY max(priority) DESC, min(discovery_id) LIMIT %(most)s) "
            "ORDER BY priority DESC, discovery_id FOR UPDATE",
            {"entry": digest, "lease": now - LEASE, "most": most},
        ).fetchall()
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in again:
            groups.setdefault(row["run_key"], []).append(row)
        if len(groups) < most:
            waiting = cursor.execute(
                "SELECT * FROM collection.discoveries WHERE entry = %s AND delivered_at IS NULL AND run_key IS NULL "
                "ORDER BY priority DESC, discovery_id LIMIT %s FOR UPDATE",
                (digest, _WAITING),
            ).fetchall()
            for rows in _together(waiting)[: most - len(groups)]:
                groups[_run_key(rows)] = rows
        keys = {row["discovery_id"]: key for key, rows in groups.items() for row in rows}
        if keys:
            cursor.execute(
                "UPDATE collection.discoveries d SET run_key = k.run_key, requested_at = %s "
                "FROM unnest(%s::bigint[], %s::text[]) AS k (discovery_id, run_key) WHERE d.discovery_id = k.discovery_id",
                (now, list(keys), list(keys.values())),
            )
    return [_request(key, rows) for key, rows in groups.items()]


def _together(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return rows of the same days and priority in groups that make a run of bearable size, in the order they came."""
    same: dict[tuple[int, date, date], list[dict[str, Any]]] = {}
    for row in rows:
        same.setdefault((row["priority"], row["first_day"], row["last_day"]), []).append(row)
    groups = []
    for (_, first, last), members in same.items():
        size = max(1, min(SYMBOLS, PARTITIONS // ((last - first).days + 1)))
        groups += [members[place : place + size] for place in range(0, len(members), size)]
    return groups


def _run_key(rows: Sequence[dict[str, Any]]) -> str:
    # The number and the instant of a discovery tell the second time apart that a file becomes what it was before; its content
    # tells it apart from one of a database that was made anew.
    text = json.dumps([[row["discovery_id"], row["found_at"].isoformat(), row["content"]] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _request(key: str, rows: Sequence[dict[str, Any]]) -> Request:
    pairs = {(Series.named(row["exchange"], row["market_type"], row["dataset"]), row["symbol"]): None for row in rows}
    return Request(
        key,
        tuple(sorted({row["kind"] for row in rows})),
        max(row["priority"] for row in rows),
        min(row["first_day"] for row in rows),
        max(row["last_day"] for row in rows),
        tuple(pairs),
    )
