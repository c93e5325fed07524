"""The file had its rows in the order in which they are stored: by time, and by id within one instant.

Rows in another order are sorted where their ids, or the opening times of bars, prove the order
(`crypto_assets.rows.arrange`); the finding reports that this was done. Rows without ids are sorted by time, and those of one
instant stay as the file has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.checks._words import counted, row_of
from crypto_assets.model import Finding, Partition, Series, Severity
from crypto_assets.sources.published import dataset_of

if TYPE_CHECKING:
    from crypto_assets.rows.arrange import Arrangement


def file_order(arrangement: Arrangement, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """No row was in another place in the file."""
    if not arrangement.moved:
        return Finding(True)
    key = dataset_of(series).key[0]
    return Finding(False, {"moved": arrangement.moved, "sorted_by": key, "first": arrangement.first_moved})


def words(evidence: Mapping[str, Any], series: Series) -> str:
    if "moved" not in evidence:
        return "the file had the rows in order"
    by = "id" if evidence["sorted_by"].endswith("_id") else evidence["sorted_by"].replace("_", " ")
    moved = counted(evidence["moved"], row_of(series.table))
    return f"{moved} were in another order in the file; sorted by {by}; the first: {evidence['first']}"


CHECK = ArrangementCheck(
    name="file_order",
    severity=Severity.WARN,
    description="Rows are in the file by time, and by id within one instant; others are sorted where ids prove the order.",
    words=words,
    judge=file_order,
)
