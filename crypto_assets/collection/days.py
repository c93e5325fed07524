"""One day on its way through the pipeline, and the outcome of one that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets.errors import BadContent, CryptoAssetsError, InvalidRows
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, SourceFile, State, StoredFile

if TYPE_CHECKING:
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Target:
    """Some days (ascending) of one symbol, and the warehouse tables they are to reach.

    `collect` false means that the days are read from the lake and only the warehouse is written.
    """

    series: Series
    symbol: str
    days: tuple[date, ...]
    tables: tuple[str, ...] = ()
    collect: bool = True


@dataclass(frozen=True, slots=True)
class RestDay(ArchiveObject):
    """A day that REST is asked for as an archive is asked for an object; `archive` says why the archive does not give it."""

    archive: Outcome | None = None


@dataclass(slots=True)
class Day:
    """One day on its way: rows that were parsed, or an outcome that is already final.

    `reason` and `evidence` go with the rows of a provisional day; `lacking` says why its rows are not all there.
    """

    target: Target
    partition: Partition
    rows: pa.Table | None = None
    source: SourceFile | None = None
    content: bytes = b""
    known: StoredFile | None = None
    outcome: Outcome | None = None
    fetch_s: float = 0.0
    reason: str = ""
    lacking: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        return self.target.series

    @property
    def parsed(self) -> pa.Table:
        """The rows of a day that was parsed."""
        assert self.rows is not None  # noqa: S101  callers ask for days that were parsed
        return self.rows


def refused(target: Target, day: date, error: CryptoAssetsError, quarantined: str = "") -> Outcome:
    """Return the outcome of a day that an error keeps from being stored; `quarantined` is where its bytes lie now."""
    evidence: dict[str, Any] = {"error": type(error).__name__, **error.evidence}
    reason = str(error)
    if quarantined:
        evidence["quarantine"] = quarantined
        if isinstance(error, BadContent | InvalidRows):  # the others say what to do themselves
            reason += "; kept in quarantine/, `crypto-assets fill` tries it again"
    return Outcome(target.series, Partition(target.symbol, day), State.MISSING, reason, evidence)


def quarantine(lake: Lake, key: str, content: bytes, error: CryptoAssetsError) -> str:
    """Keep refused bytes with the error beside them; return their path in the lake."""
    return lake.quarantine(key, content, {"reason": str(error), "error": type(error).__name__, **error.evidence})
