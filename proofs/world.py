"""The base of the proofs: a sandbox exchange, a fresh home, the commands as a user starts them, Dagster's GraphQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import yaml

from crypto_assets.config.environment import environment
from crypto_assets.sandbox.server import SandboxProcess
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server

ROOT = Path(__file__).parents[1]
COINS = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "DOT", "LINK", "AVAX")
FIRST = date(2024, 1, 1)

_NOT_OURS = (
    *("CRYPTO_ASSETS_POSTGRES_URL", "CRYPTO_ASSETS_LAKE_URL", "CRYPTO_ASSETS_POSTGRES_DURABLE"),
    # Without stored bytecode every start would compile 4,000 modules.
    "PYTHONDONTWRITEBYTECODE",
)


def say(text: str) -> None:
    """Write one line about the progress to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 120.0, poll_s: float = 0.1) -> Any:
    """Return the first true result of `condition`; end the proof if there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"did not happen within {timeout_s:.0f} s: {what}")
        time.sleep(poll_s)
    return answer


@contextlib.contextmanager
def sandbox(
    coins: Sequence[str], last: date, trades_per_day: int = 1_500, *, linear: bool = False
) -> Iterator[SandboxProcess]:
    """Serve some coins on spot, with `linear` as futures too, from FIRST to `last`, from a separate process."""
    symbols = ",".join(f"{coin}USDT" for coin in coins)
    span = ("--from", FIRST.isoformat(), "--to", last.isoformat(), "--trades-per-day", str(trades_per_day))
    markets = "spot,linear" if linear else "spot"
    with SandboxProcess("--symbols", symbols, "--market-types", markets, *span) as process:
        yield process


class Home:
    """A fresh CRYPTO_ASSETS_HOME with its own embedded Postgres and a collection of 1m bars; removed at the end."""

    def __init__(
        self,
        exchange: SandboxProcess,
        coins: Sequence[str],
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crypto-assets-proof-")) if folder is None else folder
        self.log_file = self.folder / "command.log"
        self._coins = coins
        self._urls = {"archive_url": exchange.archive_url, "listing_url": exchange.listing_url}
        config = self.folder / "collection.yaml"
        self.configure(spot=["ohlcv_1m"])
        self.environment = environment() | {
            "CRYPTO_ASSETS_HOME": str(self.folder),
            "CRYPTO_ASSETS_CONFIG": str(config),
            "CRYPTO_ASSETS_POSTGRES_DURABLE": "false",
            "DAGSTER_HOME": str(ROOT),
            **(variables or {}),
        }
        for name in _NOT_OURS:
            if name not in (variables or {}) and name != "CRYPTO_ASSETS_POSTGRES_DURABLE":
                self.environment.pop(name, None)

    def configure(self, **datasets: Sequence[str]) -> None:
        """Write the collection: these datasets of all coins, by market type."""
        entries = [
            {
                "exchange": "binance",
                "market_type": market_type,
                "datasets": list(names),
                "symbols": [f"{coin}/USDT" for coin in self._coins],
                "start": FIRST,
                "rest": False,
            }
            for market_type, names in datasets.items()
        ]
        # A proof asks for every run itself.
        content = {"exchanges": {"binance": self._urls}, "series": entries, "automation": False}
        (self.folder / "collection.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def __enter__(self) -> Self:
        self.url = ensure_server(self.folder, durable=False)
        return self

    def __exit__(self, *_: object) -> None:
        delete_server(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def start(self, *arguments: str, limits: str = "") -> subprocess.Popen[str]:
        """Start `crypto-assets …`; its output goes to command.log in the home.

        Args:
            limits: shell commands that limit the process: `ulimit -n 36`.
        """
        shell = ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh"] if limits else []
        with self.log_file.open("a") as log:
            return subprocess.Popen(
                [*shell, sys.executable, "-m", "crypto_assets", *arguments],
                env=self.environment,
                cwd=ROOT,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str, timeout_s: float = 600.0) -> int:
        """Run `crypto-assets …` to its end and return its exit code."""
        return self.start(*arguments).wait(timeout_s)

    def said(self) -> str:
        """Return the last lines of all output of the commands."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the home's database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()


class Ui:
    """A running Dagster UI, asked through GraphQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def graphql(self, query: str, **variables: Any) -> Any:
        """Return the data of a GraphQL request to Dagster."""
        content = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=content, trust_env=False, timeout=60).json()
        if "errors" in answer:
            raise SystemExit(f"GraphQL: {answer['errors']}")
        return answer["data"]

    def launch(self, requests: Sequence[tuple[Sequence[str], date, date]]) -> list[str]:
        """Queue a run for each (coins, first day, last day), lake and warehouse; return the run ids."""
        parameters = [
            {
                "selector": {
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "crypto_assets",
                    "jobName": "__ASSET_JOB",
                    "assetSelection": [
                        {"path": path}
                        for coin in coins
                        for path in (
                            ["binance", "spot", "ohlcv_1m", f"{coin}-USDT"],
                            ["warehouse", "binance", "spot", "ohlcv", f"{coin}-USDT"],
                        )
                    ],
                },
                "runConfigData": {},
                "executionMetadata": {
                    "tags": [
                        {"key": "dagster/asset_partition_range_start", "value": first.isoformat()},
                        {"key": "dagster/asset_partition_range_end", "value": last.isoformat()},
                    ]
                },
            }
            for coins, first, last in requests
        ]
        result = self.graphql(_LAUNCH, parameters=parameters)["launchMultipleRuns"]
        ids = [launched.get("run", {}).get("id") for launched in result.get("launchMultipleRunsResult", [])]
        if not ids or None in ids:
            raise SystemExit(f"runs were not queued: {result}")
        return ids


class Up(Ui):
    """`crypto-assets up` in a home, until the block ends; `url` is the UI's."""

    def __init__(self, home: Home) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{port}")

    def __enter__(self) -> Self:
        self._process = self.home.start("up", "--port", self.url.rpartition(":")[2])
        wait_for("the UI answers", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise SystemExit(f"`crypto-assets up` ended:\n{self.home.said()}")
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/server_info", trust_env=False, timeout=5).status_code == 200
        return False

    def statuses(self) -> dict[str, int]:
        """Return the number of runs by status."""
        rows = self.home.query("SELECT status, count(*) FROM dagster.runs GROUP BY 1")
        return {str(status): int(count) for status, count in rows}

    def children(self, word: str) -> list[int]:
        """Return the processes of `up` whose command line has a word: `dagster._daemon run`, `code_server`."""
        mark = f"--parent\0{self._process.pid}\0".encode()
        return [pid for pid, line in command_lines() if mark in line and word.encode() in line.replace(b"\0", b" ")]


_LAUNCH = """
mutation($parameters: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $parameters) {
    ... on LaunchMultipleRunsResult {
      launchMultipleRunsResult {
        __typename
        ... on LaunchRunSuccess { run { id } }
        ... on PythonError { message }
      }
    }
    ... on PythonError { message }
  }
}
"""


def command_lines() -> Iterator[tuple[int, bytes]]:
    """Yield every process of this machine with its command line."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(place.name), (place / "cmdline").read_bytes()


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes below one, children first."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(place.name))
    pending = [pid]
    while pending:
        children = parents.get(pending.pop(0), [])
        yield from children
        pending += children


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process, 0 for one that has ended."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def show(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a table of results."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, value)
    Console(width=140).print(table)
