"""A thread pool that does not block process exit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import Context, copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from crypto_assets.machine.shortage import raise_if_ours

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """Yield the results of a function in the order of the items, from several threads.

    At most twice as many results as threads wait for the caller. After an error the calls that have not started are dropped.
    """
    ahead: deque[Future[_Result]] = deque()
    with DaemonPool(threads, "in_order") as pool:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) == 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class DaemonPool(Executor):
    """Runs calls in threads, each in the context of its caller.

    At exit Python waits for the threads of a ThreadPoolExecutor, however long their calls take; not for these.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._queue: SimpleQueue[tuple[Future[Any], Context, Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the future of a call that starts when a thread is free; call this from one thread only."""
        if self._closed:
            raise RuntimeError(f"the pool {self._name} is closed")
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads for this process: the existing ones do the work
                if not self._threads:
                    raise_if_ours(error)
                    raise
                self._most = len(self._threads)
            else:
                self._threads.append(thread)
        # Last: a call whose submission failed must not run later, because its caller was told that it failed.
        future: Future[Any] = Future()
        self._queue.put((future, copy_context(), lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout_s: float | None = None) -> None:
        """End the threads when their calls return; `cancel_futures` drops calls that have not started."""
        self._closed = True
        while cancel_futures and not self._queue.empty():
            if item := self._queue.get():
                item[0].cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads if wait else ():
            thread.join(timeout_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error do not wait: the results are no longer needed.
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)

    def _work(self) -> None:
        while item := self._queue.get():
            future, context, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(context.run(call))
                except BaseException as error:
                    future.set_exception(error)
            # Waiting for the next call must not keep the rows of this one in memory.
            del item, future, context, call
