"""The surroundings of a measurement, which are not measured: the archive, a home with its Postgres, the collection."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import httpx
import psycopg
import yaml

from bench.process import postgres_cpu, run
from crypto_assets.config.environment import environment
from crypto_assets.sandbox.server import SandboxProcess
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server

ROOT = Path(__file__).parents[1]
FIRST = date(2024, 1, 1)
_COINS = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "DOT", "LINK", "AVAX")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some days of some symbols of one dataset, in an archive with exactly these."""

    archive_url: str
    kind: str
    coins: tuple[str, ...]
    days: int
    warehouse: bool
    compared: tuple[str, ...] = ()
    """Further datasets to collect and compare."""

    @property
    def dataset(self) -> str:
        return "ohlcv_1m" if self.kind == "bars" else "trades"

    @property
    def last(self) -> date:
        return FIRST + timedelta(days=self.days - 1)

    @property
    def exchange_symbols(self) -> str:
        return ",".join(f"{coin}USDT" for coin in self.coins)

    @property
    def table(self) -> str | None:
        """The table of the rows, or None if they stay in the lake."""
        return ("ohlcv" if self.kind == "bars" else "trades") if self.warehouse else None

    def collection(self) -> str:
        """Return its collection.yaml."""
        entry = {
            "exchange": "binance",
            "market_type": "spot",
            "datasets": [self.dataset, *self.compared],
            "symbols": [f"{coin}/USDT" for coin in self.coins],
            "start": FIRST,
        }
        if not self.warehouse:
            entry["warehouse"] = False
        elif self.kind == "trades":
            entry["warehouse"] = [self.dataset, *self.compared, "trade_statistics_1m"]
        urls = {"archive_url": self.archive_url, "listing_url": f"{self.archive_url}/listing"}
        return yaml.safe_dump({"exchanges": {"binance": urls}, "series": [entry]})


@contextmanager
def archive(coins: int, days: int, trades: int, dataset: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Serve an archive from a separate process, with every object generated; yields its URL and the coins."""
    names = _COINS[:coins]
    last = FIRST + timedelta(days=days - 1)
    arguments = ("--symbols", ",".join(f"{coin}USDT" for coin in names), "--market-types", "spot")
    span = ("--from", FIRST.isoformat(), "--to", last.isoformat(), "--trades-per-day", str(trades))
    with SandboxProcess(*arguments, *span) as sandbox:
        folder = "klines/{}USDT/1m" if dataset == "bars" else "trades/{}USDT"
        with httpx.Client(timeout=600) as client, ThreadPoolExecutor(2) as pool:
            for coin in names:
                prefix = f"data/spot/daily/{folder.format(coin)}/"
                keys: list[str] = []
                while True:  # a page ends early while objects are generated
                    query = {"prefix": prefix, "marker": keys[-1] if keys else ""}
                    page = client.get(sandbox.listing_url, params=query).raise_for_status().text
                    keys += re.findall(r"<Key>(.*?)</Key>", page)
                    if "<IsTruncated>true" not in page:
                        break
                for answer in pool.map(client.get, [f"{sandbox.archive_url}/{key}" for key in keys]):
                    answer.raise_for_status()
        yield sandbox.archive_url, names


_NOT_OURS = (
    *("CRYPTO_ASSETS_POSTGRES_URL", "CRYPTO_ASSETS_LAKE_URL", "CRYPTO_ASSETS_POSTGRES_DURABLE"),
    # Without stored bytecode every start would compile 4,000 modules: 2.5 CPU seconds, which an installed package never pays.
    "PYTHONDONTWRITEBYTECODE",
)


class Home:
    """A fresh CRYPTO_ASSETS_HOME: collection.yaml, and a running embedded Postgres, for ours with every table."""

    def __init__(self, scenario: Scenario, *, tables: bool = True) -> None:
        self.folder = folder = Path(tempfile.mkdtemp(prefix="crypto-assets-bench-"))
        self._tables = tables
        config = folder / "collection.yaml"
        config.write_text(scenario.collection())
        self.environment = environment() | {
            "CRYPTO_ASSETS_HOME": str(folder),
            "CRYPTO_ASSETS_CONFIG": str(config),
            "DAGSTER_HOME": str(ROOT),
            "PYTHONPATH": str(ROOT),
        }
        for name in _NOT_OURS:
            self.environment.pop(name, None)

    def __enter__(self) -> Home:
        self.url = ensure_server(self.folder)
        data = json.loads((self.folder / "postgres" / "server.json").read_text())["data"]
        self._postmaster = int(Path(data, "postmaster.pid").read_text().splitlines()[0])
        if self._tables:
            run("bench.ours", "prepare", environment=self.environment, log=self.folder / "prepare.log")
        return self

    def __exit__(self, *_: object) -> None:
        delete_server(self.folder)
        shutil.rmtree(self.folder)

    def postgres_cpu(self) -> float:
        """Return the CPU seconds of this home's Postgres so far."""
        return postgres_cpu(self._postmaster)

    def rows(self, query: str) -> int:
        """Return the number from a query, 0 for none."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0] or 0) if row else 0

    def parquet_files(self, folder: str) -> int:
        return sum(1 for _ in (self.folder / folder).rglob("*.parquet"))
