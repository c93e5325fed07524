"""Prove that eight processes under one limit never break it, use it, and share it, even while they are killed.

    python -m proofs.limits [--seconds 300] [--processes 8] [--kill] [--seed 0]

Each process asks through client and guard, as a run does: two threads or more under 20 requests/s, and as many under 6,000
weights/min with requests of weight 2, 4 and 25; some processes have more threads than others. The server, in its own process,
records by its own stopwatch when each request arrives, and answers with its count in the calendar minute, as
Binance does. With `--kill` a random process is killed with SIGKILL each second and replaced. Exit code 1 if a sliding
window has more than its limit, less than 95 % of a limit is used, a process gets less than half of its share, or a
request fails. Use and shares are measured from the end of the first window on, over whole windows.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn

from crypto_assets.sources.limits import Endpoint, Limit
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from proofs.world import say, show

LIMITS = {"linear": Limit(20, 1, "requests"), "spot": Limit(6_000, 60)}
WEIGHTS = {"linear": (1,), "spot": (2, 4, 25)}
LEAST_USED, LEAST_SHARE = 0.95, 0.5

# Forked from a process with all imports done, as the workers of runs are.
_PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as the server saw it; `at` is by its stopwatch."""

    at: float
    budget: str
    weight: int
    worker: int


@dataclass(frozen=True)
class Judged:
    """The server's record of one limit; use and share are None if no whole window follows the first."""

    limit: Limit
    requests: int
    violations: int
    fullest: int
    used: float | None
    least_share: float | None

    @property
    def held(self) -> bool:
        return (
            not self.violations
            and (self.used is None or self.used >= LEAST_USED)
            and (self.least_share is None or self.least_share >= LEAST_SHARE)
        )


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.limits", description=__doc__.partition("\n")[0])
    words.add_argument("--seconds", type=float, default=300.0)
    words.add_argument("--processes", type=int, default=8)
    words.add_argument("--kill", action="store_true")
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    record, kills, failed = prove(given.seconds, given.processes, kill=given.kill, seed=given.seed)
    judged = [judge(record, budget, limit, given.processes, given.seconds) for budget, limit in LIMITS.items()]
    rows = [("kill -9, each with a replacement", str(kills)), ("processes that failed by themselves", str(failed))]
    for found in judged:
        rows += [
            (f"{found.limit}: requests that arrived", f"{found.requests:,}"),
            (f"{found.limit}: sliding windows above it", f"{found.violations} (fullest {found.fullest:,})"),
            (f"{found.limit}: used", _percent(found.used)),
            (f"{found.limit}: least share of a process / fair share", _percent(found.least_share)),
        ]
    show(f"{given.processes} processes under two limits at once, {given.seconds:g} s", rows)
    sys.exit(0 if not failed and all(found.held for found in judged) else 1)


def prove(seconds: float, processes: int, *, kill: bool, seed: int) -> tuple[list[Arrival], int, int]:
    """Return the arrivals at the server, how many processes were killed, and how many ended by themselves."""
    chance = random.Random(seed)  # noqa: S311  moments and victims, not secrets
    _PROCESSES.set_forkserver_preload(
        ["uvicorn", "proofs.world", Guard.__module__, Client.__module__, migrate.__module__]
    )
    kills = failed = 0
    with _postgres() as database_url, _counting_server() as (pipe, url):
        workers = [_start(number, url, database_url) for number in range(processes)]
        try:
            began = time.monotonic()
            for second in itertools.count(1):
                time.sleep(max(0.0, began + min(second, seconds) - time.monotonic()))
                if second >= seconds:
                    break
                for number, worker in enumerate(workers):
                    if not worker.is_alive():
                        failed += 1
                        workers[number] = _start(number, url, database_url)
                if kill:
                    time.sleep(chance.random() * 0.8)
                    victim = chance.randrange(processes)
                    workers[victim].kill()
                    workers[victim].join()
                    kills += 1
                    workers[victim] = _start(victim, url, database_url)
                if second % 30 == 0:
                    say(f"{second} of {seconds:g} s")
            pipe.send("record")
            return pipe.recv(), kills, failed
        finally:
            for worker in workers:
                worker.kill()
                worker.join()


