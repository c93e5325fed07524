"""The first half of the pipeline: locates and fetches targets, several at once and in order, and yields batches.

Nothing starts while the gate is closed; started work finishes and goes on to the stores. An asyncio task coordinates, threads
do the work.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

from crypto_assets.engine.acquire import Acquirer, Known
from crypto_assets.engine.archive.holders import Holder
from crypto_assets.engine.archive.locate import Located
from crypto_assets.engine.day_outcomes import Day, Target, refused
from crypto_assets.engine.failure_streak import FailureLimits, Streak, again, failed_for_now
from crypto_assets.errors import OutOfResources, Stopped, TransientError
from crypto_assets.machine.shortage import named_shortage
from crypto_assets.model import Partition
from crypto_assets.storage.patience import outlast

T = TypeVar("T")

BATCH_ROWS = 50_000
"""About a month of 1m bars: large enough to share the cost of Pandera, COPY and commits, small enough for steady memory."""

BATCH_DAYS = 64

BATCH_S = 10.0
"""Fetched days are stored after this time at the latest, however slow the exchange is."""

IN_FLIGHT_BYTES = 64 << 20
"""Zipped bytes that are downloaded, parsed or waiting for their batch; a single larger object is fetched alone."""

_LOOKAHEAD = 4
"""The number of listings read ahead of the downloads."""


class Gate:
    """Allows work to start or makes it wait: `async with gate:` around each piece of work."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.idle = asyncio.Event()
        """Set while the gate is closed and all started work has ended."""
        self._inside = 0

    def open(self) -> None:
        self.opened.set()
        self.idle.clear()

    def close(self) -> None:
        self.opened.clear()
        if not self._inside:
            self.idle.set()

    async def __aenter__(self) -> None:
        while not self.opened.is_set():
            await self.opened.wait()
        self._inside += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside -= 1
        if not self._inside and not self.opened.is_set():
            self.idle.set()


class Pausing(Protocol):
    """The flow's access to the run around it: pause and resume."""

    async def pause(self, reason: str) -> None:
        """Pause this run; closes the gate."""

    async def resume(self) -> None:
        """End the run's own pause; opens the gate unless the run is paused by others too."""

    @property
    def paused_by_others(self) -> bool:
        """Whether the run is paused by others."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A holder of days in progress."""

    size_bytes: int
    days: asyncio.Future[list[Day]]


@dataclass(frozen=True, slots=True)
class Threads:
    """A thread pool and its number of threads."""

    pool: Executor
    count: int


@dataclass(frozen=True, slots=True)
class FlowControl:
    """What stops a flow: a closed gate for a while, `ending` for good. `limits` decides when it pauses the run by itself."""

    gate: Gate
    pausing: Pausing
    limits: FailureLimits
    ending: threading.Event


