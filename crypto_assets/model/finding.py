"""The result of a check on a partition, and what a failure means for the partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SHOWN_ROWS = 50
"""The most rows that a finding shows."""

NOT_JUDGED = "not_judged"

STORED_FILE = "stored_file"
"""The name of the finding for a day whose file is damaged or deleted. No check has it: there are no rows to check."""


class Severity(StrEnum):
    """What a failed check means for the partition."""

    BLOCK = "block"  # rows are wrong: nothing is published, the bytes go to quarantine/
    DEGRADE = "degrade"  # rows are right but some are missing: published and marked
    WARN = "warn"  # worth a look; the state stays


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check on one partition; `evidence` holds JSON-serialisable numbers and short texts.

    Rows in the evidence are lists of mappings from column to value, at most `SHOWN_ROWS` rows.
    """

    passed: bool
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether the check had something to compare with; if not, the finding passes and says why."""
        return NOT_JUDGED not in self.evidence


def not_judged(why: str) -> Finding:
    """Return the finding of a check that has nothing to compare the partition with."""
    return Finding(True, {NOT_JUDGED: why})
