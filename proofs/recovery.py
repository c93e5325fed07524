"""Prove that a dead run is noticed and restarted without a person: its worker died alone, or with the code server.

    python -m proofs.recovery

Runs `crypto-assets up`, launches a run, and kills its worker with SIGKILL in the middle; then kills worker and
code server together, as when a machine goes down. Exit code 1 if not all days are stored within two minutes
of the kill.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta

from proofs.world import COINS, FIRST, Home, Up, descendants, sandbox, say, show, wait_for

DAYS = 60
WITHIN_S = 120.0

_LOCKS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def main() -> None:
    """Run the proof and print the results."""
    last = FIRST + timedelta(days=DAYS - 1)
    rows: list[tuple[str, str]] = []
    held = True
    with sandbox(COINS, last) as exchange, Home(exchange, COINS) as home, Up(home) as up:
        for what, coins in (("the worker", COINS[:5]), ("worker and code server", COINS[5:])):
            symbols = ", ".join(f"'{coin}/USDT'" for coin in coins)
            goal = len(coins) * DAYS

            def collected(symbols: str = symbols) -> int:
                query = (
                    f"SELECT count(*) FROM collection.partitions WHERE state = 'available' AND symbol IN ({symbols})"
                )
                return int(home.query(query)[0][0])

            up.launch([(coins, FIRST, last)])
            there = wait_for("some days are collected", collected, poll_s=0.02)
            (server,) = up.children("code_server")
            workers = _workers(server)
            killed = time.monotonic()
            for pid in [server, *descendants(server)] if "server" in what else workers:
                os.kill(pid, signal.SIGKILL)
            say(f"killed {what} with {there} of {goal} days collected")
            wait_for("all days are there", lambda: collected() == goal, timeout_s=300)  # noqa: B023
            days_s = time.monotonic() - killed
            wait_for(
                "the run ended", lambda: not any(up.statuses().get(name) for name in ("STARTED", "QUEUED", "STARTING"))
            )
            ended_s = time.monotonic() - killed
            locks = home.query(_LOCKS)[0][0]
            text = (
                f"killed with {there} of {goal} days; all there after {days_s:.1f} s, run ended after {ended_s:.1f} s; "
            )
            rows.append((what, f"{text}{locks} locks left; runs {up.statuses()}"))
            held &= days_s <= WITHIN_S and there < goal
    show("kill -9 of a run, done again by itself", rows)
    sys.exit(0 if held else 1)


def _workers(server: int) -> list[int]:
    """Return the run workers of a code server: the processes forked by its children, for example by the forkserver."""
    below = list(descendants(server))
    return [worker for child in below for worker in descendants(child)] or below


if __name__ == "__main__":
    main()
