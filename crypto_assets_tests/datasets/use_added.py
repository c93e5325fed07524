"""Collects a day of the dataset of `added` with the copy of the package that is first on the path; prints what came of it.

Run as a program: `use_added.py POSTGRES_URL LAKE`.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

import crypto_assets
from crypto_assets import datasets
from crypto_assets.checks import rules_of
from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.day_outcomes import Day, Target
from crypto_assets.engine.publication.publisher import Publisher
from crypto_assets.engine.publication.validation import validate
from crypto_assets.engine.run_context import Stores
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State, Track
from crypto_assets.rows.loads import warehouse_tables
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse
from docs_site.datasets import markdown

DAY, SYMBOL = date(2024, 1, 1), "BTC/USDT:USDT"
SERIES = Series.named("desk", "linear", "open_interests")
PARTITION = Partition(SYMBOL, DAY)


def rows(interest: str = "12.5", accounts: int | None = 2**53 + 1, side: str = "long") -> pa.Table:
    """Return a day of three hours; the first has the values that are given, the second no worth and no accounts."""
    given: list[list[Any]] = [
        [Decimal(interest), Decimal("0.3"), accounts, side],
        [Decimal("12.000000000000000001"), None, None, "long"],
        [Decimal("12"), Decimal("1000000"), 7, "short"],
    ]
    names = datasets.get("open_interests").schema.names
    times = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in range(3)]
    values = [dict(zip(names, (time, *row), strict=True)) for time, row in zip(times, given, strict=True)]
    return pa.Table.from_pylist(values, datasets.get("open_interests").schema)


def findings(table: pa.Table) -> dict[str, Any]:
    """Return what each check finds, and what its evidence is where it fails."""
    [verdict] = validate(SERIES, [(PARTITION, table)])
    return {name: found.passed or dict(found.evidence) for name, found in sorted(verdict.findings.items())}


def published(url: str, lake: Lake, table: pa.Table, name: str) -> Outcome:
    """Publish a day to lake, warehouse and ledger, as a run does."""
    entry = {"exchange": "desk", "market_type": "linear", "datasets": ["open_interests"], "symbols": [SYMBOL]}
    collection = parse_collection({"series": [entry | {"start": DAY}]})
    day = Day(
        Target(SERIES, SYMBOL, (DAY,), warehouse_tables(SERIES)), PARTITION, table, SourceFile(name, 1, name, "a" * 64)
    )

    def outcome(day: Day, stored: Any, counts: Any, correction: Any, beside: Any) -> Outcome:
        return Outcome(
            SERIES,
            PARTITION,
            State.AVAILABLE,
            source=day.source,
            stored=stored,
            warehouse_rows=counts,
            correction=correction,
        )

    with ThreadPoolExecutor(1) as pool, Warehouse(url) as warehouse, Ledger(url) as ledger:
        [done] = (
            Publisher(pool, collection, Stores(lake, warehouse, ledger), "run-1").publish([day], [], outcome).values()
        )
        return done


def read(source: str) -> list[dict[str, Any]]:
    frame = crypto_assets.read("desk", SYMBOL, "open_interests", DAY, DAY, source=source, market_type="linear")
    return json.loads(frame.to_json(orient="records", date_format="iso"))


def main(url: str, folder: str) -> None:
    lake = Lake(folder)
    os.environ |= {"CRYPTO_ASSETS_POSTGRES_URL": url, "CRYPTO_ASSETS_LAKE_URL": folder}
    migrate(url)
    first = published(url, lake, rows("12"), "a")
    second = published(url, lake, rows(), "b")
    stored = lake.read_partition(SERIES, PARTITION)
    schema = datasets.get("open_interests").schema
    with Warehouse(url) as warehouse:
        exact = warehouse.read(
            "open_interests",
            Track(Series("desk", "linear", "open_interests"), SYMBOL),
            DAY,
            date(2024, 1, 2),
            exact=True,
        )
    found = {
        "package": crypto_assets.__file__,
        "schema": [[one.name, str(one.type), one.nullable, one.metadata[b"doc"].decode()] for one in schema],
        "same rows": stored is not None and stored.equals(rows()),
        "counts": [dict(first.warehouse_rows), dict(second.warehouse_rows)],
        "corrected": second.correction.text if second.correction else None,
        "exact": [str(value) for value in exact["open_interest"]],
        "lake": read("lake"),
        "warehouse": read("warehouse"),
        "clean": findings(rows()),
        "wrong": findings(rows("-1", accounts=0)),
        "still": findings(rows().slice(2, 1)),
        "rules of bars": [rule.name for rule in rules_of(Series("binance", "spot", "ohlcv", "1m"))],
        "page": markdown(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
