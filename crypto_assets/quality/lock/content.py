"""Lock files: the exact files behind a question, by name, version and sha256, so that others can tell whether they have them.

    crypto-assets lock -o dataset.lock --symbol BTC/USDT --from 2024-01-01 --to 2024-12-31

JSON with one line for each file, in the order of exchange, market type, dataset, symbol and day, so that a change of one day
is a change of one line in git. Paths are relative to the lake: the lock holds for every copy of it. Days that are asked for
and have no file are in it too, with state and reason. `digest` is over everything but itself and `created_at`: the same data
locked twice are the same bytes but for that line. Making one is `crypto_assets.quality.lock.create`, reading one
`crypto_assets.quality.lock.file`, verifying one `crypto_assets.quality.lock.verify`.
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
"""Of the lock files that are written; younger ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile(FileInForce):
    """One file of the lake that the lock names.

    `rows` are its first ones that count (all, unless a provisional day has grown since `as_of`), `sha256` is over the Parquet
    bytes, `version` 1 for the first rows that were known of the day. `state` is that of the day while this file was in force,
    `corrected` where nobody recorded it, or where a newer file could not be used. The source is the archive object or REST
    answer that the rows came from, with the sha256 of its bytes.
    """

    @property
    def track(self) -> Track:
        return Track(Series.named(self.exchange, self.market_type, self.dataset), self.symbol)

    def __str__(self) -> str:
        return f"{self.exchange} {self.market_type} {self.symbol} {self.dataset} {self.day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentDays:
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
    """A line of a lock file that cannot be believed, by its place: `files, line 3`."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lock:
    """What was asked and what is behind it. `as_of` is None for what was stored at `created_at`.

    `refused` are lines of a lock file that cannot be believed; nothing is read by them, and it is not written again.
    """

    query: Query
    as_of: datetime | None
    files: tuple[LockedFile, ...]
    absent: tuple[AbsentDays, ...]
    created_at: datetime
    package: str = f"crypto_assets {__version__}"
    refused: tuple[RefusedLine, ...] = ()

    @property
    def instant(self) -> datetime:
        """When the files of the lock were the ones in force."""
        return self.as_of or self.created_at

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def tracks(self) -> list[Track]:
        """The series and symbols that the lock is about."""
        return sorted({file.track for file in self.files} | {part.track for part in self.absent})


def to_text(lock: Lock) -> str:
    """Return the lock as it is written: JSON, one line for each file and for each stretch of days without a file."""
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
    """Write a lock, whole or not at all; raises ConfigError where the path cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(to_text(lock), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigError(f"{path}: expected a file that can be written, found: {error.strerror}") from None


def _content(lock: Lock) -> dict[str, Any]:
    """Return what the digest is over, in the order of the file."""
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
        "without_file": [_line(days) for days in lock.absent],
    }


def _line(part: LockedFile | AbsentDays) -> dict[str, Any]:
    return {name: _plain(getattr(part, name)) for name in part.__dataclass_fields__}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def digest(content: Mapping[str, Any]) -> str:
    """Return what `digest` of a lock with some content is; raises ValueError for text that is none."""
    return f"sha256:{hashlib.sha256(canonical(content).encode()).hexdigest()}"


def canonical(value: Any) -> str:
    """Return the one text of a value that a digest is over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# ---- the rows --------------------------------------------------------------------------------------------------------


def read_locked(
    lock: Lock, lake: Lake, series: Series, symbol: str, first: date, last: date, columns: Sequence[str]
) -> pa.Table:
    """Return the rows of the days from first to last, both included, from exactly the files that the lock names.

    A file that was replaced since is taken from the former versions that the lake keeps.

    Raises:
        ConfigError: the lock does not know one of the days, or has lines that cannot be believed.
        StoredDataError: one of its files is not there any more.
    """
    if lock.refused:
        more = f", and {len(lock.refused) - 1} more" if len(lock.refused) > 1 else ""
        raise ConfigError(f"expected a lock with lines that can be believed, found {lock.refused[0]}{more}; lock anew")
    track = Track(series, symbol)
    files = {file.day: file for file in lock.files if file.track == track}
    absent = [part for part in lock.absent if part.track == track]
    unknown = [
        day
        for day in days_between(first, last)
        if day not in files and not any(part.first <= day <= part.last for part in absent)
    ]
    if unknown:
        what = f"{unknown[0]} … {unknown[-1]}" if len(unknown) > 1 else str(unknown[0])
        raise ConfigError(
            f"{series} {symbol} {what}: expected days that the lock is about, found {len(unknown)} that are not"
        )
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
        f"{file}: expected the file that was locked (sha256 {file.sha256}), found it no more ({problem}); "
        "`crypto-assets verify` says what became of it"
    )
