"""No row stands twice in the file.

A row that is equal to another one in every column says nothing new: it is dropped, and counted here. Two rows of one key that
differ contradict each other, and `unique_key` refuses the day. A monthly file may hold a row of the day before its month
or after it; that row is left to the file of its own day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.checks._words import counted
from crypto_assets.model import Finding, Partition, Series, Severity

if TYPE_CHECKING:
    from crypto_assets.rows.arrange import Arrangement


def duplicate_rows(arrangement: Arrangement, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """No row is equal to another one in every column, and none belongs to a day outside the file's period."""
    evidence: dict[str, Any] = {}
    if arrangement.doubles:
        evidence |= {"doubles": arrangement.doubles, "examples": list(arrangement.double_rows)}
    if arrangement.seam_rows:
        evidence |= {"seam_rows": arrangement.seam_rows, "first_seam": arrangement.first_seam}
    return Finding(not evidence, evidence)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    """Return what was found as a sentence."""
    parts = []
    if doubles := evidence.get("doubles"):
        first = evidence["examples"][0]
        shown = ", ".join(f"{name} {value}" for name, value in list(first.items())[:3])
        parts.append(f"{counted(doubles, 'duplicate row')}, equal in every column, dropped; the first: {shown}")
    if seam := evidence.get("seam_rows"):
        parts.append(
            f"{counted(seam, 'row')} of a day outside the file's period, left to that day's own file; "
            f"the first: {evidence['first_seam']}"
        )
    return "; ".join(parts) or "no row stands twice"


CHECK = ArrangementCheck(
    name="duplicate_rows",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.WARN,
    description="No row stands twice in the file; exact doubles are dropped.",
    words=words,
    judge=duplicate_rows,
)
