"""Check stored days again: the rows in the lake, with the present checks, without collecting.

Small days are checked in batches, as when they were collected. A day of more than `PIECEMEAL_ROWS` rows is read in pieces:
memory follows the piece. The findings replace the earlier ones in the ledger, and the day's state follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.engine.day_outcomes import Target
from crypto_assets.engine.flow import BATCH_DAYS, BATCH_ROWS
from crypto_assets.engine.publication.cross_series import Comparer, RowsOfDay, asked_before
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.engine.publication.neighbour_days import read_near
from crypto_assets.engine.publication.publication_delay import Delays
from crypto_assets.engine.publication.storer import OnBatch
from crypto_assets.engine.publication.update_findings import Revised, Revision, revise, revise_beside
from crypto_assets.engine.publication.validation import Verdict, folds, validate, validate_pieces
from crypto_assets.engine.rest.rest_days import partition_of
from crypto_assets.engine.run_context import RunContext
from crypto_assets.engine.tally import Tally
from crypto_assets.errors import Stopped, StoredDataError
from crypto_assets.ledger.known_days import count_stored
from crypto_assets.ledger.lakes import lost_days, require_lake
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.ledger.progress import ProgressWriter, RunState
from crypto_assets.machine.allocators import use_steady_allocators
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import (
    STORED_FILE,
    STORED_STATES,
    Finding,
    Outcome,
    Partition,
    Series,
    SourceFile,
    State,
    StoredFile,
    parts_of,
)
from crypto_assets.quality.compare_sources import SourceComparer
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets.storage.patience import outlast

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger, PartitionRecord
    from crypto_assets.storage.lake import Lake

PIECEMEAL_ROWS = 500_000
"""A day with more rows is checked in pieces."""


@dataclass(slots=True)
class _Read:
    """A stored day with its rows, or the reason why it cannot be read."""

    record: PartitionRecord
    partition: Partition
    rows: pa.Table | None = None
    problem: str = ""


_CHECKED_STATES = sorted({*STORED_STATES, State.MISSING})
"""The states of days that may have a file; a missing day has one that was damaged."""


class Validator:
    """Checks days of one lake and ledger again.

    Args:
        source_comparer: also compares with the monthly file or REST; without it earlier findings of these comparisons stay.
        on_batch: called with the outcomes of each batch and its rows (None for days read in pieces).
    """

    def __init__(
        self,
        lake: Lake,
        ledger: Ledger,
        context: RunContext | None = None,
        *,
        source_comparer: SourceComparer | None = None,
        on_batch: OnBatch | None = None,
    ) -> None:
        context = context or RunContext()
        self._lake = lake
        self._ledger = ledger
        self._source_comparer = source_comparer
        self._run_id = context.run_id
        self._kind = context.kind
        self._on_batch: OnBatch = on_batch or (lambda *_: None)
        self._stop = context.stop
        self._comparer = Comparer(lake, ledger)
        self._delays = Delays(ledger)
        self._journal = Journal(lake, ledger)

    def run(self, targets: Sequence[Target]) -> Tally:
        """Check the stored days of some targets; other days are skipped.

        Raises:
            Stopped: `stop` was set; the findings so far are kept.
            PostgresUnavailable: the server does not answer.
            StoredDataError: the lake is not the ledger's and does not have all days; nothing was judged.
        """
        outlast(self._require_lake, targets)
        use_steady_allocators()
        tally, run_id = Tally(), self._run_id or f"validate-{time.time_ns()}"
        progress = ProgressWriter(self._ledger, run_id, self._kind, "checks", outlast(self._count, targets))
        progress.begin()
        state = RunState.FAILED
        try:
            with DaemonPool(4, "lake") as readers:
                for target in targets:
                    for batch in self._batches(target, readers):
                        if self._stop.is_set():
                            raise Stopped("the run was stopped")
                        outcomes = outlast(self._check, target.series, batch)
                        tally.add(outcomes)
                        outlast(self._on_batch, outcomes, [day.rows for day in batch])
                        progress.count(
                            done=tally.days,
                            failed=len(tally.problems),
                            rows=tally.rows,
                            size_bytes=tally.stored_bytes,
                            last_partition=f"{target.series} {outcomes[-1].partition}",
                        )
            outlast(tally.accept, self._ledger)
            state = RunState.FAILED if tally.problems else RunState.DONE
        finally:
            progress.state(RunState.CANCELLED if self._stop.is_set() else state)
        return tally

    def _require_lake(self, targets: Sequence[Target]) -> None:
        """Refuse another lake: judging by it would spoil the records of the right one."""
        require_lake(self._ledger, self._lake)
        days = [day for target in targets for day in (target.days[0], target.days[-1])]
        tracks = {target.track for target in targets}
        lost = lost_days(self._ledger, self._lake, tracks, min(days, default=None), max(days, default=None))
        if lost.other and lost.reasons:
            raise StoredDataError(lost.notice)

    def _count(self, targets: Sequence[Target]) -> int:
        """Return how many days `run` will check."""
        with self._ledger.transaction() as connection:
            return sum(count_stored(connection, target.track, target.days, _CHECKED_STATES) for target in targets)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def _batches(self, target: Target, readers: Executor) -> Iterator[list[_Read]]:
        """Yield the stored days of a target, in order, in batches of about `BATCH_ROWS` rows."""
        wanted = set(target.days)
        records = [
            record
            for record in self._ledger.partitions(
                exchange=target.series.exchange,
                market_type=target.series.market_type,
                symbols=[target.symbol],
                datasets=[target.series.dataset],
                first=target.days[0],
                last=target.days[-1],
                states=_CHECKED_STATES,
            )
            if record.day in wanted and record.path is not None
        ]
        batch: list[PartitionRecord] = []
        for record in records:
            rows = record.rows or 0
            if batch and (sum(r.rows or 0 for r in batch) + rows > BATCH_ROWS or len(batch) == BATCH_DAYS):
                yield list(readers.map(lambda one: self._read(target.series, one), batch))
                batch = []
            batch.append(record)
        if batch:
            yield list(readers.map(lambda one: self._read(target.series, one), batch))

    def _read(self, series: Series, record: PartitionRecord) -> _Read:
        day = _Read(record, partition_of(record))
        if _is_large(series, record):
            return day
        try:
            day.rows, _, _ = self._lake.open(series, day.partition, record.content_sha256)
        except StoredDataError as error:
            day.problem = str(error)
        return day

    # ---- checking --------------------------------------------------------------------------------------------------

    def _check(self, series: Series, batch: Sequence[_Read]) -> list[Outcome]:
        with self._ledger.transaction() as connection:
            near = read_near(connection, series, [day.partition for day in batch])
        whole = [(day, day.rows) for day in batch if day.rows is not None]
        found: dict[Partition, tuple[Verdict, dict[str, Finding]]] = {}
        if whole:
            verdicts = validate(series, [(day.partition, rows) for day, rows in whole], near)
            compared = self._comparer.findings(series, {day.partition: _at_hand(rows) for day, rows in whole})
            for (day, rows), verdict in zip(whole, verdicts, strict=True):
                asked = self._ask(series, day.record, _at_hand(rows))
                found[day.partition] = verdict, {**compared[day.partition], **asked}
        for day in batch:
            if day.rows is None and not day.problem:
                self._in_pieces(series, day, found)
        files = self._delays.findings(series, {d.partition: _source(d.record) for d in batch if d.partition in found})
        partitions = list(found)
        for day in batch:
            if day.partition in found and (profile := found[day.partition][0].profile) is not None:
                near.add(replace(profile, content_sha256=day.record.content_sha256 or ""))
        revisions = []
        for day in batch:
            sha256 = day.record.content_sha256 or ""
            if day.partition in found:
                verdict, others = found[day.partition]
                findings = {**verdict.findings, **files[day.partition], **others, **near.seams(series, day.partition)}
                revisions.append(Revision(day.partition, sha256, findings, whole=True))
            else:
                broken = {STORED_FILE: Finding(False, {"problem": day.problem})}
                revisions.append(Revision(day.partition, sha256, broken))
        folders = sorted({symbol_folder(series, day.partition.symbol) for day in batch})
        # In the order of publishing: two processes that revise days of a symbol in different orders would deadlock.
        with self._journal.alone(folders) as connection:
            profiles = [near.get(p.symbol, p.day) for p in partitions if found[p][0].profile is not None]
            write_profiles(connection, series, [profile for profile in profiles if profile is not None])
            states = revise(connection, series, revisions)
            revise_beside(connection, series, near, partitions)
            connection.commit()
        return [
            self._outcome(series, day, revision.findings, states.get(day.partition))
            for day, revision in zip(batch, revisions, strict=True)
        ]

    def _in_pieces(
        self, series: Series, day: _Read, found: dict[Partition, tuple[Verdict, dict[str, Finding]]]
    ) -> None:
        try:
            with self._lake.pieces(series, day.partition, day.record.content_sha256) as rows:
                pieces: RowsOfDay = lambda: rows  # noqa: E731
                verdict = validate_pieces(series, day.partition, rows)
                compared = self._comparer.findings(series, {day.partition: pieces})[day.partition]
                found[day.partition] = verdict, {**compared, **self._ask(series, day.record, pieces)}
        except StoredDataError as error:
            day.problem = str(error)

    def _ask(self, series: Series, record: PartitionRecord, pieces: RowsOfDay) -> dict[str, Finding]:
        """Return the findings of the selected sources now, and the earlier findings of the others on this file."""
        asked = {} if self._source_comparer is None else self._source_comparer.findings(series, record, pieces)
        return asked_before(series, record.findings) | asked

    def _outcome(self, series: Series, day: _Read, findings: Mapping[str, Finding], now: Revised | None) -> Outcome:
        record = day.record
        stored = StoredFile(record.path or "", record.rows or 0, record.size_bytes or 0, record.content_sha256 or "")
        if now is None:  # collected again meanwhile: that outcome stays
            return Outcome(series, day.partition, record.state, record.reason, record.evidence, None, stored)
        # The file is lost, not partial: the ledger keeps its state, people read `missing`.
        state = State.MISSING if day.problem else now.state
        weighed = {name: now.findings.get(name, finding) for name, finding in findings.items()}
        return Outcome(
            series,
            day.partition,
            state,
            now.reason,
            record.evidence,
            _source(record),
            stored,
            weighed,
            unchanged=True,
        )


def _is_large(series: Series, record: PartitionRecord) -> bool:
    return (record.rows or 0) > PIECEMEAL_ROWS and folds(series)


def _at_hand(rows: pa.Table) -> RowsOfDay:
    return lambda: [rows]


def _source(record: PartitionRecord) -> SourceFile:
    return SourceFile(
        record.source_key or "",
        record.source_size_bytes or 0,
        record.source_etag or "",
        record.source_sha256 or "",
        record.source_published_digest,
        record.source_last_modified,
        record.source or "archive",
        parts_of(record.source_files, record.source or "archive"),
        record.source_contract_size,
    )
