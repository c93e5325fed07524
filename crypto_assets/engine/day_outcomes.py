"""One day in the pipeline, and the outcome of a day that could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets.errors import (
    BadContent,
    ChecksumMismatch,
    ConfigError,
    CryptoAssetsError,
    InvalidRows,
    SourceFault,
    StoredDataError,
    StoreUnavailable,
)
from crypto_assets.model import (
    SHOWN_ROWS,
    ArchiveObject,
    Finding,
    Outcome,
    Partition,
    Profile,
    Series,
    SourceFile,
    State,
    StoredFile,
    Track,
    TrackDay,
)
from crypto_assets.model.content import Content, digest_of
from crypto_assets.model.provenance import together
from crypto_assets.rows.on_disk import RowsOnDisk, whole
from crypto_assets.storage.parquet import UnreadRows
from crypto_assets.storage.reason_lock import writing_reasons
from crypto_assets.storage.refusal_reason import Part, joined_reason, split_reason
from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import PartitionRecord
    from crypto_assets.rows.arrange import Arrangement
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Target:
    """Some days (ascending) of one symbol, and the warehouse tables to load them into.

    If `collect` is false, the days are read from the lake and only the warehouse is written.
    """

    series: Series
    symbol: str
    days: tuple[date, ...]
    tables: tuple[str, ...] = ()
    collect: bool = True

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)


class DaysOf:
    """The days of the targets of a run; tells whether a day is among them."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._days: dict[Track, set[date]] = {}
        for target in targets:
            self._days.setdefault(target.track, set()).update(target.days)

    def __contains__(self, place: TrackDay) -> bool:
        return place.day in self._days.get(place.track, ())


@dataclass(slots=True)
class Day:
    """One day in the pipeline: parsed rows, or an outcome that is already final.

    `reason` and `evidence` belong to the rows of a provisional day; `missing` says why some of its rows are missing.
    `contents` are the bytes of each file of `source`, in its order, if the rows were just parsed.
    `profile` is set once the rows have passed their checks. `arrangement` has the order of newly parsed rows in their file.
    `record` is the ledger's record of a stored day that may need no new check; its rows are decoded on first use.
    """

    target: Target
    partition: Partition
    rows: pa.Table | RowsOnDisk | UnreadRows | None = None
    source: SourceFile | None = None
    contents: tuple[Content, ...] = ()
    known: StoredFile | None = None
    outcome: Outcome | None = None
    fetch_s: float = 0.0
    reason: str = ""
    missing: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    profile: Profile | None = None
    arrangement: Arrangement | None = None
    record: PartitionRecord | None = None

    @property
    def series(self) -> Series:
        return self.target.series

    @property
    def in_hand(self) -> pa.Table | RowsOnDisk:
        """The rows of a parsed day, in memory or on disk."""
        assert self.rows is not None  # noqa: S101  callers ask for days that were parsed
        if isinstance(self.rows, UnreadRows):
            self.rows = self.rows.read()
        return self.rows

    @property
    def parsed(self) -> pa.Table:
        """The rows of a parsed day as one table; those on disk take no memory until a column of them is used."""
        return whole(self.in_hand)


@dataclass(frozen=True, slots=True)
class Kept:
    """The path of refused bytes, relative to the lake; or why they could not be kept. Without bytes, neither.

    Several files are named in one text, as their keys are (`model.provenance.together`).
    """

    path: str = ""
    problem: str = ""


_NOT_KEPT = Kept()


def refused(target: Target, day: date, error: CryptoAssetsError, kept: Kept = _NOT_KEPT) -> Outcome:
    """Return the outcome of a day that could not be stored because of an error; `kept` says where its bytes are."""
    evidence: dict[str, Any] = {"error": type(error).__name__, **error.evidence}
    reason = str(error)
    if kept.path:
        evidence["quarantine"] = kept.path
        if isinstance(error, ChecksumMismatch):
            reason += "; kept in quarantine/ (`crypto-assets quarantine` shows why)"
        elif isinstance(error, BadContent | InvalidRows | SourceFault):  # other errors name their remedy themselves
            reason += (
                "; kept in quarantine/ (`crypto-assets quarantine` shows why), `crypto-assets fill` tries it again"
            )
    if kept.problem:
        evidence["not_kept"] = kept.problem
        reason += f"; {kept.problem}"
    return Outcome(target.series, Partition(target.symbol, day), State.MISSING, reason, evidence)


