"""Prove that a run stopped at a random moment ends within a second, with its state saved.

    python -m proofs.stops [--times 20] [--limit 1]

Half of the stops are SIGINT and SIGTERM to `crypto-assets collect`, measured from the signal to the end of the process;
the other half are cancels through Dagster's GraphQL, as the UI sends them, measured until the run is CANCELED and its
worker has ended. After each stop every day that the ledger calls available must be in the lake with the bytes in the
ledger; at the end an undisturbed collection completes everything. Exit code 1 if a stop took longer than the limit
or left a wrong state.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import httpx

from proofs.world import COINS, FIRST, Home, Up, sandbox, say, show, wait_for

_TERMINATE = """
mutation($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } ... on PythonError { message } }
}
"""


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.stops", description=__doc__.partition("\n")[0])
    words.add_argument("--times", type=int, default=20, help="stops of each kind")
    words.add_argument("--coins", type=int, default=10)
    words.add_argument("--days", type=int, default=60)
    words.add_argument("--limit", type=float, default=1.0, help="seconds that a stop may take")
    words.add_argument("--seed", type=int, default=None)
    given = words.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 - moments, not secrets
    coins, last = COINS[: given.coins], FIRST + timedelta(days=given.days - 1)
    middle = FIRST + timedelta(days=given.days // 2)  # so that both kinds meet days not collected yet
    span = ("--from", FIRST.isoformat(), "--to", middle.isoformat())
    with sandbox(coins, last) as exchange, Home(exchange, coins) as home:
        faults = f"{exchange.archive_url}/_sandbox/faults"
        # So slow that a run of one half takes ten seconds: a stop must meet the run, not its end.
        pause_s = max(0.05, 25 / (len(coins) * given.days / 2))
        httpx.post(faults, json={"fault": "drip", "chunk_bytes": 16_384, "pause_s": pause_s}).raise_for_status()
        signals = _times_over(given.times, lambda: _signalled(home, span, chance))
        with Up(home) as up:
            cancels = _times_over(given.times, lambda: _cancelled(home, up, (coins, middle, last), chance))
        left = _unfinished(home)
        httpx.delete(faults).raise_for_status()
        code = home.run("collect", "--from", FIRST.isoformat(), "--to", last.isoformat())
        complete = home.query("SELECT count(*) FROM collection.partitions WHERE state = 'available'")[0][0]
    show(
        f"{given.times} stops of each kind at random moments",
        [
            ("SIGINT or SIGTERM to `crypto-assets collect`, until the process has ended", _times(signals)),
            ("cancel in the UI, until the run is CANCELED and its worker has ended", _times(cancels)),
            ("runs that are neither ended nor CANCELED after that", str(left or "none")),
            ("then undisturbed", f"exit code {code}, {complete} of {len(coins) * given.days} days available"),
        ],
    )
    held = max([*signals, *cancels]) <= given.limit and not left and code == 0 and complete == len(coins) * given.days
    sys.exit(0 if held else 1)


def _times_over(times: int, stop: Callable[[], float | None]) -> list[float]:
    """Stop runs until enough were stopped before their end; return the seconds of each stop."""
    taken: list[float] = []
    for _ in range(3 * times):
        if len(taken) < times and (took := stop()) is not None:
            taken.append(took)
    if len(taken) < times:
        raise SystemExit(f"expected {times} runs to be met before their end, found {len(taken)}; give them more days")
    return taken


def _signalled(home: Home, span: tuple[str, ...], chance: random.Random) -> float | None:
    """Collect, send a signal at a random moment; return the seconds until the process ended, None if it had ended before."""
    before = len(_runs(home))
    process = home.start("collect", *span)
    if chance.random() < 0.8:  # the others are stopped during the start
        wait_for("the run begins", lambda: process.poll() is not None or len(_runs(home)) > before, poll_s=0.02)
    time.sleep(chance.uniform(0.05, 3.0))
    number = chance.choice((signal.SIGINT, signal.SIGTERM))
    if process.poll() is not None:
        say(f"it had ended by itself, with code {process.returncode}")
        return None
    started = time.monotonic()
    process.send_signal(number)
    process.wait(60)
    took = time.monotonic() - started
    stored = _check(home)
    say(f"{number.name}: {took:.2f} s, exit code {process.returncode}, {stored} days stored")
    if process.returncode == 0:
        return None
    if process.returncode not in (130, -number):
        raise SystemExit(f"expected exit code 130, found {process.returncode}:\n{home.said()}")
    return took


def _cancelled(home: Home, up: Up, request: tuple[Sequence[str], date, date], chance: random.Random) -> float | None:
    """Launch a run, cancel it at a random moment; return the seconds until it was CANCELED and its worker had ended.

    None if it had ended before.
    """
    (run_id,) = up.launch([request])
    pid = wait_for("the run begins", lambda: _runs(home).get(run_id), poll_s=0.02)
    time.sleep(chance.uniform(0.0, 2.0))
    if _status(home, run_id) != "STARTED":
        say("it had ended by itself")
        return None
    started = time.monotonic()
    answer = up.graphql(_TERMINATE, run=run_id)["terminateRun"]
    if answer["__typename"] != "TerminateRunSuccess":
        if _status(home, run_id) == "SUCCESS":
            return None
        raise SystemExit(f"terminateRun: {answer}")
    wait_for("the run is over", lambda: _status(home, run_id) not in ("STARTED", "CANCELING"), poll_s=0.01)
    ended = time.monotonic() - started
    wait_for("the worker has ended", lambda: _gone(pid), poll_s=0.01)
    took = time.monotonic() - started
    status = _status(home, run_id)
    if status != "CANCELED":
        raise SystemExit(f"expected the run CANCELED, found {status}")
    say(f"cancel: {status} after {ended:.2f} s, its worker ended after {took:.2f} s, {_check(home)} days stored")
    return took


def _check(home: Home) -> int:
    """Compare the ledger with the lake; return how many days are stored."""
    if home.query("SELECT to_regclass('collection.partitions')") == [(None,)]:
        return 0  # it was stopped before it had created the tables
    rows = home.query("SELECT path, content_sha256 FROM collection.partitions WHERE state = 'available'")
    for path, sha256 in rows:
        found = hashlib.sha256((home.lake / path).read_bytes()).hexdigest()
        if found != sha256:
            raise SystemExit(f"{path}: the ledger says {sha256}, the lake has {found}")
    running = home.query("SELECT run_id FROM collection.progress WHERE state IN ('running', 'paused')")
    if running:
        say(f"progress not closed: {running}")
    return len(rows)


def _runs(home: Home) -> dict[str, int]:
    """Return the processes of all runs that have begun, by run."""
    with suppress(Exception):  # the tables are being made
        return dict(home.query("SELECT run_id, pid FROM collection.progress"))
    return {}


def _status(home: Home, run_id: str) -> str:
    return str(home.query(f"SELECT status FROM dagster.runs WHERE run_id = '{run_id}'")[0][0])


def _unfinished(home: Home) -> dict[str, int]:
    rows = home.query(
        "SELECT status, count(*) FROM dagster.runs WHERE status NOT IN ('CANCELED', 'SUCCESS', 'FAILURE') GROUP BY 1"
    )
    return {str(status): int(count) for status, count in rows}


def _gone(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat")).read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _times(taken: list[float]) -> str:
    return f"median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s"


if __name__ == "__main__":
    main()
