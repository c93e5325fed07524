"""Prove that a run killed at any moment leaves no torn data: collecting again gives the result of an undisturbed run.

    python -m proofs.kills [--times 50] [--seed 0]

Each time: an empty lake and database, `crypto-assets collect` of 200 files (10 symbols, 20 days), SIGKILL at a random
moment between its first file and its end, a check of the remains, and the same command once more. Exit code 1 if
the kill left a torn file or half a day in the warehouse, or if lake, warehouse, ledger and Dagster's partitions
differ from those of the undisturbed run after completion.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from datetime import timedelta

import pyarrow.parquet as pq

from proofs.stored import differences, files, fresh, stored
from proofs.world import COINS, FIRST, Home, sandbox, say, show, wait_for

DAYS = 20
FILES = len(COINS) * DAYS


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.kills", description=__doc__.partition("\n")[0])
    words.add_argument("--times", type=int, default=50)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    moments = random.Random(given.seed)  # noqa: S311  moments, not secrets
    last = FIRST + timedelta(days=DAYS - 1)
    command = ("collect", "--from", FIRST.isoformat(), "--to", last.isoformat(), "--json")
    bad: list[str] = []
    reached: list[int] = []
    with sandbox(COINS, last) as exchange, Home(exchange, COINS) as home:
        server = home.url
        fresh(home, server)
        if home.run(*command) != 0:  # the sandbox generates its files
            raise SystemExit(f"a first run failed:\n{home.said()}")
        fresh(home, server)
        began = time.monotonic()
        child = home.start(*command)
        wait_for("the first file", lambda: files(home), poll_s=0.01)
        first_file = time.monotonic() - began
        if child.wait(600) != 0:
            raise SystemExit(f"the undisturbed run failed:\n{home.said()}")
        whole = time.monotonic() - began
        expected = stored(home)
        say(f"undisturbed: first file after {first_file:.1f} s, end after {whole:.1f} s, {len(expected.lake)} files")
        for number in range(given.times):
            fresh(home, server)
            child = home.start(*command)
            wait_for("the first file", lambda: files(home), poll_s=0.01)
            time.sleep(moments.random() * (whole - first_file))
            child.send_signal(signal.SIGKILL)
            child.wait()
            there = files(home)
            reached.append(there)
            problems = _torn(home)
            if home.run(*command) != 0:
                problems.append(f"completion failed: {home.said()}")
            problems += differences(expected, stored(home))
            bad += [f"kill {number + 1} at {there} files: {problem}" for problem in problems]
            say(
                f"kill {number + 1}: {there} of {FILES} files were there; {'; '.join(problems) or 'equal after completion'}"
            )
    show(
        "kill -9 of the run, then completion",
        [
            ("times", str(given.times)),
            (
                "files stored at the kill",
                f"{min(reached)} … {max(reached)} of {FILES}, all of {sorted(reached)}",
            ),
            ("torn files, half days, differences", str(len(bad))),
            *((f"difference {number}", problem) for number, problem in enumerate(bad, 1)),
        ],
    )
    sys.exit(1 if bad else 0)


def _torn(home: Home) -> list[str]:
    """Return the torn remains of a killed run: a damaged Parquet file, a day with only a part of its rows loaded."""
    problems = []
    for path in home.lake.glob("exchange=*/**/data.parquet"):
        try:
            rows = pq.ParquetFile(path).read().num_rows
        except OSError as error:
            problems.append(f"{path.name} is torn: {error}")
            continue
        if rows != 1_440:
            problems.append(f"{path} has {rows} rows")
    halves = home.query(
        "SELECT symbol, open_time::date, count(*) FROM market.ohlcv WHERE timeframe = '1m' "
        "GROUP BY 1, 2 HAVING count(*) <> 1440"
    )
    return problems + [f"half a day in the warehouse: {half}" for half in halves]


if __name__ == "__main__":
    main()
