"""The result for one partition in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crypto_assets.model.series import Series, TrackDay
from crypto_assets.text.urls import masked, masked_in
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.model.correction import Correction
    from crypto_assets.model.finding import Finding
    from crypto_assets.model.partition import Partition
    from crypto_assets.model.profile import Profile
    from crypto_assets.model.provenance import SourceFile, StoredFile
    from crypto_assets.model.state import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one partition in one run.

    `reason` is one line for people; it is empty if the partition is complete and nothing needs saying. `evidence` is the
    reason for programs. `unchanged`: the stored file already was the archive's present one. `warehouse_rows` counts the rows
    of the day in each table that was loaded. `correction` says what changed if another version was stored before.
    `judged_by` names what the findings depend on (`engine/publication/standing.py`); it is empty where a day is checked again
    each time. `stands`: the ledger and Dagster already have all of this; nothing was checked or written again.
    """

    series: Series
    partition: Partition
    state: State
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: SourceFile | None = None
    stored: StoredFile | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    unchanged: bool = False
    warehouse_rows: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    correction: Correction | None = None
    profile: Profile | None = None
    judged_by: str = ""
    stands: bool = False

    def __post_init__(self) -> None:
        """Hide passwords and terminal codes: outcomes go into the ledger, Dagster's events and reports."""
        object.__setattr__(self, "reason", visible(masked(self.reason)))
        object.__setattr__(self, "evidence", masked_in(self.evidence))

    @property
    def track_day(self) -> TrackDay:
        return TrackDay(self.series, self.partition.symbol, self.partition.day)

    @property
    def failed_checks(self) -> list[str]:
        return [name for name, finding in self.findings.items() if not finding.passed]
