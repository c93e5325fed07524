"""Automatic runs: a sensor on each entry's archive listing, a daily schedule, and a schedule that fills gaps.

All of them request the same kind of run: some assets of one entry over one range of days, lake and warehouse together. Each
has a priority in the queue: fresh days 10, older files that appear 5, files published again 3, the history found by the first
look 1, gaps 0. A backfill launched in the UI has 0; tag it `dagster/priority: -5` to let all others go first. The tag
`exchange` keeps one exchange from taking all slots of the queue (dagster.yaml).

They are stopped until somebody starts them in the UI.
"""

import gc
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import dagster as dg

from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.config.environment import settings
from crypto_assets.config.selection import as_few_requests
from crypto_assets.defs.asset_keys import WAREHOUSE, lake_key
from crypto_assets.defs.assets import COMPARE_TAG, WarehouseAsset, warehouse_assets
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.defs.source_assets import observations
from crypto_assets.engine.archive.review import review
from crypto_assets.engine.archive.settled import due
from crypto_assets.engine.watch.prefix_snapshot import Watch
from crypto_assets.engine.watch.watch import LISTINGS, PRIORITIES, Tick, tick
from crypto_assets.errors import PostgresUnavailable
from crypto_assets.ledger.catalog import Catalog
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.model import TIMEFRAME_LENGTHS, Series, Track
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

LATE_DAYS = 3
"""The daily schedule requests this many days, so that files published late are collected; stored days cost little."""

DAILY_CRON = "30 8 * * *"  # most of Binance's daily files are published by 08:30 UTC
GAPS_CRON = "0 13 * * *"
REVIEW_S = 30.0
"""Seconds for checking days of no data again before gaps are filled; Dagster gives a schedule 60."""

TODAY_CRON = "*/15 * * * *"
RECONCILE_CRON = "0 5 * * 1"  # monthly files appear between the first Monday and the middle of the month

SENSOR_INTERVAL_S = 15
"""How soon after its time a new file is looked for; a tick with nothing to do costs one query."""

GAPS_PRIORITY = 0

_T = TypeVar("_T")


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
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            "dagster/priority": str(priority),
            "crypto_assets/why": why,
            "exchange": exchange,
        },
    )


class _Part:
    """One entry of a collection with all its assets."""

    def __init__(self, collection: Collection, entry: SeriesEntry) -> None:
        self.collection = collection
        self.entry = entry
        self.name = collection.name_of(entry)
        self.warehouse = warehouse_assets(collection, entry)
        self.tracks = entry.tracks
        self.keys = self.assets(self.tracks)
        self.selection = dg.AssetSelection.assets(*self.keys)

    def assets(self, tracks: Iterable[Track]) -> list[dg.AssetKey]:
        return assets_of(self.collection, self.entry, tracks, self.warehouse)


def build_automation(collection: Collection) -> tuple[list[dg.SensorDefinition], list[dg.ScheduleDefinition]]:
    """Return a listing sensor for each entry, and its schedules: the latest days every morning, all gaps every noon, and
    today if REST is used. Once a week stored days are compared with the monthly files and with REST.
    """
    sensors, schedules = [], []
    for entry in collection.series:
        part = _Part(collection, entry)
        sensors.append(_listing_sensor(part))
        schedules += [_daily(part), _fill(part), _reconcile(part)]
        if collection.asks_rest(entry):
            schedules.append(_today(part))
    return sensors, schedules


# ---- sensors ----------------------------------------------------------------------------------------------------------


