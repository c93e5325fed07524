"""The results of a collection as comparable digests; and emptying a home."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from uuid import uuid4

import psycopg

from crypto_assets.text.urls import database_of, with_database
from proofs.world import Home


@dataclass(frozen=True)
class Stored:
    """The results of a collection, as comparable digests."""

    lake: dict[str, str]
    warehouse: str
    ledger: str
    dagster: set[tuple[str, str]]
    leftovers: list[str]


def fresh(home: Home, server: str) -> None:
    """Give the home an empty lake and its own empty database."""
    shutil.rmtree(home.lake, ignore_errors=True)
    name = f"proof_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        if home.url != server:
            connection.execute(f"DROP DATABASE {database_of(home.url)} WITH (FORCE)")
    home.url = with_database(home.url, name)
    home.environment["CRYPTO_ASSETS_POSTGRES_URL"] = home.url


def files(home: Home) -> int:
    """Return how many days are in the lake."""
    return sum(1 for _ in home.lake.glob("exchange=*/**/data.parquet"))


def stored(home: Home) -> Stored:
    """Return the present content of a home."""
    lake = {}
    leftovers = []
    for path in sorted(path for path in home.lake.rglob("*") if path.is_file()):
        name = str(path.relative_to(home.lake))
        if path.name == "data.parquet":
            lake[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            leftovers.append(name)
    # All of the rows; all of the ledger except times and run ids.
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


def differences(expected: Stored, found: Stored) -> list[str]:
    """Return how the content of a home differs from the expected one."""
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
