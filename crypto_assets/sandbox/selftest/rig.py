"""The selftest's rig: a sandbox exchange, a lake and a database, and the product's pipeline between them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.model import State
from crypto_assets.rows.loads import STATISTICS
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import OBJECTS, parse_fault
from crypto_assets.sandbox.request_limits import parse_rate
from crypto_assets.sandbox.selftest import evidence
from crypto_assets.sandbox.selftest.case import Case
from crypto_assets.sandbox.selftest.engine import StorePlaces, accept_lake, collect, incomplete_days, named_gaps
from crypto_assets.sandbox.selftest.scenes import Scene, Where
from crypto_assets.sandbox.selftest.verdict import (
    Truth,
    Verdict,
    describe_reported,
    describe_stored,
    judge,
    judge_after,
    judge_looked_again,
    judge_noticed,
    judge_refused,
)
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.postgres_faults import unavailable
from crypto_assets.text.urls import with_database

_PROBES, _PROBE_AFTER_S = 3, 1.0


@contextmanager
def new_database(server_url: str, count: int = 1) -> Iterator[list[str]]:
    """Yield the URLs of empty databases on the server of `server_url`, with tables; they are dropped at the end.

    Raises:
        PostgresUnavailable: the server does not answer, or does not allow it.
    """
    names = [f"crypto_assets_selftest_{uuid4().hex[:12]}" for _ in range(count)]
    urls = [with_database(server_url, name) for name in names]
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
    """One exchange for each scene and one database; runs one case after another inside `with`."""

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
        """Run a case with its fault, then without it; return which promises were kept."""
        started = time.monotonic()
        verdict = Verdict(case.name)
        self._empty()
        stores = StorePlaces(home, home / "lake", self._url)
        stores.lake.mkdir(parents=True)
        scene = case.scene
        if scene not in self._exchanges:
            self._exchanges[scene] = self._open.enter_context(_Exchange(scene))
        exchange = self._exchanges[scene]
        before = evidence.published(scene, exchange.source.read)
        collection = exchange.collection(case)
        if case.stored:
            found = collect(collection, case, stores)
            verdict.broken += judge_after(scene, found, Truth(before, before))
        if case.happens:
            stores = replace(stores, lake=case.happens(stores.lake, stores.url))
            missing = incomplete_days(collection, scene, stores)
            verdict.broken += judge_noticed(case, named_gaps(collection, scene, stores), missing)
        if case.refused:
            refused = collect(collection, case, stores, fill=True)
            verdict.broken += judge_refused(case, refused)
            accept_lake(stores)
        with exchange.going_wrong(case):
            under = collect(collection, case, stores, fill=case.happens is not None)
            truth = Truth(_published_now(case, exchange), before)
            verdict.broken += judge(case, under, truth)
            if any(said.state is State.NO_DATA for said in under.ledger.values()):
                second = named_gaps(collection, scene, stores, look_again=True)
                verdict.broken += judge_looked_again(under.gaps, second)
            verdict.stored, verdict.reported = describe_stored(scene, under, truth), describe_reported(case, under)
        after = collect(collection, case, stores, fill=case.fill)
        for _ in range(_PROBES):
            if not any(said.error == "CircuitOpen" for said in after.ledger.values()):
                break
            time.sleep(_PROBE_AFTER_S)  # an open circuit is probed only after this time
            after = collect(collection, case, stores, fill=case.fill)
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
    """A sandbox exchange with the content of a scene, inside `with`."""

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
        """Switch on the faults of a case during the block."""
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
        """Return the collection.yaml of a case: its whole scene, from this exchange."""
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
            "warehouse": [*scene.datasets, *([STATISTICS] if "trades" in scene.datasets else [])],
            "rest": case.rest,
        }
        return parse_collection({"exchanges": {"binance": urls}, "series": [entry]})


def _published_now(case: Case, exchange: _Exchange) -> dict[Where, list[evidence.Row]]:
    """Return the rows that the exchange publishes during a case; for unordered files in true order, repeated rows once."""
    concerned = [where for where in case.scene.everything if case.concerns(where)]
    read = exchange.source.read
    if case.publishes in OBJECTS:
        now = evidence.published(case.scene, read, case.publishes, concerned)
    else:
        now = evidence.published(case.scene, read)
    return {where: sorted(set(rows)) if case.in_order else rows for where, rows in now.items()}
