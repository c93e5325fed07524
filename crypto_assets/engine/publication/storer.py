"""Checks batches of days and stores them. Runs in its own thread, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from dataclasses import replace
from itertools import product

import pyarrow as pa

from crypto_assets.causes.excuses import Excuses, excuse_in_words
from crypto_assets.checks import of_kind
from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.checks.unique_key import CHECK as UNIQUE_KEY
from crypto_assets.checks.unique_key import with_rows
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.empty_days import why_empty
from crypto_assets.engine.archive.life_span import WHOLE
from crypto_assets.engine.day_outcomes import Day, DaysOf, Kept, Target, quarantine_files, refused
from crypto_assets.engine.publication.contradictions import contradicted
from crypto_assets.engine.publication.cross_series import Comparer, RowsOfDay
from crypto_assets.engine.publication.neighbour_days import Near, read_near
from crypto_assets.engine.publication.publication_delay import Delays
from crypto_assets.engine.publication.publisher import Publisher
from crypto_assets.engine.publication.second_look import judge_edges_again, reopen_contradicted, settle_silent_days
from crypto_assets.engine.publication.unchanged_days import UnchangedDays
from crypto_assets.engine.publication.update_findings import Revised
from crypto_assets.engine.publication.validation import (
    Verdict,
    blocking,
    degrading,
    folds,
    in_words,
    validate,
    validate_pieces,
)
from crypto_assets.engine.publication.wrong_edges import WrongEdges, contradicted_edges, with_edges, wrong_edges
from crypto_assets.engine.rest.rest_days import state_of_rest
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.errors import InvalidRows
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL, cut_of
from crypto_assets.model import Finding, HistoryCheck, Outcome, Partition, Series, State, StoredFile, TrackDay
from crypto_assets.model.correction import Correction
from crypto_assets.rows.numbered import NUMBERED
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.rows.row_ends import fills
from crypto_assets.storage.patience import outlast

OnBatch = Callable[[Sequence[Outcome], Sequence[pa.Table | None]], None]
"""Called after each batch with the outcomes of its days and, for stored ones, their rows."""

Fallback = Callable[[Target, Outcome], Day]
"""Called for a refused day of the archive; returns it from another source, or with its outcome."""


class Storer:
    """Takes batches of fetched days of one series through checks and storage."""

    def __init__(
        self,
        writers: Executor,
        collection: Collection,
        stores: Stores,
        run: RunContext,
        on_batch: OnBatch,
        fallback: Fallback | None = None,
    ) -> None:
        self._lake = stores.lake
        self._ledger = stores.ledger
        self._comparer = Comparer(stores.lake, stores.ledger)
        self._delays = Delays(stores.ledger)
        self._publisher = Publisher(writers, collection, stores, run.run_id)
        self._unchanged = UnchangedDays(stores.ledger, self._comparer, self._delays, self._publisher.loaded)
        self._on_batch = on_batch
        self._fallback = fallback
        self._run_id = run.run_id
        self._now = run.now

    def store(self, batch: Sequence[Day]) -> list[Outcome]:
        """Validate, write and record one batch of days of one series; return the outcome of each.

        If Postgres fails for a moment, the whole batch is repeated: uncommitted work has not happened, and committed days are
        found stored.
        """
        ordered, rows = outlast(self._stored, batch)
        outlast(self._on_batch, ordered, rows)
        return ordered

    def _stored(self, batch: Sequence[Day]) -> tuple[list[Outcome], list[pa.Table | None]]:
        started = time.perf_counter()
        series, near = batch[0].series, self._near(batch)
        found: dict[int, tuple[Outcome, pa.Table | None]] = {}
        while True:
            # Days that were just checked may have changed the weeks before other days, and the findings of those beside.
            left = [day for day in batch if id(day) not in found]
            unchanged = self._unchanged.among(series, left, near)
            changed = [day for day in left if id(day) not in unchanged]
            if not changed:
                break
            found |= self._judged(changed, near, started)
        found |= {place: (outcome, None) for place, outcome in unchanged.items()}
        outcomes, rows = zip(*(found[id(day)] for day in batch), strict=True)
        return list(outcomes), list(rows)

    def _judged(self, batch: Sequence[Day], near: Near, started: float) -> dict[int, tuple[Outcome, pa.Table | None]]:
        """Return the outcomes of days, and the rows of those that are now stored; by the identity of the day.

        Args:
            started: the moment when the batch began, by `time.perf_counter`.
        """
        series = batch[0].series
        self._correct_edges(batch)
        excuses = self._excuses(batch)
        verdicts = _validated(batch, near)
        fetched, batch = batch, [self._from_fallback(day, verdicts) for day in batch]
        # A fallback is checked like the others. (`fetched` stays referenced, because verdicts are found by identity.)
        verdicts |= _validated([day for day, first in zip(batch, fetched, strict=True) if day is not first], near)
        outcomes: dict[int, Outcome] = {}
        good: list[Day] = []
        for day in batch:
            if day.outcome is not None:
                outcomes[id(day)] = excuses.whole_day(day.outcome, self._now())
            elif id(day) not in verdicts:
                outcomes[id(day)] = excuses.whole_day(_no_rows(day), self._now())
            elif wrong := blocking(series, verdicts[id(day)].findings):
                outcomes[id(day)] = self._refuse(day, wrong, _of_file(day, verdicts[id(day)]))
            else:
                day.profile = verdicts[id(day)].profile
                good.append(day)
        outcomes |= self._contradicted(batch, outcomes)
        compared = self._comparer.findings(series, {day.partition: _pieces(day) for day in good})
        files = self._delays.findings(series, {day.partition: day.source for day in good if day.source})

        def published(
            day: Day,
            stored: StoredFile,
            rows: Mapping[str, int],
            correction: Correction | None,
            beside: Mapping[str, Finding],
        ) -> Outcome:
            found = {
                **verdicts[id(day)].findings,
                **files.get(day.partition, {}),
                **compared[day.partition],
                **beside,
                **_in_file(day),
            }
            found = excuses.weigh(day.partition, found, day.profile)
            missing = degrading(series, found)
            took = (time.perf_counter() - started) / len(batch)
            state = _state(day, missing)
            return Outcome(
                series,
                day.partition,
                state,
                "; ".join(
                    filter(None, [day.reason, day.missing, in_words(series, missing, found), excuse_in_words(found)])
                ),
                day.evidence,
                day.source,
                stored,
                found,
                unchanged=day.known is not None,
                warehouse_rows=rows,
                duration_s=round(day.fetch_s + took, 4),
                correction=correction,
                judged_by=verdicts[id(day)].made_of if _stays(day, state) else "",
            )

        bad = [outcomes[id(day)] for day in batch if id(day) in outcomes and day.target.collect]
        outcomes |= self._publisher.publish(good, bad, published)
        return {
            id(first): (outcomes[id(day)], day.parsed if outcomes[id(day)].stored else None)
            for first, day in zip(fetched, batch, strict=True)
        }

    def second_look(self, targets: Sequence[Target]) -> dict[TrackDay, Revised]:
        """Check the symbols of a run again, including days beside its own; return the revised days.

        Each step outlasts failures of Postgres by itself: repeated as a whole, it would find less the second time.
        """
        symbols: dict[Series, list[str]] = {}
        markets: dict[tuple[str, str], set[str]] = {}
        for target in targets:
            if target.collect:
                symbols.setdefault(target.series, []).append(target.symbol)
                markets.setdefault((target.series.exchange, target.series.market_type), set()).add(target.symbol)
        now: dict[TrackDay, tuple[State, Outcome]] = {}
        edges: dict[Series, list[WrongEdges]] = {}
        # Trades of other runs too: the bars that prove a day empty may be collected after it.
        for market, table in product(markets, NUMBERED):
            for one in settle_silent_days(self._ledger, Series(*market, table), markets[market], self._run_id):
                now[one.track_day] = State.MISSING, one
        for market, of_market in markets.items():
            for one in reopen_contradicted(self._ledger, *market, of_market, self._run_id):
                was, _ = now.get(one.track_day, (State.NO_DATA, one))
                now[one.track_day] = was, one
                symbols.setdefault(one.series, []).append(one.partition.symbol)
            edges |= outlast(self._contradicted_edges, *market, of_market)
        outlast(self._report, targets, [one for _, one in now.values()])
        revised = {day: Revised(one.state, one.reason, was) for day, (was, one) in now.items()}
        for series in [*symbols, *(series for series in edges if series not in symbols)]:
            names, wrong = symbols.get(series, []), edges.get(series, [])
            judged = judge_edges_again(self._lake, self._ledger, series, names, wrong, self._publisher.load_again)
            revised |= {TrackDay(series, partition.symbol, partition.day): found for partition, found in judged.items()}
        return revised

    def _contradicted_edges(
        self, exchange: str, market_type: str, symbols: AbstractSet[str]
    ) -> dict[Series, list[WrongEdges]]:
        with self._ledger.transaction() as connection:
            return contradicted_edges(connection, exchange, market_type, symbols)

    def _report(self, targets: Sequence[Target], outcomes: Sequence[Outcome]) -> None:
        """Report those outcomes that belong to the run's own days."""
        of_run = DaysOf(targets)
        mine: dict[Series, list[Outcome]] = {}
        for one in outcomes:
            if one.track_day in of_run:
                mine.setdefault(one.series, []).append(one)
        for of_series in mine.values():
            self._on_batch(of_series, [None] * len(of_series))

    def _near(self, batch: Sequence[Day]) -> Near:
        """Return the stored days around a batch, if checks of its series need them."""
        series = batch[0].series
        partitions = [day.partition for day in batch if day.rows is not None]
        if not partitions or not (of_kind(series, HistoryCheck) or any(day.record is not None for day in batch)):
            return Near()
        with self._ledger.transaction() as connection:
            return read_near(connection, series, partitions)

    def _excuses(self, batch: Sequence[Day]) -> Excuses:
        """Return the outages that excuse missing rows in a batch."""
        with self._ledger.transaction() as connection:
            return Excuses.read(connection, batch[0].series, [day.partition for day in batch])

    def _correct_edges(self, batch: Sequence[Day]) -> None:
        """Move or drop the edges of days outside which another dataset traded, before the days are checked."""
        days = [(day.partition.symbol, day.partition.day, day.evidence) for day in batch if day.rows is not None]
        if not any(LISTED_FROM in evidence or LISTED_UNTIL in evidence for _, _, evidence in days):
            return
        with self._ledger.transaction() as connection:
            wrong = wrong_edges(connection, batch[0].series, days)
        for day in batch:
            if edges := wrong.get((day.partition.symbol, day.partition.day)):
                day.evidence = with_edges(day.evidence, edges)
                since, until = cut_of(day.evidence)
                day.partition = Partition(day.partition.symbol, day.partition.day, until, since)

    def _contradicted(self, batch: Sequence[Day], outcomes: Mapping[int, Outcome]) -> dict[int, Outcome]:
        """Return new outcomes for the days without data of a batch that another dataset contradicts."""
        empty = {
            outcomes[id(day)].partition: id(day)
            for day in batch
            if id(day) in outcomes and outcomes[id(day)].state is State.NO_DATA and day.target.collect
        }
        if not empty:
            return {}
        with self._ledger.transaction() as connection:
            found = contradicted(connection, batch[0].series, [outcomes[place] for place in empty.values()])
        return {empty[one.partition]: one for one in found}

    def _from_fallback(self, day: Day, verdicts: Mapping[int, Verdict]) -> Day:
        """Return an archive day with refused or no rows from another source; other days unchanged."""
        if self._fallback is None or day.outcome is not None or day.source is None or day.source.source != "archive":
            return day
        if id(day) not in verdicts:
            outcome = _no_rows(day)
        elif wrong := blocking(day.series, verdicts[id(day)].findings):
            outcome = self._refuse(day, wrong, _of_file(day, verdicts[id(day)]))
        else:
            return day
        return self._fallback(day.target, outcome)

    def _refuse(self, day: Day, wrong: Sequence[str], findings: Mapping[str, Finding]) -> Outcome:
        details = in_words(day.series, wrong, findings)
        key = day.source.key if day.source else str(day.partition)
        error = InvalidRows(f"{key}: rows of {day.partition} are refused ({details})", day=str(day.partition.day))
        kept = Kept()
        if day.contents and day.source:
            failed = {name: findings[name] for name in wrong}
            days = [day.partition.day]
            kept = quarantine_files(self._lake, day.contents, error, day.target, days, day.source, failed)
        outcome = refused(day.target, day.partition.day, error, kept)
        reason = f"{day.reason}, refused: {outcome.reason}" if day.reason else outcome.reason
        return replace(outcome, reason=reason, findings=findings, source=day.source)