def _listing_sensor(part: _Part) -> dg.SensorDefinition:
    name = f"new_files_{part.name}"
    watch = Watch(part.collection, part.entry, timedelta(days=settings().patrol_days))

    @dg.sensor(
        name=name,
        asset_selection=part.selection,
        minimum_interval_seconds=SENSOR_INTERVAL_S,
        description=f"Requests runs for objects that appear or change in the archive of {part.entry.exchange} "
        f"{part.entry.market_type}.",
    )
    def new_files(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
        delivered = _requested(context.cursor)

        def look(catalog: Catalog, guard: Guard) -> Tick:
            return tick(lambda: _connect(guard), watch, catalog, delivered, _now())

        found = _with_database(part.collection, postgres, look)
        if not found.requests:
            return dg.SkipReason(found.reason)
        # Dagster stores the cursor after it has created the runs: it tells the next tick what was delivered.
        return dg.SensorResult(
            run_requests=[
                range_request(
                    part.assets(request.tracks),
                    request.first_day,
                    request.last_day,
                    f"{name}: {', '.join(request.kinds)}",
                    priority=request.priority,
                    run_key=request.run_key,
                )
                for request in found.requests
            ],
            cursor=json.dumps({"requested": [request.run_key for request in found.requests]}),
            asset_events=observations(found.requests),
        )

    return new_files


def _now() -> datetime:
    return datetime.now(UTC)


def _connect(guard: Guard) -> Client:
    # Impatient: what does not answer is tried again in some seconds.
    return Client(guard, LISTINGS, timeout_s=10.0, attempts=2)


def _requested(cursor: str | None) -> list[str]:
    """Return the run keys of the last requests that Dagster accepted; empty for a cursor of another form."""
    try:
        keys = json.loads(cursor or "{}")["requested"]
        return [key for key in keys if isinstance(key, str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


_Place = tuple[str | None, str | None, str]
_open: dict[_Place, tuple[Catalog, Guard]] = {}
_open_lock = threading.Lock()


def _with_database(collection: Collection, postgres: PostgresResource, use: Callable[[Catalog, Guard], _T]) -> _T:
    """Return the result of `use` with catalog and guard; their connections stay open: opening one takes longer than a tick.

    Raises:
        PostgresUnavailable: a new connection fails too.
    """
    now = settings()
    place = (postgres.url, now.postgres_url, str(now.home))
    try:
        return use(*_opened(place, collection, postgres))
    except PostgresUnavailable:
        # The server may have been restarted, the embedded one on another port; a tick can be repeated.
        with _open_lock:
            _close(place)
        return use(*_opened(place, collection, postgres))


def _opened(place: _Place, collection: Collection, postgres: PostgresResource) -> tuple[Catalog, Guard]:
    with _open_lock:
        if place not in _open:
            for other in list(_open):
                _close(other)
            url = postgres.resolved_url()
            # Listings create many small objects, so the garbage collector would now and then scan all imported modules too,
            # at three times the cost of a page. Frozen once, before the first look: nearly all objects of now stay alive.
            if not gc.get_freeze_count():
                gc.freeze()
            _open[place] = Catalog(url), Guard(url, collection, egress=settings().egress, patience_s=0.0)
        return _open[place]


def _close(place: _Place) -> None:
    for database in _open.pop(place, ()):
        database.close()


# ---- schedules --------------------------------------------------------------------------------------------------------


def _daily(part: _Part) -> dg.ScheduleDefinition:
    name = f"daily_{part.name}"

    @dg.schedule(
        name=name,
        target=part.selection,
        cron_schedule=DAILY_CRON,
        execution_timezone="UTC",
        description=f"Collects the last {LATE_DAYS} days that have ended.",
    )
    def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
        first, last = max(part.entry.start, yesterday - timedelta(days=LATE_DAYS - 1)), part.entry.until(yesterday)
        if first > last:
            return dg.SkipReason(f"the entry has days {part.entry.span}")
        return range_request(part.keys, first, last, f"{name} {last}", priority=PRIORITIES["fresh"])

    return daily_schedule


def _fill(part: _Part) -> dg.ScheduleDefinition:
    name = f"fill_gaps_{part.name}"

    @dg.schedule(
        name=name,
        target=part.selection,
        cron_schedule=GAPS_CRON,
        execution_timezone="UTC",
        description="Collects exactly the days that are missing, by the ledger and the files of the lake. Partial days that "
        "only another file of the archive can complete are requested on Mondays, acknowledged days never.",
    )
    def fill_schedule(
        context: dg.ScheduleEvaluationContext, lake: LakeResource, postgres: PostgresResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(UTC).date()
        with postgres.ledger() as ledger:
            selected, egress = [(part.entry, part.tracks)], settings().egress
            for line in review(part.collection, ledger, selected, budget_s=REVIEW_S, egress=egress).in_words():
                context.log.warning(line)
            last = part.entry.until(today)
            lost = lost_days(ledger, lake.lake(), part.tracks, part.entry.start, last, part.collection).reasons
            found_gaps = gaps(part.collection, ledger, today, [part.entry], lost=lost)
            places = [gap.track_day for gap in due(found_gaps, today)]
        found = [
            range_request(
                part.assets(request.tracks), request.first, request.last, f"{name} {today}", priority=GAPS_PRIORITY
            )
            for request in as_few_requests(part.entry, places)
        ]
        return found or dg.SkipReason("nothing is missing")

    return fill_schedule


def build_jobs(collection: Collection) -> list[Any]:
    """Return a job for each entry that checks stored days again: the chosen partitions, or all."""
    jobs = []
    for entry in collection.series:
        lakes = [lake_key(*track) for track in entry.tracks]
        tables = [asset.key for asset in warehouse_assets(collection, entry)]
        jobs.append(
            dg.define_asset_job(
                f"validate_{collection.name_of(entry)}",
                selection=dg.AssetSelection.checks_for_assets(*lakes, *tables),
                description="Checks stored days again, comparisons with other series and with the warehouse included; "
                "collects nothing.",
            )
        )
    return jobs


def _reconcile(part: _Part) -> dg.ScheduleDefinition:
    name = f"reconcile_{part.name}"
    lakes = [lake_key(series, symbol) for series, symbol in part.tracks]

    @dg.schedule(
        name=name,
        job_name=f"validate_{part.name}",
        cron_schedule=RECONCILE_CRON,
        execution_timezone="UTC",
        description="Compares the last month with the archive's monthly files, and the day a week ago with REST.",
    )
    def reconcile_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(UTC).date()
        last = today.replace(day=1) - timedelta(days=1)
        wanted = [("monthly", last.replace(day=1), last)]
        if part.collection.asks_rest(part.entry):
            wanted.append(("rest", today - timedelta(days=7), today - timedelta(days=7)))
        found = [
            _check_request(lakes, max(begin, part.entry.start), part.entry.until(end), source, f"{name} {today}")
            for source, begin, end in wanted
            if max(begin, part.entry.start) <= part.entry.until(end)
        ]
        return found or dg.SkipReason(f"the entry has days {part.entry.span}")

    return reconcile_schedule


def _check_request(lakes: Sequence[dg.AssetKey], first: date, last: date, source: str, why: str) -> dg.RunRequest:
    """Return the request for only the checks of some lake assets, with a source to compare with."""
    return dg.RunRequest(
        run_key=f"{why} {source}",
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            "dagster/priority": str(GAPS_PRIORITY),
            COMPARE_TAG: source,
            "crypto_assets/why": why,
            "exchange": lakes[0].path[0],
        },
    )


def _today(part: _Part) -> dg.ScheduleDefinition:
    name = f"today_{part.name}"

    @dg.schedule(
        name=name,
        target=part.selection,
        cron_schedule=TODAY_CRON,
        execution_timezone="UTC",
        description="Collects today through REST up to the last final row; in its first hour also the end of yesterday.",
    )
    def today_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        today, yesterday = now.date(), now.date() - timedelta(days=1)
        since_midnight = timedelta(hours=now.hour, minutes=now.minute)
        wanted = {today: [track for track in part.tracks if _has_closed(track[0], since_midnight)]}
        if since_midnight < timedelta(hours=1):
            wanted[yesterday] = part.tracks
        found = [
            range_request(part.assets(tracks), day, day, f"{name} {now:%Y-%m-%d %H:%M}", priority=PRIORITIES["fresh"])
            for day, tracks in sorted(wanted.items())
            if tracks and part.entry.has(day)
        ]
        if not found and not part.entry.has(today):
            return dg.SkipReason(f"the entry has days {part.entry.span}")
        return found or dg.SkipReason("today has no final rows yet")

    return today_schedule


def _has_closed(series: Series, since_midnight: timedelta) -> bool:
    """Return whether today has final rows: bars only once the first is closed, and never bars of a day or longer."""
    if series.table != "ohlcv":
        return since_midnight > timedelta()
    length = TIMEFRAME_LENGTHS.get(series.timeframe or "")
    return length is not None and length < since_midnight
