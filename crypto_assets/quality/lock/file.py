"""Read a lock file. Anybody may have written it: its digest is not a signature.

A file that is not a lock as a whole is a ConfigError. The lines of a lock are judged one by one: a line with fields of the
wrong type, or with a path that is not its day's place in a lake, is refused; the others stay.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from crypto_assets import sources
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.gaps import NOT_COLLECTED
from crypto_assets.model import ALL_TYPES, Partition, State, Track, unified_symbol
from crypto_assets.quality.lock.content import FORMAT, DaysWithoutFile, Lock, LockedFile, RefusedLine, digest
from crypto_assets.quality.lock.line_reader import LISTS, OtherLayout, read_lines
from crypto_assets.quality.query import Query
from crypto_assets.storage import foreign_json
from crypto_assets.storage.foreign_json import count, day, digits, instant, mapping, sequence, text
from crypto_assets.storage.lake_paths import day_path, version_path
from crypto_assets.version import __version__

MOST_BYTES = 640 << 20
"""Largest lock file; a million lines take 575 MB."""

MOST_LINES = 1_000_000
"""Most lines; each takes 0.7 kB of memory once read."""

MOST_OTHER_BYTES = 8 << 20
"""Largest lock file in another layout: it is read as a whole, and may take 28 times as much memory."""

_MOST_NAME = 200

T = TypeVar("T")
_Field = Callable[[Any], Any]


def _name(value: Any) -> str:
    return sys.intern(text(value, _MOST_NAME))  # few different names, in many lines


def _source_files(value: Any) -> tuple[Mapping[str, Any], ...]:
    found = tuple(_fields(one, _SOURCE_FILE) for one in sequence(value))
    return tuple({**one, "last_modified": at.isoformat() if (at := one["last_modified"]) else None} for one in found)


def _or_none(field: _Field) -> _Field:
    return lambda value: None if value is None else field(value)


def _state(value: Any) -> str:
    if (found := _name(value)) not in set(State):
        raise ValueError(f"expected one of {', '.join(State)}, found {found!r}")
    return found


def _state_without(value: Any) -> str:
    return NOT_COLLECTED if value == NOT_COLLECTED else _state(value)


_FILE: dict[str, _Field] = {
    "exchange": _name,
    "market_type": _name,
    "symbol": _name,
    "dataset": _name,
    "day": day,
    "path": text,
    "rows": count,
    "sha256": digits,
    "version": count,
    "state": _state,
    "known_from": _or_none(instant),
    "source": _name,
    "source_key": text,
    "source_sha256": _name,
}
_SOURCE_FILE: dict[str, _Field] = {
    "key": text,
    "size_bytes": count,
    "etag": text,
    "sha256": _name,
    "published_digest": _or_none(_name),
    "last_modified": _or_none(instant),
}
_WITHOUT: dict[str, _Field] = {
    "exchange": _name,
    "market_type": _name,
    "symbol": _name,
    "dataset": _name,
    "first": day,
    "last": day,
    "state": _state_without,
    "reason": text,
}


def read_lock(path: str | Path) -> Lock:
    """Return the lock in a file; refused lines are in its `refused`.

    Raises:
        ConfigError: the file does not exist, is not a lock, has a newer format, or was edited.
    """
    lines = _Lines()
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            fields, found = _read(path, file, lines)
    except OSError as error:
        raise ConfigError(f"{path}: expected a lock file, found: {error.strerror}") from None
    except UnicodeEncodeError:  # half a surrogate pair
        raise ConfigError(
            f"{path}: expected the JSON of `crypto-assets lock`, found text that cannot be stored"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected the JSON of `crypto-assets lock`, found other text ({error})") from None
    if found != fields.get("digest"):
        raise ConfigError(
            f"{path}: expected content with the digest {str(fields.get('digest'))[:_MOST_NAME]}, found {found}: it was "
            "edited or damaged; create the lock again, or take it from git"
        )
    try:
        for name in LISTS:  # only if the text was read as a whole; otherwise lines were taken one by one
            for value in _field(fields, name, sequence):
                lines.take(name, value)
        return Lock(
            _field(fields, "query", _query),
            _field(mapping(fields.get("query")), "as_of", _or_none(instant)),
            tuple(lines.files),
            tuple(lines.without_file),
            _field(fields, "created_at", instant),
            _field(fields, "package", _name),
            tuple(lines.refused),
        )
    except ValueError as error:
        raise ConfigError(f"{path}: expected a lock of format {FORMAT}, found other content ({error})") from None


class _Lines:
    """The accepted lines of a lock, and the refused ones with their reasons."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.files: list[LockedFile] = []
        self.without_file: list[DaysWithoutFile] = []
        self.refused: list[RefusedLine] = []
        self._counts = dict.fromkeys(LISTS, 0)

    def take(self, name: str, value: Any) -> None:
        self._counts[name] += 1
        if sum(self._counts.values()) > MOST_LINES:
            raise ValueError(f"expected at most {MOST_LINES:,} lines, found more")
        try:
            if name == "files":
                self.files.append(_file(value))
            else:
                self.without_file.append(_days_without_file(value))
        except ValueError as error:
            self.refused.append(RefusedLine(f"{name}, line {self._counts[name]}", str(error)))


