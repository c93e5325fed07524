"""Prove that a hundred runs queued at once all complete, even if the daemon is killed in the middle.

    python -m proofs.queue [--runs 100] [--days 10]

Runs `crypto-assets up`, queues the runs through the UI's own interface, kills the daemon when a third of them has
ended, and watches the memory of every run worker and the concurrent downloads at the exchange. Exit code 1 if a run did not
succeed or a day is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from datetime import date, timedelta

import httpx

from crypto_assets.sandbox.server import SandboxProcess
from proofs.world import COINS, FIRST, Home, Up, descendants, memory_mb, sandbox, say, show, wait_for


def _in_flight(exchange: SandboxProcess, up: Up, last: date) -> int:
    """Return the most concurrent requests of one run at a slow exchange."""
    slow = {"fault": "drip", "chunk_bytes": 20_000, "pause_s": 0.2}
    with httpx.Client(base_url=exchange.archive_url, timeout=60) as client:
        client.post("/_sandbox/faults", json=slow).raise_for_status()
        up.launch([(COINS[:2], FIRST, min(last, FIRST + timedelta(days=19)))])
        wait_for("one run ended", lambda: up.statuses() == {"SUCCESS": 1})
        most = client.get("/_sandbox/requests").json()["most_at_once"]
        client.delete("/_sandbox/faults").raise_for_status()
    return int(most)


def main() -> None:
    """Run the proof and print the results."""
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
        at_once = _in_flight(exchange, up, last)
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
            if done > given.runs and not any(statuses.get(name) for name in ("QUEUED", "STARTING", "STARTED")):
                break
            if time.monotonic() - started > 1_200:
                raise SystemExit(f"not done after 20 minutes: {statuses}\n{home.said()}")
            time.sleep(0.25)
        took = time.monotonic() - started
        states = dict(home.query("SELECT state, count(*) FROM collection.partitions GROUP BY 1"))
        rows = home.query("SELECT count(*) FROM market.ohlcv WHERE timeframe = '1m'")[0][0]
    workers = sorted(peaks.values())
    show(
        f"{given.runs} runs queued at once",
        [
            ("runs", str(statuses)),
            ("days", f"{states} of {days}"),
            ("1m bars in the warehouse", f"{rows:,} of {days * 1_440:,}"),
            ("time", f"the daemon was killed after {killed:.0f} s, all was done after {took:.0f} s"),
            ("memory of a worker", f"{workers[len(workers) // 2]:.0f} MB median, {workers[-1]:.0f} MB most"),
            ("requests of one run in flight at once", str(at_once)),
        ],
    )
    stored = states == {"available": days} and rows == days * 1_440
    held = statuses == {"SUCCESS": given.runs + 1} and at_once >= 10 and stored and killed > 0
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
