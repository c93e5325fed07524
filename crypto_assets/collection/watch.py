"""Watching an archive: which days have objects that were not there, or were other ones, at the last look."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from crypto_assets import exchanges
from crypto_assets.collection.http import Client
from crypto_assets.collection.listing import list_objects
from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.model import STORED_STATES, ArchiveObject, Series, days_between

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger

RECENT = 10
"""Objects remembered under each prefix: one that is published late, behind newer ones, or again, is found among them.
What changes further back is found by the gaps and by collecting the days again."""

LISTINGS = 8
"""Listings read at once."""

BUDGET_S = 30.0
"""Seconds after which a look ends early; Dagster gives a sensor 60. The next look goes on from there."""

Seen = Mapping[str, Mapping[str, str]]
"""Under each prefix the latest objects: the rest of the key → the start of the ETag."""


@dataclass(frozen=True, slots=True)
class News:
    """What a look found: new days of each symbol, what was seen, and the prefix that the next look should begin with."""

    days: Mapping[tuple[Series, str], list[date]]
    seen: Seen
    begin: str = ""


def look(
    client: Client,
    collection: Collection,
    entry: SeriesEntry,
    ledger: Ledger,
    seen: Seen,
    today: date,
    begin: str = "",
    budget_s: float = BUDGET_S,
) -> News:
    """Return the days of an entry whose objects appeared or changed since `seen` and are not stored from these very objects.

    Only the end of each prefix is listed, so a look with nothing new costs one request for each.

    Raises:
        ListingError, HostUnreachable, HostRefused: a listing could not be read; look again later, nothing is lost.
    """
    exchange = exchanges.get(entry.exchange)
    url = collection.urls(entry.exchange).listing_url or exchange.listing_url
    pairs = {
        exchange.prefixes(series, symbol)[0]: (series, symbol) for series in entry.series for symbol in entry.symbols
    }
    prefixes = list(pairs)
    if begin in pairs:
        place = prefixes.index(begin)
        prefixes = prefixes[place:] + prefixes[:place]

    def listed(prefix: str) -> list[ArchiveObject]:
        series, symbol = pairs[prefix]
        first = exchange.key(prefix, series, symbol, entry.start)
        if known := seen.get(prefix):
            first = max(first, prefix + min(known))
        after = first.removesuffix(".zip")
        return [obj for obj in list_objects(client, url, prefix, after=after) if obj.key.endswith(".zip")]

    days: dict[tuple[Series, str], list[date]] = {}
    now_seen = {prefix: recent for prefix, recent in seen.items() if prefix in pairs}
    deadline = time.monotonic() + budget_s
    with ThreadPoolExecutor(LISTINGS, "listing") as pool:
        for place in range(0, len(prefixes), LISTINGS):
            if place and time.monotonic() > deadline:
                return News(days, now_seen, prefixes[place])
            chunk = prefixes[place : place + LISTINGS]
            for prefix, objects in zip(chunk, pool.map(listed, chunk), strict=True):
                before = seen.get(prefix, {})
                marks = {obj.key.removeprefix(prefix): obj.etag[:8] for obj in objects}
                fresh = [obj for obj, mark in zip(objects, marks.items(), strict=True) if mark not in before.items()]
                if not fresh:
                    continue
                now_seen[prefix] = dict(list(marks.items())[-RECENT:])
                ledger.record_objects(entry.exchange, fresh)
                series, symbol = pairs[prefix]
                holder = {
                    day: obj
                    for obj in fresh
                    for day in days_between(*exchange.period(obj.key))
                    if entry.start <= day < today
                }
                if new := _not_stored(ledger, series, symbol, holder):
                    days[series, symbol] = new
    return News(days, now_seen)


def _not_stored(ledger: Ledger, series: Series, symbol: str, holder: Mapping[date, ArchiveObject]) -> list[date]:
    if not holder:
        return []
    stored = {
        record.day: record.source_etag
        for record in ledger.partitions(
            exchange=series.exchange,
            market_type=series.market_type,
            symbols=[symbol],
            datasets=[series.dataset],
            first=min(holder),
            last=max(holder),
        )
        if record.state in STORED_STATES
    }
    return sorted(day for day, obj in holder.items() if stored.get(day) != obj.etag)
