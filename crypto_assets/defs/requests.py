"""What automation asks Dagster for: some assets of one entry over one range of days, in one run.

Each request has a priority in the queue: fresh days 10, older files that appear 5, files published again 3, the history found
by the first look 1, gaps 0. A backfill launched in the UI has 0; tag it `dagster/priority: -5` to let all others go first.
The tag `exchange` keeps one exchange from taking all slots of the queue (dagster.yaml).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import dagster as dg

from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.defs.asset_keys import WAREHOUSE, lake_key
from crypto_assets.defs.assets import COMPARE_TAG, WarehouseAsset, warehouse_assets
from crypto_assets.model import Track

GAPS_PRIORITY = 0

_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def assets_of(
    collection: Collection,
    entry: SeriesEntry,
    tracks: Iterable[Track],
    warehouse: Sequence[WarehouseAsset] | None = None,
) -> list[dg.AssetKey]:
    """Return the lake assets of some symbols and the warehouse assets that they feed in the same entry.

    `warehouse` are all of the entry's warehouse assets, if the caller has them: finding them is slow for thousands.
    """
    wanted = set(tracks)
    keys = [lake_key(series, symbol) for series, symbol in wanted]
    keys += [
        asset.key
        for asset in (warehouse_assets(collection, entry) if warehouse is None else warehouse)
        if any((series, asset.symbol) in wanted for series in asset.feeders)
    ]
    return sorted(keys)


class Part:
    """One entry of a collection with all its assets."""

    def __init__(self, collection: Collection, entry: SeriesEntry) -> None:
        self.collection = collection
        self.entry = entry
        self.name = collection.name_of(entry)
        self.warehouse = warehouse_assets(collection, entry)
        self.tracks = entry.tracks
        self.keys = self.assets(self.tracks)

    def assets(self, tracks: Iterable[Track]) -> list[dg.AssetKey]:
        return assets_of(self.collection, self.entry, tracks, self.warehouse)


_NAMED = 20


def names_of(parts: Sequence[Part]) -> str:
    """Return the names of entries; of many, the first ones."""
    more = len(parts) - _NAMED
    return ", ".join(part.name for part in parts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def range_request(
    selection: Sequence[dg.AssetKey],
    first: date,
    last: date,
    why: str,
    *,
    priority: int = 0,
    run_key: str | None = None,
) -> dg.RunRequest:
    """Return the request for some assets of one entry over the days first to last; equal requests have equal run keys."""
    text = json.dumps([why, first.isoformat(), last.isoformat(), [key.to_string() for key in selection]])
    (exchange,) = {key.path[1] if key.path[0] == WAREHOUSE else key.path[0] for key in selection}
    return dg.RunRequest(
        run_key=run_key or hashlib.sha256(text.encode()).hexdigest()[:32],
        asset_selection=list(selection),
        tags=_tags(first, last, why, priority, exchange),
    )


def check_request(checks: Sequence[dg.AssetCheckKey], first: date, last: date, source: str, why: str) -> dg.RunRequest:
    """Return the request for only some checks of one exchange's assets, with a source to compare with."""
    exchange = next(key.asset_key.path[0] for key in checks if key.asset_key.path[0] != WAREHOUSE)
    return dg.RunRequest(
        run_key=f"{why} {source}",
        asset_selection=[],
        asset_check_keys=list(checks),
        tags=_tags(first, last, why, GAPS_PRIORITY, exchange) | {COMPARE_TAG: source},
    )


def _tags(first: date, last: date, why: str, priority: int, exchange: str) -> dict[str, str]:
    return {
        _FIRST: first.isoformat(),
        _LAST: last.isoformat(),
        "dagster/priority": str(priority),
        "crypto_assets/why": why,
        "exchange": exchange,
    }


# ---- what is requested already ------------------------------------------------------------------------------------------

_WAITING_OR_RUNNING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

Unfinished = Mapping[Track, Sequence[tuple[date, date]]]
"""The ranges of days that runs will collect, by series and symbol."""


def unfinished(instance: dg.DagsterInstance, parts: Iterable[Part]) -> Unfinished:
    """Return the days of some entries for which a run waits or works: nobody needs to request them again."""
    tracks = {lake_key(*track): track for part in parts for track in part.tracks}
    found: dict[Track, list[tuple[date, date]]] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=_WAITING_OR_RUNNING)):
        one = run.tags.get("dagster/partition", "")
        try:
            days = date.fromisoformat(run.tags.get(_FIRST, one)), date.fromisoformat(run.tags.get(_LAST, one))
        except ValueError:  # a run of an asset with other partitions, or none
            continue
        for key in run.asset_selection or ():
            if (track := tracks.get(key)) is not None:
                found.setdefault(track, []).append(days)
    return found


def is_unfinished(requested: Unfinished, track: Track, day: date) -> bool:
    """Return whether a run will collect a day of a symbol."""
    return any(first <= day <= last for first, last in requested.get(track, ()))
