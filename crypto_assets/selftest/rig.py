"""A sandbox exchange, a lake and a database of the selftest's own, and the product's pipeline between them."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg
import pyarrow as pa

from crypto_assets.collection import pipeline as pipelines
from crypto_assets.collection.archive.review import review
from crypto_assets.collection.pipeline import Pipeline, Target
from crypto_assets.collection.records.database import unavailable
from crypto_assets.collection.records.gaps import gaps
from crypto_assets.collection.records.lakes import lost_days
from crypto_assets.collection.records.ledger import Ledger
from crypto_assets.collection.storing.loads import warehouse_tables
from crypto_assets.collection.transport.body import Pace
from crypto_assets.config import Collection, parse_collection
from crypto_assets.errors import Stopped
from crypto_assets.model import COMPLETE_STATES, Outcome
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import OBJECTS, parse_fault
from crypto_assets.sandbox.limits import parse_rate
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.selftest import evidence
from crypto_assets.selftest.case import Case
from crypto_assets.selftest.scenes import Scene, Where
from crypto_assets.selftest.verdict import (
    Found,
    Truth,
    Verdict,
    describe_reported,
    describe_stored,
    judge,
    judge_after,
    judge_noticed,
)
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse

LONGEST_RUN_S = 30.0
"""A run of some days that takes longer hangs."""

_TIMEOUT_S = 2.0
_ATTEMPTS = 3
_PATIENCE_S = 5.0
_OPEN_S = 0.3
_PROBES, _PROBE_AFTER_S = 3, 1.0
_PACE = Pace(bytes_per_s=1_000.0, span_s=1.5, deadline_s=10.0)


@contextmanager
def new_database(server_url: str, count: int = 1) -> Iterator[list[str]]:
    """Yield the URLs of empty databases beside that of `server_url`, tables included; they are dropped at the end.

    Raises:
        PostgresUnavailable: the server does not answer, or does not allow it.
    """
    server, _, name = server_url.rpartition("/")
    query = name.partition("?")[2]
    names = [f"crypto_assets_selftest_{uuid4().hex[:12]}" for _ in range(count)]
    urls = [f"{server}/{name}" + (f"?{query}" if query else "") for name in names]
    connection = _admitted(server_url, names)
    try:
        migrate(urls[0])
        for name in names[1:]:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {names[0]}")
        yield urls
    finally:
        for name in names:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.close()


def _admitted(server_url: str, names: Sequence[str]) -> psycopg.Connection[Any]:
    """Return a connection that has just created the first database."""
    try:
        connection = psycopg.connect(server_url, autocommit=True, connect_timeout=15)
        connection.execute(f"CREATE DATABASE {names[0]}")
    except psycopg.Error as error:
        raise unavailable(server_url, error) from error
    return connection


class Rig:
    """One exchange for each scene and one database, used for one case after another inside `with`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = ExitStack()
        self._exchanges: dict[Scene, _Exchange] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def run(self, case: Case, home: Path) -> Verdict:
        """Let one thing go wrong and then well again; return what became of the promises."""
        started = time.monotonic()
        verdict = Verdict(case.name)
        self._empty()
        stores = _Stores(home, home / "lake", self._url)
        stores.lake.mkdir(parents=True)
        scene = case.scene
        if scene not in self._exchanges:
            self._exchanges[scene] = self._open.enter_context(_Exchange(scene))
        exchange = self._exchanges[scene]
        before = evidence.published(scene, exchange.source.read)
        if case.stored:
            found = _collect(case, exchange, stores)
            verdict.broken += judge_after(scene, found, Truth(before, before))
        if case.happens:
            stores = replace(stores, lake=case.happens(stores.lake, stores.url))
            verdict.broken += judge_noticed(case, _gaps(case, exchange, stores))
        with exchange.going_wrong(case):
            under = _collect(case, exchange, stores, fill=case.happens is not None)
            truth = Truth(_published_now(case, exchange), before)
            verdict.broken += judge(case, under, truth)
            verdict.stored, verdict.reported = describe_stored(scene, under, truth), describe_reported(case, under)
        after = _collect(case, exchange, stores, fill=case.fill)
        for _ in range(_PROBES):
            if not any(said.error == "CircuitOpen" for said in after.ledger.values()):
                break
            time.sleep(_PROBE_AFTER_S)  # a circuit that is open is probed when its time has come, not before
            after = _collect(case, exchange, stores, fill=case.fill)
        again = judge_after(scene, after, Truth(before, before))
        verdict.after = "all days available, as published" if not again else describe_reported(case, after)
        verdict.broken += again
        verdict.seconds = time.monotonic() - started
        return verdict

    def _empty(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname IN ('market', 'collection') AND tablename <> 'migrations'"
            ).fetchall()
            connection.execute(f"TRUNCATE {', '.join(name for (name,) in tables)}")


