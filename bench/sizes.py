"""Measure what a symbol-year costs to store: bytes in the lake, and in Postgres (rows and indexes), for each dataset.

    python -m bench.sizes [--archive FOLDER]

A month of two symbols is collected into a new lake and database, from the sandbox; bars from a copy of the archive in FOLDER
(`data/…` below it) if it is given, which must have AVAXUSDT and FILUSDT, linear, of September 2023. Each line has the bytes a
row in the lake, of the table, of its index, and of the index when it is built anew; then MB for a year of minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg

FIRST, LAST = date(2023, 9, 1), date(2023, 9, 30)
SYMBOLS = ("AVAX/USDT:USDT", "FIL/USDT:USDT")
MINUTES = 525_960
"""Minutes of a year of 365.25 days."""


def collect(home: Path, archive: Any, datasets: list[str], **keys: Any) -> str:
    """Collect a month of the symbols; return the URL of the database."""
    from crypto_assets.config.collection import parse_collection
    from crypto_assets.engine.pipeline import Pipeline, Target
    from crypto_assets.engine.run_context import RunContext, Stores
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.model import days_between
    from crypto_assets.sandbox.server import SandboxServer
    from crypto_assets.storage.embedded_postgres import ensure_server
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.migrations import migrate
    from crypto_assets.storage.warehouse import Warehouse

    url = ensure_server(home, durable=False)
    migrate(url)
    with SandboxServer(archive) as sandbox, Warehouse(url) as warehouse, Ledger(url) as ledger:
        urls = {"archive_url": sandbox.archive_url, "listing_url": sandbox.listing_url}
        entry = {"exchange": "binance", "market_type": "linear", "datasets": datasets, "symbols": list(SYMBOLS)}
        entry |= {"start": FIRST, "end": LAST, "rest": False, **keys}
        collection = parse_collection({"exchanges": {"binance": urls}, "series": [entry]})
        days = tuple(days_between(FIRST, LAST))
        targets = [
            Target(track.series, track.symbol, days, part.tables_of(track.series))
            for part in collection.series
            for track in part.tracks
        ]
        Pipeline(collection, Stores(Lake(str(home / "lake")), warehouse, ledger), RunContext()).run(targets)
    return url


SIZES = """
SELECT l.relid::regclass::text, pg_table_size(l.relid), pg_indexes_size(l.relid)
FROM (SELECT (pg_partition_tree(to_regclass('market.' || %s))).*) l WHERE l.isleaf AND l.level > 0
"""


def measured(url: str, lake: Path) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Yield table, rows, and bytes a row: in the lake, of the table, of its index, and of the index when it is built anew."""
    files: dict[str, int] = {}
    for path in lake.glob("exchange=*/*/*/*/*/data.parquet"):
        name = path.parts[-4].removeprefix("dataset=")
        files[name] = files.get(name, 0) + path.stat().st_size
    with psycopg.connect(url, autocommit=True) as connection:
        counts = "SELECT dataset, sum(rows)::bigint FROM collection.partitions GROUP BY 1"
        stored = dict(connection.execute(counts).fetchall())
        for table, dataset in (("ohlcv", "ohlcv_1m"), ("trades", "trades"), ("trade_statistics_1m", "trades")):
            sizes = connection.execute(SIZES, (table,)).fetchall()
            (rows,) = connection.execute(f"SELECT count(*) FROM market.{table}").fetchone() or (0,)
            if not rows:
                continue
            heap, index = (sum(one[place] for one in sizes) for place in (1, 2))
            for leaf, *_ in sizes:
                connection.execute(f"REINDEX TABLE {leaf}")
            anew = sum(one[2] for one in connection.execute(SIZES, (table,)).fetchall())
            in_lake = files[dataset] / stored[dataset] if table != "trade_statistics_1m" else 0.0
            yield table, rows, in_lake, heap / rows, index / rows, anew / rows


def main() -> None:
    from crypto_assets.sandbox.archive import FolderArchive, SyntheticArchive
    from crypto_assets.storage.embedded_postgres import delete_server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path)
    given = parser.parse_args().archive
    names = [symbol.partition(":")[0].replace("/", "") for symbol in SYMBOLS]
    made = SyntheticArchive({"linear": names}, FIRST, LAST + timedelta(days=2), trades_per_day=20_000)
    tables = ["ohlcv_1m", "trades", "trade_statistics_1m"]
    bars = FolderArchive(given) if given else made
    sys.stdout.write("| table | rows | lake | table | index | anew | MB a year: lake | table | index | anew |\n")
    for archive, datasets, keys in (
        (bars, ["ohlcv_1m"], {}),
        (bars, ["ohlcv_1m"], {"derived_timeframes": ["1h", "1d"]}),
        (bars, ["ohlcv_1m"], {"derived_timeframes": []}),
        (made, ["ohlcv_1m", "trades"], {"warehouse": tables, "derived_timeframes": []}),
    ):
        with tempfile.TemporaryDirectory(prefix="sizes-") as folder:
            os.environ["CRYPTO_ASSETS_HOME"] = folder
            try:
                url = collect(Path(folder), archive, datasets, **keys)
                for table, rows, *bytes_ in measured(url, Path(folder) / "lake"):
                    parts = " | ".join(f"{one:.1f}" for one in bytes_)
                    year = " | ".join(f"{one * MINUTES / 1e6:.0f}" for one in bytes_)
                    sys.stdout.write(f"| {table} | {rows:,} | {parts} | {year} |\n")
                    sys.stdout.flush()
            finally:
                delete_server(Path(folder))


if __name__ == "__main__":
    main()
