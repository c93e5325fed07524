"""Hands discoveries to Dagster: what is requested, under which run key, and whether Dagster has it.

A discovery is committed together with its marks, so it happens once. Its run key is stored before it is handed out. The
sensor's cursor names the keys of its last requests, and Dagster stores that cursor only after the runs exist. So a key that
returns in the cursor is delivered, and any other key is requested again, unchanged: Dagster starts one run for a key of a
sensor, however often it is requested.

| killed                                                | then                                                            |
|-------------------------------------------------------|-----------------------------------------------------------------|
| before the marks are committed                        | the next look finds the same change                             |
| after that, before the key is written                 | the next tick hands the discovery out                           |
| after that, before Dagster has all runs or the cursor | handed out again after `LEASE`, same key: Dagster makes the rest |
| after the cursor is stored                            | the next tick marks it delivered                                |
| the run itself, with SIGKILL                          | Dagster repeats the run                                         |

A run that ends because `up` stops hands its discoveries back (`discoveries.hand_back`), and they get another run key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from crypto_assets.ledger.catalog import Catalog
from crypto_assets.ledger.discoveries import Discovery, mark_requested, unconfirmed, waiting
from crypto_assets.model import Track

REQUESTS = 25
"""Requests per tick: Dagster takes 0.2–1 s to submit each, and new ones should not wait behind a long history."""

SYMBOLS = 500
PARTITIONS = 20_000
"""The most symbols and partitions of one run: a kill or a cancel affects one run only, and several run at once."""

_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class Request:
    """One run to request: some symbols of an entry, by its digest, over the days from first to last, both included."""

    run_key: str
    kinds: tuple[str, ...]
    priority: int
    first_day: date
    last_day: date
    tracks: tuple[Track, ...]
    entry: str


def hand_out(catalog: Catalog, digests: Sequence[str], now: datetime, most: int = REQUESTS) -> list[Request]:
    """Return the most urgent requests of some entries, by their digests, and record that they were made.

    Requests not confirmed by Dagster come first, unchanged; then waiting discoveries: symbols with the same days together.
    """
    with catalog.transaction() as connection:
        groups: dict[str, list[Discovery]] = {}
        for one in unconfirmed(connection, digests, now, most):
            groups.setdefault(one.run_key or "", []).append(one)
        if len(groups) < most:
            for found in _together(waiting(connection, digests, _WAITING))[: most - len(groups)]:
                groups[_run_key(found)] = found
        mark_requested(connection, {one.discovery_id: key for key, found in groups.items() for one in found}, now)
    return [_request(key, found) for key, found in groups.items()]


def _together(found: Sequence[Discovery]) -> list[list[Discovery]]:
    """Return an entry's discoveries of the same days and priority in groups of the size of a run, in their order."""
    same: dict[tuple[str, int, date, date], list[Discovery]] = {}
    for one in found:
        same.setdefault((one.entry, one.priority, one.first_day, one.last_day), []).append(one)
    groups = []
    for (_, _, first, last), members in same.items():
        size = max(1, min(SYMBOLS, PARTITIONS // ((last - first).days + 1)))
        groups += [members[place : place + size] for place in range(0, len(members), size)]
    return groups


def _run_key(found: Sequence[Discovery]) -> str:
    # The number and time of a discovery distinguish the second time that a file returns to an earlier content; its content
    # distinguishes it from a discovery of a database that was created again. Its stops distinguish it from a stopped run.
    text = json.dumps(
        [[one.discovery_id, one.found_at and one.found_at.isoformat(), one.content, one.stops] for one in found]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _request(key: str, found: Sequence[Discovery]) -> Request:
    return Request(
        key,
        tuple(sorted({one.kind for one in found})),
        max(one.priority for one in found),
        min(one.first_day for one in found),
        max(one.last_day for one in found),
        tuple({one.track: None for one in found}),
        found[0].entry,
    )
