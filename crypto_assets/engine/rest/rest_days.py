"""The days that are collected from REST: which are allowed, what they become, and how they continue.

A day from REST is stored like any other. Its evidence says why the archive did not have it and up to which instant it is
complete (`until`). It continues from there when it is collected again. From a feed that is not final it is `provisional`, and
is replaced when the archive has it. From a final feed (`final` in the evidence) it is `available` once it is over and whole.
A day that is stored from the archive is never requested.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.holders import Asked
from crypto_assets.engine.archive.lifetime import LIFE
from crypto_assets.engine.archive.locate import nothing_due
from crypto_assets.engine.day_outcomes import Day, Target, quarantine
from crypto_assets.engine.instruments import converted
from crypto_assets.engine.rest.feed import RestFeed, RestRows
from crypto_assets.engine.rest.rest_edges import of_rest
from crypto_assets.engine.rest.symbol_life import Reported
from crypto_assets.errors import (
    OF_THIS_PROCESS,
    REFUSALS,
    CryptoAssetsError,
    InvalidRows,
    MalformedFile,
    PermanentError,
    TransientError,
)
from crypto_assets.ledger.life_edges import cut_of
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State, StoredFile
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES, Due, due
from crypto_assets.rows.on_disk import whole

if TYPE_CHECKING:
    from crypto_assets.engine.publication.stored_file import StoredFiles
    from crypto_assets.ledger.partitions import PartitionRecord
    from crypto_assets.storage.lake import Lake

_SIZE_BYTES = {"trades": 16 << 20, "agg_trades": 16 << 20}
"""The assumed size of a day in flight; the real size is not known before."""


class RestDays:
    """The days of one run that are requested from REST; safe to use from many threads."""

    def __init__(
        self,
        feed: RestFeed,
        lake: Lake,
        files: StoredFiles,
        reported: Reported,
        anchor: Callable[[Series, str], date | None],
        now: Callable[[], datetime],
    ) -> None:
        """Prepare; `anchor` returns a day on which a stored three-day bar opens, None if none is known."""
        self._feed = feed
        self._lake = lake
        self._files = files
        self._reported = reported
        self._anchor = anchor
        self._now = now

    def serves(self, target: Target) -> bool:
        """Return whether REST may be used for a target at all."""
        return self._feed.serves(target.series, target.symbol)

    def may_have(self, target: Target, archive: Outcome, record: PartitionRecord | None, now: datetime) -> bool:
        """Return whether REST is used for a day that the archive does not have: late, missing or refused, up to today."""
        if archive.partition.day > now.astimezone(UTC).date() or not self.serves(target):
            return False
        if record is not None and record.path is not None and record.source == "archive":
            return False
        if archive.state not in (State.PENDING, State.MISSING):
            return False
        cause = archive.evidence.get("error")
        if cause == "UnknownSymbol":  # perhaps listed recently: the archive follows days later
            return now < sources.expected_by(target.series, archive.partition.day)
        return cause is None or cause in REFUSALS or "listed" in archive.evidence

    def holder(self, target: Target, archive: Outcome) -> Asked:
        """Return a day to ask the feed for."""
        return Asked(archive, _SIZE_BYTES.get(target.series.table, 1 << 20))

    def fetch(self, target: Target, archive: Outcome, record: PartitionRecord | None) -> Day:
        """Return a day from REST, continuing its stored rows; if REST has none, with the archive's outcome."""
        started = time.perf_counter()
        stored = self._stored(target, record)
        try:
            found = self._feed.day(
                target.series,
                archive.partition,
                stored[0] if stored else datasets.get(target.series.table).schema.empty_table(),
                until_of(record) if stored and record else None,
            )
        except OF_THIS_PROCESS:
            raise
        except (MalformedFile, InvalidRows) as error:
            key, days = f"rest/{target.series}/{archive.partition}", [archive.partition.day]
            kept = quarantine(self._lake, key, str(error).encode(), error, target, days)
            where = {"not_kept": kept.problem} if kept.problem else {"quarantine": kept.path}
            return self._nothing(target, archive, str(error), error=type(error).__name__, **where)
        except CryptoAssetsError as error:
            if error.evidence.get("gone"):  # nobody will have it again
                asked = {"rest": {"reason": str(error), "error": type(error).__name__}}
                gone = Outcome(target.series, archive.partition, State.MISSING, str(error), asked)
                return Day(target, archive.partition, outcome=gone)
            return self._nothing(target, archive, str(error), error=type(error).__name__)
        try:
            day = self._day(target, archive, found, stored, record)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:  # a question about the symbol's life got no answer
            return self._nothing(target, archive, str(error), error=type(error).__name__)
        day.fetch_s = time.perf_counter() - started
        return day

    def _day(
        self,
        target: Target,
        archive: Outcome,
        found: RestRows,
        stored: tuple[pa.Table, SourceFile, StoredFile] | None,
        record: PartitionRecord | None,
    ) -> Day:
        if found.rows.num_rows == 0:
            rule = self._due(target.series, archive.partition)
            if rule.opens is False:
                outcome = nothing_due(target.series, target.symbol, archive.partition.day, rule)
                return Day(target, archive.partition, outcome=outcome)
            if not sources.archives(target.series) and found.ended and not found.missing:
                return Day(target, archive.partition, outcome=self._no_rows(target, archive.partition))
            why = found.missing or "it has no rows of this day"
            if target.series.timeframe in LONG_TIMEFRAMES and not found.missing:
                why = f"it has no bar of this day; {rule.because}"
            return self._nothing(target, archive, why)
        evidence: dict[str, Any] = {
            "until": found.until.isoformat(),
            "ended": found.ended,
        }
        if sources.archives(target.series):
            evidence["archive"] = {"state": archive.state.value, "reason": archive.reason, **archive.evidence}
        if self._feed.is_final(target.series):
            evidence["final"] = True
        if found.missing:
            evidence["missing"] = found.missing
        if found.ended and not found.missing:
            evidence |= self._edges(target.series, archive, found.rows)
        before = record.evidence.get("missing_ids", 0) if stored and record else 0
        if before + found.missing_ids:
            evidence["missing_ids"] = before + found.missing_ids
        if stored and stored[0].equals(found.rows):
            rows, source, file = stored
            return _marked(target, archive.partition, rows, source, evidence, known=file)
        source, content = self._feed.source_of(target.series, target.symbol, found.rows)
        source = converted(source, found.instrument)
        return _marked(target, archive.partition, found.rows, source, evidence, content=content)

    def _no_rows(self, target: Target, partition: Partition) -> Outcome:
        """Return the outcome of a past day without rows in the only feed of its series."""
        series, symbol, now = target.series, target.symbol, self._now().isoformat()
        asked = {"exchange_asked": now, "looked_at": now}
        first, latest = self._reported.first(series, symbol), self._reported.latest(series, symbol)
        if first is not None and partition.end <= first:
            reason = f"not listed before {first:%Y-%m-%d %H:%M} UTC: the exchange's first row"
            evidence = {LIFE: "before", "exchange_first": first.isoformat(), **asked}
            return Outcome(series, partition, State.NO_DATA, reason, evidence)
        if latest.ended and latest.until is not None and latest.until <= partition.start:
            reason = f"delisted: the exchange says {latest.status}, its last row is of {latest.time:%Y-%m-%d %H:%M} UTC"
            evidence = {LIFE: "after", "exchange_status": latest.status, **asked}
            return Outcome(series, partition, State.NO_DATA, reason, evidence)
        silent_bars = sources.facts(series).silent_bars == "published"
        if (series.table == "ohlcv" and silent_bars) or series.table == "funding_rates":
            row = datasets.get(series.table).row
            reason = f"every day of a listed symbol has a {row}; {series.exchange} answers, and has none of this day"
            return Outcome(series, partition, State.MISSING, reason, asked)
        reason = f"{series.exchange} has no rows of this day"
        return Outcome(series, partition, State.NO_DATA, reason, asked)

    def _nothing(self, target: Target, archive: Outcome, why: str, **evidence: Any) -> Day:
        """Return a day without new rows from REST: the archive's outcome, and the answer of REST.

        Of a series without an archive only the answer counts: a day that should have been answered by now is missing.
        """
        rest = {"rest": {"reason": why, **evidence}}
        if sources.archives(target.series):
            outcome = replace(archive, reason=f"{archive.reason}; REST: {why}", evidence={**archive.evidence, **rest})
        else:
            is_due = self._now() >= sources.expected_by(target.series, archive.partition.day)
            state = State.MISSING if is_due else State.PENDING
            outcome = Outcome(target.series, archive.partition, state, why, {**archive.evidence, **rest})
        return Day(target, archive.partition, outcome=outcome)

    def _due(self, series: Series, partition: Partition) -> Due:
        """Return whether a bar opens on a day; if no three-day bar is stored, the exchange's first bar decides."""
        anchor = self._anchor(series, partition.symbol)
        if anchor is None and series.timeframe == "3d":
            with suppress(TransientError, PermanentError):
                first = self._reported.first(series, partition.symbol)
                anchor = first.date() if first else None
        return due(series.timeframe or "", partition.day, anchor)

    def _edges(self, series: Series, archive: Outcome, rows: pa.Table) -> dict[str, Any]:
        """Return where the symbol begins or ends in a day that is over, if the exchange says so."""
        partition = archive.partition
        # A symbol that the archive lists before a day does not begin on it: no request is needed.
        may_begin = str(archive.evidence.get("first_listed", "9999")) >= str(partition.day)
        try:
            span = of_rest(self._reported, series, partition, rows, self._now(), may_begin=may_begin)
            return span.cut(partition)[1]
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return {}

    def _stored(self, target: Target, record: PartitionRecord | None) -> tuple[pa.Table, SourceFile, StoredFile] | None:
        """Return the lake's file of a day from REST, if it is the one in the ledger."""
        if record is None or record.source != "rest" or record.content_sha256 is None:
            return None
        found = self._files.open(target.series, record)
        if found.rows is None or found.source is None or found.stored is None:
            return None
        return whole(found.rows), found.source, found.stored