class Flow:
    """Fetches the days of some targets for one run."""

    def __init__(
        self,
        fetcher: Acquirer,
        threads: Threads,
        targets: Sequence[Target],
        control: FlowControl,
        batches: asyncio.Queue[list[Day] | None],
    ) -> None:
        self._fetcher = fetcher
        self._pool = threads.pool
        self._downloads = threads.count
        self._targets = deque(targets)
        self._ending = control.ending
        self._gate = control.gate
        self._pausing = control.pausing
        self._limits = control.limits
        self._batches = batches
        # A task that waits here has not started: the pool has as many threads.
        self._slots = asyncio.Semaphore(threads.count)
        self._streak = Streak(control.limits.pause_after)
        self._in_flight: deque[_InFlight] = deque()
        self._batch: list[Day] = []
        self._batch_rows = 0
        self._batch_began = 0.0
        self._given_up: TransientError | None = None
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self) -> None:
        """Put every day of every target into batches, in order; then None."""
        try:
            while self._targets:  # failed days may be added again
                await self._pass()
            await self._add(self._streak.release())
            await self._flush()
            await self._batches.put(None)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _pass(self) -> None:
        async for target, located, known in self._located():
            if located.absent:
                ready = asyncio.get_running_loop().create_future()
                ready.set_result([Day(target, outcome.partition, outcome=outcome) for outcome in located.absent])
                self._in_flight.append(_InFlight(0, ready))  # they keep their place in the order
            for holder in located.holders:
                while self._full(holder.size_bytes):
                    await self._take()
                self._in_flight.append(_InFlight(holder.size_bytes, self._task(self._fetch(target, holder, known))))
        while self._in_flight:
            await self._take()

    # ---- fetching -------------------------------------------------------------------------------------------------

    async def _located(self) -> AsyncIterator[tuple[Target, Located, Known]]:
        """Yield each target with its objects, in order, reading some listings ahead."""
        ahead: deque[tuple[Target, asyncio.Future[tuple[Located, Known]]]] = deque()
        while self._targets or ahead:
            while self._targets and len(ahead) <= _LOOKAHEAD:
                target = self._targets.popleft()
                ahead.append((target, self._task(self._locate(target))))
            target, future = ahead.popleft()
            yield target, *(await self._reached(future))

    async def _locate(self, target: Target) -> tuple[Located, Known]:
        async with self._slots, self._gate:
            if self._given_up:
                return Located([], [refused(target, day, self._given_up) for day in target.days]), {}
            try:
                return await self._in_thread(self._fetcher.locate, target)
            except OutOfResources as error:
                return Located([], [refused(target, day, error) for day in target.days]), {}

    async def _fetch(self, target: Target, holder: Holder, known: Known) -> list[Day]:
        async with self._slots, self._gate:
            problem = self._given_up
            try:
                if problem is None:
                    return await self._in_thread(self._fetcher.fetch, target, holder, known)
            except OutOfResources as error:  # one large file, or a short peak: others may still fit
                problem = error
            return [
                Day(target, Partition(target.symbol, day), outcome=refused(target, day, problem)) for day in holder.days
            ]

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        with named_shortage():
            result = await asyncio.get_running_loop().run_in_executor(self._pool, outlast, call, *arguments)
        if self._ending.is_set():  # an interrupted fetch says nothing about the day
            raise Stopped("the run is ending")
        return result

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved; where it matters, the waiting caller raises it

    # ---- batches --------------------------------------------------------------------------------------------------

    def _full(self, more_bytes: int) -> bool:
        held = self._in_flight
        return len(held) >= 2 * self._downloads or (
            bool(held) and sum(holder.size_bytes for holder in held) + more_bytes > IN_FLIGHT_BYTES
        )

    async def _take(self) -> None:
        """Move the days of the first object in flight into the batch."""
        days = await self._reached(self._in_flight[0].days)
        self._in_flight.popleft()
        await self._add(self._streak.see(days))
        if self._streak.too_long and not self._given_up:
            await self._in_trouble()

    async def _add(self, days: Sequence[Day]) -> None:
        for day in days:
            rows = day.rows.num_rows if day.rows is not None else 0
            first = self._batch[0] if self._batch else day
            if (
                day.target.series != first.target.series
                or day.target.tables != first.target.tables
                or len(self._batch) >= BATCH_DAYS
                or self._batch_rows + rows > BATCH_ROWS
            ):
                await self._flush()
            if not self._batch:
                self._batch_began = time.monotonic()
            self._batch.append(day)
            self._batch_rows += rows

    async def _flush(self) -> None:
        if self._batch:
            batch, self._batch, self._batch_rows = self._batch, [], 0
            await self._batches.put(batch)

    async def _reached(self, future: asyncio.Future[T]) -> T:
        """Return the result of a future; if it takes long or the gate is closed, store first what is already fetched."""
        while not future.done():
            first = await _first(_done(future), self._gate.idle.wait(), self._batch_is_old())
            if first == 0:
                break
            if first == 1:
                for days in self._there():
                    await self._add(self._streak.see(days))
            await self._flush()
            if first == 1:
                await _first(_done(future), self._gate.opened.wait())
        return future.result()

    async def _batch_is_old(self) -> None:
        while not self._batch:
            await asyncio.sleep(BATCH_S)
        await asyncio.sleep(self._batch_began + BATCH_S - time.monotonic())

    def _there(self) -> list[list[Day]]:
        """Remove the fetched objects at the head of those in flight; return their days."""
        found = []
        while self._in_flight and self._in_flight[0].days.done():
            found.append(self._in_flight.popleft().days.result())
        return found

    # ---- failures -------------------------------------------------------------------------------------------------

    async def _in_trouble(self) -> None:
        """Pause until the run is resumed or one day can be fetched, and try the failed days again; or give up."""
        reason = f"{len(self._streak.days)} failures in a row, the last: {self._streak.last_error}"
        if self._limits.then == "stop":
            await self._give_up(reason)
            return
        await self._pausing.pause(reason)
        await _first(self._gate.idle.wait(), self._gate.opened.wait())
        received = [day for days in self._there() for day in days]
        self._streak.days += [day for day in received if failed_for_now(day)]
        answered = [day for day in received if not failed_for_now(day)]
        await self._add(answered)
        await self._flush()
        if not answered and not await self._recovered():
            await self._give_up(reason)
            return
        self._targets.extendleft(reversed(again(self._streak.release())))
        await self._pausing.resume()

    async def _recovered(self) -> bool:
        """Wait until the gate opens or a probe succeeds; return False if no probe has succeeded for too long."""
        clock = asyncio.get_running_loop().time
        interval, longest = self._limits.probe_s
        deadline = clock() + self._limits.give_up_after_s
        while (left := deadline - clock()) > 0:
            wait = min(interval, left)
            if await _first(self._gate.opened.wait(), asyncio.sleep(wait)) == 0:
                return True
            if self._pausing.paused_by_others:
                deadline += wait
            elif await self._probe():
                return True
            else:
                interval = min(2 * interval, longest)
        return False

    async def _probe(self) -> bool:
        """Try the first failed day; return whether the host answered."""
        failed = self._streak.days[0]
        (target,) = again([failed])
        located, known = await self._in_thread(self._fetcher.locate, target)
        days = [Day(target, outcome.partition, outcome=outcome) for outcome in located.absent]
        for holder in located.holders:
            days += await self._in_thread(self._fetcher.fetch, target, holder, known)
        if any(failed_for_now(day) for day in days):
            return False
        self._streak.days = [day for day in self._streak.days if day is not failed]
        await self._add(days)
        return True

    async def _give_up(self, reason: str) -> None:
        """Record the failed days, and let the rest through without requests."""
        self._given_up = TransientError(f"not tried: {reason}; `crypto-assets fill` tries again")
        await self._add(self._streak.release())
        await self._pausing.resume()


async def _done(future: asyncio.Future[T]) -> None:
    await asyncio.wait([future])


async def _first(*awaitables: Awaitable[object]) -> int:
    """Return the place of the first awaitable that ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(place for place, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()
