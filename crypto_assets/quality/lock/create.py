"""Write a lock file: the exact files behind a query, now or as of an instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets.engine.problems import Problem, lines
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.gaps import NOT_COLLECTED
from crypto_assets.ledger.known_days import known_spans
from crypto_assets.ledger.lakes import file_problem, lost_days
from crypto_assets.ledger.locked_files import FileInForce, day_states, files_in_force
from crypto_assets.model import Partition, State, Track, TrackDay, days_between
from crypto_assets.quality.lock.content import DaysWithoutFile, Lock, LockedFile
from crypto_assets.quality.query import Query

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

DAYS_NAMED = 20
"""Most lines about lost files in an error."""


def make_lock(
    ledger: Ledger,
    query: Query,
    *,
    as_of: datetime | None = None,
    collection: Collection | None = None,
    lake: Lake | None = None,
) -> Lock:
    """Return the lock of the stored files, from the ledger; the files themselves are not read.

    The first day defaults to the first known day or the start of the collection's entry, the last day to the last known.

    Args:
        as_of: lock the versions known at this instant.
        collection: adds its symbols, to list the days that were never collected.
        lake: must have every locked file; without one the ledger is trusted.

    Raises:
        ConfigError: a word of the query matches nothing, nothing is stored, or `as_of` is in the future.
        StoredDataError: a file is missing in the lake or damaged; the message lists the days.
    """
    with ledger.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        [(now,)] = connection.execute("SELECT now()").fetchall()
        if as_of is not None and as_of > now:
            raise ConfigError(
                f"as_of {as_of:%Y-%m-%d %H:%M:%S} UTC: expected an instant in the past, because more may be known by then; "
                "leave it out to lock what is stored now"
            )
        starts = _starts(collection)
        spans = known_spans(connection)
        tracks = query.choose([*spans, *starts])
        latest = max((spans[track][1] for track in tracks if track in spans), default=None)
        files: list[LockedFile] = []
        without_file: list[DaysWithoutFile] = []
        for track in tracks:
            known = [*spans.get(track, ()), *([starts[track]] if track in starts else [])]
            first = query.first or min(known)
            last = query.last or (spans[track][1] if track in spans else latest or first)
            mine = [_locked(one) for one in files_in_force(connection, *track, first, last, as_of)]
            files += (file for file in mine if file.path)
            without_file += _days_without_file(connection, track, first, last, mine, as_of)
    if not files:
        raise ConfigError("nothing is stored for this query, there is nothing to lock; see `crypto-assets status`")
    if lake is not None:
        _require_files(ledger, lake, files)
    return Lock(query, as_of, tuple(files), tuple(without_file), now.astimezone(UTC))


def _require_files(ledger: Ledger, lake: Lake, files: Sequence[LockedFile]) -> None:
    """Raise StoredDataError if a file is missing or damaged: its lock could never be verified or read."""
    days = [file.day for file in files]
    lost = lost_days(ledger, lake, {file.track for file in files}, min(days), max(days))
    broken = {}
    for file in files:
        series, symbol = file.track
        if file.path == lake.path(series, Partition(symbol, file.day)):
            reason = lost.files.get(TrackDay(series, symbol, file.day), "")
        else:  # an earlier version, which a listing of days does not show
            reason = "" if lake.readable(file.path) is not None else file_problem(lake.url, None, None)
        if reason:
            broken[series, symbol, file.day] = reason
    if broken:
        found = [Problem(*place, State.MISSING, reason) for place, reason in broken.items()]
        named = lines(found, DAYS_NAMED, "`crypto-assets gaps`")
        head = (
            f"expected the files of {len(files):,} stored days, found {len(broken):,} of them missing or damaged: no lock "
            "was written; `crypto-assets fill` collects them again"
        )
        notice = [lost.notice] if lost.other else []
        raise StoredDataError([head, *notice, *(f"  {line}" for line in named)])


def _starts(collection: Collection | None) -> dict[Track, date]:
    if collection is None:
        return {}
    return {track: entry.start for entry in collection.series for track in entry.tracks}


def _days_without_file(
    connection: psycopg.Connection[Any],
    track: Track,
    first: date,
    last: date,
    files: Sequence[LockedFile],
    at: datetime | None,
) -> Iterator[DaysWithoutFile]:
    """Yield the days without a file; consecutive days with one reason together."""
    why = {
        one.day: (NOT_COLLECTED, f"not known at {at:%Y-%m-%d %H:%M:%S} UTC, collected later")
        if one.path and at
        else (one.state, one.reason)
        for one in day_states(connection, *track, first, last)
    }
    lost = (State.MISSING.value, "the version in force then was damaged or deleted before it was replaced")
    why |= {file.day: lost for file in files if not file.path}
    there = {file.day for file in files if file.path}
    begin = first
    days = days_between(first, last)
    for day in days:
        if day in there:
            begin = day + timedelta(days=1)
            continue
        mine = why.get(day, (NOT_COLLECTED, NOT_COLLECTED))
        following = day + timedelta(days=1)
        if following > last or following in there or why.get(following, (NOT_COLLECTED, NOT_COLLECTED)) != mine:
            series, symbol = track
            yield DaysWithoutFile(
                exchange=series.exchange,
                market_type=series.market_type,
                symbol=symbol,
                dataset=series.dataset,
                first=begin,
                last=day,
                state=mine[0],
                reason=mine[1],
            )
            begin = following


def _locked(one: FileInForce) -> LockedFile:
    known_from = one.known_from.astimezone(UTC) if one.known_from else None
    return LockedFile(**{**asdict(one), "known_from": known_from, "source_files": tuple(one.source_files)})
