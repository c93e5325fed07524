"""Updates findings of stored days whose rows stay the same: because a day beside them changed, or a check ran again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import psycopg

from crypto_assets.causes.excuses import EXCUSABLE, Excuses, excuse_in_words
from crypto_assets.engine.publication.neighbour_days import EMPTY, Near
from crypto_assets.engine.publication.validation import blocking, degrading, in_words
from crypto_assets.engine.rest.rest_days import state_of_rest, words_of
from crypto_assets.ledger.findings import (
    NewFindings,
    StoredFindings,
    days_with_findings,
    stored_findings,
    write_findings,
)
from crypto_assets.ledger.outcome_rows import as_json, failed_names, from_stored, stored_form
from crypto_assets.model import DAY, NOT_JUDGED, STORED_FILE, Finding, Partition, Series, State

_REVISED = (State.AVAILABLE, State.DEGRADED, State.PROVISIONAL, State.MISSING)
"""States of stored days that follow from their findings; a `corrected` day stays so until it is collected.

A stored day is `missing` while its file is damaged or deleted.
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """New findings of a stored day, by name; valid for the file with this sha256 only.

    `whole`: these are all findings of the day; otherwise findings of other checks stay.
    """

    partition: Partition
    content_sha256: str
    findings: Mapping[str, Finding]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Revised:
    """The state of a day now and before; findings are those of a stored day."""

    state: State
    reason: str
    was: State
    findings: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return self.state is not self.was


def revise(
    connection: psycopg.Connection[Any], series: Series, revisions: Sequence[Revision]
) -> dict[Partition, Revised]:
    """Update findings of stored days, and the state and reason that follow; return these by partition.

    Outages of the exchange are applied again as excuses.

    Days that have another file by now are left alone, with their states. If a check now passes that failed or could not be
    judged, or the reverse, Dagster must hear of it: the record counts as not reported.
    """
    states, changes = _weighed(connection, series, revisions, lock=True)
    write_findings(connection, series, changes)
    return states


def changing(connection: psycopg.Connection[Any], series: Series, revisions: Sequence[Revision]) -> list[Revision]:
    """Return the revisions that would change the stored findings of their days now; nothing is locked."""
    _, changes = _weighed(connection, series, revisions, lock=False)
    places = {Partition(one.symbol, one.day) for one in changes}
    return [revision for revision in revisions if revision.partition in places]


def _weighed(
    connection: psycopg.Connection[Any], series: Series, revisions: Sequence[Revision], *, lock: bool
) -> tuple[dict[Partition, Revised], list[NewFindings]]:
    """Return the new states of some days by their revisions, and the findings of those that change."""
    if not revisions:
        return {}, []
    wanted = {revision.partition: revision for revision in revisions}
    rows = [
        row
        for row in stored_findings(connection, series, wanted, lock=lock)
        if row.content_sha256 == wanted[Partition(row.symbol, row.day)].content_sha256
    ]
    excuses = Excuses.read(connection, series, [Partition(row.symbol, row.day) for row in rows])
    changes: list[NewFindings] = []
    states: dict[Partition, Revised] = {}
    for row in rows:
        revision = wanted[Partition(row.symbol, row.day)]
        new = {name: stored_form(finding) for name, finding in revision.findings.items()}
        merged = new if revision.whole else {**row.findings, **new}
        times = None
        if row.first_time is not None and row.last_time is not None:
            times = _Times(row.first_time, row.last_time, row.absent)
        weighed = excuses.weigh(revision.partition, from_stored(merged), times)
        # In the form in which they will be read back: other number types and tuples are no change.
        merged = json.loads(as_json({name: stored_form(finding) for name, finding in weighed.items()}))
        state, reason = _state(series, row, merged)
        states[revision.partition] = Revised(state, reason, State(row.state), from_stored(merged))
        if (merged, state, reason) != (row.findings, State(row.state), row.reason):
            failed = failed_names(merged)
            before = (failed_names(row.findings), _open(row.findings), row.state)
            tell = (failed, _open(merged), state) != before
            changes.append(NewFindings(row.symbol, row.day, as_json(merged), failed, state.value, reason, tell))
    return states, changes


@dataclass(frozen=True, slots=True)
class _Times:
    """The part of a stored day's profile that excuses need."""

    first_time: datetime
    last_time: datetime
    absent: bytes | None


def revise_beside(
    connection: psycopg.Connection[Any], series: Series, near: Near, partitions: Sequence[Partition]
) -> None:
    """Check the seams of stored days beside some partitions again; `near` has both."""
    mine = {(partition.symbol, partition.day) for partition in partitions}
    reach = [n * DAY for n in range(-EMPTY - 1, EMPTY + 2)]
    beside = {(symbol, day + step) for symbol, day in mine for step in reach} - mine
    revisions = []
    for symbol, day in sorted(beside):
        profile = near.get(symbol, day)
        if profile is not None:
            partition = Partition(symbol, day)
            revisions.append(Revision(partition, profile.content_sha256, near.seams(series, partition)))
    revise(connection, series, [revision for revision in revisions if revision.findings])


def excusable(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, first: date, last: date
) -> dict[Series, list[Revision]]:
    """Return the stored days of a market with missing rows, as empty revisions that only apply outages again.

    Args:
        first, last: days whose outages may have changed, both included.
    """
    found: dict[Series, list[Revision]] = {}
    for one in days_with_findings(connection, exchange, market_type, first, last, EXCUSABLE):
        revision = Revision(Partition(one.symbol, one.day), one.content_sha256, {})
        found.setdefault(Series.named(exchange, market_type, one.dataset), []).append(revision)
    return found


def _open(findings: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {name for name, kept in findings.items() if NOT_JUDGED in kept}


def _state(series: Series, row: StoredFindings, stored: Mapping[str, Mapping[str, Any]]) -> tuple[State, str]:
    """Return the state and reason of a stored day from its findings."""
    if State(row.state) not in _REVISED:
        return State(row.state), row.reason
    findings = from_stored(stored)
    # Stored rows that break a present rule stay, but the day is not complete: `fill` collects it again.
    if STORED_FILE in findings:
        return State.MISSING, str(findings[STORED_FILE].evidence.get("problem", ""))
    failed = blocking(series, findings) + degrading(series, findings)
    reason, missing = words_of(row.evidence) if row.source == "rest" else ("", "")
    words = "; ".join(filter(None, [reason, missing, in_words(series, failed, findings), excuse_in_words(findings)]))
    if failed or missing:
        return State.DEGRADED, words
    return (state_of_rest(row.evidence) if row.source == "rest" else State.AVAILABLE), words