def judge(record: Sequence[Arrival], budget: str, limit: Limit, workers: int, seconds: float) -> Judged:
    """Judge one limit by the arrivals of its budget."""
    arrivals = sorted((arrival for arrival in record if arrival.budget == budget), key=lambda arrival: arrival.at)
    amounts = [arrival.weight if limit.unit == "weight" else 1 for arrival in arrivals]
    instants = [arrival.at for arrival in arrivals]
    sums = [0, *itertools.accumulate(amounts)]
    # The fullest windows begin with an arrival; a window is [t, t + window).
    windows = [sums[bisect_left(instants, at + limit.window_s)] - sums[number] for number, at in enumerate(instants)]
    used = least = None
    whole = int(seconds // limit.window_s) - 1
    if whole > 0 and instants:
        first = instants[0] + limit.window_s
        low, high = (bisect_left(instants, edge) for edge in (first, first + whole * limit.window_s))
        total = sums[high] - sums[low]
        shares: Counter[int] = Counter()
        for arrival, amount in zip(arrivals[low:high], amounts[low:high], strict=True):
            shares[arrival.worker] += amount
        used = total / (limit.amount * whole)
        least = min(shares[worker] for worker in range(workers)) / (total / workers)
    above = sum(window > limit.amount for window in windows)
    return Judged(limit, len(arrivals), above, max(windows, default=0), used, least)


@contextmanager
def _postgres() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="crypto-assets-proof-"))
    folder.chmod(0o711)  # as root, the server runs as another user
    try:
        url = ensure_server(folder, durable=False)
        migrate(url)
        yield url
    finally:
        delete_server(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _counting_server() -> Iterator[tuple[Connection, str]]:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours, f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection) -> None:
    """Answer and record every request `/{budget}/{weight}/{worker}`; send the record on request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    record: list[Arrival] = []
    minutes: Counter[int] = Counter()

    async def answer(scope: Any, _: Any, send: Any) -> None:
        at = time.monotonic()
        _, budget, weight, worker = scope["path"].split("/")
        record.append(Arrival(at, budget, int(weight), int(worker)))
        headers = [(b"content-length", b"0")]
        if budget == "spot":
            minute = int(time.time() // 60)
            minutes[minute] += int(weight)
            headers.append((b"x-mbx-used-weight-1m", str(minutes[minute]).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def serve() -> None:
        server = uvicorn.Server(uvicorn.Config(answer, port=0, lifespan="off", log_level="critical", access_log=False))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        pipe.send(server.servers[0].sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        pipe.send(list(record))
        server.should_exit = True
        await serving

    asyncio.run(serve())


def _start(number: int, url: str, database_url: str) -> Any:
    worker = _PROCESSES.Process(target=_work, args=(number, url, database_url), daemon=True)
    worker.start()
    return worker


def _work(number: int, url: str, database_url: str) -> None:
    """Ask under both limits from several threads until killed; a request that fails ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads = 2 + number % 4
    errors: deque[Exception] = deque()
    failed = threading.Event()
    guard = Guard(database_url, limits={"binance": {budget: [limit] for budget, limit in LIMITS.items()}})
    client = Client(guard, len(LIMITS) * threads)

    def ask(budget: str) -> None:
        try:
            while True:
                weight = random.choice(WEIGHTS[budget])  # noqa: S311  no secret
                client.at(Endpoint("binance", budget, "klines", weight)).get(f"{url}/{budget}/{weight}/{number}")
        except Exception as error:  # any error is shown and counted
            errors.append(error)
            failed.set()

    for budget in LIMITS:
        for _ in range(threads):
            threading.Thread(target=ask, args=(budget,), daemon=True).start()
    failed.wait()
    say(f"process {number}: {errors[0]!r}")
    sys.exit(1)


def _percent(part: float | None) -> str:
    return "not known: no whole window after the first" if part is None else f"{part:.1%}"


if __name__ == "__main__":
    main()
