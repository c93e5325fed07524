"""Locates the days of a target and fetches their rows, from archive, REST or the lake. Runs in threads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.by_name import probe
from crypto_assets.engine.archive.download import withheld
from crypto_assets.engine.archive.empty_days import why_empty
from crypto_assets.engine.archive.files import shows_no_version
from crypto_assets.engine.archive.finder import Finder
from crypto_assets.engine.archive.holders import Asked, Files, Holder, Stored
from crypto_assets.engine.archive.life_span import WHOLE, LifeSpan, edges_in
from crypto_assets.engine.archive.lifetime import LIFE, keep_what_was_said
from crypto_assets.engine.archive.locate import Located, nothing_due
from crypto_assets.engine.archive.read_files import RefusedFile, SharedFiles, read_files
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.day_outcomes import Day, Target, quarantine_files, refused
from crypto_assets.engine.instruments import InstrumentsOfDays, needs_instrument, no_instrument
from crypto_assets.engine.publication.standing import may_stand
from crypto_assets.engine.publication.stored_file import StoredFiles
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.engine.rest.rest_days import RestDays, again, not_over, partition_of
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.errors import (
    OF_THIS_PROCESS,
    CryptoAssetsError,
    NoRows,
)
from crypto_assets.model import (
    ArchiveObject,
    Outcome,
    Partition,
    Series,
    SourceFile,
    State,
)
from crypto_assets.model.provenance import same_file
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES, due
from crypto_assets.rows.on_disk import whole
from crypto_assets.rows.row_ends import fills
from crypto_assets.transport.client import Client

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import PartitionRecord

Known = dict[date, "PartitionRecord"]
"""The ledger's records of the days of one target."""


