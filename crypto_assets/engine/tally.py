"""The counts of a run, and the days that it left incomplete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from crypto_assets.engine.day_outcomes import DaysOf, Target
from crypto_assets.ledger.acknowledgements import accepted
from crypto_assets.model import COMPLETE_STATES, Outcome, Partition, State, TrackDay

if TYPE_CHECKING:
    from crypto_assets.engine.publication.update_findings import Revised
    from crypto_assets.ledger.partitions import Ledger


@dataclass(slots=True)
class Tally:
    """The counts of a run; `problems` are the outcomes of incomplete days, without evidence.

    `accepted` are the incomplete days that a person has acknowledged in this state; they are no failure of the run. `revised`
    are the days whose state the run's second look has changed, also days of other runs.
    """

    states: dict[State, int] = field(default_factory=dict)
    rows: int = 0
    stored_bytes: int = 0
    unchanged: int = 0
    problems: list[Outcome] = field(default_factory=list)
    accepted: list[Outcome] = field(default_factory=list)
    revised: list[TrackDay] = field(default_factory=list)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.states[outcome.state] = self.states.get(outcome.state, 0) + 1
            self.unchanged += outcome.unchanged
            if outcome.stored:
                self.rows += outcome.stored.rows
                self.stored_bytes += outcome.stored.size_bytes
            if outcome.state not in COMPLETE_STATES:
                self.problems.append(replace(outcome, evidence={}, findings={}))

    def revise(self, changed: Mapping[TrackDay, Revised], targets: Sequence[Target]) -> None:
        """Count days by their final state: an outage found at the end of the run explains missing rows.

        Accepted days count as problems until `accept` is called again.

        Args:
            changed: the new state of days; it may include days of other runs.
            targets: of the run.
        """
        problems, known = [], set()
        for outcome in [*self.problems, *self.accepted]:
            known.add(outcome.track_day)
            now = changed.get(outcome.track_day)
            if now is None:
                problems.append(outcome)
                continue
            self.states[outcome.state] -= 1
            self.states[now.state] = self.states.get(now.state, 0) + 1
            if now.state not in COMPLETE_STATES:
                problems.append(replace(outcome, state=now.state, reason=now.reason))
        of_run = DaysOf(targets)
        for day, now in changed.items():
            was_complete = now.was in COMPLETE_STATES and now.state not in COMPLETE_STATES
            if was_complete and day in of_run and day not in known:
                # After a failed attempt the ledger keeps the stored version; the run has counted the attempt.
                counted = now.was if self.states.get(now.was) else State.NO_DATA
                self.states[counted] = self.states.get(counted, 0) - 1
                self.states[now.state] = self.states.get(now.state, 0) + 1
                problems.append(Outcome(day.series, Partition(day.symbol, day.day), now.state, now.reason))
        self.problems, self.accepted = problems, []

    def accept(self, ledger: Ledger) -> None:
        """Count days separately that a person has acknowledged and that are still in that state."""
        found = [*self.problems, *self.accepted]
        held = accepted(ledger, [(*outcome.track_day, outcome.state) for outcome in found])
        self.problems, self.accepted = [], []
        for outcome in found:
            (self.accepted if outcome.track_day in held else self.problems).append(outcome)

    @property
    def days(self) -> int:
        return sum(self.states.values())

    def __add__(self, other: Tally) -> Tally:
        states = {state: self.states.get(state, 0) + other.states.get(state, 0) for state in self.states | other.states}
        return Tally(
            states,
            self.rows + other.rows,
            self.stored_bytes + other.stored_bytes,
            self.unchanged + other.unchanged,
            self.problems + other.problems,
            self.accepted + other.accepted,
            self.revised + other.revised,
        )
