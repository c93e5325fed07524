"""List the files in quarantine/ with reasons and content, and remove one permanently.

    {lake}/quarantine/{key of the archive object}.{first 12 digits of the sha256}               the refused bytes
    {lake}/quarantine/{key of the archive object}.{first 12 digits of the sha256}.reason.json   `collection.days.quarantine`

Older reasons have fewer fields: series and days then follow from the key, if the collection has the symbol.
Judging a file again is `crypto_assets.quality.quarantine.retry`.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import IO, TYPE_CHECKING, Any

from crypto_assets import sources
from crypto_assets.datasets import all_datasets
from crypto_assets.engine.archive.owners import Owners
from crypto_assets.engine.problems import word_of
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import (
    ALL_TYPES,
    STORED_STATES,
    Series,
    State,
    Track,
    TrackDay,
    days_between,
    unified_symbol,
)
from crypto_assets.sources.formats_zip import DAMAGED_ZIP, METHODS
from crypto_assets.storage.lake import REASON
from crypto_assets.storage.reason_lock import writing_reasons
from crypto_assets.storage.refusal_reason import joined_reason, part_of, reason_text, split_reason

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.quality.query import Query
    from crypto_assets.storage.lake import Lake

FOLDER = "quarantine/"

SHOWN_BYTES = 64 << 10
"""Most bytes read of a refused file to show it, unpacked."""

_DIGITS = re.compile(r"\.([0-9a-f]{12})$")


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """One file in quarantine/ as it was refused for one series and symbol, as described by the reason file next to it.

    `path` is relative to the lake, `key` is the exchange's name of the object. If series and days are unknown, `series` is
    None and `days` is empty; `size_bytes` is None if the bytes are missing. `etag`, `sha256` and `published_digest` are
    empty if the reason does not have them. `details` is the whole reason as stored.
    """

    path: str
    key: str
    series: Series | None
    symbol: str
    days: tuple[date, ...]
    size_bytes: int | None
    error: str
    reason: str
    refused_at: datetime | None
    version: str
    source: str
    etag: str
    last_modified: datetime | None
    sha256: str
    published_digest: str
    details: Mapping[str, Any]

    @property
    def name(self) -> tuple[str, Track | None]:
        """The path, and the track if it is known: a file may have several symbols, market types or datasets."""
        return self.path, None if self.series is None else Track(self.series, self.symbol)

    @property
    def exchange(self) -> str:
        """The ccxt id; empty if unknown."""
        return self.series.exchange if self.series else ""

    def __str__(self) -> str:
        if self.series is None:
            return self.key
        first_last = dict.fromkeys(str(day) for day in (*self.days[:1], *self.days[-1:]))
        return f"{self.series.exchange} {self.series.market_type} {self.symbol} {self.series.dataset} " + " … ".join(
            first_last
        )


@dataclass(frozen=True, slots=True)
class ShownContent:
    """The beginning of a refused file: a one-line description, and its first lines of text."""

    kind: str
    lines: tuple[str, ...]


def refused_files(lake: Lake, collection: Collection | None = None) -> list[RefusedFile]:
    """Return every file in quarantine/, the latest first; one request for each. A file of many symbols or
    market types is returned for each.

    Args:
        collection: gives series and symbol of files with old reasons.
    """
    there = set(lake.store.paths(FOLDER))
    entries = collection.series if collection else ()
    owners = Owners(track for entry in entries for track in entry.tracks)
    exchanges = sorted({entry.exchange for entry in entries})
    names = {path.removesuffix(REASON) for path in there}
    found = [
        _refused_file(lake, path, details, path in there, owners, exchanges)
        for path in names
        for details in split_reason(lake.reason(path)).values()
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda file: (file.refused_at or oldest, file.path), reverse=True)


def _refused_file(
    lake: Lake, path: str, details: Mapping[str, Any], is_there: bool, owners: Owners, exchanges: Sequence[str]
) -> RefusedFile:
    key = str(details.get("key") or _DIGITS.sub("", path.removeprefix(FOLDER)))
    series, symbol = _series_of(details)
    days = tuple(sorted({day for text in details.get("days") or () if (day := _day(text))}))
    if series is None:
        series, symbol = _owner(key, owners, exchanges)
    if series is not None and not days:
        days = _period(series, key)
    size = details.get("size_bytes")
    if is_there and not isinstance(size, int):
        size = _size(lake, path)
    return RefusedFile(
        path,
        key,
        series,
        symbol,
        days,
        size if is_there else None,
        str(details.get("error") or "unknown"),
        str(details.get("reason") or "no reason is stored: the process ended before it could write it"),
        _instant(details.get("refused_at")),
        str(details.get("version") or ""),
        str(details.get("source") or ("rest" if key.startswith("rest/") else "archive")),
        str(details.get("etag") or ""),
        _instant(details.get("last_modified")),
        str(details.get("sha256") or details.get("downloaded") or "").removeprefix("sha256:"),
        str(details.get("published_digest") or details.get("published") or ""),
        details,
    )


def _series_of(details: Mapping[str, Any]) -> tuple[Series | None, str]:
    """Return the series and symbol in a reason, if they are valid."""
    exchange, market_type, dataset, symbol = (
        str(details.get(name) or "") for name in ("exchange", "market_type", "dataset", "symbol")
    )
    try:
        series = Series.named(exchange, market_type, dataset)
        good = series.table in all_datasets() and market_type in ALL_TYPES and bool(exchange)
        return (series, symbol) if good and unified_symbol(symbol, market_type) == symbol else (None, "")
    except ValueError:
        return None, ""


def _size(lake: Lake, path: str) -> int | None:
    try:
        file = lake.store.open(path)
    except StoredDataError:  # a link, a pipe, a folder: not bytes of the exchange
        return None
    if file is None:
        return None
    with file:
        return file.seek(0, io.SEEK_END)


def _owner(key: str, owners: Owners, exchanges: Iterable[str]) -> tuple[Series | None, str]:
    """Return the series and symbol of a key, if exactly one symbol of the collection is published there."""
    found = {track for exchange in exchanges for track, *_ in owners.of(exchange, key)}
    return found.pop() if len(found) == 1 else (None, "")


def _period(series: Series, key: str) -> tuple[date, ...]:
    try:
        span = sources.span_of(series, key)
        return tuple(days_between(span.first_day, span.last_day))
    except (KeyError, ValueError):  # an unknown exchange, or a key that is not of an archive
        return ()


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None


def _instant(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


def select(files: Iterable[RefusedFile], query: Query) -> list[RefusedFile]:
    """Return the files that match a query; with any filter, files of unknown series are left out."""
    everything = type(query)()
    return [
        file
        for file in files
        if query == everything
        or (
            file.series is not None
            and query.has(file.series, file.symbol)
            and (not (query.first or query.last) or any(query.has_day(day) for day in file.days))
        )
    ]


def find(files: Sequence[RefusedFile], name: str) -> list[RefusedFile]:
    """Return the file with a path, with or without `quarantine/`, or with the 12 digits at its end, for each of its tracks.

    Raises:
        ConfigError: no file matches, or several do.
    """
    path = name.removesuffix(REASON)
    found = [file for file in files if path in (file.path, file.path.removeprefix(FOLDER), file.path[-12:])]
    paths = {file.path for file in found}
    if len(paths) == 1:
        return sorted(found, key=lambda file: (str(file.series or ""), file.symbol))
    if paths:
        raise ConfigError(f"{name}: expected one file, found {len(paths)} with this ending; give the whole path")
    close = get_close_matches(path, [file.path for file in files], n=1, cutoff=0.3)
    hint = f"did you mean {close[0]}?" if close else "`crypto-assets quarantine` lists the files"
    raise ConfigError(f"{name}: not in quarantine/; {hint}")


def states_now(
    ledger: Ledger, files: Sequence[RefusedFile]
) -> dict[tuple[str, Track | None], dict[date, State | None]]:
    """Return the present states of the days of each file, by its name; None for a day without a record."""
    spans: dict[Track, list[date]] = {}
    for file in files:
        if file.series is not None:
            spans.setdefault(Track(file.series, file.symbol), []).extend(file.days)
    known: dict[TrackDay, State] = {}
    for (series, symbol), days in spans.items():
        if days:
            for record in ledger.partitions(
                exchange=series.exchange,
                market_type=series.market_type,
                symbols=[symbol],
                datasets=[series.dataset],
                first=min(days),
                last=max(days),
            ):
                known[TrackDay(series, symbol, record.day)] = record.state
    return {
        file.name: {
            day: known.get(TrackDay(file.series, file.symbol, day)) if file.series else None for day in file.days
        }
        for file in files
    }


def in_words(states: Mapping[date, State | None]) -> str:
    """Return the states of some days in few words: `available`, or `30 available, 1 missing`."""
    counts: dict[str, int] = {}
    for state in states.values():
        counts[word_of(state)] = counts.get(word_of(state), 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "unknown"


def all_stored(states: Mapping[date, State | None]) -> bool:
    """Return whether every day is stored now; an earlier version alone (`corrected`) does not count."""
    there = STORED_STATES - {State.CORRECTED} | {State.NO_DATA}
    return bool(states) and all(state in there for state in states.values())


def content_of(lake: Lake, file: RefusedFile, lines: int = 8) -> ShownContent:
    """Return the beginning of a refused file, unpacked if possible; never raises because of its content."""
    try:
        data = lake.store.get(file.path)
    except StoredDataError as error:
        return ShownContent(f"not read: {error}", ())
    if data is None:
        return ShownContent("the bytes are missing, only the reason is left", ())
    try:
        return _unpacked(data, lines)
    except DAMAGED_ZIP as error:
        raise_if_ours(error, file.path)
        kind = f"{len(data)} bytes that cannot be unpacked ({error})"
        return ShownContent(kind, _first_lines(io.BytesIO(data), lines))


def _unpacked(data: bytes, lines: int) -> ShownContent:
    """Return the beginning of a gzip, or of the first member of a zip; raises one of DAMAGED_ZIP for anything else.

    In a zip, only stored and deflated members are unpacked, as in collecting. Decoders of other methods raise their own
    errors and take memory as a damaged header says.
    """
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as unpacked:
            return ShownContent(f"gzip, {len(data)} bytes", _first_lines(unpacked, lines))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        names = ", ".join(f"{member.filename} ({member.file_size} bytes)" for member in members[:5])
        kind = f"zip, {len(data)} bytes, {len(members)} members: {names}"
        if not members:
            return ShownContent(kind, ())
        if members[0].compress_type not in METHODS:
            kind += (
                f"; the first is not unpacked: expected deflate, found compression method {members[0].compress_type}"
            )
            return ShownContent(kind, _first_lines(io.BytesIO(data), lines))
        with archive.open(members[0]) as unpacked:
            return ShownContent(kind, _first_lines(unpacked, lines))


def _first_lines(stream: IO[bytes] | gzip.GzipFile, count: int) -> tuple[str, ...]:
    """Return the first lines as text, whatever the bytes are; control characters become dots."""
    text = stream.read(SHOWN_BYTES).decode("utf-8", "replace")
    lines = text.splitlines()[:count]
    return tuple("".join(c if c.isprintable() or c == "\t" else "." for c in line[:400]) for line in lines)


def drop(lake: Lake, file: RefusedFile) -> None:
    """Remove a refused file and its reason permanently; the bytes stay while another symbol or series has a reason."""
    with writing_reasons(lake):
        left = split_reason(lake.reason(file.path))
        left.pop(part_of(file.details), None)
        if left:
            lake.store.put(f"{file.path}{REASON}", reason_text(joined_reason(left, min(left))))
            return
        lake.store.delete(file.path)
        lake.store.delete(f"{file.path}{REASON}")
