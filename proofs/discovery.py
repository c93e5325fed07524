"""Prove that the sensor follows a listing of thousands of symbols without reading known parts again.

    python -m proofs.discovery [--symbols 3000] [--days 2000]

Serves a listing over loopback, with keys, sizes and ETags computed from names (no bytes exist), and lets the sensor's
tick follow it: the first complete look, ticks with nothing new, one new object, a morning with a new object for every symbol,
and one object published again deep in the past. Prints the cost of each: CPU of the ticks' process, listing requests, SQL
statements, and the size of the database. Exit code 1 if something was not found, or requested more than once.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.defs.new_files import INTERVAL_S
from crypto_assets.engine.watch.feed_snapshot import Watch
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.engine.watch.tick import Tick, tick
from crypto_assets.engine.watch.watch import LISTINGS
from crypto_assets.ledger.catalog import Catalog
from crypto_assets.sandbox.s3_listing import Query, list_page, page_xml
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.storage.migrations import migrate
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

LAST = date(2024, 6, 30)
ROOT = "data/spot/daily/klines/"
INTERVAL = timedelta(seconds=INTERVAL_S)


def names(count: int) -> list[str]:
    return [f"C{number:04d}" for number in range(count)]


# ---- the listing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One object that exists in the listing only."""

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass
class Keys:
    """The keys of symbols × days: all symbols to `last`, those in `ahead` a day further; `again` were published again."""

    symbols: int
    days: int
    last: date = LAST
    ahead: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        name = prefix.removeprefix(ROOT).partition("/")[0]
        stem = f"{ROOT}{name}/1m/{name}-1m-"
        first, last = LAST - timedelta(days=self.days - 1), self.last + timedelta(days=name in self.ahead)
        with contextlib.suppress(ValueError):
            first = max(first, date.fromisoformat(after.removeprefix(stem)[:10]))
        for number in range((last - first).days + 1):
            key = f"{stem}{first + timedelta(days=number)}.zip"
            for found in (key, f"{key}.CHECKSUM"):
                if found > after and found.startswith(prefix):
                    yield found

    def info(self, key: str) -> Entry:
        digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        day = date.fromisoformat(key.removesuffix(".CHECKSUM")[-14:-4])
        published = datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(days=1)
        if key in self.again:
            return Entry(key, 1, digest[::-1], published + timedelta(days=900))
        return Entry(key, 50_000 + int(digest[:4], 16), digest, published)


def serve(symbols: int, days: int) -> None:
    """Serve the listing in this process; the first line on standard output is its URL."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request as Asked
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from crypto_assets.sandbox.server import HOST, _bind

    source = Keys(symbols, days)
    state = {"requests": 0, "answered": 0.0}

    async def listing(request: Asked) -> Response:
        query = Query.parse(request.query_params)
        page = await run_in_threadpool(list_page, source, query, 60.0)
        state["requests"] += 1
        state["answered"] = time.time()
        return Response(page_xml("names", query, page), media_type="application/xml")

    async def control(request: Asked) -> JSONResponse:
        change = json.loads(await request.body() or "{}")
        source.last = date.fromisoformat(change.get("last", source.last.isoformat()))
        source.ahead = change.get("ahead", source.ahead)
        source.again = change.get("again", source.again)
        return JSONResponse(state)

    app = Starlette(routes=[Route("/listing", listing), Route("/control", control, methods=["POST"])])
    bound = _bind(HOST, 0)
    sys.stdout.write(f"http://{HOST}:{bound.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False)).run([bound])


@contextlib.contextmanager
def listing(symbols: int, days: int) -> Iterator[str]:
    """Yield the URL of a listing server in its own process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proofs.discovery", "--serve", f"--symbols={symbols}", f"--days={days}"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.terminate()
        process.wait()


# ---- the ticks --------------------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """The cost of some ticks, and their requests."""

    name: str
    ticks: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    listings: int = 0
    statements: int = 0
    slowest_s: float = 0.0
    requested: list[Request] = field(default_factory=list)

    @property
    def symbol_days(self) -> int:
        return sum(len(r.tracks) * ((r.last_day - r.first_day).days + 1) for r in self.requested)

    def line(self) -> str:
        each = max(self.ticks, 1)
        return (
            f"{self.name:<44} {self.ticks:>6} {self.wall_s:>8.2f} {self.cpu_s:>8.2f} {1e3 * self.cpu_s / each:>9.2f} "
            f"{self.listings:>9} {self.statements / each:>9.1f} {len(self.requested):>6} {self.symbol_days:>9}"
        )


