"""What happens by itself: a sensor on each entry's archive listing, a daily schedule, and a schedule that fills gaps.

All of them request the same kind of run: some assets of one entry over one range of days, lake and warehouse together.
They are stopped until somebody starts them in the UI.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from crypto_assets.assets import entry_name, warehouse_assets
from crypto_assets.collection.gaps import gaps, group_days, group_equal
from crypto_assets.collection.http import Client
from crypto_assets.collection.watch import look
from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.model import Series
from crypto_assets.partitions import lake_key, ranges
from crypto_assets.resources import PostgresResource

LATE_DAYS = 3
"""The daily schedule asks for this many days, so that files published late are collected; stored ones cost little."""

DAILY_CRON = "30 8 * * *"  # Binance's daily files are mostly there by 08:30 UTC
GAPS_CRON = "0 13 * * *"
SENSOR_INTERVAL_S = 300


def assets_of(collection: Collection, entry: SeriesEntry, pairs: Iterable[tuple[Series, str]]) -> list[dg.AssetKey]:
    """Return the lake assets of some symbols and the warehouse assets that they feed in the same entry."""
    wanted = set(pairs)
    keys = [lake_key(series, symbol) for series, symbol in wanted]
    keys += [
        asset.key
        for asset in warehouse_assets(collection, entry)
        if any((series, asset.symbol) in wanted for series in asset.feeders)
    ]
    return sorted(keys)


def requests(
    collection: Collection,
    entry: SeriesEntry,
    groups: dict[tuple[date, ...], list[tuple[Series, str]]],
    why: str,
) -> Iterator[dg.RunRequest]:
    """Yield one run request for each run of consecutive days of each group; equal requests have equal run keys."""
    for days, pairs in groups.items():
        selection = assets_of(collection, entry, pairs)
        for first, last in ranges(days):
            yield range_request(selection, first, last, why)


def range_request(selection: Sequence[dg.AssetKey], first: date, last: date, why: str) -> dg.RunRequest:
    """Return the request for some assets of one entry over the days from first to last."""
    text = json.dumps([why, first.isoformat(), last.isoformat(), [key.to_string() for key in selection]])
    return dg.RunRequest(
        run_key=hashlib.sha256(text.encode()).hexdigest()[:32],
        asset_selection=list(selection),
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            "crypto_assets/why": why,
        },
    )


def build_sensors(collection: Collection) -> list[dg.SensorDefinition]:
    """Return one listing sensor for each entry."""
    return [_listing_sensor(collection, number, entry) for number, entry in enumerate(collection.series)]


def _selection(collection: Collection, entry: SeriesEntry) -> dg.AssetSelection:
    pairs = [(series, symbol) for series in entry.series for symbol in entry.symbols]
    return dg.AssetSelection.assets(*assets_of(collection, entry, pairs))


def _listing_sensor(collection: Collection, number: int, entry: SeriesEntry) -> dg.SensorDefinition:
    name = f"new_files_{entry_name(number, entry)}"

    @dg.sensor(
        name=name,
        asset_selection=_selection(collection, entry),
        minimum_interval_seconds=SENSOR_INTERVAL_S,
        description=f"Requests runs for objects that appear in the archive of {entry.exchange} {entry.market_type}.",
    )
    def new_files(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
        last = json.loads(context.cursor) if context.cursor else {}
        with Client() as client, postgres.ledger() as ledger:
            today = datetime.now(UTC).date()
            news = look(client, collection, entry, ledger, last.get("seen", {}), today, last.get("begin", ""))
        cursor = json.dumps({"seen": news.seen, "begin": news.begin}, sort_keys=True)
        if not news.days:
            context.update_cursor(cursor)
            rest = "; the rest of the listings comes next" if news.begin else ""
            return dg.SkipReason(f"the archive lists nothing new{rest}")
        # The cursor is part of the key: the same days may be asked for again when they appear again.
        why = f"{name} {hashlib.sha256(cursor.encode()).hexdigest()[:12]}"
        found = list(requests(collection, entry, group_equal(dict(news.days)), why))
        return dg.SensorResult(run_requests=found, cursor=cursor)

    return new_files


def build_schedules(collection: Collection) -> list[dg.ScheduleDefinition]:
    """Return two schedules for each entry: the latest days every morning, all gaps every noon."""
    schedules = []
    for number, entry in enumerate(collection.series):
        schedules += [_daily(collection, number, entry), _fill(collection, number, entry)]
    return schedules


def _daily(collection: Collection, number: int, entry: SeriesEntry) -> dg.ScheduleDefinition:
    name = f"daily_{entry_name(number, entry)}"

    @dg.schedule(
        name=name,
        target=_selection(collection, entry),
        cron_schedule=DAILY_CRON,
        execution_timezone="UTC",
        description=f"Collects the last {LATE_DAYS} days that have ended.",
    )
    def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        last = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
        first = max(entry.start, last - timedelta(days=LATE_DAYS - 1))
        if first > last:
            return dg.SkipReason(f"the entry starts on {entry.start}")
        pairs = [(series, symbol) for series in entry.series for symbol in entry.symbols]
        return range_request(assets_of(collection, entry, pairs), first, last, f"{name} {last}")

    return daily_schedule


def _fill(collection: Collection, number: int, entry: SeriesEntry) -> dg.ScheduleDefinition:
    name = f"fill_gaps_{entry_name(number, entry)}"

    @dg.schedule(
        name=name,
        target=_selection(collection, entry),
        cron_schedule=GAPS_CRON,
        execution_timezone="UTC",
        description="Collects exactly the days that are missing, by the ledger.",
    )
    def fill_schedule(
        context: dg.ScheduleEvaluationContext, postgres: PostgresResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(UTC).date()
        with postgres.ledger() as ledger:
            groups = group_days(gaps(collection, ledger, today, [entry]))
        found = list(requests(collection, entry, groups, f"{name} {today}"))
        return found or dg.SkipReason("nothing is missing")

    return fill_schedule
