"""Collects many partitions: locate → download → parse → validate → lake → warehouse → ledger → report.

asyncio coordinates, in its own thread. `flow.py` fetches the next batch of days while one batch is validated and stored.
Queues are bounded, so memory follows the batch, never the range. One bad day never stops the others: it becomes an `Outcome`
with its reason. Only a failure that affects every day (of the database, of the lake) ends the run.

A run can be paused: started work finishes and is stored, then nothing is requested until it is resumed. It can be stopped:
the batch being stored has a moment to finish, everything else is dropped.

A kill at any moment leaves a batch published or not at all (`publication/journal.py`); collecting again does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar
from uuid import uuid4

from crypto_assets.config.collection import Collection
from crypto_assets.engine.acquire import Acquirer
from crypto_assets.engine.day_outcomes import Day, Target
from crypto_assets.engine.failure_streak import FailureLimits
from crypto_assets.engine.flow import BATCH_DAYS, BATCH_ROWS, IN_FLIGHT_BYTES, Flow, FlowControl, Gate, Threads
from crypto_assets.engine.publication.storer import OnBatch, Storer
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.engine.tally import Tally
from crypto_assets.errors import CryptoAssetsError, Stopped
from crypto_assets.ledger import pauses
from crypto_assets.ledger.pauses import Control, Controls
from crypto_assets.ledger.progress import HEARTBEAT_S, ProgressWriter, RunState
from crypto_assets.machine.allocators import use_steady_allocators
from crypto_assets.machine.shortage import named_shortage, raise_if_ours
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.storage.patience import STOP, outlast
from crypto_assets.transport.proxies import require_proxies

__all__ = ["BATCH_DAYS", "BATCH_ROWS", "IN_FLIGHT_BYTES", "OnBatch", "Pipeline", "Tally", "Target"]

GRACE_S = 0.25
"""The time for a batch being stored to finish when the run is stopped; then its transaction is rolled back."""

_POLL_S = 0.2

T = TypeVar("T")


OnState = Callable[[RunState, str], None]
"""Called with the reason when a run is paused or resumed."""


class Pipeline:
    """Collects targets of one collection into one lake, warehouse and ledger."""

    def __init__(
        self,
        collection: Collection,
        stores: Stores,
        context: RunContext | None = None,
        *,
        downloads: int = 8,
        failure_limits: FailureLimits | None = None,
        on_batch: OnBatch | None = None,
        on_state: OnState | None = None,
    ) -> None:
        """Set up the pipeline.

        Args:
            downloads: the most downloads in flight.
            failure_limits: the failures in a row that a host may have, and the reaction to more.
            on_batch: called with the outcomes of each batch, in a thread.
            on_state: called at each pause and resume, in a thread.
        """
        self.collection = collection
        self.stores = stores
        self.context = context or RunContext()
        self.downloads = downloads
        self.failure_limits = failure_limits or FailureLimits()
        self.on_batch: OnBatch = on_batch or (lambda *_: None)
        self.on_state: OnState = on_state or (lambda *_: None)

    def run(self, targets: Sequence[Target]) -> Tally:
        """Collect all targets and return the counts.

        An exception that a signal handler raises in this thread ends the run, as `stop` does: stored days stay, unreached
        days keep their state.

        Raises:
            Stopped: `stop` was set, or the run was cancelled.
            ConfigError: the environment names an invalid proxy.
            PostgresUnavailable, StoredDataError, OSError: the database or the lake fails; stored days stay stored.
        """
        require_proxies(self.collection)
        use_steady_allocators()
        run = _Run(self, targets)
        outcome: Future[Tally] = Future()

        def work() -> None:
            try:
                outcome.set_result(asyncio.run(run.work()))
            except BaseException as error:
                outcome.set_exception(error)

        context = contextvars.copy_context()
        with named_shortage():
            threading.Thread(target=context.run, args=(work,), name="pipeline", daemon=True).start()
        try:
            while not wait([outcome], _POLL_S).done:
                if self.context.stop.is_set():
                    raise Stopped("the process is shutting down")
            tally = outcome.result()
        except BaseException as error:
            run.end(outcome, error)
            raise
        run.closed(RunState.FAILED if tally.problems else RunState.DONE)
        return tally


class _Run:
    """One run: its tasks, its pauses, its end."""

    def __init__(self, pipeline: Pipeline, targets: Sequence[Target]) -> None:
        self._pipeline = pipeline
        self._targets = targets
        self._id = pipeline.context.run_id or uuid4().hex
        exchanges = sorted({target.series.exchange for target in targets})
        self._scopes = [pauses.ALL, pauses.of_run(self._id), *map(pauses.of_exchange, exchanges)]
        self._controls = Controls(pipeline.stores.ledger)
        self._pauses: list[Control] = []
        self._asked = False  # whether any control was ever set for this run alone
        self._ending = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tally = Tally()
        self._last = ""
        total = sum(len(target.days) for target in targets)
        self._progress = ProgressWriter(pipeline.stores.ledger, self._id, pipeline.context.kind, _what(targets), total)

    async def work(self) -> Tally:
        """Do everything; raises Stopped if the run was cancelled meanwhile."""
        pipeline = self._pipeline
        self._loop = asyncio.get_running_loop()
        STOP.set(self._ending)  # for all tasks and pool threads that start here
        self._stopping = asyncio.Event()
        self._gate = Gate()
        self._batches: asyncio.Queue[list[Day] | None] = asyncio.Queue(maxsize=1)
        with (
            DaemonPool(2, "store") as self._pool,
            DaemonPool(pipeline.downloads, "fetch") as fetchers,
            DaemonPool(4, "lake") as writers,
            pipeline.context.timing.guard(
                pipeline.stores.ledger.url, pipeline.collection, pipeline.context.egress
            ) as guard,
            pipeline.context.timing.client(guard, pipeline.downloads, self._ending) as client,
        ):
            fetcher = Acquirer(client, pipeline.collection, pipeline.stores, pipeline.context)
            self._storer = await self._in_thread(
                outlast,
                Storer,
                writers,
                pipeline.collection,
                pipeline.stores,
                pipeline.context,
                pipeline.on_batch,
                fetcher.fallback,
            )
            await self._in_thread(self._progress.begin)
            await self._read_controls()
            threads = Threads(fetchers, pipeline.downloads)
            control = FlowControl(self._gate, self, pipeline.failure_limits, self._ending)
            flow = Flow(fetcher, threads, self._targets, control, self._batches)
            self._fetching = asyncio.create_task(self._fetch_all(flow))
            work = [self._fetching, asyncio.create_task(self._store_all())]
            aside = [
                asyncio.create_task(pauses.watch(pipeline.stores.ledger.url, self._scopes, self._apply)),
                asyncio.create_task(self._beat()),
                asyncio.create_task(self._stop_when_asked()),
            ]
            results = await asyncio.gather(*work, return_exceptions=True)
            # Threads that still run are too late now.
            self._ending.set()
            for task in aside:
                task.cancel()
            results += await asyncio.gather(*aside, return_exceptions=True)
            errors = [r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)]
            if errors:
                first = next((error for error in errors if isinstance(error, CryptoAssetsError)), errors[0])
                raise_if_ours(first)
                raise first
            if self._stopping.is_set():
                raise Stopped("the run was cancelled")
        return self._tally

    async def _fetch_all(self, flow: Flow) -> None:
        try:
            await flow.run()
        except BaseException:
            # Days that wait for the stores are dropped; the batch being stored finishes.
            while not self._batches.empty():
                self._batches.get_nowait()
            self._batches.put_nowait(None)
            raise

    async def _store_all(self) -> None:
        try:
            while await self._store_next():
                pass
            if not self._stopping.is_set():
                await self._in_thread(self._second_look)
        except BaseException:
            self._fetching.cancel()
            raise

    async def _store_next(self) -> bool:
        batch = await self._batches.get()
        if batch:
            await self._in_thread(self._store, batch)
        return bool(batch)

    def _store(self, batch: Sequence[Day]) -> None:
        outcomes = self._storer.store(batch)
        self._tally.add(outcomes)
        self._last = f"{batch[-1].series} {batch[-1].partition}"
        self._count()

    def _count(self) -> None:
        tally = self._tally
        self._progress.count(
            done=tally.days,
            failed=len(tally.problems),
            rows=tally.rows,
            size_bytes=tally.stored_bytes,
            last_partition=self._last,
        )

    def _second_look(self) -> None:
        revised = self._storer.second_look(self._targets)
        self._tally.revise(revised, self._targets)
        self._tally.revised += [place for place, now in revised.items() if now.changed]
        outlast(self._tally.accept, self._pipeline.stores.ledger)
        self._count()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._in_thread(self._progress.write)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    # ---- pauses: requested by the flow, or by others ----------------------------------------------------------------

    async def pause(self, reason: str) -> None:
        """Pause this run by itself."""
        self._gate.close()
        await self._in_thread(self._controls.pause, pauses.of_run(self._id), pauses.ITSELF, reason)
        await self._read_controls()

    async def resume(self) -> None:
        """End the run's own pause."""
        await self._in_thread(self._controls.resume, pauses.of_run(self._id), pauses.ITSELF)
        await self._read_controls()

    @property
    def paused_by_others(self) -> bool:
        return any(pause.who != pauses.ITSELF for pause in self._pauses)

    async def _read_controls(self) -> None:
        self._apply(await self._in_thread(self._controls.read, self._scopes))

    def _apply(self, controls: Sequence[Control]) -> None:
        if any(one.action == "cancel" for one in controls):
            self._stopping.set()
        self._asked = self._asked or any(one.scope == pauses.of_run(self._id) for one in controls)
        now = [one for one in controls if one.action == "pause"]
        if now:
            self._gate.close()
        else:
            self._gate.open()
        if now != self._pauses:
            self._pauses = now
            state = RunState.PAUSED if now else RunState.RUNNING
            self._telling = self._pool.submit(self._tell, state, "; ".join(map(str, now)))

    def _tell(self, state: RunState, reason: str) -> None:
        self._progress.state(state, reason)
        self._pipeline.on_state(state, reason)

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def _stop_when_asked(self) -> None:
        await self._stopping.wait()
        self._ending.set()
        self._fetching.cancel()

    def end(self, outcome: Future[Tally], error: BaseException) -> None:
        """Stop in good order, or at once if that takes too long; called from the thread of `Pipeline.run`."""
        self._ending.set()
        if self._loop is not None and not outcome.done():
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(lambda: self._stopping.set())
            wait([outcome], GRACE_S)
        failed = isinstance(error, Exception) and not isinstance(error, Stopped)
        state, reason = RunState.FAILED if failed else RunState.CANCELLED, " ".join(str(error).split())
        last_word = threading.Thread(target=self.closed, args=(state, reason), daemon=True)
        last_word.start()
        last_word.join(GRACE_S)  # an unreachable database would take longer
        self._pipeline.stores.warehouse.stop()
        self._pipeline.stores.ledger.stop()

    def closed(self, state: RunState, reason: str = "") -> None:
        """Record the final state of the run, and delete the controls set for this run alone."""
        self._progress.state(state, reason)
        if self._asked:
            with contextlib.suppress(CryptoAssetsError):
                self._controls.forget(self._id)


def _what(targets: Sequence[Target]) -> str:
    """Return the symbols and days of a run in one short line."""
    days = [day for target in targets for day in (target.days[0], target.days[-1])]
    names = list(dict.fromkeys(f"{target.series} {target.symbol}" for target in targets))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}, {min(days)} … {max(days)}" if names else "nothing"
