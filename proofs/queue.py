"""A hundred runs queued at once all complete, also when the daemon is killed in the middle.

    python -m proofs.queue [--runs 100] [--days 10]

Runs `crypto-assets up`, queues the runs through the UI's own interface, kills the daemon when a third of them has
ended, and watches the memory of every run worker and the downloads in flight at the exchange. Exit code 1 where a run did not
succeed or a day is not there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from datetime import timedelta

import httpx

from proofs.world import COINS, FIRST, Home, Up, descendants, memory_mb, sandbox, say, show


def main() -> None:
    """Run the proof and print what was found."""
    words = argparse.ArgumentParser("proofs.queue", description=__doc__.partition("\n")[0])
    words.add_argument("--runs", type=int, default=100)
    words.add_argument("--days", type=int, default=10, help="of each run")
    given = words.parse_args()
    spans = -(-given.runs // len(COINS))
    last = FIRST + timedelta(days=spans * given.days - 1)
    requests = [
        ((coin,), FIRST + timedelta(days=span * given.days), FIRST + timedelta(days=(span + 1) * given.days - 1))
        for span in range(spans)
        for coin in COINS
    ][: given.runs]
    days = given.runs * given.days
    with sandbox(COINS, last) as exchange, Home(exchange, COINS) as home, Up(home) as up:
        started = time.monotonic()
        up.launch(requests)
        say(f"{given.runs} runs are queued")
        peaks: dict[int, float] = {}
        killed = 0.0
        while True:
            statuses = up.statuses()
            done = sum(statuses.get(name, 0) for name in ("SUCCESS", "FAILURE", "CANCELED"))
            for server in up.children("code_server"):
                for worker in descendants(server):
                    peaks[worker] = max(peaks.get(worker, 0.0), memory_mb(worker))
            if not killed and done >= given.runs // 3:
                (daemon,) = up.children("dagster._daemon run")
                os.kill(daemon, signal.SIGKILL)
                killed = time.monotonic() - started
                say(f"the daemon was killed after {killed:.0f} s, {done} runs had ended")
            if done >= given.runs and not any(statuses.get(name) for name in ("QUEUED", "STARTING", "STARTED")):
                break
            if time.monotonic() - started > 1_200:
                raise SystemExit(f"not done after 20 minutes: {statuses}\n{home.said()}")
            time.sleep(0.25)
        took = time.monotonic() - started
        states = dict(home.query("SELECT state, count(*) FROM collection.partitions GROUP BY 1"))
        rows = home.query("SELECT count(*) FROM market.ohlcv WHERE timeframe = '1m'")[0][0]
        flight = httpx.get(f"{exchange.archive_url}/_sandbox/requests", params={"summary": "1"}, timeout=60).json()
        at_once = flight.get("most_at_once", 0)
    workers = sorted(peaks.values())
    show(
        f"{given.runs} runs queued at once",
        [
            ("runs", str(statuses)),
            ("days", f"{states} of {days}"),
            ("1m bars in the warehouse", f"{rows:,} of {days * 1_440:,}"),
            ("time", f"the daemon was killed after {killed:.0f} s, all was done after {took:.0f} s"),
            ("memory of a worker", f"{workers[len(workers) // 2]:.0f} MB median, {workers[-1]:.0f} MB most"),
            ("requests in flight, most", str(at_once)),
        ],
    )
    held = statuses == {"SUCCESS": given.runs} and states == {"available": days} and rows == days * 1_440 and killed > 0
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
