"""The sources of a collection as assets: what an exchange publishes of a series. The lineage of every lake asset begins here.

They are external: no run makes them, so no job, backfill or check selects them. The sensor that lists an archive observes
them when it finds something new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from crypto_assets import datasets, sources
from crypto_assets.config.collection import Collection
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_keys import source_key
from crypto_assets.defs.asset_specs import tags_of
from crypto_assets.defs.code_references import code_of_source, code_of_table, code_references
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.model import Series
from crypto_assets.sources.publication import publication
from crypto_assets.storage.lake_paths import series_folder


def source_assets(collection: Collection) -> list[dg.AssetSpec]:
    """Return one asset for each series of the collection; all symbols of a series share it."""
    owners: dict[Series, list[str]] = {}
    for entry in collection.series:
        for series in entry.series:
            mine = owners.setdefault(series, [])
            mine += [one for one in collection.owners_of(entry) if one not in mine]
    return [_spec(collection, series, found) for series, found in owners.items()]


def _spec(collection: Collection, series: Series, owners: Sequence[str]) -> dg.AssetSpec:
    exchange, urls = sources.get(series.exchange), collection.urls(series.exchange)
    dataset = datasets.get(series.table)
    archive, feeds = urls.archive_url or exchange.archive_url, sources.archives(series)
    folder = feeds[0].universe or "" if feeds else ""
    rest_url = urls.rest_url or exchange.rest_url
    rest = any(collection.asks_rest(entry) for entry in collection.series if series in entry.series)
    lines = [
        f"What {series.exchange} publishes: {series.market_type} {series.dataset}. {dataset.description}\n",
        f"- **Where**: {archive}, below `{folder}`, listed at {urls.listing_url or exchange.listing_url}."
        if feeds
        else f"- **Where**: {rest_url}.",
        f"- **When**: {publication(series).in_words}",
    ]
    if rest and feeds and sources.query(series) is not None:
        lines.append(f"- **Beside it**: {rest_url} for today, late days and holes.")
    return dg.AssetSpec(
        source_key(series),
        description="\n".join(lines),
        group_name=f"source_{series.exchange}_{series.market_type}",
        kinds={series.exchange, "source", "csv"},
        tags=tags_of(series.exchange, series.market_type, series.dataset),
        owners=owners,
        metadata={
            "dagster/uri": f"{archive}/{folder}" if feeds else rest_url,
            "dagster/code_references": code_references(code_of_source(series.exchange), code_of_table(series.table)),
            "lake": f"{Addresses.configured().lake}{series_folder(series)}",
        },
    )


def observations(requests: Iterable[Request]) -> list[dg.AssetObservation]:
    """Return an observation of each source whose listing had something new: how many days of which symbols."""
    found: dict[Series, dict[str, Any]] = {}
    for request in requests:
        days = (request.last_day - request.first_day).days + 1
        for series, symbol in request.tracks:
            one = found.setdefault(series, {"days": 0, "symbols": set(), "kinds": set(), "last": request.last_day})
            one["days"] += days
            one["symbols"].add(symbol)
            one["kinds"].update(request.kinds)
            one["last"] = max(one["last"], request.last_day)
    return [
        dg.AssetObservation(
            source_key(series),
            metadata={
                "new or changed days": one["days"],
                "symbols": len(one["symbols"]),
                "what": ", ".join(sorted(one["kinds"])),
                "newest day": one["last"].isoformat(),
            },
        )
        for series, one in found.items()
    ]
