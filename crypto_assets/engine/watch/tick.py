"""One tick of the sensor: looks at the archives of all entries where something is due, and returns the runs to request.

Entries do not hold up each other. Several are looked at at once, those with files to expect before those that were never
read, in an order of its own in every tick; a host that fails is asked once in a tick and then less and less often; and after
the first news the tick soon ends. What was not reached stays due, for the next tick.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets.engine.watch.feed_snapshot import Watch
from crypto_assets.engine.watch.outbox import REQUESTS, Request, hand_out
from crypto_assets.engine.watch.watch import BUDGET_S, LISTINGS, OTHERS_S, SETTLE_S, Look, News, look
from crypto_assets.errors import OF_THIS_PROCESS, HostRefused, HostUnreachable
from crypto_assets.ledger.catalog import Catalog, Due
from crypto_assets.machine.thread_pool import DaemonPool

if TYPE_CHECKING:
    from crypto_assets.transport.client import Client

ENTRIES_AT_ONCE = 4
"""Entries looked at at the same time; together they read `LISTINGS` listings at once."""

_LEAST_BACK_OFF, _MOST_BACK_OFF = timedelta(seconds=15), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Tick:
    """The requests of a tick; `reason` says why there are none; `failed` are the errors of entries, by name."""

    requests: list[Request]
    reason: str
    failed: Mapping[str, Exception] = field(default_factory=dict)


_Work = tuple[Watch, Due]


def tick(
    connect: Callable[[], Client],
    watches: Sequence[Watch],
    catalog: Catalog,
    delivered: Sequence[str],
    now: datetime,
    *,
    budget_s: float = BUDGET_S,
    most: int = REQUESTS,
    at_once: int = LISTINGS,
) -> Tick:
    """List the due prefixes of all entries and return the requests; if nothing is due, this is one query.

    Nothing is lost if an entry cannot be read, and a failing host is listed less and less often.

    Args:
        connect: opens the client, if any archive is listed at all.
        delivered: run keys of earlier requests that Dagster has accepted.
        budget_s: seconds after which no further listing is requested.
        most: the most requests in one tick.
        at_once: listings read at the same time.

    Raises:
        PostgresUnavailable: the server does not answer.
    """
    all_due = catalog.due([(watch.digest, watch.entry.exchange, watch.host) for watch in watches], delivered, now)
    work = [(watch, due) for watch, due in zip(watches, all_due, strict=True) if not due.paused]
    for watch, due in work:
        if not due.registered:
            catalog.register(watch.entry, watch.feeds(), now)
    to_look = [one for one in work if _is_due(one[1])]
    looks = _Looks(catalog, now, budget_s, at_once)
    if to_look:
        with connect() as client:
            looks.at(client, to_look)
    failed = looks.settle()
    # A changed entry takes over the waiting requests.
    waiting = any(due.requests or not due.registered for _, due in work) or any(one.found for one in looks.done)
    requests = hand_out(catalog, [watch.digest for watch, _ in work], now, most) if waiting else []
    return Tick(requests, _reason(list(zip(watches, all_due, strict=True)), looks.done), failed)


def _is_due(due: Due) -> bool:
    return (due.looks or due.walks or not due.registered) and not due.blocked


class _Looks:
    """The looks of one tick, in several threads."""

    def __init__(self, catalog: Catalog, now: datetime, budget_s: float, at_once: int) -> None:
        self._catalog = catalog
        self._now = now
        self._budget_s = budget_s
        self._at_once = at_once
        self._news = News()
        self._lock = threading.Lock()
        self._found: list[tuple[Watch, Due, Look | Exception]] = []
        self._down: set[str] = set()

    @property
    def done(self) -> list[Look]:
        return [found for _, _, found in self._found if isinstance(found, Look)]

    def at(self, client: Client, work: Sequence[_Work]) -> None:
        """Look at the entries, as many as the time allows.

        Raises:
            StoreUnavailable, Stopped, OutOfResources: they concern every entry.
        """
        waiting = sorted(work, key=lambda one: (not one[1].known, self._turn(one[0])))
        threads = min(len(waiting), ENTRIES_AT_ONCE)
        until = time.monotonic() + self._budget_s

        def one_after_another() -> None:
            left = self._budget_s  # the first one of a thread is looked at whatever the budget
            while (one := self._next(waiting)) is not None:
                self._look(client, *one, left, max(1, self._at_once // threads))
                left = until - time.monotonic()
                if left <= 0:
                    return

        if threads == 1:
            one_after_another()
            return
        with DaemonPool(threads, "entry") as pool:
            futures = [pool.submit(one_after_another) for _ in range(threads)]
            wait(futures)
        for future in futures:
            future.result()

    def _turn(self, watch: Watch) -> bytes:
        """Return a place in the order of this tick, another one in the next tick."""
        return hashlib.blake2b(f"{watch.digest} {self._now.timestamp()}".encode(), digest_size=8).digest()

    def _next(self, waiting: list[_Work]) -> _Work | None:
        with self._lock:
            while waiting:
                watch, due = waiting.pop(0)
                ended = self._news.at is not None and time.monotonic() > self._news.at + _patience(due)
                if watch.host not in self._down and not ended:
                    return watch, due
        return None

    def _look(self, client: Client, watch: Watch, due: Due, budget_s: float, at_once: int) -> None:
        found: Look | Exception
        try:
            found = look(
                client,
                watch,
                self._catalog,
                self._now,
                budget_s,
                at_once=at_once,
                elsewhere=self._news,
                patience_s=_patience(due),
            )
        except OF_THIS_PROCESS:
            raise
        except Exception as error:  # a mistake with one entry must not stop the others; the sensor reports it
            found = error
        with self._lock:
            self._found.append((watch, due, found))
            if isinstance(found, Look) and isinstance(found.error, HostUnreachable | HostRefused):
                self._down.add(watch.host)

    def settle(self) -> dict[str, Exception]:
        """Record which hosts failed and which answer again; return the errors of the entries, by name."""
        failed: dict[str, Exception] = {}
        answering = {w.host for w, _, found in self._found if isinstance(found, Look) and found.has_read}
        recorded: set[str] = set()
        for watch, due, found in self._found:
            error = found if isinstance(found, Exception) else found.error
            exchange, host = watch.entry.exchange, watch.host
            if error is not None:
                failed[watch.name] = error
            if isinstance(found, Exception):
                continue
            if host in answering:
                if error is not None:  # only this entry cannot be read
                    with self._catalog.transaction() as connection:
                        self._catalog.write(connection, found.unread, [], watch.digest, self._now)
                elif due.failures and host not in recorded:
                    self._catalog.answered(exchange, host)
                    recorded.add(host)
            elif error is not None and host not in recorded:
                back_off = min(_LEAST_BACK_OFF * 2 ** min(due.failures, 10), _MOST_BACK_OFF)
                self._catalog.failed(exchange, host, str(error), self._now, self._now + back_off)
                recorded.add(host)
        return failed


def _patience(due: Due) -> float:
    return OTHERS_S if due.known else SETTLE_S


def _reason(work: Sequence[_Work], looks: Sequence[Look]) -> str:
    """Return why nothing is requested: the notes about paused and failing hosts, then what was looked at."""
    notes = [f"paused: {due.paused}" for _, due in work if due.paused]
    notes += [
        f"no requests to {watch.host} for now: {due.blocked}" for watch, due in work if due.blocked and not due.paused
    ]
    looked, walked = sum(one.looked for one in looks), sum(one.walked for one in looks)
    if looked + walked:
        failures = sum(one.failures for one in looks)
        failed = f"; {failures} could not be read and will be tried again" if failures else ""
        notes.append(f"the archive lists nothing new ({looked} looked at, {walked} walked{failed})")
    elif any(not due.paused and not due.blocked for _, due in work) or not work:
        notes.append("nothing is due")
    return "; ".join(dict.fromkeys(notes))
