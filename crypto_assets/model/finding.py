"""The result of a check on a partition, and what a failed one means for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SHOWN_ROWS = 50
"""Rows that a finding shows at most."""

NOT_JUDGED = "not_judged"

STORED_FILE = "stored_file"
"""The finding of a day whose file is damaged or gone; no check of its own, for there are no rows to check."""


class Severity(StrEnum):
    """What a failed check means for the partition."""

    BLOCK = "block"  # rows are wrong: nothing is published, the bytes go to quarantine/
    DEGRADE = "degrade"  # rows are right but not all there: published and marked
    WARN = "warn"  # worth a look; the state stays


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check on one partition; `evidence` is JSON-serialisable numbers and short texts.

    Rows that belong to the evidence are lists of mappings from column to value, at most `SHOWN_ROWS` of them.
    """

    passed: bool
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there was something to judge by; a finding that was not judged passes, and says why not."""
        return NOT_JUDGED not in self.evidence


def not_judged(why: str) -> Finding:
    """Return the finding of a check that has nothing to compare a partition with."""
    return Finding(True, {NOT_JUDGED: why})