class Acquirer:
    """Locates and fetches for one run, and knows the order of feeds; every method may be called from many threads."""

    def __init__(self, client: Client, collection: Collection, stores: Stores, context: RunContext) -> None:
        lake, ledger, now = stores.lake, stores.ledger, context.now
        self._standing = context.standing
        self._client = client
        self._collection = collection
        self._lake = lake
        self._ledger = ledger
        self._now = now
        self._instruments = InstrumentsOfDays(collection, ledger)
        feed = RestFeed(client, collection, self._instruments.of, now)
        self._finder = Finder(client, collection, ledger, feed, now)
        self._edges = self._finder.edges
        self._files = StoredFiles(lake, ledger)
        self._shared = SharedFiles()
        self._rest = RestDays(feed, lake, self._files, self._finder.reported, self._finder.anchor, now)

    def locate(self, target: Target) -> tuple[Located, Known]:
        """Return the objects with the days of a target, and the ledger's records of these days."""
        known = self._known(target, target.days[0], target.days[-1])
        if not target.collect:
            return Located([Stored((day,)) for day in target.days], []), known
        now = self._now()
        # No archive has today, so its listing is not read for it.
        today = now.astimezone(UTC).date() if self._rest.serves(target) else None
        located = self._finder.find(target, [day for day in target.days if day != today])
        absent, asked = [], []
        if today in target.days:
            located = Located(located.holders, [*located.absent, not_over(target, today)])
        for outcome in located.absent:
            day = outcome.partition.day
            if record := known.get(day):
                outcome = keep_what_was_said(outcome, record.evidence, record.reason, record.state)
            if self._rest.may_have(target, outcome, known.get(day), now):
                asked.append(self._rest.holder(target, outcome))
            else:
                absent.append(outcome)
        return Located([*located.holders, *asked], absent), known

    def _known(self, target: Target, first: date, last: date) -> Known:
        return {
            record.day: record
            for record in self._ledger.partitions(
                exchange=target.series.exchange,
                market_type=target.series.market_type,
                symbols=[target.symbol],
                datasets=[target.series.dataset],
                first=first,
                last=last,
            )
        }

    def fetch(self, target: Target, holder: Holder, known: Known) -> list[Day]:
        """Return the days of one holder: from the lake if the days there came from these very files, else downloaded.

        Days of a file that is unusable, or that the host lists and does not give, are requested from the feed that can be
        asked, unless the archive's own version of them is stored.
        """
        if isinstance(holder, Asked):
            (day,) = holder.days
            return [self._rest.fetch(target, holder.archive, known.get(day))]
        if isinstance(holder, Stored):
            return [self._from_lake(target, day, known.get(day), None) for day in holder.days]
        return self._fetch_files(target, holder, known)

    def _fetch_files(self, target: Target, holder: Files, known: Known) -> list[Day]:
        started = time.perf_counter()
        holder = self._with_etags(target, holder, known)
        obj, days, period = holder.obj, holder.days, holder.period
        current = [self._from_lake(target, day, known.get(day), obj) for day in days]
        was = _edges_before(known, days, obj)
        if (span := self._stored_span(target, period, current, known, was)) is not None:
            return [_with_edges(day, span) for day in current]
        (instrument, _), *others = sizes = self._instruments.by_size(target.track, days)
        if instrument is None and needs_instrument(target.series):
            unknown = no_instrument(target.track)
            return [Day(target, Partition(target.symbol, day), outcome=refused(target, day, unknown)) for day in days]
        if others:  # the contract changed within the file: each of its sizes converts its own days
            holders = [replace(holder, days=tuple(of_size)) for _, of_size in sizes]
            found = [day for one in holders for day in self._fetch_files(target, one, known)]
            return sorted(found, key=lambda one: one.partition.day)
        try:
            read = read_files(
                self._site(target.series),
                self._shared,
                target.track,
                holder,
                instrument,
            )
        except RefusedFile as refusal:
            return self._refused(target, days, refusal, known)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            failed = [refused(target, day, error) for day in days]
            if not withheld(error, sources.get(target.series.exchange)):
                return [Day(target, outcome.partition, outcome=outcome) for outcome in failed]
            listed = [replace(outcome, evidence={**outcome.evidence, "listed": obj.key}) for outcome in failed]
            return [self._fallback(target, outcome, known.get(outcome.partition.day)) for outcome in listed]
        rows, source = read.rows, read.source
        span = self._edges.again(target.series, target.symbol, period, rows, was)
        took = (time.perf_counter() - started) / len(days)
        found = []
        for day, part in zip(days, read.days, strict=True):
            partition, evidence = span.cut(Partition(target.symbol, day))
            if part.rows.num_rows:
                found.append(
                    Day(
                        target,
                        partition,
                        part.rows,
                        source,
                        read.contents,
                        fetch_s=took,
                        evidence=evidence,
                        arrangement=part.arrangement,
                    )
                )
            else:
                anchor = self._finder.anchor(target.series, target.symbol)
                outcome = why_empty(target.series, partition, source, rows, span, anchor)
                found.append(Day(target, partition, outcome=outcome))
        self._look_outside(target, obj, source, found, known)
        return [self._or_rest(target, day, known) for day in found]

    def _refused(self, target: Target, days: Sequence[date], refusal: RefusedFile, known: Known) -> list[Day]:
        """Keep the bytes of a refused file; return its days from the feed that can be asked, or with the reason."""
        kept = quarantine_files(self._lake, refusal.contents, refusal.error, target, days, refusal.obj)
        anchor = self._finder.anchor(target.series, target.symbol)
        found = []
        for day in days:
            outcome = refused(target, day, refusal.error, kept)
            rule = due(target.series.timeframe or "", day, anchor)
            if isinstance(refusal.error, NoRows) and rule.opens is False:
                outcome = nothing_due(target.series, target.symbol, day, rule)
            elif isinstance(refusal.error, NoRows) and target.series.timeframe in LONG_TIMEFRAMES:
                outcome = replace(outcome, reason=f"{outcome.reason}; {rule.because}")
            found.append(self._fallback(target, outcome, known.get(day)))
        return found

    def _with_etags(self, target: Target, holder: Files, known: Known) -> Files:
        """Return files with the etags that the host tells, if their listing shows no version and days of them are stored.

        If it does not answer, the stored days stay as they are.
        """
        stored = any(record.source_key == holder.obj.key for record in map(known.get, holder.days) if record)
        if not stored or not shows_no_version(holder.obj):
            return holder
        site = self._site(target.series)
        try:
            parts = [probe(site, holder.feed, one.key) or one for one in holder.objects]
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return holder
        return replace(holder, obj=ArchiveObject.joined(parts))

    def _site(self, series: Series) -> ArchiveSite:
        return ArchiveSite.of(self._client, self._collection, series)

    def _look_outside(
        self, target: Target, obj: ArchiveObject, source: SourceFile, days: Sequence[Day], known: Known
    ) -> None:
        """Mark days without a row in a monthly file as no data if the exchange says that the symbol was not listed then.

        If the exchange does not answer now, its earlier answer about such a day stays.
        """
        missing = [day for day in days if day.outcome and day.outcome.state is State.MISSING]
        outside = self._finder.outside(target.series, target.symbol, [day.partition.day for day in missing])
        for day in missing:
            said, before = outside.get(day.partition.day), known.get(day.partition.day)
            if said and said.state is State.NO_DATA:
                day.outcome = replace(said, evidence={**said.evidence, "object": obj.key}, source=source)
            elif _was_said(before, obj) and (said is None or "exchange_asked" not in said.evidence):
                assert day.outcome is not None and before is not None  # noqa: S101, PT018  tells the type checker
                kept = replace(day.outcome, state=State.NO_DATA, reason=before.reason, evidence=before.evidence)
                day.outcome = kept

    def _or_rest(self, target: Target, day: Day, known: Known) -> Day:
        return day if day.outcome is None else self._fallback(target, day.outcome, known.get(day.partition.day))

    def _stored_span(
        self,
        target: Target,
        period: tuple[date, date],
        current: Sequence[Day],
        known: Known,
        was: Mapping[str, Any],
    ) -> LifeSpan | None:
        """Return where a symbol begins and ends in an object, from its stored days; None if the object must be read again.

        It must be read again if a day is not stored from this very object, if a day without rows is no longer explained, or
        if a partial day may reach as far as rows of the object that are not loaded.
        """
        series, symbol = target.series, target.symbol
        if any(day.outcome is not None and day.outcome.state is not State.NO_DATA for day in current):
            return None
        stored = [day for day in current if day.outcome is None]
        reaches = current[0].partition.day == period[0], current[-1].partition.day == period[1]
        explained = [(day, life) for day in current if day.outcome and (life := day.outcome.evidence.get(LIFE))]
        if not stored:
            return None if explained else WHOLE
        expires_at = sources.get(series.exchange).expires_at(symbol)
        if not (was or explained or expires_at) and all(day.record is not None for day in stored):
            return WHOLE  # the rows fill each day
        for end, day in zip(reaches, (stored[0], stored[-1]), strict=True):
            partial = known[day.partition.day].state is State.DEGRADED
            if not end and partial and not fills(series, day.partition, day.parsed):
                return None
        rows = pa.concat_tables([day.parsed for day in (stored if len(stored) == 1 else (stored[0], stored[-1]))])
        span = self._edges.again(series, symbol, period, rows, was, reaches)
        for day, life in explained:
            edge = span.begins if life == "before" else span.ends
            outside = edge and (
                day.partition.end <= edge.time if life == "before" else edge.time <= day.partition.start
            )
            if not outside:
                return None
        return span

    def fallback(self, target: Target, outcome: Outcome) -> Day:
        """Return a day with a refused file from REST, if that is allowed; else with its outcome."""
        if not (target.collect and self._rest.serves(target)):
            return Day(target, outcome.partition, outcome=outcome)
        day = outcome.partition.day
        return self._fallback(target, outcome, self._known(target, day, day).get(day))

    def _fallback(self, target: Target, outcome: Outcome, record: PartitionRecord | None) -> Day:
        if self._rest.may_have(target, outcome, record, self._now()):
            return self._rest.fetch(target, outcome, record)
        return Day(target, outcome.partition, outcome=outcome)

    def _from_lake(self, target: Target, day: date, record: PartitionRecord | None, obj: ArchiveObject | None) -> Day:
        """Return a day from the lake if it came from `obj` (None: from any object); else a day with an outcome.

        The file's bytes are first compared with the ledger, so that a file damaged on disk is collected again, whatever is in
        it now.
        """
        partition = Partition(target.symbol, day)
        missing = _not_in_lake(target, partition)
        if record is None or (obj and not _is_of(record, obj)):
            return missing
        if record.state is State.NO_DATA:
            source = record.source_file
            known = Outcome(
                target.series, partition, State.NO_DATA, record.reason, record.evidence, source, unchanged=True
            )
            return Day(target, partition, outcome=known)
        if record.content_sha256 is None:
            return missing
        stands = self._standing and obj is not None and may_stand(record)
        found = self._files.open(target.series, record, decoded=not stands)
        if found.unread is not None:
            return Day(target, partition, found.unread, found.source, known=found.stored, record=record)
        if found.rows is None or found.stored is None or found.source is None:
            return _not_in_lake(target, partition, found.problem)
        if found.source.source == "rest":
            return again(target, whole(found.rows), found.source, found.stored, record)
        return Day(target, partition_of(record), found.rows, found.source, known=found.stored, evidence=record.evidence)


