"""A sandbox exchange, a lake and a database of the selftest's own, and the product's pipeline between them."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg
import pyarrow as pa

from crypto_assets.collection import pipeline as pipelines
from crypto_assets.collection.pipeline import Pipeline, Target
from crypto_assets.collection.records.database import unavailable
from crypto_assets.collection.records.ledger import Ledger
from crypto_assets.collection.storing.loads import warehouse_tables
from crypto_assets.collection.transport.body import Pace
from crypto_assets.config import Collection, parse_collection
from crypto_assets.errors import Stopped
from crypto_assets.model import COMPLETE_STATES, Outcome
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import parse_fault
from crypto_assets.sandbox.limits import parse_rate
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.selftest import evidence
from crypto_assets.selftest.cases import BAD, DATASETS, DAYS, Case
from crypto_assets.selftest.evidence import Where
from crypto_assets.selftest.verdict import Found, Truth, Verdict, describe_reported, describe_stored, judge, judge_after
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse

LONGEST_RUN_S = 30.0
"""A run of six days that takes longer hangs."""

TRADES_PER_DAY = 600

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
    """One exchange and one database, used for one case after another inside `with`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._source = SyntheticArchive(
            {"spot": [evidence.EXCHANGE_SYMBOL]}, DAYS[0], DAYS[-1], trades_per_day=TRADES_PER_DAY
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._server = self._open.enter_context(SandboxServer(self._source))
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
        home.mkdir(parents=True)
        before = evidence.published(self._source.read)
        if case.stored:
            verdict.broken += judge_after(self._collect(case, home), Truth(before, before))
        with self._going_wrong(case):
            under = self._collect(case, home)
            now = evidence.published(self._source.read)
            if case.publishes not in ("", "outage"):
                changed = evidence.published(self._source.read, case.publishes)
                now |= {(name, BAD): changed[name, BAD] for name in case.datasets}
            truth = Truth(now, before)
            verdict.broken += judge(case, under, truth)
            verdict.stored, verdict.reported = describe_stored(under, truth), describe_reported(case, under)
        after = self._collect(case, home)
        for _ in range(_PROBES):
            if not any(said.error == "CircuitOpen" for said in after.ledger.values()):
                break
            time.sleep(_PROBE_AFTER_S)  # a circuit that is open is probed when its time has come, not before
            after = self._collect(case, home)
        again = judge_after(after, Truth(before, before))
        verdict.after = "all days available, as published" if not again else describe_reported(case, after)
        verdict.broken += again
        verdict.seconds = time.monotonic() - started
        return verdict

    @contextmanager
    def _going_wrong(self, case: Case) -> Iterator[None]:
        state = self._server.app.state
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
                self._server = self._open.enter_context(SandboxServer(self._source, port=port))

    def _empty(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname IN ('market', 'collection') AND tablename <> 'migrations'"
            ).fetchall()
            connection.execute(f"TRUNCATE {', '.join(name for (name,) in tables)}")

    def _collection(self, case: Case) -> Collection:
        urls = {"archive_url": self._server.archive_url, "listing_url": self._server.listing_url}
        entry = {
            "exchange": "binance",
            "market_type": "spot",
            "datasets": list(DATASETS),
            "symbols": [evidence.SYMBOL],
            "start": DAYS[0],
            "warehouse": ["trades"],
            "rest": case.rest,
        }
        if case.rest:
            urls["rest_url"] = self._server.archive_url
        return parse_collection({"exchanges": {"binance": urls}, "series": [entry]})

    def _collect(self, case: Case, home: Path) -> Found:
        """Collect all days as the product does, and read what is there afterwards."""
        collection = self._collection(case)
        (entry,) = collection.series
        targets = [
            Target(series, evidence.SYMBOL, DAYS, warehouse_tables(series, entry.warehouse)) for series in entry.series
        ]
        problems: dict[Where, str] = {}

        def note(outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:  # noqa: ARG001
            for outcome in outcomes:
                if outcome.state not in COMPLETE_STATES:
                    problems[outcome.series.dataset, outcome.partition.day] = outcome.reason

        stop = threading.Event()
        timer = threading.Timer(LONGEST_RUN_S, stop.set)
        timer.start()
        started, error = time.monotonic(), ""
        try:
            with Warehouse(self._url) as warehouse, Ledger(self._url) as ledger:
                lake = Lake(str(home / "lake"))
                Pipeline(collection, lake, warehouse, ledger, downloads=4, on_batch=note, stop=stop).run(targets)
        except Stopped:
            error = f"nothing for {LONGEST_RUN_S:.0f} seconds: it hangs"
        except Exception as raised:
            # Whatever it is, it is a promise that was not held, and the other cases go on.
            place = traceback.extract_tb(raised.__traceback__)[-1]
            error = f"{type(raised).__name__} ({Path(place.filename).name}:{place.lineno}): {raised}"
        finally:
            timer.cancel()
        return Found(
            evidence.in_lake(home / "lake"),
            evidence.in_warehouse(self._url),
            evidence.in_ledger(self._url),
            problems,
            evidence.foreign_files(home),
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
