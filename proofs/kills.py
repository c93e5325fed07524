"""A run that is killed at any moment leaves nothing torn: collecting again gives what an undisturbed run gives.

    python -m proofs.kills [--times 50] [--seed 0]

Each time: an empty lake and database, `crypto-assets collect` of 200 files (10 symbols, 20 days), SIGKILL at a random
moment between its first file and its end, a look at what it left, and the same command once more. Exit code 1 where
the kill left a torn file or half a day in the warehouse, or where lake, warehouse, ledger and Dagster's partitions
differ from those of the undisturbed run after completion.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import psycopg
import pyarrow.parquet as pq

from crypto_assets.urls import database_of, with_database
from proofs.world import COINS, FIRST, Home, sandbox, say, show, wait_for

DAYS = 20
FILES = len(COINS) * DAYS


@dataclass(frozen=True)
class Stored:
    """Everything a collection leaves behind, as digests that can be compared."""

    lake: dict[str, str]
    warehouse: str
    ledger: str
    dagster: set[tuple[str, str]]
    leftovers: list[str]


def main() -> None:
    """Run the proof and print what was found."""
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
        _fresh(home, server)
        if home.run(*command) != 0:  # the sandbox makes its files
            raise SystemExit(f"a first run failed:\n{home.said()}")
        _fresh(home, server)
        began = time.monotonic()
        child = home.start(*command)
        wait_for("the first file", lambda: _files(home), poll_s=0.01)
        first_file = time.monotonic() - began
        if child.wait(600) != 0:
            raise SystemExit(f"the undisturbed run failed:\n{home.said()}")
        whole = time.monotonic() - began
        expected = _stored(home)
        say(f"undisturbed: first file after {first_file:.1f} s, end after {whole:.1f} s, {len(expected.lake)} files")
        for number in range(given.times):
            _fresh(home, server)
            child = home.start(*command)
            wait_for("the first file", lambda: _files(home), poll_s=0.01)
            time.sleep(moments.random() * (whole - first_file))
            child.send_signal(signal.SIGKILL)
            child.wait()
            there = _files(home)
            reached.append(there)
            problems = _torn(home)
            if home.run(*command) != 0:
                problems.append(f"completion failed: {home.said()}")
            problems += _differences(expected, _stored(home))
            bad += [f"kill {number + 1} at {there} files: {problem}" for problem in problems]
            say(
                f"kill {number + 1}: {there} of {FILES} files were there; {'; '.join(problems) or 'equal after completion'}"
            )
    show(
        "kill -9 of the run, then completion",
        [
            ("times", str(given.times)),
            (
                "files that were there at the kill",
                f"{min(reached)} … {max(reached)} of {FILES}, all of {sorted(reached)}",
            ),
            ("torn files, half days, differences", str(len(bad))),
            *((f"difference {number}", problem) for number, problem in enumerate(bad, 1)),
        ],
    )
    sys.exit(1 if bad else 0)


def _fresh(home: Home, server: str) -> None:
    """Give the home an empty lake and an empty database of its own."""
    shutil.rmtree(home.lake, ignore_errors=True)
    name = f"proof_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        if home.url != server:
            connection.execute(f"DROP DATABASE {database_of(home.url)} WITH (FORCE)")
    home.url = with_database(home.url, name)
    home.environment["CRYPTO_ASSETS_POSTGRES_URL"] = home.url


def _files(home: Home) -> int:
    return sum(1 for _ in home.lake.glob("exchange=*/**/data.parquet"))


def _torn(home: Home) -> list[str]:
    """Return what a killed run must not leave: a file that is no whole Parquet file, a day of which some rows are loaded."""
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


def _stored(home: Home) -> Stored:
    lake = {}
    leftovers = []
    for path in sorted(path for path in home.lake.rglob("*") if path.is_file()):
        name = str(path.relative_to(home.lake))
        if path.name == "data.parquet":
            lake[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            leftovers.append(name)
    # Of the rows everything, of the ledger everything but when and by which run.
    warehouse = home.query(
        "SELECT md5(string_agg(o::text, '|' ORDER BY symbol, timeframe, open_time)) FROM market.ohlcv o"
    )
    ledger = home.query(
        "SELECT md5(string_agg(concat_ws('|', symbol, dataset, day, state, reason, rows, content_sha256, path, source_key, "
        "source_etag, source_sha256, failed_checks), ';' ORDER BY symbol, dataset, day)) FROM collection.partitions"
    )
    dagster = home.query(
        "SELECT DISTINCT asset_key, partition FROM dagster.event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
    )
    return Stored(lake, str(warehouse[0][0]), str(ledger[0][0]), {(str(a), str(p)) for a, p in dagster}, leftovers)


def _differences(expected: Stored, found: Stored) -> list[str]:
    names = sorted(expected.lake.keys() | found.lake.keys())
    problems = [f"{name} differs" for name in names if expected.lake.get(name) != found.lake.get(name)]
    if expected.warehouse != found.warehouse:
        problems.append("the warehouse differs")
    if expected.ledger != found.ledger:
        problems.append("the ledger differs")
    if expected.dagster != found.dagster:
        problems.append(f"Dagster's partitions differ: {sorted(expected.dagster ^ found.dagster)[:3]}")
    if expected.leftovers != found.leftovers:
        problems.append(f"left over: {sorted(set(found.leftovers) ^ set(expected.leftovers))[:3]}")
    return problems


if __name__ == "__main__":
    main()
