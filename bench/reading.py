"""Measure `crypto_assets.read` of a year of three symbols, beside a plain `pyarrow.dataset` read of the same files.

    python -m bench.reading [--days 365]

The 1m bars are collected from the sandbox into a temporary folder, lake only. Each time is the median of five calls in one
process, after a first one that is not counted. The bucket is moto's server in a process of its own, which waits 20 ms before
each answer; its files are read one after another, and as `read` does it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
FIRST = date(2024, 1, 1)
CALLS = 5
LATENCY_S = 0.02
BUCKET = "market"


def collected(home: Path, last: date) -> Path:
    """Collect the bars into a lake with a ledger; return the lake's folder."""
    from crypto_assets.config.collection import load_collection
    from crypto_assets.engine.pipeline import Pipeline, Target
    from crypto_assets.engine.run_context import RunContext, Stores
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.model import days_between
    from crypto_assets.sandbox.archive import SyntheticArchive
    from crypto_assets.sandbox.server import SandboxServer
    from crypto_assets.storage.embedded_postgres import ensure_server
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.migrations import migrate
    from crypto_assets.storage.warehouse import Warehouse

    names = [symbol.replace("/", "") for symbol in SYMBOLS]
    with SandboxServer(SyntheticArchive({"spot": names}, FIRST, last + timedelta(days=2))) as sandbox:
        entry = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "symbols": list(SYMBOLS)}
        urls = {"archive_url": sandbox.archive_url, "listing_url": sandbox.listing_url}
        series = [entry | {"start": FIRST, "end": last, "warehouse": False}]
        (home / "collection.yaml").write_text(yaml.safe_dump({"exchanges": {"binance": urls}, "series": series}))
        collection = load_collection(home / "collection.yaml")
        url = ensure_server(home, durable=False)
        migrate(url)
        days = tuple(days_between(FIRST, last))
        targets = [Target(track.series, track.symbol, days) for part in collection.series for track in part.tracks]
        with Warehouse(url) as warehouse, Ledger(url) as ledger:
            Pipeline(collection, Stores(Lake(str(home / "lake")), warehouse, ledger), RunContext(), downloads=8).run(
                targets
            )
    return home / "lake"


def median(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the median seconds of some calls: by the clock, and of CPU."""
    call()
    took = []
    for _ in range(CALLS):
        began, used = time.perf_counter(), time.process_time()
        call()
        took.append((time.perf_counter() - began, time.process_time() - used))
    return statistics.median(wall for wall, _ in took), statistics.median(cpu for _, cpu in took)


def in_folder(lake: Path, last: date) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield what was read from the folder, and its seconds by the clock and of CPU."""
    import pyarrow.dataset as ds

    from crypto_assets import read

    files = sorted(map(str, lake.glob("exchange=*/*/*/*/*/data.parquet")))
    yield "pyarrow.dataset, to Arrow", median(lambda: ds.dataset(files).to_table())
    yield "pyarrow.dataset, to pandas with floats", median(lambda: _floats(ds.dataset(files).to_table()).to_pandas())

    def ours(form: str, **options: Any) -> tuple[float, float]:
        return median(lambda: read("binance", SYMBOLS, "ohlcv_1m", FIRST, last, as_=form, **options))

    yield "read, to Arrow, decimals", ours("arrow", exact=True)
    for form in ("arrow", "pandas", "polars"):
        yield f"read, to {form}, floats", ours(form)
    yield "read, to pandas, open_time and close only", ours("pandas", columns=["open_time", "close"])


def _floats(table: Any) -> Any:
    import pyarrow as pa

    fields = [pa.field(one.name, pa.float64()) if pa.types.is_decimal(one.type) else one for one in table.schema]
    return table.cast(pa.schema(fields))


def in_bucket(lake: Path, last: date) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield how the bucket was read, and its seconds by the clock and of CPU; files and ledger are those of the folder."""
    from crypto_assets import read
    from crypto_assets.storage.lake import Lake

    with _bucket() as url:
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for path in lake.rglob("*"):
            if path.is_file() and ("symbol=BTC-USDT" in str(path) or path.parent == lake):
                client.put_object(Bucket=BUCKET, Key=path.relative_to(lake).as_posix(), Body=path.read_bytes())
        os.environ["CRYPTO_ASSETS_LAKE_URL"] = f"s3://{BUCKET}"

        def ours() -> tuple[float, float]:
            return median(lambda: read("binance", SYMBOLS[0], "ohlcv_1m", FIRST, last, as_="arrow"))

        several = ours()
        with patch.object(Lake, "each", lambda _, read, files: map(read, files)):
            yield "one symbol from a bucket, one file after another", ours()
        yield "one symbol from a bucket, as read does it", several


@contextmanager
def _bucket() -> Iterator[str]:
    """Yield the URL of moto's server in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(port: Connection) -> None:
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)

    def late(environ: Any, start: Any) -> Any:
        time.sleep(LATENCY_S)
        return moto(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, late, threaded=True)
    port.send(server.server_port)
    server.serve_forever()


def main() -> None:
    from crypto_assets.storage.embedded_postgres import delete_server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    last = FIRST + timedelta(days=parser.parse_args().days - 1)
    with tempfile.TemporaryDirectory(prefix="read-") as folder:
        home = Path(folder)
        os.environ |= {"CRYPTO_ASSETS_HOME": folder, "CRYPTO_ASSETS_CONFIG": str(home / "collection.yaml")}
        try:
            lake = collected(home, last)
            for part in (in_folder, in_bucket):
                for what, (wall, cpu) in part(lake, last):
                    sys.stdout.write(f"| {what} | {wall:.2f} s | {cpu:.2f} CPU s |\n")
                    sys.stdout.flush()
        finally:
            delete_server(home)


if __name__ == "__main__":
    main()
