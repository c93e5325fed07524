"""Lock files: the exact files behind a query, by name, version and sha256, for others to check that they have the same.

    crypto-assets lock -o dataset.lock --symbol BTC/USDT --from 2024-01-01 --to 2024-12-31

JSON with one line for each file, ordered by exchange, market type, dataset, symbol and day: a changed day is one changed
line in git. Paths are relative to the lake: the lock is valid for every copy of it. Days within the query but without a file
are included, with state and reason. `digest` covers everything except itself and `created_at`: locking the same data twice
gives the same bytes except for that line. Created in `crypto_assets.quality.lock.create`, read in
`crypto_assets.quality.lock.file`, verified in `crypto_assets.quality.lock.verify`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.locked_files import FileInForce
from crypto_assets.model import Partition, Series, Track, days_between
from crypto_assets.quality.query import Query
from crypto_assets.text.visible import visible_json
from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.storage.lake import Lake

FORMAT = 1
"""Format of the lock files written here; newer formats are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile(FileInForce):
    """One file of the lake that the lock lists.

    `rows` counts its first rows that are locked (all, unless a provisional day has grown since `as_of`); `sha256` is of the
    Parquet bytes; `version` is 1 for the first known rows of the day. `state` is that of the day while this file was in
    force; `corrected` if it was not recorded, or if a newer file could not be used. The source is the archive file or REST
    answer behind the rows, with the sha256 of its bytes; `source_files` are the files if there are several.
    """

    @property
    def track(self) -> Track:
        return Track(Series.named(self.exchange, self.market_type, self.dataset), self.symbol)

    def __str__(self) -> str:
        return f"{self.exchange} {self.market_type} {self.symbol} {self.dataset} {self.day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysWithoutFile:
    """Days from first to last, both included, without a file, for one reason; `state` is a `State` or `not collected yet`."""

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    first: date
    last: date
    state: str
    reason: str

    @property
    def track(self) -> Track:
        return Track(Series.named(self.exchange, self.market_type, self.dataset), self.symbol)


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A refused line of a lock file, with its place: `files, line 3`."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A query and the files behind it. `as_of` is None for what was stored at `created_at`.

    `refused` are refused lines of a lock file; they are not used for reading and not written again.
    """

    query: Query
    as_of: datetime | None
    files: tuple[LockedFile, ...]
    without_file: tuple[DaysWithoutFile, ...]
    created_at: datetime
    package: str = f"crypto_assets {__version__}"
    refused: tuple[RefusedLine, ...] = ()

    @property
    def instant(self) -> datetime:
        """The instant at which the locked files were in force."""
        return self.as_of or self.created_at

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def tracks(self) -> list[Track]:
        """The series and symbols of the lock."""
        return sorted({file.track for file in self.files} | {part.track for part in self.without_file})


def to_text(lock: Lock) -> str:
    """Return the text of a lock: JSON, one line for each file and for each span of days without a file."""
    content = _content(lock)
    parts = []
    for name, value in {**content, "created_at": lock.created_at.isoformat(), "digest": digest(content)}.items():
        if name in ("files", "without_file") and value:
            lines = ",\n".join(json.dumps(line, ensure_ascii=False) for line in value)
            parts.append(f'"{name}": [\n{lines}\n]')
        else:
            parts.append(f'"{name}": {json.dumps(value, ensure_ascii=False)}')
    return visible_json("{\n" + ",\n".join(parts) + "\n}\n")


def write_lock(lock: Lock, path: Path) -> None:
    """Write a lock completely or not at all; raises ConfigError if the path cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(to_text(lock), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigError(f"{path}: expected a writable file, found: {error.strerror}") from None


def _content(lock: Lock) -> dict[str, Any]:
    """Return the content that the digest covers, in the order of the file."""
    return {
        "format": FORMAT,
        "package": lock.package,
        "query": {
            "exchange": lock.query.exchange,
            "market_type": lock.query.market_type,
            "symbols": list(lock.query.symbols),
            "datasets": list(lock.query.datasets),
            "from": _plain(lock.query.first),
            "to": _plain(lock.query.last),
            "as_of": _plain(lock.as_of),
        },
        "files": [_line(file) for file in lock.files],
        "without_file": [_line(days) for days in lock.without_file],
    }


def _line(part: LockedFile | DaysWithoutFile) -> dict[str, Any]:
    fields = {name: _plain(getattr(part, name)) for name in part.__dataclass_fields__}
    return {name: value for name, value in fields.items() if name != "source_files" or value}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def digest(content: Mapping[str, Any]) -> str:
    """Return the digest of some content of a lock; raises ValueError for invalid text."""
    return f"sha256:{hashlib.sha256(canonical(content).encode()).hexdigest()}"


def canonical(value: Any) -> str:
    """Return the canonical JSON of a value, for the digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# ---- the rows --------------------------------------------------------------------------------------------------------


def read_locked(
    lock: Lock, lake: Lake, series: Series, symbol: str, first: date, last: date, columns: Sequence[str]
) -> pa.Table:
    """Return the rows of the days from first to last, both included, from exactly the locked files.

    A file that was replaced since is read from the earlier versions in the lake.

    Raises:
        ConfigError: a day is not in the lock, or the lock has refused lines.
        StoredDataError: a locked file no longer exists.
    """
    if lock.refused:
        more = f", and {len(lock.refused) - 1} more" if len(lock.refused) > 1 else ""
        raise ConfigError(f"expected a lock without wrong lines, found {lock.refused[0]}{more}; create the lock again")
    track = Track(series, symbol)
    files = {file.day: file for file in lock.files if file.track == track}
    without_file = [part for part in lock.without_file if part.track == track]
    unknown = [
        day
        for day in days_between(first, last)
        if day not in files and not any(part.first <= day <= part.last for part in without_file)
    ]
    if unknown:
        what = f"{unknown[0]} … {unknown[-1]}" if len(unknown) > 1 else str(unknown[0])
        raise ConfigError(f"{series} {symbol} {what}: expected days within the lock, found {len(unknown)} outside it")
    wanted = [file for day, file in sorted(files.items()) if first <= day <= last]
    parts = [_read(lake, file, columns) for file in wanted]
    return pa.concat_tables(parts) if parts else lake.read_versions(series, [], columns)


def _read(lake: Lake, file: LockedFile, columns: Sequence[str]) -> pa.Table:
    series, symbol = file.track
    kept = lake.version_path(series, Partition(symbol, file.day), file.sha256)
    for path in dict.fromkeys((file.path, kept)):
        try:
            return lake.read_versions(series, [(path, file.sha256, file.rows)], columns)
        except StoredDataError as error:
            problem = error
    raise StoredDataError(
        f"{file}: expected the locked file (sha256 {file.sha256}), which is no longer stored ({problem}); "
        "`crypto-assets verify` gives the details"
    )
