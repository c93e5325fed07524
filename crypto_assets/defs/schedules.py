"""The schedules `today`, `fill_gaps` and `reconcile`, each for all entries.

They use the job of all assets: a job of some assets only must not mix entries with different days. No entry stops the others:
its error is in the log of the tick, and the tick fails by its name if nothing at all is requested.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

import dagster as dg

from crypto_assets.config.automation import EVERY_HOUR, GAPS_AT, LATE_AT, RECONCILE_AT, TODAY_EVERY, automation_of
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.config.selection import as_few_requests
from crypto_assets.defs.requests import (
    GAPS_PRIORITY,
    Part,
    Unfinished,
    check_request,
    is_unfinished,
    names_of,
    range_request,
    unfinished,
)
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.engine.archive.review import review
from crypto_assets.engine.archive.settled import due
from crypto_assets.engine.watch.watch import PRIORITIES
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.instance.private_names import IMPLICIT_ASSET_JOB_NAME
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import TIMEFRAME_LENGTHS, Series, Track, TrackDay
from crypto_assets.quality.stored_causes import refresh_causes_of
from crypto_assets.storage.lake import Lake
from crypto_assets.text.visible import visible

Answer = list[dg.RunRequest] | dg.SkipReason

LATE_DAYS = 3
"""Where `new_files` is off, this many days are requested every morning; stored days cost little."""

REVIEW_S, BEGIN_S = 25.0, 40.0
"""Seconds for checking days of no data again before gaps are filled, and after which no further entry is begun; Dagster gives
a schedule 60."""


# ---- today ----------------------------------------------------------------------------------------------------------------


def today_schedule(
    collection: Collection, parts: Sequence[Part], status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that collects today of some entries, each as often as it says."""
    every = {part.name: TODAY_EVERY[automation_of(collection, part.entry).today or EVERY_HOUR] for part in parts}
    often = min(every.values())

    @dg.schedule(
        name="today",
        job_name=IMPLICIT_ASSET_JOB_NAME,
        # A minute late: then the exchange has closed the last bar.
        cron_schedule="1 * * * *" if often == TODAY_EVERY[EVERY_HOUR] else f"1-59/{often} * * * *",
        execution_timezone="UTC",
        default_status=status,
        description="Collects today through REST up to the last final row; in its first hour also the end of yesterday. "
        f"Entries: {names_of(parts)}.",
    )
    def today(context: dg.ScheduleEvaluationContext) -> Answer:
        now = context.scheduled_execution_time.astimezone(UTC)
        now_due = [part for part in parts if now.minute % every[part.name] < often]
        requested = unfinished(context.instance, now_due)
        found = _of_each(context, now_due, now, lambda part: list(_of_today(part, now, requested)))
        if found:
            return found
        if not any(part.entry.has(now.date()) for part in now_due):
            return dg.SkipReason(_spans(now_due))
        if requested:
            return dg.SkipReason("the run before has not ended")
        return dg.SkipReason("today has no final rows yet")

    return today


def _of_today(part: Part, now: datetime, requested: Unfinished) -> Iterator[dg.RunRequest]:
    """Yield the requests for today, and in its first hour for yesterday."""
    today, yesterday = now.date(), now.date() - timedelta(days=1)
    since_midnight = timedelta(hours=now.hour, minutes=now.minute)
    wanted: dict[date, list[Track]] = {}
    if since_midnight < timedelta(hours=1):
        wanted[yesterday] = part.tracks
    wanted[today] = [track for track in part.tracks if _has_closed(track[0], since_midnight)]
    for day, tracks in wanted.items():
        free = [track for track in tracks if not is_unfinished(requested, track, day)]
        if free and part.entry.has(day):
            why = f"today {part.name} {now:%Y-%m-%d %H:%M}"
            yield range_request(part.assets(free), day, day, why, priority=PRIORITIES["fresh"])


def _has_closed(series: Series, since_midnight: timedelta) -> bool:
    """Return whether today has final rows: bars only once the first is closed, and never bars of a day or longer."""
    if series.table != "ohlcv":
        return since_midnight > timedelta()
    length = TIMEFRAME_LENGTHS.get(series.timeframe or "")
    return length is not None and length < since_midnight