def _not_in_lake(target: Target, partition: Partition, problem: str = "") -> Day:
    """Return a day that is not in the lake, or only in an unusable file."""
    reason = problem or "not in the lake; materialise its lake asset first"
    return Day(target, partition, outcome=Outcome(target.series, partition, State.MISSING, reason))


def _edges_before(known: Known, days: Sequence[date], obj: ArchiveObject) -> dict[str, Any]:
    """Return where a symbol began and ended in an object when it was collected before, from the evidence of its days."""
    found: dict[str, Any] = {}
    for record in (known[day] for day in days if day in known):
        if _is_of(record, obj):
            found |= edges_in(record.evidence)
    return found


def _is_of(record: PartitionRecord, obj: ArchiveObject) -> bool:
    """Return whether a day came from these very files, as far as their listing shows them."""
    size, modified = record.source_size_bytes, record.source_last_modified
    return same_file(obj, record.source_key, record.source_etag, size, modified)


def _was_said(record: PartitionRecord | None, obj: ArchiveObject) -> bool:
    """Return whether an exchange said earlier that a day without rows in an object is outside a symbol's life."""
    return (
        record is not None
        and record.state is State.NO_DATA
        and _is_of(record, obj)
        and "exchange_asked" in record.evidence
        and "edge" not in record.evidence
    )


def _with_edges(day: Day, span: LifeSpan) -> Day:
    """Return a stored day with the beginning and end of its symbol's life in it."""
    if day.outcome is None:
        day.partition, day.evidence = span.cut(Partition(day.partition.symbol, day.partition.day))
    return day
