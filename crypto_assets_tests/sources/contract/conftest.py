"""One sandbox that speaks every exchange, at one instant, and the engine's parts against it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from crypto_assets import datasets, sources
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.archive.files import holders_of, objects_of
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.instruments import ask_instruments
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.model import Instrument, Track, days_between
from crypto_assets.sandbox.dialects import Dialect, known
from crypto_assets.sandbox.instruments import instrument
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sandbox.world import World
from crypto_assets.sources import facts
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.parsed import rows_of_file
from crypto_assets_tests.sources.contract.subjects import OF_WORLD, SPARSE, SYMBOLS, Subject, markets
from crypto_assets_tests.sources.contract.truth import Columns, true_rows

FIRST, LAST = date(2024, 2, 1), date(2024, 3, 10)
NOW = datetime(2024, 3, 10, 10, 30, 20, tzinfo=UTC)
"""A month is over and published; of the last day some hours are."""

TRADES_A_DAY, SPARSE_TRADES_A_DAY = 1_440, 40


@dataclass
class Lab:
    """The sandbox, and the parts of the engine that ask it."""

    server: SandboxServer
    client: Client
    instruments: dict[tuple[str, str], list[Instrument]] = field(default_factory=dict)

    @property
    def world(self) -> World:
        found: World = self.server.app.state.source
        return found

    @property
    def faults(self) -> Any:
        return self.server.app.state.faults

    @cached_property
    def collection(self) -> Collection:
        exchanges = {name: self.server.urls(name) for name in sources.names() if name in known()}
        return parse_collection({"exchanges": exchanges, "series": [entry_of(*market) for market in markets()]})

    def dialect(self, exchange: str) -> Dialect:
        found: Dialect = self.server.app.state.dialects[exchange]
        return found

    def overrides(self, exchange: str) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = self.server.app.state.overrides_of[exchange]
        return found

    def site(self, subject: Subject) -> ArchiveSite:
        return ArchiveSite.of(self.client, self.collection, subject.series)

    def true(self, subject: Subject, day: date, symbol: str = "") -> Columns:
        return true_rows(self.world, subject.series, symbol or subject.symbol, day)

    def day(self, subject: Subject) -> date:
        """Return a day of the subject that has rows and is over, of a month that is over."""
        time = datasets.get(subject.series.table).time_column
        days = [date(2024, 2, 7) + timedelta(days=number) for number in range(7)] + [FIRST]
        return next(day for day in days if self.true(subject, day)[time])

    # ---- files ----------------------------------------------------------------------------------------------------

    def holders(self, subject: Subject, *days: date) -> list[Files]:
        feed = subject.archive
        return holders_of(feed, subject.name, days, objects_of(self.site(subject), feed, subject.name, days))

    def published(self, subject: Subject) -> list[str]:
        """Return the keys of all files of the subject's symbol in the sandbox's archive."""
        feed, every = subject.archive, days_between(FIRST, LAST + timedelta(days=1))
        expected = {key for day in every for key in feed.keys(subject.name, day)}
        return [key for key in self.dialect(subject.series.exchange).archive.keys("") if key in expected]

    def content(self, subject: Subject, key: str) -> bytes:
        found = self.dialect(subject.series.exchange).archive.read(key)
        assert found is not None, key
        return found

    def parsed(self, subject: Subject, key: str, content: bytes | None = None) -> pa.Table:
        content = self.content(subject, key) if content is None else content
        return rows_of_file(subject.track, key, content, self.instrument(subject.track))

    def pieces(self, subject: Subject, key: str, content: bytes) -> Iterator[pa.Table]:
        return sources.pieces(subject.series, subject.symbol, key, content, self.instrument(subject.track))

    # ---- answers --------------------------------------------------------------------------------------------------

    def instrument(self, track: Track, day: date | None = None) -> Instrument | None:
        if facts(track.series).amounts != "contracts":
            return None
        found = self.instruments_of(track.series.exchange, track.series.market_type)
        return next(one for one in found if one.symbol == track.symbol)

    def instruments_of(self, exchange: str, market_type: str) -> list[Instrument]:
        """Return what the sandbox's exchange says about its symbols."""
        if (exchange, market_type) not in self.instruments:
            found = ask_instruments(self.client, self.collection, exchange, market_type)
            assert not found.left_out
            self.instruments[exchange, market_type] = list(found.instruments)
        return self.instruments[exchange, market_type]

    @cached_property
    def rest(self) -> RestFeed:
        return RestFeed(self.client, self.collection, self.instrument)

    def nothing(self, subject: Subject) -> pa.Table:
        return datasets.get(subject.series.table).schema.empty_table()

    def asked(self, exchange: str, kind: str) -> list[str]:
        """Return the requests of one kind that an exchange got, since they were forgotten."""
        found = [one for one in self.server.app.state.requests if one.exchange == exchange and one.kind == kind]
        return [f"{one.path}?{one.query}" if one.query else one.path for one in found]


def entry_of(exchange: str, market_type: str, *, rest: bool = True) -> dict[str, Any]:
    """Return an entry of a collection with everything that a source offers for a market type."""
    return {
        "exchange": exchange,
        "market_type": market_type,
        "datasets": list(sources.get(exchange).dataset_names(market_type)),
        "symbols": [SYMBOLS[market_type], SPARSE[market_type]],
        "start": FIRST,
        "rest": rest,
    }


def new_world() -> World:
    """Return the world of the contract: a symbol that trades every minute, and one that seldom trades."""
    world = World(
        {market: [OF_WORLD[SYMBOLS[market]], OF_WORLD[SPARSE[market]]] for market in SYMBOLS},
        FIRST,
        LAST,
        trades_per_day=TRADES_A_DAY,
        now=NOW,
    )
    for market, symbol in SPARSE.items():
        name = OF_WORLD[symbol]
        world.listed[market, name] = (instrument(market, name, SPARSE_TRADES_A_DAY), FIRST, LAST)
    return world


@pytest.fixture(scope="module")
def lab_of_module(guard_url: str) -> Iterator[Lab]:
    with (
        SandboxServer(new_world()) as server,
        Guard(guard_url, egress=uuid4().hex, limits={}) as guard,
        Client(guard, timeout_s=10) as client,
    ):
        # Of limits and bans other tests are: `test_running.py`.
        server.app.state.limits.weights = dict.fromkeys(server.app.state.limits.weights, 10**9)
        yield Lab(server, client)


@pytest.fixture
def lab(lab_of_module: Lab, no_waits: None) -> Iterator[Lab]:
    lab_of_module.server.forget_requests()
    yield lab_of_module
    lab_of_module.faults.off()
    for exchange in known():
        lab_of_module.overrides(exchange).clear()


@contextlib.contextmanager
def hidden(lab: Lab, exchange: str, key: str) -> Iterator[None]:
    """Take a file away, its checksum too."""
    overrides = lab.overrides(exchange)
    overrides |= {key: None, f"{key}.CHECKSUM": None}
    yield
    for name in (key, f"{key}.CHECKSUM"):
        del overrides[name]