def _spans(parts: Sequence[Part]) -> str:
    """Return the days of entries that have none to request."""
    if len(parts) == 1:
        return f"the entry has days {parts[0].entry.span}"
    return f"no entry has such days: {'; '.join(f'{part.name} {part.entry.span}' for part in parts)}"


# ---- gaps -----------------------------------------------------------------------------------------------------------------


def fill_gaps_schedule(
    collection: Collection, parts: Sequence[Part], status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that collects what is missing of some entries."""
    unwatched = [part for part in parts if not automation_of(collection, part.entry).new_files]

    @dg.schedule(
        name="fill_gaps",
        job_name=IMPLICIT_ASSET_JOB_NAME,
        cron_schedule=[_daily(LATE_AT), _daily(GAPS_AT)] if unwatched else _daily(GAPS_AT),
        execution_timezone="UTC",
        default_status=status,
        description="Collects exactly the days that are missing, by the ledger and the files of the lake. Partial days that "
        "only another file of the archive can complete are requested on Mondays, acknowledged days never, and days that a "
        "run will collect are not requested again. Where `new_files` is off in collection.yaml, the last "
        f"{LATE_DAYS} days are requested at {LATE_AT:%H:%M} UTC too. Entries: {names_of(parts)}.",
    )
    def fill_gaps(context: dg.ScheduleEvaluationContext, lake: LakeResource, postgres: PostgresResource) -> Answer:
        now = context.scheduled_execution_time.astimezone(UTC)
        if now.time() == LATE_AT:
            late = _of_each(context, unwatched, now, lambda part: list(_late_days(part, now.date())))
            return late or dg.SkipReason(_spans(unwatched))
        requested = unfinished(context.instance, parts)
        with postgres.ledger() as ledger:
            filler = _Filler(
                collection, ledger, now, requested, _lost(collection, ledger, lake.lake(), parts, now.date())
            )
            found = _of_each(context, parts, now, lambda part: filler.requests(part, context.log.warning))
            return found or dg.SkipReason("nothing is missing")

    return fill_gaps


def _daily(at: time) -> str:
    return f"{at.minute} {at.hour} * * *"


def _late_days(part: Part, today: date) -> Iterator[dg.RunRequest]:
    yesterday = today - timedelta(days=1)
    first, last = max(part.entry.start, yesterday - timedelta(days=LATE_DAYS - 1)), part.entry.until(yesterday)
    if first <= last:
        yield range_request(part.keys, first, last, f"late days {part.name} {last}", priority=PRIORITIES["fresh"])


Lost = Mapping[Track, Mapping[TrackDay, str]]
"""Stored days whose file or rows are missing, with the reason, by series and symbol."""


def _lost(collection: Collection, ledger: Ledger, lake: Lake, parts: Sequence[Part], today: date) -> Lost:
    """Return the lost days of all entries, in one look: each look reads all stored days.

    Raises:
        LakeUnavailable, ConfigError, OSError: the lake does not answer; nothing is known about its files.
    """
    tracks = [track for part in parts for track in part.tracks]
    first, last = min(part.entry.start for part in parts), max(part.entry.until(today) for part in parts)
    found: dict[Track, dict[TrackDay, str]] = {}
    for day, reason in lost_days(ledger, lake, tracks, first, last, collection).reasons.items():
        found.setdefault(Track(day.series, day.symbol), {})[day] = reason
    return found


class _Filler:
    """Finds the gaps of one entry after the other, within the time of one tick."""

    def __init__(
        self,
        collection: Collection,
        ledger: Ledger,
        now: datetime,
        requested: Unfinished,
        lost: Lost,
    ) -> None:
        self._collection, self._ledger = collection, ledger
        self._now, self._requested, self._lost = now, requested, lost
        self._review_until = monotonic() + REVIEW_S

    def requests(self, part: Part, warn: Callable[[str], None]) -> list[dg.RunRequest]:
        """Return the requests for the gaps of an entry, after days of no data were checked again."""
        today, entry, ledger = self._now.date(), part.entry, self._ledger
        left = max(0.0, self._review_until - monotonic())
        looked = review(self._collection, ledger, [(entry, part.tracks)], budget_s=left, egress=settings().egress)
        refresh_causes_of(ledger, looked.reopened)
        for line in looked.in_words():
            warn(line)
        lost = {day: reason for track in part.tracks for day, reason in self._lost.get(track, {}).items()}
        places = [
            gap.track_day
            for gap in due(gaps(self._collection, ledger, today, [entry], lost=lost), today)
            if not is_unfinished(self._requested, gap.track, gap.day)
        ]
        why = f"fill_gaps {part.name} {today}"
        return [
            range_request(part.assets(one.tracks), one.first, one.last, why, priority=GAPS_PRIORITY)
            for one in as_few_requests(entry, places)
        ]


def _of_each(
    context: dg.ScheduleEvaluationContext,
    parts: Sequence[Part],
    now: datetime,
    requests: Callable[[Part], list[dg.RunRequest]],
) -> list[dg.RunRequest]:
    """Return the requests of all entries, asked in an order that differs from tick to tick: the last ones may not be reached.

    Raises:
        CryptoAssetsError: an entry failed, and nothing is requested.
    """
    found: dict[str, list[dg.RunRequest]] = {}
    failed: dict[str, Exception] = {}
    begin_until = monotonic() + BEGIN_S
    waiting = random.Random(now.timestamp()).sample(parts, len(parts))  # noqa: S311  no secret
    for number, part in enumerate(waiting):
        if number and monotonic() > begin_until:
            context.log.warning(
                f"there was no time left for {names_of(waiting[number:])}; the next tick has another order"
            )
            break
        try:
            found[part.name] = requests(part)
        except OF_THIS_PROCESS:
            raise
        except Exception as error:  # a mistake with one entry must not stop the others
            failed[part.name] = error
            context.log.error(f"{part.name}: {visible(str(error))}")
    every = [request for part in parts for request in found.get(part.name, ())]
    if failed and not every:
        words = "; ".join(f"{name}: {visible(str(error))}" for name, error in failed.items())
        raise CryptoAssetsError(words) from next(iter(failed.values()))
    return every


# ---- comparing with other sources --------------------------------------------------------------------------------------


def reconcile_schedule(
    collection: Collection, parts: Sequence[Part], status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that compares stored days of some entries with the monthly files and with REST."""

    @dg.schedule(
        name="reconcile",
        job_name=IMPLICIT_ASSET_JOB_NAME,
        cron_schedule=f"{RECONCILE_AT.minute} {RECONCILE_AT.hour} * * 1",
        execution_timezone="UTC",
        default_status=status,
        description="Compares the last month with the archive's monthly files, and the day a week ago with REST; collects "
        f"nothing. Entries: {names_of(parts)}.",
    )
    def reconcile(context: dg.ScheduleEvaluationContext) -> Answer:
        now = context.scheduled_execution_time.astimezone(UTC)
        today = now.date()
        checks: dict[dg.AssetKey, list[dg.AssetCheckKey]] = {}
        for check in sorted(context.repository_def.asset_graph.asset_check_keys):
            checks.setdefault(check.asset_key, []).append(check)

        def compare(part: Part) -> list[dg.RunRequest]:
            mine = [check for key in part.keys for check in checks.get(key, ())]
            why = f"reconcile {part.name} {today}"
            wanted = _to_compare(collection, part, today)
            return [check_request(mine, first, last, source, why) for source, first, last in wanted]

        return _of_each(context, parts, now, compare) or dg.SkipReason(_spans(parts))

    return reconcile


def _to_compare(collection: Collection, part: Part, today: date) -> Iterator[tuple[str, date, date]]:
    """Yield the sources to compare an entry with, and for which days."""
    end = today.replace(day=1) - timedelta(days=1)
    wanted = [("monthly", end.replace(day=1), end)]
    if collection.asks_rest(part.entry):
        wanted.append(("rest", today - timedelta(days=7), today - timedelta(days=7)))
    for source, first, last in wanted:
        first, last = max(first, part.entry.start), part.entry.until(last)
        if first <= last:
            yield source, first, last