HEAD = (
    f"{'':<44} {'ticks':>6} {'wall s':>8} {'CPU s':>8} {'CPU ms/t':>9} {'listings':>9} {'SQL/tick':>9} "
    f"{'runs':>6} {'days':>9}"
)


class Sensor:
    """Ticks as the sensor makes them, at simulated times; Dagster accepts every request at once."""

    def __init__(self, collection: Collection, url: str, server: str) -> None:
        self.watch = Watch(collection, collection.series[0])
        self.catalog = Catalog(url)
        self.server = server
        self.client = httpx.Client(trust_env=False)
        self.guard = Guard(url, collection, patience_s=0.0)
        self.now = datetime(LAST.year, LAST.month, LAST.day, 10, tzinfo=UTC) + timedelta(days=1)
        self.delivered: list[str] = []
        self.keys: list[str] = []
        self.statements = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[Self]:
        """Count the statements that this process sends to Postgres during the block."""
        methods = {name: getattr(psycopg.Cursor, name) for name in ("execute", "executemany")}
        for name, method in methods.items():

            def counted(cursor: Any, *arguments: Any, method: Callable[..., Any] = method, **options: Any) -> Any:
                self.statements += 1
                return method(cursor, *arguments, **options)

            setattr(psycopg.Cursor, name, counted)
        try:
            yield self
        finally:
            self.client.close()
            self.guard.close()
            for name, method in methods.items():
                setattr(psycopg.Cursor, name, method)

    def control(self, **change: object) -> dict[str, float]:
        answer: dict[str, float] = self.client.post(f"{self.server}/control", json=change).json()
        return answer

    def tick(self, cost: Cost, step: timedelta = INTERVAL) -> Tick:
        self.now += step
        listings, statements = self.control()["requests"], self.statements
        wall, cpu = time.perf_counter(), time.process_time()
        found = tick(
            lambda: Client(self.guard, LISTINGS, timeout_s=10.0, attempts=2),
            [self.watch],
            self.catalog,
            self.delivered,
            self.now,
        )
        took = time.perf_counter() - wall
        cost.wall_s += took
        cost.slowest_s = max(cost.slowest_s, took)
        cost.cpu_s += time.process_time() - cpu
        cost.ticks += 1
        cost.listings += int(self.control()["requests"] - listings)
        cost.statements += self.statements - statements
        cost.requested += found.requests
        if found.requests:
            self.delivered = [request.run_key for request in found.requests]
            self.keys += self.delivered
        return found