def not_over(target: Target, day: Any) -> Outcome:
    """Return the archive's outcome for today."""
    return Outcome(target.series, Partition(target.symbol, day), State.PENDING, "the day has not ended")


def until_of(record: PartitionRecord) -> datetime | None:
    """Return the instant up to which a stored day from REST is complete."""
    return _until(record.evidence)


def again(target: Target, rows: pa.Table, source: SourceFile, stored: StoredFile, record: PartitionRecord) -> Day:
    """Return a day of REST from the lake, to be checked and loaded."""
    return _marked(target, Partition(target.symbol, record.day), rows, source, record.evidence, known=stored)


def _marked(
    target: Target,
    partition: Partition,
    rows: pa.Table,
    source: SourceFile,
    evidence: Mapping[str, Any],
    *,
    content: bytes = b"",
    known: StoredFile | None = None,
) -> Day:
    """Return a day with the partition, reason and missing rows that follow from its evidence."""
    reason, missing = words_of(evidence)
    return Day(
        target,
        _cut(partition, evidence, from_rest=True),
        rows,
        source,
        (content,) if content else (),
        known,
        reason=reason,
        missing=missing,
        evidence=evidence,
    )


def partition_of(record: PartitionRecord) -> Partition:
    """Return the partition of a stored day, with the span in which rows are expected."""
    return _cut(Partition(record.symbol, record.day), record.evidence, from_rest=record.source == "rest")


