"""Validating, writing and recording batches of days. Runs in a thread of its own, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.collection.days import Day, quarantine, refused
from crypto_assets.collection.loads import StoredDay, loads
from crypto_assets.collection.validation import blocking, degrading, validate
from crypto_assets.config import Collection
from crypto_assets.errors import InvalidRows
from crypto_assets.model import Finding, Outcome, Partition, Series, State, StoredFile

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

OnBatch = Callable[[Sequence[Outcome], Sequence[pa.Table | None]], None]
"""Called after each batch with what became of its days and, for stored ones, their rows."""


class Storer:
    """Takes batches of fetched days of one series all the rest of their way."""

    def __init__(
        self,
        writers: ThreadPoolExecutor,
        collection: Collection,
        lake: Lake,
        warehouse: Warehouse,
        ledger: Ledger,
        run_id: str | None,
        on_batch: OnBatch,
    ) -> None:
        self._writers = writers
        self._collection = collection
        self._lake = lake
        self._warehouse = warehouse
        self._ledger = ledger
        self._run_id = run_id
        self._on_batch = on_batch

    def store(self, batch: Sequence[Day]) -> list[Outcome]:
        """Validate, write and record one batch of days of one series; return what became of each."""
        started = time.perf_counter()
        series = batch[0].series
        here = [day for day in batch if day.outcome is None and day.rows is not None and day.rows.num_rows]
        findings = (
            dict(zip(map(id, here), validate(series, [(d.partition, d.parsed) for d in here]), strict=True))
            if here
            else {}
        )
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
        files = list(self._writers.map(self._write, good))
        counts = self._load(series, good, files)
        took = (time.perf_counter() - started) / len(batch)
        for day, stored, rows in zip(good, files, counts, strict=True):
            lacking = degrading(series.table, findings[id(day)])
            outcomes[id(day)] = Outcome(
                series,
                day.partition,
                State.DEGRADED if lacking else State.AVAILABLE,
                _lacking(lacking, findings[id(day)]),
                {},
                day.source,
                stored,
                findings[id(day)],
                unchanged=day.known is not None,
                warehouse_rows=rows,
                duration_s=round(day.fetch_s + took, 4),
            )
        ordered = [outcomes[id(day)] for day in batch]
        collected = [outcome for day, outcome in zip(batch, ordered, strict=True) if day.target.collect]
        if collected:
            self._ledger.record_outcomes(collected, self._run_id)
        self._on_batch(ordered, [day.rows if outcomes[id(day)].stored else None for day in batch])
        return ordered

    def _write(self, day: Day) -> StoredFile:
        if day.known is not None:
            return day.known
        assert day.source is not None  # noqa: S101  a parsed day has one; tells the type checker
        return self._lake.write(day.series, day.partition, day.parsed, day.source)

    def _load(self, series: Series, good: Sequence[Day], files: Sequence[StoredFile]) -> list[Mapping[str, int]]:
        tables = good[0].target.tables if good else ()
        if not tables:
            return [{}] * len(good)
        days = [
            StoredDay(day.partition, day.parsed, stored.sha256, day.source.source if day.source else "archive")
            for day, stored in zip(good, files, strict=True)
        ]
        collected = {
            day.partition.symbol: self._collection.timeframes(series.exchange, series.market_type, day.partition.symbol)
            for day in good
        }
        batch = loads(series, days, tables, collected)
        counts: dict[Partition, dict[str, int]] = {day.partition: {} for day in good}
        for load, rows in zip(batch, self._warehouse.replace(batch), strict=True):
            counts[Partition(load.symbol, load.day)][load.table] = rows
        return [counts[day.partition] for day in good]

    def _refuse(self, day: Day, wrong: Sequence[str], findings: Mapping[str, Finding]) -> Outcome:
        details = "; ".join(f"{name}: {_brief(findings[name])}" for name in wrong)
        key = day.source.key if day.source else str(day.partition)
        error = InvalidRows(f"{key}: rows of {day.partition} are refused ({details})", day=str(day.partition.day))
        path = quarantine(self._lake, key, day.content, error) if day.content else ""
        return replace(refused(day.target, day.partition.day, error, path), findings=findings, source=day.source)


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
