"""No row appears twice in the file.

A row equal to another one in every column adds nothing: it is dropped and counted here. Two different rows with one key
contradict each other, and `unique_key` refuses the day.

A file may contain rows of a neighbouring day: the first bar of the next month, or a bar that opens some seconds off
midnight. They are left to that day's own file, and shown here whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crypto_assets import datasets
from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.checks._words import counted
from crypto_assets.model import Finding, Partition, Series, Severity

if TYPE_CHECKING:
    from crypto_assets.rows.arrange import Arrangement


def duplicate_rows(arrangement: Arrangement, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """No row equals another one in every column, and none belongs to a day outside the file's period."""
    evidence: dict[str, Any] = {}
    if arrangement.doubles:
        evidence |= {"doubles": arrangement.doubles, "examples": list(arrangement.double_rows)}
    if arrangement.seam_rows:
        evidence |= {"seam_rows": arrangement.seam_rows, "seam_examples": list(arrangement.seam_shown)}
    return Finding(not evidence, evidence)


def words(evidence: Mapping[str, Any], series: Series) -> str:
    parts = []
    if doubles := evidence.get("doubles"):
        first = _first(evidence["examples"], series)
        parts.append(f"{counted(doubles, 'duplicate row')}, equal in every column, dropped; the first: {first}")
    if seam := evidence.get("seam_rows"):
        first = _first(evidence["seam_examples"], series)
        parts.append(f"{counted(seam, 'row')} of a neighbouring day, left to that day's own file; the first: {first}")
    return "; ".join(parts) or "no row appears twice"


def _first(rows: Sequence[Mapping[str, str]], series: Series) -> str:
    # Postgres does not keep the key order of objects.
    return ", ".join(f"{name} {rows[0][name]}" for name in datasets.get(series.table).schema.names[:3])


CHECK = ArrangementCheck(
    name="duplicate_rows",
    severity=Severity.WARN,
    description="No row appears twice in the file; exact duplicates are dropped.",
    words=words,
    judge=duplicate_rows,
)
