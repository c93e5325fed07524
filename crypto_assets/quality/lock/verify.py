"""Check whether the exact data of a lock is still there, in the files of any lake, or only by the ledger.

The bytes of each file are read and hashed. A ledger that knows the lake adds more about files that differ: whether they were
replaced, by what, and how to read the earlier rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.locked_files import DayFiles, files_of_days
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import Partition, Track
from crypto_assets.quality.lock.content import Lock, LockedFile, RefusedLine

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

_THREADS = 8
_MICROSECOND = timedelta(microseconds=1)


class Found(StrEnum):
    """The result for one locked file."""

    SAME = "same"
    REPLACED = "replaced"  # another version was published since
    CHANGED = "changed"  # the bytes on disk differ, and no correction is recorded
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one locked file; `as_of` is an instant at which `read` returns the locked rows, or None."""

    file: LockedFile
    found: Found
    text: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """One verdict for each file of the lock, and the stored days that are not in the lock, which are no failure.

    `refused` are the refused lines of the lock.
    """

    verdicts: tuple[Verdict, ...]
    appeared: tuple[tuple[Track, tuple[date, ...]], ...]
    refused: tuple[RefusedLine, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every locked file is unchanged and no line was refused."""
        return not self.refused and all(verdict.found is Found.SAME for verdict in self.verdicts)


_Known = dict[tuple[Track, date], DayFiles]


def verify(lock: Lock, lake: Lake | None, ledger: Ledger | None) -> Verification:
    """Compare the files of a lock with a lake or a ledger.

    Args:
        lake: its files are read; None uses the ledger only.
        ledger: None if no ledger knows the lake.

    Raises:
        ConfigError: neither is given.
    """
    known = _known(lock, ledger) if ledger is not None else {}
    if lake is not None:
        there = lake
        with DaemonPool(_THREADS, "verify") as pool:
            verdicts = list(pool.map(lambda file: _by_bytes(lock, file, there, known), lock.files))
    elif ledger is not None:
        verdicts = [_by_ledger(lock, file, known.get((file.track, file.day), DayFiles())) for file in lock.files]
    else:
        raise ConfigError("verify: expected a lake or a ledger to compare with, found neither")
    return Verification(tuple(verdicts), tuple(_appeared(lock, lake, known)), lock.refused)


def _by_bytes(lock: Lock, file: LockedFile, lake: Lake, known: _Known) -> Verdict:
    series, symbol = file.track
    try:
        data = lake.store.get(file.path)
    except StoredDataError as error:  # a folder, a pipe, a link, a bad sector
        return Verdict(file, Found.CHANGED, str(error))
    sha256 = hashlib.sha256(data).hexdigest() if data is not None else None
    if sha256 == file.sha256:
        return Verdict(file, Found.SAME)
    kept_path = lake.version_path(series, Partition(symbol, file.day), file.sha256)
    kept = lake.readable(kept_path) if kept_path != file.path else None
    is_kept = kept is not None and hashlib.sha256(kept).hexdigest() == file.sha256
    day = known.get((file.track, file.day), DayFiles())
    if is_kept and day.sha256 != file.sha256:
        return _replaced(lock, file, day, is_kept=True)
    now = day.sha256 if day.path == file.path else None
    if data is None:
        return Verdict(
            file, Found.MISSING, f"expected {file.path}, found no file; `crypto-assets fill` collects the day"
        )
    if now is not None and sha256 == now:
        return _replaced(lock, file, day, is_kept=False)
    return Verdict(
        file,
        Found.CHANGED,
        f"expected sha256 {file.sha256}, found {sha256}, which was never published; `crypto-assets fill` collects the day",
    )


def _by_ledger(lock: Lock, file: LockedFile, day: DayFiles) -> Verdict:
    paths = {path for sha256, path, _ in day.versions if sha256 == file.sha256 and path}
    if (day.path == file.path and day.sha256 == file.sha256) or file.path in paths:
        return Verdict(file, Found.SAME)
    if day.path is None:
        return Verdict(file, Found.MISSING, "the ledger knows no file of this day; `crypto-assets fill` collects it")
    return _replaced(lock, file, day, is_kept=bool(paths))


def _replaced(lock: Lock, file: LockedFile, day: DayFiles, *, is_kept: bool) -> Verdict:
    """Return the verdict on a file that was replaced by another version, with the way to the earlier rows."""
    what = next((text for sha256, text in day.corrections if sha256 == file.sha256), "another version is stored")
    if is_kept:
        ends = [to for sha256, _, to in day.versions if sha256 == file.sha256]
        as_of = max(ends) - _MICROSECOND if ends and lock.as_of is None else lock.instant
        text = f'{what}; the earlier version is kept: read(..., as_of="{as_of.isoformat()}")'
        return Verdict(file, Found.REPLACED, text, as_of)
    ends = [to for rows, to in day.grew if rows == file.rows]
    if ends:
        as_of = max(ends) - _MICROSECOND
        text = f'the day has grown; the locked rows are its first ones: read(..., as_of="{as_of.isoformat()}")'
        return Verdict(file, Found.REPLACED, text, as_of)
    return Verdict(file, Found.REPLACED, f"{what}; the earlier file was not kept, create the lock again")


def _known(lock: Lock, ledger: Ledger) -> _Known:
    first, last = lock.query.first or date.min, lock.query.last or date.max
    with ledger.transaction() as connection:
        return {
            (track, day): files
            for track in lock.tracks
            for day, files in files_of_days(connection, *track, first, last).items()
        }


def _appeared(lock: Lock, lake: Lake | None, known: _Known) -> Sequence[tuple[Track, tuple[date, ...]]]:
    """Return the stored days within the query that have no file in the lock."""
    locked = {(file.track, file.day) for file in lock.files}
    result = []
    for track in lock.tracks:
        if lake is not None:
            stored = lake.days(*track)
        else:
            stored = sorted(day for (of, day), what in known.items() if of == track and what.path)
        days = tuple(day for day in stored if lock.query.has_day(day) and (track, day) not in locked)
        if days:
            result.append((track, days))
    return result
