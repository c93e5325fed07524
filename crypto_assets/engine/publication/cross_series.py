"""Compares stored days with other stored series of the same symbol and day.

The finding names the other series and the file it was compared with, so that it is recognised as out of date once that file
is replaced. If nothing is stored to compare with, the finding says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets.checks import of_kind
from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.errors import StoredDataError
from crypto_assets.ledger.findings import findings_by_day, stored_files
from crypto_assets.ledger.outcome_rows import from_stored
from crypto_assets.model import Comparison, Finding, Partition, Series, not_judged

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

WITH, WITH_SHA256 = "with", "with_sha256"
"""Keys of a finding that say what it was compared with: the dataset, and the sha256 of its file."""

RowsOfDay = Callable[[], Iterable[pa.Table]]
"""Returns the rows of a day from the first on, in one or more pieces; may be called again."""


def in_lake(series: Series) -> list[Comparison]:
    """Return the checks that compare a series with other stored series."""
    return [check for check in of_kind(series, Comparison) if check.source == "lake"]


def asked_before(series: Series, stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Finding]:
    """Return the findings of a file in the ledger that cannot be found again from its stored rows.

    They came from sources that are not asked every time, or from the order of the rows in the file.
    """
    asked = {check.name for check in of_kind(series, Comparison) if check.source != "lake"}
    asked |= {check.name for check in of_kind(series, ArrangementCheck)}
    return from_stored({name: kept for name, kept in stored.items() if name in asked})


@dataclass(frozen=True, slots=True)
class _Other:
    """A stored day of another series."""

    series: Series
    content_sha256: str


class Comparer:
    """Compares days with the lake and the ledger of one collection; safe to use from many threads."""

    def __init__(self, lake: Lake, ledger: Ledger) -> None:
        self._lake = lake
        self._ledger = ledger

    def findings(self, series: Series, days: Mapping[Partition, RowsOfDay]) -> dict[Partition, dict[str, Finding]]:
        """Return the finding of each comparison with a stored series, for each day."""
        checks = in_lake(series)
        if not checks or not days:
            return {partition: {} for partition in days}
        stored = self._stored(series, checks, list(days))
        return {
            partition: self._of_day(series, checks, partition, pieces, stored.get(partition, {}))
            for partition, pieces in days.items()
        }

    def _stored(
        self, series: Series, checks: Sequence[Comparison], partitions: Sequence[Partition]
    ) -> dict[Partition, dict[Series, _Other]]:
        """Return the stored days that some days can be compared with."""
        wanted = {other.dataset: other for check in checks for other in check.counterparts(series)}
        with self._ledger.transaction() as connection:
            files = stored_files(connection, series, wanted, partitions)
        found: dict[Partition, dict[Series, _Other]] = {}
        for one in files:
            other = wanted[one.dataset]
            found.setdefault(Partition(one.symbol, one.day), {})[other] = _Other(other, one.content_sha256)
        return found

    def _of_day(
        self,
        series: Series,
        checks: Sequence[Comparison],
        partition: Partition,
        pieces: RowsOfDay,
        stored: Mapping[Series, _Other],
    ) -> dict[str, Finding]:
        findings: dict[str, Finding] = {}
        gathered: dict[object, pa.Table] = {}
        rows: dict[Series, pa.Table] = {}
        for check in checks:
            candidates = check.counterparts(series)
            other = next((stored[candidate] for candidate in candidates if candidate in stored), None)
            if other is None:
                names = " or ".join(candidate.dataset for candidate in candidates)
                findings[check.name] = not_judged(f"{names} of this day is not stored")
                continue
            try:
                if other.series not in rows:
                    rows[other.series] = self._lake.read_partition(other.series, partition, other.content_sha256)
            except StoredDataError as error:
                findings[check.name] = not_judged(str(error))
                continue
            if check.gather not in gathered:
                gathered[check.gather] = check.gather(series, pieces())
            found = check.run(gathered[check.gather], rows[other.series], partition, series)
            findings[check.name] = Finding(
                found.passed, {WITH: other.series.dataset, **found.evidence, WITH_SHA256: other.content_sha256}
            )
        return findings

    def outdated(self, series: Series, partitions: Sequence[Partition]) -> list[Partition]:
        """Return the stored days whose comparisons were made with other files than those stored now, or not at all."""
        checks = in_lake(series)
        if not checks or not partitions:
            return []
        stored = self._stored(series, checks, partitions)
        with self._ledger.transaction() as connection:
            findings_of = findings_by_day(connection, series, partitions)
        result = []
        for partition, findings in findings_of.items():
            others = stored.get(partition, {})
            for check in checks:
                best = next((others[one] for one in check.counterparts(series) if one in others), None)
                known = findings.get(check.name, {})
                now = (best.series.dataset, best.content_sha256) if best else (None, None)
                if (known.get(WITH), known.get(WITH_SHA256)) != now:
                    result.append(partition)
                    break
        return result