def _validated(batch: Sequence[Day], near: Near) -> dict[int, Verdict]:
    """Return the verdicts on the days that have rows, by the identity of the day."""
    here = [day for day in batch if day.outcome is None and day.rows is not None and day.rows.num_rows]
    if not here:
        return {}
    series = here[0].series
    on_disk = {id(day): day.rows for day in here if isinstance(day.rows, RowsOnDisk)} if folds(series) else {}
    whole = [day for day in here if id(day) not in on_disk]
    verdicts = validate(series, [(day.partition, day.parsed) for day in whole], near) if whole else []
    found = dict(zip(map(id, whole), verdicts, strict=True))
    partitions = {id(day): day.partition for day in here}
    return found | {place: validate_pieces(series, partitions[place], rows.pieces()) for place, rows in on_disk.items()}


def _in_file(day: Day) -> dict[str, Finding]:
    """Return the findings on the order of the rows in the file; empty if the rows were not just parsed."""
    if day.arrangement is None:
        return {}
    return {
        check.name: check.judge(day.arrangement, day.partition, day.series)
        for check in of_kind(day.series, ArrangementCheck)
    }


def _of_file(day: Day, verdict: Verdict) -> dict[str, Finding]:
    """Return the findings of a refused day: on its rows, and on their order in the file."""
    findings = {**verdict.findings, **_in_file(day)}
    key = findings.get(UNIQUE_KEY.name)
    if key is not None and not key.passed and day.arrangement is not None and day.arrangement.conflict:
        findings[UNIQUE_KEY.name] = with_rows(key, day.arrangement.conflict)
    return findings


def _pieces(day: Day) -> RowsOfDay:
    rows = day.in_hand
    return rows.pieces if isinstance(rows, RowsOnDisk) else lambda: [rows]


def _state(day: Day, missing: Sequence[str]) -> State:
    if missing or day.missing:
        return State.DEGRADED
    return state_of_rest(day.evidence) if day.source and day.source.source == "rest" else State.AVAILABLE


def _stays(day: Day, state: State) -> bool:
    """Return whether a day that was just checked may be left unchecked later: it is complete, final, and its rows fill it.

    A symbol that begins or ends inside a day may turn out to be older, or to live on; then the day has to be read again.
    A day whose rows reach from one end to the other cannot change that way.
    """
    is_plain = not (day.reason or day.missing or day.evidence)
    is_final = state is State.AVAILABLE and day.source is not None and day.source.source == "archive"
    return is_plain and is_final and fills(day.series, day.partition, day.parsed)


def _no_rows(day: Day) -> Outcome:
    """Return the outcome of a day without rows in its object, when nothing but the object is known."""
    return why_empty(day.series, day.partition, day.source, day.parsed, WHOLE)