def _cut(partition: Partition, evidence: Mapping[str, Any], *, from_rest: bool) -> Partition:
    since, until = cut_of(evidence)
    if from_rest and not evidence.get("ended"):
        until = _until(evidence) or until
    return replace(partition, since=since, until=until)


def state_of_rest(evidence: Mapping[str, Any]) -> State:
    """Return the state of a day from REST whose rows are good and complete, from its evidence."""
    return State.AVAILABLE if evidence.get("final") and evidence.get("ended") else State.PROVISIONAL


def words_of(evidence: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a day is from REST, and why some of its rows are missing, from its evidence."""
    until = _until(evidence)
    archive = evidence.get("archive")
    reason = f"archive: {archive.get('reason', 'unknown')}; rows from REST" if archive else "rows from REST"
    missing = evidence.get("missing", "")
    if until and not evidence.get("ended"):
        # The rest of an unfinished day lies after `until`: such a day is not partial.
        return f"{reason} up to {until:%H:%M:%S} UTC" + (f" ({missing})" if missing else ""), ""
    return "" if not archive and state_of_rest(evidence) is State.AVAILABLE else reason, missing


def _until(evidence: Mapping[str, Any]) -> datetime | None:
    return datetime.fromisoformat(evidence["until"]) if evidence.get("until") else None
