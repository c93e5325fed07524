"""The way of many partitions: locate → download → parse → validate → lake → warehouse → ledger → report.

asyncio coordinates; a bounded pool of threads downloads and parses, and while one batch of days is validated and stored
the next one is fetched. Queues are bounded, so memory follows the batch, never the range. One bad day never stops the
others: it becomes an `Outcome` with its reason. Only what concerns every day (the database, the lake) ends the run.

A kill between two steps leaves the later ones undone, never half done: each replaces a whole file or commits one
transaction, the ledger is written after both, and collecting the day again does the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets, exchanges
from crypto_assets.collection.download import download
from crypto_assets.collection.http import Client
from crypto_assets.collection.loads import StoredDay, loads
from crypto_assets.collection.locate import Located, locate
from crypto_assets.collection.validation import blocking, degrading, validate
from crypto_assets.config import Collection
from crypto_assets.errors import (
    BadContent,
    ChecksumMismatch,
    CryptoAssetsError,
    InvalidRows,
    MalformedFile,
    StoredDataError,
)
from crypto_assets.model import (
    ArchiveObject,
    Finding,
    Outcome,
    Partition,
    Series,
    SourceFile,
    State,
    StoredFile,
)

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger, PartitionRecord
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

BATCH_ROWS = 50_000
"""About a month of 1m bars: large enough that Pandera, COPY and commits are shared, small enough for steady memory."""

BATCH_DAYS = 64

IN_FLIGHT_BYTES = 64 << 20
"""Zipped bytes being downloaded, parsed or waiting for their batch; a single larger object is fetched alone."""

_LOOKAHEAD = 4
"""Listings read ahead of the downloads."""


OnBatch = Callable[[Sequence[Outcome], Sequence[pa.Table | None]], None]
"""Called after each batch with what became of its days and, for stored ones, their rows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Some days (ascending) of one symbol, and the warehouse tables they are to reach.

    `collect` false means that the days are read from the lake and only the warehouse is written.
    """

    series: Series
    symbol: str
    days: tuple[date, ...]
    tables: tuple[str, ...] = ()
    collect: bool = True


@dataclass(slots=True)
class Tally:
    """What a run did, in counts; `problems` holds the outcomes that leave a day incomplete, without evidence."""

    states: dict[State, int] = field(default_factory=dict)
    rows: int = 0
    stored_bytes: int = 0
    unchanged: int = 0
    problems: list[Outcome] = field(default_factory=list)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        from crypto_assets.model import COMPLETE_STATES

        for outcome in outcomes:
            self.states[outcome.state] = self.states.get(outcome.state, 0) + 1
            self.unchanged += outcome.unchanged
            if outcome.stored:
                self.rows += outcome.stored.rows
                self.stored_bytes += outcome.stored.size_bytes
            if outcome.state not in COMPLETE_STATES:
                self.problems.append(replace(outcome, evidence={}, findings={}))

    @property
    def days(self) -> int:
        return sum(self.states.values())


@dataclass(slots=True)
class _Day:
    """One day on its way: rows that were parsed, or an outcome that is already final."""

    target: Target
    partition: Partition
    rows: pa.Table | None = None
    source: SourceFile | None = None
    content: bytes = b""
    known: StoredFile | None = None
    outcome: Outcome | None = None
    fetch_s: float = 0.0

    @property
    def series(self) -> Series:
        return self.target.series


class Pipeline:
    """Collects targets of one collection into one lake, warehouse and ledger."""

    def __init__(
        self,
        collection: Collection,
        lake: Lake,
        warehouse: Warehouse,
        ledger: Ledger,
        *,
        downloads: int = 8,
        run_id: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_batch: OnBatch | None = None,
    ) -> None:
        self._collection = collection
        self._lake = lake
        self._warehouse = warehouse
        self._ledger = ledger
        self._downloads = downloads
        self._run_id = run_id
        self._now = now
        self._on_batch = on_batch or (lambda *_: None)

    def run(self, targets: Sequence[Target]) -> Tally:
        """Collect all targets and return what was done.

        Raises:
            PostgresUnavailable, StoredDataError, OSError: the database or the lake fails; stored days stay stored.
        """
        try:
            return asyncio.run(self._run(targets))
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _run(self, targets: Sequence[Target]) -> Tally:
        tally = Tally()
        batches: asyncio.Queue[list[_Day] | None] = asyncio.Queue(maxsize=1)
        with (
            Client(self._downloads) as client,
            ThreadPoolExecutor(self._downloads, "fetch") as fetchers,
            ThreadPoolExecutor(4, "lake") as writers,
        ):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fetch_all(client, fetchers, targets, batches))
                group.create_task(self._store_all(writers, batches, tally))
        return tally

    # ---- fetching -------------------------------------------------------------------------------------------------

    async def _fetch_all(
        self,
        client: Client,
        pool: ThreadPoolExecutor,
        targets: Sequence[Target],
        batches: asyncio.Queue[list[_Day] | None],
    ) -> None:
        """Fetch holders in order, several at once, and hand over batches of days of one series."""
        loop = asyncio.get_running_loop()
        in_flight: deque[tuple[int, asyncio.Future[list[_Day]]]] = deque()
        batch: list[_Day] = []

        async def take() -> None:
            nonlocal batch
            _, future = in_flight.popleft()
            for day in await future:
                rows = sum(other.rows.num_rows for other in batch if other.rows is not None)
                if batch and (
                    day.target.series != batch[0].series
                    or day.target.tables != batch[0].target.tables
                    or len(batch) >= BATCH_DAYS
                    or rows + (day.rows.num_rows if day.rows is not None else 0) > BATCH_ROWS
                ):
                    await batches.put(batch)
                    batch = []
                batch.append(day)

        async for target, located, known in self._located(client, pool, targets):
            absent = [_Day(target, outcome.partition, outcome=outcome) for outcome in located.absent]
            ready: asyncio.Future[list[_Day]] = loop.create_future()
            ready.set_result(absent)
            in_flight.append((0, ready))
            for obj, days in located.holders:
                while len(in_flight) >= 2 * self._downloads or (
                    in_flight and sum(size for size, _ in in_flight) + obj.size_bytes > IN_FLIGHT_BYTES
                ):
                    await take()
                future = loop.run_in_executor(pool, self._fetch, client, target, obj, days, known)
                in_flight.append((obj.size_bytes, future))
        while in_flight:
            await take()
        if batch:
            await batches.put(batch)
        await batches.put(None)

    async def _located(
        self, client: Client, pool: ThreadPoolExecutor, targets: Sequence[Target]
    ) -> AsyncIterator[tuple[Target, Located, dict[date, PartitionRecord]]]:
        """Yield each target with its holders, in order, reading some listings ahead."""
        loop = asyncio.get_running_loop()
        ahead: deque[tuple[Target, asyncio.Future[tuple[Located, dict[date, PartitionRecord]]]]] = deque()
        for target in targets:
            ahead.append((target, loop.run_in_executor(pool, self._locate, client, target)))
            if len(ahead) > _LOOKAHEAD:
                first, future = ahead.popleft()
                yield first, *(await future)
        while ahead:
            first, future = ahead.popleft()
            yield first, *(await future)

    def _locate(self, client: Client, target: Target) -> tuple[Located, dict[date, PartitionRecord]]:
        known = {
            record.day: record
            for record in self._ledger.partitions(
                exchange=target.series.exchange,
                market_type=target.series.market_type,
                symbols=[target.symbol],
                datasets=[target.series.dataset],
                first=target.days[0],
                last=target.days[-1],
            )
        }
        if not target.collect:
            return Located([(ArchiveObject(str(day), 0, ""), (day,)) for day in target.days], []), known
        exchange = exchanges.get(target.series.exchange)
        listing_url = self._collection.urls(exchange.name).listing_url or exchange.listing_url
        try:
            located = locate(client, exchange, listing_url, target.series, target.symbol, target.days, self._now())
        except CryptoAssetsError as error:
            return Located([], [_refused(target, day, error) for day in target.days]), known
        self._ledger.record_objects(exchange.name, [obj for obj, _ in located.holders])
        return located, known

    def _fetch(
        self,
        client: Client,
        target: Target,
        obj: ArchiveObject,
        days: Sequence[date],
        known: dict[date, PartitionRecord],
    ) -> list[_Day]:
        """Return the days that one object gives: from the lake where it has them from this very object, else downloaded."""
        started = time.perf_counter()
        if not target.collect:
            return [self._from_lake(target, day, known.get(day), None) for day in days]
        current = [self._from_lake(target, day, known.get(day), obj) for day in days]
        if all(day.outcome is None or day.outcome.state is State.NO_DATA for day in current):
            return current
        exchange = exchanges.get(target.series.exchange)
        archive_url = self._collection.urls(exchange.name).archive_url or exchange.archive_url
        content = b""
        try:
            content, source = download(client, archive_url, exchange, obj)
            rows = exchange.parse(target.series, obj.key, content)
            parts = _split(target.series, rows, obj.key, exchange.period(obj.key), days)
        except (ChecksumMismatch, MalformedFile, InvalidRows) as error:
            path = self._quarantine(obj.key, content or getattr(error, "content", b""), error)
            return [_Day(target, Partition(target.symbol, d), outcome=_refused(target, d, error, path)) for d in days]
        except CryptoAssetsError as error:
            return [_Day(target, Partition(target.symbol, d), outcome=_refused(target, d, error)) for d in days]
        took = (time.perf_counter() - started) / len(days)
        return [
            _Day(target, Partition(target.symbol, d), part, source, content, fetch_s=took)
            for d, part in zip(days, parts, strict=True)
        ]

    def _from_lake(self, target: Target, day: date, record: PartitionRecord | None, obj: ArchiveObject | None) -> _Day:
        """Return the day as the lake has it, if that is the day of `obj` (None: any); else one with an outcome.

        The file's bytes are compared with the ledger, so a file that was damaged on disk is collected again.
        """
        partition = Partition(target.symbol, day)
        missing = _Day(
            target,
            partition,
            outcome=Outcome(
                target.series,
                partition,
                State.MISSING,
                "not in the lake; materialise its lake asset first",
            ),
        )
        if record is None or (obj and (record.source_key, record.source_etag) != (obj.key, obj.etag)):
            return missing
        if record.state is State.NO_DATA:
            known = Outcome(target.series, partition, State.NO_DATA, record.reason, unchanged=True)
            return _Day(target, partition, outcome=known)
        if record.content_sha256 is None:
            return missing
        try:
            rows, stored, source = self._lake.open(target.series, partition)
        except StoredDataError:
            return missing
        if stored.sha256 != record.content_sha256:
            return missing
        return _Day(target, partition, rows, source, known=stored)

    def _quarantine(self, key: str, content: bytes, error: CryptoAssetsError) -> str:
        return self._lake.quarantine(
            key, content, {"reason": str(error), "error": type(error).__name__, **error.evidence}
        )

    # ---- storing --------------------------------------------------------------------------------------------------

    async def _store_all(
        self, pool: ThreadPoolExecutor, batches: asyncio.Queue[list[_Day] | None], tally: Tally
    ) -> None:
        while batch := await batches.get():
            outcomes = await asyncio.to_thread(self._store, pool, batch)
            tally.add(outcomes)

    def _store(self, pool: ThreadPoolExecutor, batch: Sequence[_Day]) -> list[Outcome]:
        """Validate, write and record one batch of days of one series; return what became of each."""
        started = time.perf_counter()
        series = batch[0].series
        here = [day for day in batch if day.outcome is None and day.rows is not None and day.rows.num_rows]
        findings = (
            dict(zip(map(id, here), validate(series, [(d.partition, _rows(d)) for d in here]), strict=True))
            if here
            else {}
        )
        outcomes: dict[int, Outcome] = {}
        good: list[_Day] = []
        for day in batch:
            if day.outcome is not None:
                outcomes[id(day)] = day.outcome
            elif id(day) not in findings:
                outcomes[id(day)] = _no_rows(day)
            elif wrong := blocking(series.table, findings[id(day)]):
                outcomes[id(day)] = self._refuse(day, wrong, findings[id(day)])
            else:
                good.append(day)
        files = list(pool.map(self._write, good))
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

    def _write(self, day: _Day) -> StoredFile:
        if day.known is not None:
            return day.known
        assert day.source is not None  # noqa: S101  a parsed day has one; tells the type checker
        return self._lake.write(day.series, day.partition, _rows(day), day.source)

    def _load(self, series: Series, good: Sequence[_Day], files: Sequence[StoredFile]) -> list[int | None]:
        tables = good[0].target.tables if good else ()
        if not tables:
            return [None] * len(good)
        days = [
            StoredDay(day.partition, _rows(day), stored.sha256, day.source.source if day.source else "archive")
            for day, stored in zip(good, files, strict=True)
        ]
        collected = {
            day.partition.symbol: self._collection.timeframes(series.exchange, series.market_type, day.partition.symbol)
            for day in good
        }
        batch = loads(series, days, tables, collected)
        counts: dict[Partition, int] = {}
        for load, rows in zip(batch, self._warehouse.replace(batch), strict=True):
            partition = Partition(load.symbol, load.day)
            counts[partition] = counts.get(partition, 0) + rows
        return [counts[day.partition] for day in good]

    def _refuse(self, day: _Day, wrong: Sequence[str], findings: Mapping[str, Finding]) -> Outcome:
        details = "; ".join(f"{name}: {_brief(findings[name])}" for name in wrong)
        key = day.source.key if day.source else str(day.partition)
        error = InvalidRows(f"{key}: rows of {day.partition} are refused ({details})", day=str(day.partition.day))
        path = self._quarantine(key, day.content, error) if day.content else ""
        refused = _refused(day.target, day.partition.day, error, path)
        return replace(refused, findings=findings, source=day.source)


def _rows(day: _Day) -> pa.Table:
    assert day.rows is not None  # noqa: S101  callers ask for days that were parsed
    return day.rows


def _split(series: Series, rows: pa.Table, key: str, period: tuple[date, date], days: Sequence[date]) -> list[pa.Table]:
    """Return the rows of each wanted day of an object; one of a single day is returned whole, for its checks to judge.

    Raises:
        InvalidRows: an object of many days whose rows are out of order or outside its period.
    """
    if period[0] == period[1]:
        return [rows]
    times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
    first, last = (Partition("", period[0]).start, Partition("", period[1]).end)
    if len(times) and (times[0] < _us(first) or times[-1] >= _us(last) or (np.diff(times) < 0).any()):
        span = pc.min_max(rows.column(datasets.get(series.table).time_column)).as_py()
        raise InvalidRows(
            f"{key}: expected ascending times inside {period[0]} … {period[1]}, found {span['min']} … {span['max']}"
        )
    parts = []
    for day in days:
        partition = Partition("", day)
        begin, end = np.searchsorted(times, [_us(partition.start), _us(partition.end)])
        parts.append(rows.slice(begin, end - begin))
    return parts


def _us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


def _refused(target: Target, day: date, error: CryptoAssetsError, quarantined: str = "") -> Outcome:
    evidence: dict[str, Any] = {"error": type(error).__name__, **error.evidence}
    reason = str(error)
    if quarantined:
        evidence["quarantine"] = quarantined
        if isinstance(error, BadContent | InvalidRows):  # the others say what to do themselves
            reason += "; kept in quarantine/, `crypto-assets fill` tries it again"
    return Outcome(target.series, Partition(target.symbol, day), State.MISSING, reason, evidence)


def _no_rows(day: _Day) -> Outcome:
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


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended a run; our own before others, for it says what to do."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((leaf for leaf in leaves if isinstance(leaf, CryptoAssetsError)), leaves[0])