def quarantine_files(
    lake: Lake,
    contents: Sequence[Content],
    error: CryptoAssetsError,
    target: Target,
    days: Sequence[date],
    source: ArchiveObject | SourceFile,
    findings: Mapping[str, Finding] | None = None,
) -> Kept:
    """Keep the bytes of each file of `source`, in its order, as `quarantine` does.

    Which file has the fault is not known where a day needs several: all are kept, each with the same reason.
    """
    files: Sequence[ArchiveObject | SourceFile] = source.files
    kept = [
        quarantine(lake, file.key, content, error, target, days, file, findings)
        for file, content in zip(files, contents, strict=True)
    ]
    paths = [one.path for one in kept if one.path]
    return Kept(together(paths), "; ".join(dict.fromkeys(one.problem for one in kept if one.problem)))


def quarantine(
    lake: Lake,
    key: str,
    content: Content,
    error: CryptoAssetsError,
    target: Target,
    days: Sequence[date],
    source: ArchiveObject | SourceFile | None = None,
    findings: Mapping[str, Finding] | None = None,
) -> Kept:
    """Keep refused bytes with the error and everything needed to check them again.

    Bytes that were refused before stay one file, with the time of the first refusal and the days of all refusals; a file of
    many symbols has the reason of each. They are evidence only: if they cannot be kept (a full disk, a bucket that refuses),
    good days are stored all the same.

    Args:
        source: the archive file with the bytes; None if they are no archive file.
        findings: the failed checks of the day, if its rows are known.
    """
    try:
        sha256 = digest_of(content)
        with writing_reasons(lake):
            return Kept(_quarantine(lake, key, content, sha256, error, target, days, source, findings))
    except (OSError, StoreUnavailable, ConfigError, StoredDataError) as problem:
        found = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        return Kept(problem=f"its bytes could not be kept in quarantine/ of {lake.url}: {found}")


def _quarantine(
    lake: Lake,
    key: str,
    content: Content,
    sha256: str,
    error: CryptoAssetsError,
    target: Target,
    days: Sequence[date],
    source: ArchiveObject | SourceFile | None,
    findings: Mapping[str, Finding] | None,
) -> str:
    parts: dict[Part, Mapping[str, Any]] = dict(split_reason(lake.reason(lake.quarantine_path(key, sha256))))
    part = target.series.market_type, target.series.dataset, target.symbol
    former = parts.get(part, {})
    failed = {name: _shown(found.evidence) for name, found in (findings or {}).items()}
    parts[part] = {
        **error.evidence,
        "reason": str(error),
        "error": type(error).__name__,
        "exchange": target.series.exchange,
        "market_type": target.series.market_type,
        "dataset": target.series.dataset,
        "symbol": target.symbol,
        "days": sorted({*(former.get("days") or ()), *map(str, days)}),
        "key": key,
        "source": "rest" if source is None else getattr(source, "source", "archive"),
        "etag": source.etag if source else "",
        "last_modified": source.last_modified.isoformat() if source and source.last_modified else None,
        "size_bytes": len(content),
        "sha256": sha256,
        "published_digest": getattr(source, "published_digest", None) or error.evidence.get("published"),
        "refused_at": former.get("refused_at") or datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "findings": {**(former.get("findings") or {}), **({str(day): failed for day in days} if failed else {})},
    }
    return lake.quarantine(key, content, joined_reason(parts, part), sha256=sha256)


def _shown(evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[:SHOWN_ROWS] if isinstance(value, list) else value for name, value in evidence.items()}