def _without_waiting(name: str, flags: int) -> int:
    """Open a file without blocking: opening a pipe without a writer would wait forever."""
    return os.open(name, flags | os.O_NONBLOCK)


def _read(path: str | Path, file: BinaryIO, lines: _Lines) -> tuple[dict[str, Any], str]:
    """Return the fields of a lock without its lines, and the digest of its content."""
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise ConfigError(f"{path}: expected a lock file, found something that is not a regular file")
    if about.st_size > MOST_BYTES:
        raise ConfigError(f"{path}: expected a lock file of at most {MOST_BYTES:,} bytes, found {about.st_size:,}")
    try:
        fields, found = read_lines(file, lines.take)
        _require_format(path, fields)
        return fields | {name: [] for name in LISTS}, found
    except OtherLayout:
        lines.forget()  # these lines will be taken again
    if about.st_size > MOST_OTHER_BYTES:
        raise ConfigError(
            f"{path}: expected a lock file as `crypto-assets lock` writes it, one line for each file, found "
            f"{about.st_size:,} bytes in another layout, which may have at most {MOST_OTHER_BYTES:,}; create the lock again"
        )
    file.seek(0)
    content = foreign_json.loads(file.read(MOST_OTHER_BYTES + 1))
    _require_format(path, content)
    return content, digest({name: value for name, value in content.items() if name not in ("created_at", "digest")})


def _require_format(path: str | Path, content: Any) -> None:
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ConfigError(f"{path}: expected the JSON of `crypto-assets lock`, found other JSON")
    if content["format"] > FORMAT:
        raise ConfigError(
            f"{path}: expected format {FORMAT}, found {str(content['format'])[:20]}, made by "
            f"{str(content.get('package'))[:_MOST_NAME]}; this is crypto_assets {__version__}, update it"
        )


def _field(content: Mapping[str, Any], name: str, field: Callable[[Any], T]) -> T:
    if name not in content:
        raise ValueError(f"expected the field {name}, found none")
    try:
        return field(content[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _query(value: Any) -> Query:
    content = mapping(value)

    def names(value: Any) -> tuple[str, ...]:
        return tuple(_name(one) for one in sequence(value))

    return Query(
        exchange=_field(content, "exchange", _or_none(_name)),
        market_type=_field(content, "market_type", _or_none(_name)),
        symbols=_field(content, "symbols", names),
        datasets=_field(content, "datasets", names),
        first=_field(content, "from", _or_none(day)),
        last=_field(content, "to", _or_none(day)),
    )


def _fields(value: Any, fields: Mapping[str, _Field]) -> dict[str, Any]:
    content = mapping(value)
    if more := content.keys() - fields:
        raise ValueError(f"expected the fields {', '.join(fields)}, found {text(min(more))[:_MOST_NAME]!r} too")
    return {name: _field(content, name, field) for name, field in fields.items()}


def _file(value: Any) -> LockedFile:
    content = dict(mapping(value))
    files = _source_files(content.pop("source_files", []))
    file = LockedFile(**_fields(content, _FILE), source_files=files)
    partition = Partition(_symbol(file.track), file.day)
    here, kept = day_path(file.track[0], partition), version_path(file.track[0], partition, file.sha256)
    if file.path not in (here, kept):
        raise ValueError(f"{file}: path: expected {here} or {kept}, found {file.path[:_MOST_NAME]!r}; it was not read")
    return file


def _days_without_file(value: Any) -> DaysWithoutFile:
    days = DaysWithoutFile(**_fields(value, _WITHOUT))
    _symbol(days.track)
    return days


def _symbol(track: Track) -> str:
    """Return the symbol of a series and symbol, if a lake can have them."""
    series, symbol = track
    for what, value, known in (
        ("exchange", series.exchange, sources.names()),
        ("market_type", series.market_type, ALL_TYPES),
        ("dataset", series.dataset, sources.get(series.exchange).dataset_names(series.market_type))
        if series.exchange in sources.names()
        else ("dataset", "", ("",)),
    ):
        if value not in known:
            raise ValueError(f"{what}: expected one of {', '.join(known)}, found {value!r}")
    if unified_symbol(symbol, series.market_type) != symbol:
        raise ValueError(f"symbol: expected {unified_symbol(symbol, series.market_type)}, found {symbol!r}")
    return symbol
