"""Measure how long after the end of its period each kind of archive file appears, and find the files that are late.

Measured from `collection.archive_objects.first_modified`: the file's modification time when it was first seen. For files
that were seen to appear (`crypto_assets.checks.published_in_time`) this is the publication time. Others are history: they
may have been published again before anybody looked, and are shown separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets import sources
from crypto_assets.checks.published_in_time import USUAL, WATCHED, percentile
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.owners import Owners
from crypto_assets.engine.archive.probing import delisted_after
from crypto_assets.ledger.catalog import last_listed_days
from crypto_assets.ledger.known_days import days_in_state
from crypto_assets.ledger.objects import every_seen_object, known_keys
from crypto_assets.model import Series, State, TrackDay
from crypto_assets.model.provenance import keys_in

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.storage.database import Database


@dataclass(frozen=True, slots=True, order=True)
class Delay:
    """The delays of the daily or monthly files (`day`, `month`) of a series, seen to appear (`watched`) or not.

    Seconds from the end of the period to the publication: half of the files appeared within `p50_s`, 95 of 100 within
    `p95_s`, the file of the newest period (its last day is `latest_day`) after `latest_s`.
    """

    exchange: str
    market_type: str
    dataset: str
    period: str
    watched: bool
    objects: int
    p50_s: float
    p95_s: float
    latest_s: float
    latest_day: date


@dataclass(frozen=True, slots=True, order=True)
class Late:
    """A file that is missing although most similar files have appeared by now; `day` is the last one of its period.

    `due_at` follows from the delays of similar files, or is the exchange's deadline if too few were seen to appear.
    """

    exchange: str
    market_type: str
    dataset: str
    symbol: str
    day: date
    key: str
    due_at: datetime
    late_s: float


def delays(database: Database, collection: Collection) -> list[Delay]:
    """Return the delays of every kind of file that the collection uses, if any was seen."""
    owners = Owners(track for entry in collection.series for track in entry.tracks)
    found: dict[tuple[Series, str, bool], list[tuple[date, float]]] = {}
    with database.transaction() as connection:
        # Keys are matched to prefixes in Python: without statistics Postgres needs minutes to join them.
        for one in every_seen_object(connection, {entry.exchange for entry in collection.series}):
            mine = owners.of(one.exchange, one.key)
            if not mine:  # not a data file of the collection
                continue
            track, _, span = mine[0]
            kind, end = (track.series, "day" if span.is_of_a_day else "month"), span.end
            delay_s = (one.first_modified - end).total_seconds()
            if delay_s >= 0:  # otherwise it was written before its period ended
                day = span.last_day
                found.setdefault((*kind, one.first_seen - end <= WATCHED), []).append((day, delay_s))
    return sorted(_measured(*kind, of_kind) for kind, of_kind in found.items())


_Kind = tuple[Series, str]
"""A series and the period of a file (`day` or `month`)."""


def _measured(series: Series, period: str, watched: bool, found: Sequence[tuple[date, float]]) -> Delay:
    ascending = sorted(delay_s for _, delay_s in found)
    latest_day, latest_s = max(found)
    return Delay(
        series.exchange,
        series.market_type,
        series.dataset,
        period,
        watched,
        len(ascending),
        percentile(ascending, 0.5),
        percentile(ascending, 0.95),
        latest_s,
        latest_day,
    )


# ---- late files -------------------------------------------------------------------------------------------------------


def late_objects(
    database: Database, collection: Collection, measured: Iterable[Delay], now: datetime | None = None
) -> list[Late]:
    """Return the files that are late, by name and day.

    Expected are the next file of every prefix that a sensor watches, and the files of `pending` days. A symbol whose files
    end long before those of the others was delisted; nothing is expected of it.

    Args:
        measured: the result of `delays`.
    """
    at = now or datetime.now(UTC)
    usual = {
        (Series.named(delay.exchange, delay.market_type, delay.dataset), delay.period): delay.p95_s
        for delay in measured
        if delay.watched and delay.objects >= USUAL
    }
    found: dict[tuple[str, str], Late] = {}
    with database.transaction() as connection:
        for series, symbol, day in _expected(connection, collection):
            for key in keys_in(sources.preferred_key(series, symbol, day)):
                if late := _late(series, symbol, key, usual, at):
                    found[series.exchange, key] = late
        there = known_keys(connection, found)
    return sorted(late for name, late in found.items() if name not in there)


def _expected(connection: psycopg.Connection[Any], collection: Collection) -> list[TrackDay]:
    """Return a day of each file that is the next one of its symbol, or whose day is pending."""
    tracks = {track for entry in collection.series for track in entry.tracks if sources.archives(track.series)}
    ends = {track: day for track, day in last_listed_days(connection).items() if track in tracks}
    newest: dict[Series, date] = {}
    for (series, _), day in ends.items():
        newest[series] = max(day, newest.get(series, day))
    expected = [
        TrackDay(series, symbol, day + timedelta(days=1))
        for (series, symbol), day in ends.items()
        if newest[series] - day <= delisted_after(series)
    ]
    return expected + [day for day in days_in_state(connection, State.PENDING) if day.track in tracks]


def _late(series: Series, symbol: str, key: str, usual: Mapping[_Kind, float], at: datetime) -> Late | None:
    feed = sources.feed_of(series, key)
    span = feed.covers(key)
    usual_s = usual.get((series, "day" if span.is_of_a_day else "month"))
    due_at = span.end + (feed.timing.missing_after if usual_s is None else timedelta(seconds=usual_s))
    if at <= due_at:
        return None
    names = series.exchange, series.market_type, series.dataset
    return Late(*names, symbol, span.last_day, key, due_at, (at - due_at).total_seconds())