class _Exchange:
    """A sandbox exchange that has what a scene says, inside `with`."""

    def __init__(self, scene: Scene) -> None:
        self.source = SyntheticArchive(
            {scene.market_type: scene.listed},
            scene.first,
            scene.last,
            trades_per_day=scene.trades_per_day,
            now=scene.now,
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._server = self._open.enter_context(SandboxServer(self.source))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @contextmanager
    def going_wrong(self, case: Case) -> Iterator[None]:
        """Let the exchange do what the case says until the block ends."""
        state = self._server.app.state
        port = 0
        if case.down:
            port = int(self._server.archive_url.rpartition(":")[2])
            self._open.close()
        for text in case.faults:
            state.faults.on(parse_fault(text))
        state.limits.set_rates([parse_rate(text) for text in case.rates])
        try:
            yield
        finally:
            state.faults.off()
            state.limits.set_rates([])
            state.limits.forget()
            if case.down:
                self._server = self._open.enter_context(SandboxServer(self.source, port=port))

    def collection(self, case: Case) -> Collection:
        """Return the collection.yaml of a case: all of its scene, from this exchange."""
        urls = {"archive_url": self._server.archive_url, "listing_url": self._server.listing_url}
        if case.rest:
            urls["rest_url"] = self._server.archive_url
        scene = case.scene
        entry = {
            "exchange": "binance",
            "market_type": scene.market_type,
            "datasets": list(scene.datasets),
            "symbols": list(scene.symbols),
            "start": scene.first,
            "end": scene.last,
            "warehouse": [name for name in scene.datasets if name.endswith("trades")],
            "rest": case.rest,
        }
        return parse_collection({"exchanges": {"binance": urls}, "series": [entry]})


@dataclass(frozen=True, slots=True)
class _Stores:
    """The lake and the database of a case, and the folder of all that it may write."""

    home: Path
    lake: Path
    url: str


def _now(scene: Scene) -> datetime:
    return scene.now or datetime.now(UTC)


def _published_now(case: Case, exchange: _Exchange) -> dict[Where, list[evidence.Row]]:
    """Return what the exchange publishes while a case goes wrong; files in disorder in their true order, rows once."""
    concerned = [where for where in case.scene.everything if case.concerns(where)]
    read = exchange.source.read
    if case.publishes in OBJECTS:
        now = evidence.published(case.scene, read, case.publishes, concerned)
    else:
        now = evidence.published(case.scene, read)
    return {where: sorted(set(rows)) if case.in_order else rows for where, rows in now.items()}


def _gaps(case: Case, exchange: _Exchange, stores: _Stores, *, look_again: bool = False) -> dict[Where, str]:
    """Return the gaps and their reasons as the commands see them; with `look_again` as `fill` does, which asks first."""
    now = _now(case.scene)
    collection = exchange.collection(case)
    (entry,) = collection.series
    with Ledger(stores.url) as ledger:
        if look_again:
            pairs = [(series, symbol) for series in entry.series for symbol in entry.symbols]
            review(collection, ledger, [(entry, pairs)], now=now)
        lost = lost_days(ledger, Lake(str(stores.lake)), collection=collection).reasons
        found = list(gaps(collection, ledger, now.date(), lost=lost))
    return {Where(gap.symbol, gap.series.dataset, gap.day): gap.reason for gap in found if gap.is_open}


def _collect(case: Case, exchange: _Exchange, stores: _Stores, *, fill: bool = False) -> Found:
    """Collect all days as the product does, or with `fill` those that it would fill, and read what is there afterwards."""
    collection = exchange.collection(case)
    scene = case.scene
    (entry,) = collection.series
    days = {(series, symbol): list(scene.days) for series in entry.series for symbol in entry.symbols}
    if fill:
        wanted = _gaps(case, exchange, stores, look_again=True)
        days = {
            (series, symbol): [day for day in scene.days if Where(symbol, series.dataset, day) in wanted]
            for series, symbol in days
        }
    targets = [
        Target(series, symbol, tuple(mine), warehouse_tables(series, entry.warehouse))
        for (series, symbol), mine in days.items()
        if mine
    ]
    problems: dict[Where, str] = {}

    def note(outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:  # noqa: ARG001
        for outcome in outcomes:
            if outcome.state not in COMPLETE_STATES:
                where = Where(outcome.partition.symbol, outcome.series.dataset, outcome.partition.day)
                problems[where] = outcome.reason

    stop = threading.Event()
    timer = threading.Timer(LONGEST_RUN_S, stop.set)
    timer.start()
    started, error = time.monotonic(), ""
    try:
        with Warehouse(stores.url) as warehouse, Ledger(stores.url) as ledger:
            lake = Lake(str(stores.lake))
            Pipeline(
                collection, lake, warehouse, ledger, downloads=4, on_batch=note, stop=stop, now=lambda: _now(scene)
            ).run(targets)
    except Stopped:
        error = f"nothing for {LONGEST_RUN_S:.0f} seconds: it hangs"
    except Exception as raised:
        # Whatever it is, it is a promise that was not held, and the other cases go on.
        place = traceback.extract_tb(raised.__traceback__)[-1]
        error = f"{type(raised).__name__} ({Path(place.filename).name}:{place.lineno}): {raised}"
    finally:
        timer.cancel()
    return Found(
        evidence.in_lake(scene, stores.lake),
        evidence.in_warehouse(scene, stores.url),
        evidence.in_ledger(stores.url),
        problems,
        evidence.foreign_files(stores.home),
        _gaps(case, exchange, stores),
        error,
        time.monotonic() - started,
    )


@contextmanager
def impatient() -> Iterator[None]:
    """Let the runs of this process wait seconds where they would wait half a minute and more; all else is as usual."""
    client, guard = pipelines.Client, pipelines.Guard
    quick: Any = pipelines
    quick.Client = functools.partial(client, timeout_s=_TIMEOUT_S, attempts=_ATTEMPTS, pace=_PACE)
    quick.Guard = functools.partial(guard, patience_s=_PATIENCE_S, first_open_s=_OPEN_S)
    try:
        yield
    finally:
        quick.Client, quick.Guard = client, guard
