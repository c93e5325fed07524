"""Watching an archive: which days have objects that were not there at the last look."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class News:
    """What a look found: new days of each symbol, and the last key seen under each prefix, to go on from."""

    days: Mapping[tuple[Series, str], list[date]]
    seen: Mapping[str, str]


def look(
    client: Client, collection: Collection, entry: SeriesEntry, ledger: Ledger, seen: Mapping[str, str], today: date
) -> News:
    """Return the days of an entry whose objects appeared since `seen` and are not stored from these very objects.

    Only keys after the last one seen are listed, so a look with nothing new costs one request for each prefix.

    Raises:
        ListingError, HostUnreachable, HostRefused: the listing could not be read; look again later, nothing is lost.
    """
    exchange = exchanges.get(entry.exchange)
    url = collection.urls(entry.exchange).listing_url or exchange.listing_url
    days: dict[tuple[Series, str], list[date]] = {}
    marks = dict(seen)
    for series in entry.series:
        for symbol in entry.symbols:
            prefix = exchange.prefixes(series, symbol)[0]
            after = marks.get(prefix) or exchange.key(prefix, series, symbol, entry.start).removesuffix(".zip")
            found = [obj for obj in list_objects(client, url, prefix, after=after) if obj.key.endswith(".zip")]
            if not found:
                continue
            ledger.record_objects(entry.exchange, found)
            # The checksum beside the last object sorts after it and is passed over as well.
            marks[prefix] = exchange.checksum_key(found[-1].key) or found[-1].key
            holder = {
                day: obj
                for obj in found
                for day in days_between(*exchange.period(obj.key))
                if entry.start <= day < today
            }
            new = _not_stored(ledger, series, symbol, holder)
            if new:
                days[series, symbol] = new
    return News(days, marks)


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
