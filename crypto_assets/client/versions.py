"""Rows of days as known at an instant, or as listed in a lock file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.day_records import DayRecord, DayRecords, database_that_is_there, read_records
from crypto_assets.model import COMPLETE_STATES, State, Track
from crypto_assets.reading.day_coverage import NOT_COLLECTED, STORED, DayCoverage
from crypto_assets.reading.question import Question
from crypto_assets.reading.stored_days import not_collected, of_record

if TYPE_CHECKING:
    from crypto_assets.ledger.corrections import KnownFile
    from crypto_assets.quality.lock.content import Lock
    from crypto_assets.storage.lake import Lake


def as_known(
    asked: Question, lake: Lake, columns: Sequence[str], at: datetime
) -> tuple[pa.Table, list[DayCoverage], DayRecords | None]:
    """Return the rows of the days as known at an instant, and the ledger's present records of the days."""
    from crypto_assets.ledger.partitions import Ledger

    days, series, symbol = asked.days, asked.series, asked.symbol
    if not days:
        return lake.read_versions(series, [], columns), [], None
    url = database_that_is_there(settings_at_start())
    records = read_records(url, series, symbol, days[0], days[-1], [series.dataset]) if url else None
    if url is None or records is None:
        raise ConfigError(
            "as_of: expected a ledger with earlier versions, found no database; "
            f"set CRYPTO_ASSETS_POSTGRES_URL or CRYPTO_ASSETS_HOME (now {settings_at_start().home_in_words})"
        )
    with Ledger(url) as ledger:

        def found() -> tuple[pa.Table, list[DayCoverage]]:
            files = ledger.known_files(series, symbol, days[0], days[-1], at)
            for file in files:
                if file.path is None:
                    raise StoredDataError(
                        f"{series} {symbol} {file.day}: expected the version that was known at {at:%Y-%m-%d %H:%M:%S} UTC, "
                        "found its file damaged or deleted before it was replaced; ask for other days or a later as_of"
                    )
            named = [(file.path or "", file.sha256, file.rows) for file in files]
            known = {file.day: file for file in files}
            rows = lake.read_versions(series, named, columns)
            return rows, [_then(day, known.get(day), records, series.dataset, at) for day in days]

        try:
            return (*found(), records)
        except StoredDataError:
            return (*found(), records)  # a day may just have been replaced; if it is lost, this fails again


def _then(day: date, file: KnownFile | None, records: DayRecords, dataset: str, at: datetime) -> DayCoverage:
    """Return the coverage of a day as of an instant."""
    record = records.of.get(dataset, {}).get(day)
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if file is None:
        if record is None or record.path is None:
            return not_collected(day) if record is None else of_record(record)
        return DayCoverage(day, NOT_COLLECTED, f"not known at {when}, collected later")
    if record is not None and record.sha256 == file.sha256 and file.rows is None:
        return of_record(record)
    return _formerly(file, at, f"as known at {when}; replaced since")


def _formerly(file: KnownFile, at: datetime, why: str) -> DayCoverage:
    """Return the coverage of a day from an earlier version, or from fewer rows of the present one."""
    if file.rows is not None:
        # More rows arrived later: a day that was still running was as complete as possible, a finished day was not.
        over = at.date() > file.day
        return DayCoverage(
            file.day,
            State.PROVISIONAL,
            f"{why}; more rows were added later" if over else why,
            file.rows,
            complete=not over,
        )
    if file.state is None:
        return DayCoverage(file.day, STORED, f"{why}; whether it was complete is unknown", file.rows_in_all)
    reason = f"{why}; {file.reason}" if file.reason else why
    record = DayRecord(
        file.day, State(file.state), reason, file.rows_in_all, file.path, None, file.sha256, file.until, None, None
    )
    return of_record(record, today=at.date())


def locked(asked: Question, lake: Lake, columns: Sequence[str]) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the rows of the days from the files that a lock lists."""
    from crypto_assets.quality.lock.content import read_locked
    from crypto_assets.quality.lock.file import read_lock

    assert asked.lock is not None  # noqa: S101  tells the type checker
    lock, days = read_lock(asked.lock), asked.days
    if not days:
        return lake.read_versions(asked.series, [], columns), []
    rows = read_locked(lock, lake, asked.series, asked.symbol, days[0], days[-1], columns)
    return rows, _as_locked(lock, asked, days)


def _as_locked(lock: Lock, asked: Question, days: Sequence[date]) -> list[DayCoverage]:
    """Return the coverage of days from a lock."""
    track = Track(asked.series, asked.symbol)
    files = {file.day: file for file in lock.files if file.track == track}
    coverage = []
    for day in days:
        if (file := files.get(day)) is not None:
            complete = file.state in COMPLETE_STATES
            coverage.append(DayCoverage(day, file.state, "as locked", file.rows, complete=complete))
            continue
        part = next(part for part in lock.without_file if part.track == track and part.first <= day <= part.last)
        state = part.state if part.state in set(State) else NOT_COLLECTED
        coverage.append(DayCoverage(day, state, f"as locked: {part.reason}", complete=state in COMPLETE_STATES))
    return coverage
