"""Reading a lock file, which anybody may have written: its digest is no signature.

A file that is no lock as a whole is a ConfigError. Of a lock, each line is looked at alone: a line whose fields are of the
wrong kind, or whose path is not the place of its day in a lake, is refused, and the others stay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from crypto_assets import sources
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.gaps import NOT_COLLECTED
from crypto_assets.model import MARKET_TYPES, Partition, Series, State, unified_symbol
from crypto_assets.quality.lock.content import FORMAT, AbsentDays, Lock, LockedFile, RefusedLine, digest
from crypto_assets.quality.query import Query
from crypto_assets.storage import foreign_json
from crypto_assets.storage.foreign_json import count, day, digits, instant, mapping, sequence, text
from crypto_assets.storage.lake import day_path, version_path
from crypto_assets.version import __version__

MOST_BYTES = 512 << 20
"""Of a lock file: a million of its lines take 500 MB."""

_MOST_NAME = 200

T = TypeVar("T")
_Field = Callable[[Any], Any]


def _name(value: Any) -> str:
    return text(value, _MOST_NAME)


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
    """Return the lock in a file; lines that cannot be believed are in its `refused`.

    Raises:
        ConfigError: no such file, not a lock, one of a younger format, or one that was edited.
    """
    content = _loaded(path)
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ConfigError(f"{path}: expected the JSON of `crypto-assets lock`, found other JSON")
    if content["format"] > FORMAT:
        raise ConfigError(
            f"{path}: expected format {FORMAT}, found {str(content['format'])[:20]}, made by "
            f"{str(content.get('package'))[:_MOST_NAME]}; this is crypto_assets {__version__}, update it"
        )
    created_at, told = content.pop("created_at", None), content.pop("digest", None)
    try:
        found = digest(content)
    except ValueError:  # half a surrogate pair
        raise ConfigError(
            f"{path}: expected the JSON of `crypto-assets lock`, found text that cannot be stored"
        ) from None
    if found != told:
        raise ConfigError(
            f"{path}: expected content with the digest {str(told)[:_MOST_NAME]}, found {found}: it was edited or damaged; "
            "lock anew, or take it from git"
        )
    refused: list[RefusedLine] = []
    try:
        return Lock(
            _field(content, "query", _query),
            _field(mapping(content.get("query")), "as_of", _or_none(instant)),
            _lines(content, "files", _file, refused),
            _lines(content, "without_file", _absent, refused),
            _field({"created_at": created_at}, "created_at", instant),
            _field(content, "package", _name),
            tuple(refused),
        )
    except ValueError as error:
        raise ConfigError(f"{path}: expected a lock of format {FORMAT}, found other content ({error})") from None


def _loaded(path: str | Path) -> Any:
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would be waited for, for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"{path}: expected a lock file, found something that is no file")
            if about.st_size > MOST_BYTES:
                raise ConfigError(
                    f"{path}: expected a lock file of at most {MOST_BYTES:,} bytes, found {about.st_size:,}"
                )
            return foreign_json.loads(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: expected a lock file, found: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected the JSON of `crypto-assets lock`, found none ({error})") from None


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


def _lines(
    content: Mapping[str, Any], name: str, line: Callable[[Any], T], refused: list[RefusedLine]
) -> tuple[T, ...]:
    """Return the lines of a list that can be believed; the others go to `refused`."""
    found = []
    for number, value in enumerate(_field(content, name, sequence), 1):
        try:
            found.append(line(value))
        except ValueError as error:
            refused.append(RefusedLine(f"{name}, line {number}", str(error)))
    return tuple(found)


def _fields(value: Any, fields: Mapping[str, _Field]) -> dict[str, Any]:
    content = mapping(value)
    if more := content.keys() - fields:
        raise ValueError(f"expected the fields {', '.join(fields)}, found {text(min(more))[:_MOST_NAME]!r} too")
    return {name: _field(content, name, field) for name, field in fields.items()}


def _file(value: Any) -> LockedFile:
    file = LockedFile(**_fields(value, _FILE))
    partition = Partition(_symbol(file.pair), file.day)
    here, kept = day_path(file.pair[0], partition), version_path(file.pair[0], partition, file.sha256)
    if file.path not in (here, kept):
        raise ValueError(f"{file}: path: expected {here} or {kept}, found {file.path[:_MOST_NAME]!r}; it was not read")
    return file


def _absent(value: Any) -> AbsentDays:
    days = AbsentDays(**_fields(value, _WITHOUT))
    _symbol(days.pair)
    return days


def _symbol(pair: tuple[Series, str]) -> str:
    """Return the symbol of a series and symbol that a lake can have."""
    series, symbol = pair
    for what, value, known in (
        ("exchange", series.exchange, sources.names()),
        ("market_type", series.market_type, MARKET_TYPES),
        ("dataset", series.dataset, sources.get(series.exchange).dataset_names(series.market_type))
        if series.exchange in sources.names()
        else ("dataset", "", ("",)),
    ):
        if value not in known:
            raise ValueError(f"{what}: expected one of {', '.join(known)}, found {value!r}")
    if unified_symbol(symbol, series.market_type) != symbol:
        raise ValueError(f"symbol: expected {unified_symbol(symbol, series.market_type)}, found {symbol!r}")
    return symbol
