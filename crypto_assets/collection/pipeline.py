"""The way of many partitions: locate → download → parse → validate → lake → warehouse → ledger → report.

asyncio coordinates; a bounded pool of threads downloads and parses, and while one batch of days is validated and stored
the next one is fetched. Queues are bounded, so memory follows the batch, never the range. One bad day never stops the
others: it becomes an `Outcome` with its reason. Only what concerns every day (the database, the lake) ends the run.

A kill between two steps leaves the later ones undone, never half done: each replaces a whole file or commits one
transaction, the ledger is written after both, and collecting the day again does the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.collection.days import Day, Target
from crypto_assets.collection.fetching import Fetcher, Known
from crypto_assets.collection.http import Client
from crypto_assets.collection.locate import Located
from crypto_assets.collection.storing import OnBatch, Storer
from crypto_assets.config import Collection
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.model import COMPLETE_STATES, Outcome, State

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

__all__ = ["OnBatch", "Pipeline", "Tally", "Target"]

BATCH_ROWS = 50_000
"""About a month of 1m bars: large enough that Pandera, COPY and commits are shared, small enough for steady memory."""

BATCH_DAYS = 64

IN_FLIGHT_BYTES = 64 << 20
"""Zipped bytes being downloaded, parsed or waiting for their batch; a single larger object is fetched alone."""

_LOOKAHEAD = 4
"""Listings read ahead of the downloads."""


@dataclass(slots=True)
class Tally:
    """What a run did, in counts; `problems` holds the outcomes that leave a day incomplete, without evidence."""

    states: dict[State, int] = field(default_factory=dict)
    rows: int = 0
    stored_bytes: int = 0
    unchanged: int = 0
    problems: list[Outcome] = field(default_factory=list)

    def add(self, outcomes: Sequence[Outcome]) -> None:
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
        # Arrow's own pool gives large blocks back and faults them in again: half a second of a day of 3 million trades.
        pa.set_memory_pool(pa.system_memory_pool())
        try:
            return asyncio.run(self._run(targets))
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _run(self, targets: Sequence[Target]) -> Tally:
        tally = Tally()
        batches: asyncio.Queue[list[Day] | None] = asyncio.Queue(maxsize=1)
        with (
            Client(self._downloads) as client,
            ThreadPoolExecutor(self._downloads, "fetch") as fetchers,
            ThreadPoolExecutor(4, "lake") as writers,
        ):
            fetcher = Fetcher(client, self._collection, self._lake, self._ledger, self._now)
            storer = Storer(
                writers, self._collection, self._lake, self._warehouse, self._ledger, self._run_id, self._on_batch
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fetch_all(fetcher, fetchers, targets, batches))
                group.create_task(_store_all(storer, batches, tally))
        return tally

    async def _fetch_all(
        self,
        fetcher: Fetcher,
        pool: ThreadPoolExecutor,
        targets: Sequence[Target],
        batches: asyncio.Queue[list[Day] | None],
    ) -> None:
        """Fetch holders in order, several at once, and hand over batches of days of one series."""
        loop = asyncio.get_running_loop()
        in_flight: deque[tuple[int, asyncio.Future[list[Day]]]] = deque()
        batch: list[Day] = []

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

        async for target, located, known in _located(fetcher, pool, targets):
            absent = [Day(target, outcome.partition, outcome=outcome) for outcome in located.absent]
            ready: asyncio.Future[list[Day]] = loop.create_future()
            ready.set_result(absent)
            in_flight.append((0, ready))
            for obj, days in located.holders:
                while len(in_flight) >= 2 * self._downloads or (
                    in_flight and sum(size for size, _ in in_flight) + obj.size_bytes > IN_FLIGHT_BYTES
                ):
                    await take()
                future = loop.run_in_executor(pool, fetcher.fetch, target, obj, days, known)
                in_flight.append((obj.size_bytes, future))
        while in_flight:
            await take()
        if batch:
            await batches.put(batch)
        await batches.put(None)


async def _located(
    fetcher: Fetcher, pool: ThreadPoolExecutor, targets: Sequence[Target]
) -> AsyncIterator[tuple[Target, Located, Known]]:
    """Yield each target with its holders, in order, reading some listings ahead."""
    loop = asyncio.get_running_loop()
    ahead: deque[tuple[Target, asyncio.Future[tuple[Located, Known]]]] = deque()
    for target in targets:
        ahead.append((target, loop.run_in_executor(pool, fetcher.locate, target)))
        if len(ahead) > _LOOKAHEAD:
            first, future = ahead.popleft()
            yield first, *(await future)
    while ahead:
        first, future = ahead.popleft()
        yield first, *(await future)


async def _store_all(storer: Storer, batches: asyncio.Queue[list[Day] | None], tally: Tally) -> None:
    while batch := await batches.get():
        tally.add(await asyncio.to_thread(storer.store, batch))


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