@dataclass
class Results:
    """Every measurement, and every error."""

    costs: list[Cost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def expect(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.wrong.append(f"{what}: expected {expected}, found {found}")


def prove(symbols: int, days: int, url: str, say: bool = True) -> Results:
    """Run the whole proof on an empty database."""
    migrate(url)
    gc.freeze()  # as the sensor does
    results = Results()

    def done(cost: Cost) -> None:
        results.costs.append(cost)
        if say:
            sys.stdout.write(cost.line() + "\n")
            sys.stdout.flush()

    if say:
        sys.stdout.write(HEAD + "\n")
    with listing(symbols, days) as server:
        sensor = Sensor(_collection(server, symbols, days), url, server)
        with sensor.catalog, sensor.counted():
            done(_first(sensor, results, symbols * days))
            _size(url, results)
            for cost in _idle(sensor, results):
                done(cost)
            done(_one_new(sensor, results))
            done(_morning(sensor, results, symbols))
            done(_patrol(sensor, results, url, days))
        results.expect("run keys requested once each", len(sensor.keys), len(set(sensor.keys)))
    results.notes.append(f"peak memory of the ticks' process {_peak_mb():.0f} MB")
    return results


def _collection(server: str, symbols: int, days: int) -> Collection:
    entry = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": ["ohlcv_1m"],
        # Two letters of quote, so that the exchange symbol is the name.
        "symbols": [f"{name[:-2]}/{name[-2:]}" for name in names(symbols)],
        "start": LAST - timedelta(days=days - 1),
    }
    urls = {"listing_url": f"{server}/listing", "archive_url": server}
    return parse_collection({"exchanges": {"binance": urls}, "series": [entry]})


def _first(sensor: Sensor, results: Results, everything: int) -> Cost:
    cost = Cost("first complete look")
    while cost.symbol_days < everything and cost.ticks < 100 + everything // 10_000:
        sensor.tick(cost)
    results.expect("days requested by the first look", everything, cost.symbol_days)
    return cost


def _idle(sensor: Sensor, results: Results) -> tuple[Cost, Cost]:
    """An hour of ticks with nothing new, and ticks with nothing due."""
    hour = Cost("an hour with nothing new")
    for _ in range(int(timedelta(hours=1) / INTERVAL)):
        sensor.tick(hour)
    results.expect("requests in an hour with nothing new", 0, len(hour.requested))
    silent = Cost("ticks with nothing due")
    while sensor.tick(Cost("")).reason != "nothing is due":
        pass
    for _ in range(100):
        sensor.tick(silent, timedelta())
    results.expect("listings of ticks with nothing due", 0, silent.listings)
    return hour, silent


def _one_new(sensor: Sensor, results: Results) -> Cost:
    """The next morning at eight, one symbol has its file."""
    day = LAST + timedelta(days=1)
    sensor.now = datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(days=1) - INTERVAL
    sensor.control(ahead=["C0007"])
    cost = Cost("until one new object of all is found")
    while not cost.requested and cost.ticks < 50:
        sensor.tick(cost)
        took = time.time() - sensor.control()["answered"]
    results.expect("days of the one new object", [(day, day, 1)], [_shape(r) for r in cost.requested])
    results.notes.append(f"the tick returned {took:.2f} s after the last answer of the listing; bound 1 s")
    return cost


def _morning(sensor: Sensor, results: Results, symbols: int) -> Cost:
    day = LAST + timedelta(days=1)
    sensor.now += timedelta(minutes=5)
    sensor.control(last=str(day), ahead=[])
    cost = Cost("the morning: one new object for each")
    while cost.symbol_days < symbols - 1 and cost.ticks < symbols:
        sensor.tick(cost)
    results.expect("days of the morning", symbols - 1, cost.symbol_days)
    results.notes.append(f"slowest tick of the morning {cost.slowest_s:.2f} s")
    return cost


def _patrol(sensor: Sensor, results: Results, url: str, days: int) -> Cost:
    """A change deep in the past of the symbol with the 20th next walk: how soon it is seen depends on chance."""
    day = LAST - timedelta(days=days // 2)
    with psycopg.connect(url) as connection:
        ((symbol, at),) = connection.execute(
            "SELECT symbol, next_walk_at FROM collection.watched_feeds WHERE next_walk_at > %s "
            "ORDER BY next_walk_at OFFSET 19 LIMIT 1",
            (sensor.now,),
        ).fetchall()
    name = symbol.replace("/", "")
    sensor.control(again=[f"{ROOT}{name}/1m/{name}-1m-{day}.zip"])
    cost = Cost(f"until one published again {days // 2} days back")
    # Only the last hour of a long wait is simulated.
    sensor.now = max(sensor.now, at - timedelta(hours=1))
    while not cost.requested and sensor.now < at + timedelta(minutes=30):
        sensor.tick(cost)
    results.expect("days published again", [(day, day, 1)], [_shape(r) for r in cost.requested])
    results.notes.append(
        f"a patrol takes {sensor.watch.patrol.days} days: a change far back is seen after half of that on average"
    )
    return cost


def _shape(request: Request) -> tuple[date, date, int]:
    return request.first_day, request.last_day, len(request.tracks)


def _size(url: str, results: Results) -> None:
    with psycopg.connect(url) as connection:
        for table in ("watched_feeds", "feed_marks", "discoveries", "archive_objects"):
            query = f"SELECT count(*), pg_total_relation_size('collection.{table}') FROM collection.{table}"
            ((rows, size),) = connection.execute(query).fetchall()
            results.notes.append(f"collection.{table}: {rows} rows, {size / 1e6:.1f} MB after the first look")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.discovery", description=__doc__.partition("\n")[0])
    words.add_argument("--symbols", type=int, default=3000)
    words.add_argument("--days", type=int, default=2000)
    words.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args(arguments)
    if given.serve:
        serve(given.symbols, given.days)
        return
    home = Path(tempfile.mkdtemp(prefix="proofs-"))
    home.chmod(0o711)  # as root the server runs as `nobody`
    try:
        url = ensure_server(home, durable=False, grace_s=5)
        results = prove(given.symbols, given.days, url)
    finally:
        delete_server(home)
        os.rmdir(home)  # noqa: PTH106
    for note in results.notes:
        sys.stdout.write(f"{note}\n")
    for wrong in results.wrong:
        sys.stdout.write(f"WRONG: {wrong}\n")
    sys.exit(1 if results.wrong else 0)


if __name__ == "__main__":
    main()
