"""Judging batches of days, and what becomes of each. Runs in a thread of its own, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.collection.days import Day, Target, quarantine, refused
from crypto_assets.collection.publishing import Publisher
from crypto_assets.collection.validation import blocking, degrading, validate
from crypto_assets.collection.versions import Correction
from crypto_assets.config import Collection
from crypto_assets.errors import InvalidRows
from crypto_assets.model import Finding, Outcome, State, StoredFile

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

OnBatch = Callable[[Sequence[Outcome], Sequence[pa.Table | None]], None]
"""Called after each batch with what became of its days and, for stored ones, their rows."""

Instead = Callable[[Target, Outcome], Day]
"""Called for a day that the archive gave and that was refused; returns it from another source, or with its outcome."""


class Storer:
    """Takes batches of fetched days of one series all the rest of their way."""

    def __init__(
        self,
        writers: Executor,
        collection: Collection,
        lake: Lake,
        warehouse: Warehouse,
        ledger: Ledger,
        run_id: str | None,
        on_batch: OnBatch,
        instead: Instead | None = None,
    ) -> None:
        self._lake = lake
        self._publisher = Publisher(writers, collection, lake, warehouse, ledger, run_id)
        self._on_batch = on_batch
        self._instead = instead

    def store(self, batch: Sequence[Day]) -> list[Outcome]:
        """Validate, write and record one batch of days of one series; return what became of each."""
        started = time.perf_counter()
        series = batch[0].series
        findings = _validated(batch)
        fetched, batch = batch, [self._second(day, findings) for day in batch]
        # What came instead is judged like the others. (`fetched` stays, for findings are found by identity.)
        findings |= _validated([day for day, first in zip(batch, fetched, strict=True) if day is not first])
        outcomes: dict[int, Outcome] = {}
        good: list[Day] = []
        for day in batch:
            if day.outcome is not None:
                outcomes[id(day)] = day.outcome
            elif id(day) not in findings:
                outcomes[id(day)] = _no_rows(day)
            elif wrong := blocking(series.table, findings[id(day)]):
                outcomes[id(day)] = self._refuse(day, wrong, findings[id(day)])
            else:
                good.append(day)

        def published(day: Day, stored: StoredFile, rows: Mapping[str, int], correction: Correction | None) -> Outcome:
            found = findings[id(day)]
            lacking = degrading(series.table, found)
            took = (time.perf_counter() - started) / len(batch)
            return Outcome(
                series,
                day.partition,
                _state(day, lacking),
                "; ".join(filter(None, [day.reason, day.lacking, _lacking(lacking, found)])),
                day.evidence,
                day.source,
                stored,
                found,
                unchanged=day.known is not None,
                warehouse_rows=rows,
                duration_s=round(day.fetch_s + took, 4),
                correction=correction,
            )

        bad = [outcomes[id(day)] for day in batch if id(day) in outcomes and day.target.collect]
        outcomes |= self._publisher.publish(good, bad, published)
        ordered = [outcomes[id(day)] for day in batch]
        self._on_batch(ordered, [day.rows if outcomes[id(day)].stored else None for day in batch])
        return ordered

    def _second(self, day: Day, findings: Mapping[int, Mapping[str, Finding]]) -> Day:
        """Return a day of the archive whose rows are refused, or not there, as another source has it; others as they are."""
        if self._instead is None or day.outcome is not None or day.source is None or day.source.source != "archive":
            return day
        if id(day) not in findings:
            outcome = _no_rows(day)
        elif wrong := blocking(day.series.table, findings[id(day)]):
            outcome = self._refuse(day, wrong, findings[id(day)])
        else:
            return day
        return self._instead(day.target, outcome)

    def _refuse(self, day: Day, wrong: Sequence[str], findings: Mapping[str, Finding]) -> Outcome:
        details = "; ".join(f"{name}: {_brief(findings[name])}" for name in wrong)
        key = day.source.key if day.source else str(day.partition)
        error = InvalidRows(f"{key}: rows of {day.partition} are refused ({details})", day=str(day.partition.day))
        path = quarantine(self._lake, key, day.content, error) if day.content else ""
        outcome = refused(day.target, day.partition.day, error, path)
        reason = f"{day.reason}, refused: {outcome.reason}" if day.reason else outcome.reason
        return replace(outcome, reason=reason, findings=findings, source=day.source)


def _validated(batch: Sequence[Day]) -> dict[int, Mapping[str, Finding]]:
    """Return the findings of the days that have rows, by the identity of the day."""
    here = [day for day in batch if day.outcome is None and day.rows is not None and day.rows.num_rows]
    if not here:
        return {}
    return dict(zip(map(id, here), validate(here[0].series, [(d.partition, d.parsed) for d in here]), strict=True))


def _state(day: Day, lacking: Sequence[str]) -> State:
    if lacking or day.lacking:
        return State.DEGRADED
    return State.PROVISIONAL if day.source and day.source.source == "rest" else State.AVAILABLE


def _no_rows(day: Day) -> Outcome:
    """Return the outcome of a day of which a longer object has no row."""
    key = day.source.key if day.source else ""
    if day.series.timeframe in ("3d", "1w", "1mo"):
        return Outcome(
            day.series,
            day.partition,
            State.NO_DATA,
            f"no {day.series.timeframe} bar opens on this day",
            {"object": key},
            day.source,
        )
    return Outcome(
        day.series,
        day.partition,
        State.MISSING,
        f"{key} has no rows of this day; it will be tried again when the file changes",
        {"object": key},
        day.source,
    )


def _lacking(names: Sequence[str], findings: Mapping[str, Finding]) -> str:
    return "; ".join(f"{name}: {_brief(findings[name])}" for name in names)


def _brief(finding: Finding) -> str:
    return ", ".join(
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in finding.evidence.items()
    )
